"""Specifications: what a layer or a block is, without its values. Frozen, hashable, JSON."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from math import prod
from typing import Any, ClassVar, Self, cast

from . import contraction, planning
from .errors import TensorMoEError, one_of, positive_integer
from .factorization import Factorization
from .gate import Gate
from .matching import largest_rank
from .network import Network
from .notation import Indices
from .planning import BlockPlan, Plan
from .pointwise import POINTWISE

Shapes = dict[str, tuple[int, ...]]


class Spec(ABC):
    """What layers and blocks share. Use `MuMoESpec` or `MuMoEBlockSpec`."""

    _types: ClassVar[dict[str, type["Spec"]]] = {}

    in_features: int
    out_features: int
    experts: int | tuple[int, ...]
    factorization: Factorization
    gate: Gate
    bias: bool
    # What only blocks have; a single layer has neither.
    activation: str = ""
    input_norm: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Spec._types[cls.__name__] = cls

    def __getstate__(self) -> dict[str, Any]:
        # Networks and programs are cached on the instance; a pickle carries the fields alone.
        return self.arguments

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # immutable

    def prepare(self) -> None:
        """Plan now what is else planned at the first call; modules do, since compilers cannot trace it."""
        for layer in self.layers.values():
            _ = layer.network.shapes, layer.default_plan
        _ = self.parameter_shapes, self.state_shapes

    @property
    def arguments(self) -> dict[str, Any]:
        """The fields by name, as the constructor takes them."""
        return {field.name: getattr(self, field.name) for field in _fields(self)}

    @property
    @abstractmethod
    def layers(self) -> "dict[str, MuMoESpec]":
        """The factorized layers, in order, by the prefix of their cores' parameter names."""

    @abstractmethod
    def plan(self, batch_size: int = 1024, memory_limit: int | None = None) -> Plan | BlockPlan:
        """How it is computed, and what that costs."""

    @property
    def counts(self) -> tuple[int, ...]:
        """The number of experts of each level, (N1, …, NE)."""
        return cast("tuple[int, ...]", self.experts)

    @property
    def levels(self) -> int:
        """The number of expert levels, E."""
        return len(self.counts)

    @cached_property
    def parameter_shapes(self) -> Shapes:
        """The shape of every parameter by name: the cores, the gate's weights, the input norm."""
        shapes = {
            f"{prefix}.{name}": shape
            for prefix, layer in self.layers.items()
            for name, shape in layer.network.shapes.items()
        }
        shapes |= self.gate.parameter_shapes(self.in_features, self.counts)
        if self.input_norm:
            shapes |= dict.fromkeys(("input_norm.weight", "input_norm.bias"), (self.in_features,))
        return shapes

    @cached_property
    def state_shapes(self) -> Shapes:
        """The shape of every running statistic by name; empty but for a gate with norm "batch"."""
        return {name: shape for name, (shape, _) in self.gate.initial_state(self.counts).items()}

    @property
    def num_parameters(self) -> int:
        """The number of trainable values: cores (bias included), gate and, if there is one, input norm."""
        return sum(prod(shape) for shape in self.parameter_shapes.values())

    def replace(self, **changes: Any) -> Self:
        """The same specification with some fields changed."""
        instance: Any = self
        return cast("Self", replace(instance, **changes))

    def matched(self, parameters: int, bond: str | None = None) -> Self:
        """The same specification at the largest rank whose parameters stay within a budget.

        Args:
            parameters: the budget for `num_parameters`, gate and bias included.
            bond: the bond to grow. By default the family's choice: CP its rank, Tucker the input and
                the output rank together, tensor train and tensor ring the bond between the input and
                the output core, a notation the bond that it names last.

        Raises:
            TensorMoEError: no such bond, nothing to grow, or a budget that even rank 1 exceeds.

        Examples:
            >>> import tensormoe as tm
            >>> spec = tm.MuMoESpec(768, 1000, experts=64, factorization=tm.CP(rank=1))
            >>> matched = spec.matched(parameters=769_000)       # nn.Linear(768, 1000)
            >>> matched.factorization, matched.num_parameters
            (CP(rank=392), 767688)
        """
        budget = positive_integer("parameters", parameters)
        bonds = self.factorization.bonds(self.levels)
        growing = self.factorization.growing_bonds(self.levels) if bond is None else (bond,)
        if not bonds:
            raise TensorMoEError("factorization", self.factorization, "it has no bond whose size could grow")
        one_of("bond", growing[0], tuple(bonds))

        rank = largest_rank(lambda rank: self._with_rank(growing, rank).num_parameters, budget)
        if rank is None:
            smallest = self._with_rank(growing, 1).num_parameters
            raise TensorMoEError(
                "parameters",
                parameters,
                f"even with bond(s) {', '.join(growing)} of size 1 there are {smallest} "
                "parameters, gate and bias included: raise the budget or use fewer experts",
            )
        return self._with_rank(growing, rank)

    def _with_rank(self, growing: Indices, rank: int) -> Self:
        sizes = self.factorization.bonds(self.levels) | dict.fromkeys(growing, rank)
        return self.replace(factorization=self.factorization.with_bonds(sizes))

    def to_json(self) -> str:
        """The specification as JSON text, for `from_json`."""
        data = self.arguments
        data["factorization"] = self.factorization.to_dict()
        data["gate"] = {field.name: getattr(self.gate, field.name) for field in fields(self.gate)}
        return json.dumps({"type": type(self).__name__, **data}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The specification that `to_json` wrote.

        Raises:
            TensorMoEError: malformed JSON, another type, a missing, unknown or unfit field.

        Examples:
            >>> import tensormoe as tm
            >>> spec = tm.MuMoESpec(8, 6, experts=(4, 3), factorization=tm.Tucker(ranks=(2, 2, 3, 3)))
            >>> tm.MuMoESpec.from_json(spec.to_json()) == spec
            True
        """
        data = _parsed(text)
        kinds = [name for name, kind in Spec._types.items() if issubclass(kind, cls)]
        kind = data.pop("type", None)
        one_of("type", kind, tuple(kinds))
        found = Spec._types[kind]
        known = {field.name for field in _fields(found)}
        for name in data:
            one_of("field", name, tuple(sorted(known)))
        data["factorization"] = Factorization.from_dict(data.get("factorization"))
        if "gate" in data:
            data["gate"] = _gate(data["gate"])
        try:
            return cast("Self", found(**data))
        except TypeError as error:
            raise TensorMoEError("text", text, f"{kind}: {error}") from error


def spec_from_json(text: str) -> Spec:
    """A layer's or a block's specification from JSON text, whichever its "type" names.

    Raises:
        TensorMoEError: as `MuMoESpec.from_json`.

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.Dense())
        >>> tm.spec_from_json(spec.to_json()) == spec
        True
    """
    return Spec.from_json(text)


@dataclass(frozen=True)
class MuMoESpec(Spec):
    """One multilinear mixture-of-experts layer: y = Σ W[n1 … nE, i, o] Π_e a_e[n_e] [x, 1][i].

    Args:
        in_features: I.
        out_features: O.
        experts: N, or one count for each level (N1, …, NE); the layer has ∏ N_e experts.
        factorization: how the weight tensor W (N1, …, NE, I[+1], O) is factorized.
        gate: how the coefficients a_e (…, N_e) follow from x (…, I).
        bias: whether x is extended by a constant 1, so that the last row of the input mode holds a bias
            for each expert.

    Raises:
        TensorMoEError: a count that is no positive integer, or a factorization that does not fit.

    Source: Oldfield et al., "Multilinear Mixture of Experts: Scalable Expert Specialization through
    Factorization", 2024, section 3.

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(768, 3072, experts=(16, 16), factorization=tm.CP(rank=64))
        >>> spec.num_parameters, spec.network.weight_shape
        (272448, (16, 16, 769, 3072))
    """

    in_features: int
    out_features: int
    experts: int | tuple[int, ...]
    factorization: Factorization
    gate: Gate = Gate()
    bias: bool = True

    def __post_init__(self) -> None:
        _check(self, "in_features", "out_features")
        _ = self.network

    @property
    def layers(self) -> "dict[str, MuMoESpec]":
        return {"cores": self}

    @cached_property
    def network(self) -> Network:
        """The factorization's network at this layer's sizes."""
        rows = self.in_features + self.bias
        return self.factorization.network(self.counts, rows, self.out_features)

    @cached_property
    def contraction(self) -> contraction.Contraction:
        """What the layer computes from x, the coefficients and the cores."""
        return contraction.forward(self.network, self.bias)

    def plan(self, batch_size: int = 1024, memory_limit: int | None = None) -> Plan:
        """How the layer is computed: a table of pairwise products with their costs.

        Args:
            batch_size: the number of input vectors for which the path is chosen and the costs are given;
                the resulting program runs at any.
            memory_limit: the largest intermediate allowed, in elements.

        Raises:
            TensorMoEError: a memory limit that no pairwise path meets.

        Examples:
            >>> import tensormoe as tm
            >>> plan = tm.MuMoESpec(8, 6, 4, tm.CP(rank=5), bias=False).plan(batch_size=10)
            >>> plan.macs == 10 * 5 * (4 + 8 + 6)
            True
        """
        return planning.plan(self.contraction, batch_size, memory_limit)

    @cached_property
    def default_plan(self) -> Plan:
        """The plan by which layers run, whatever their batch size."""
        return self.plan()

    @cached_property
    def materialization_plan(self) -> Plan:
        """How the cores are multiplied out to the weight tensor."""
        return planning.plan(contraction.materialization(self.network), 1)


@dataclass(frozen=True)
class MuMoEBlockSpec(Spec):
    """Two layers with one set of coefficients, in place of an MLP: μMoE(D→H), activation, μMoE(H→O).

    The coefficients are computed from the block's input, before the optional LayerNorm of the input.

    Args:
        in_features, hidden_features, out_features: D, H and O.
        experts: N, or one count for each level.
        factorization: of both layers; the same ranks in each.
        gate: of the block.
        bias: of both layers.
        activation: between the layers: "gelu", "gelu_tanh", "relu" or "silu".
        input_norm: whether the first layer sees LayerNorm(x), with a learned scale and shift.

    Raises:
        TensorMoEError: as `MuMoESpec`, and for an unknown activation.

    Source: Oldfield et al., "Multilinear Mixture of Experts: Scalable Expert Specialization through
    Factorization", 2024, the μMoE blocks that replace MLPs.

    Examples:
        >>> import tensormoe as tm
        >>> block = tm.MuMoEBlockSpec(768, 3072, 768, experts=256, factorization=tm.CP(rank=552))
        >>> block.num_parameters
        4719696
    """

    in_features: int
    hidden_features: int
    out_features: int
    experts: int | tuple[int, ...]
    factorization: Factorization
    gate: Gate = Gate()
    bias: bool = True
    activation: str = "gelu"
    input_norm: bool = False

    def __post_init__(self) -> None:
        _check(self, "in_features", "hidden_features", "out_features")
        one_of("activation", self.activation, tuple(POINTWISE))
        _check_flag("input_norm", self.input_norm)
        _ = self.layers

    @property
    def layers(self) -> dict[str, MuMoESpec]:
        return self._layers

    @cached_property
    def _layers(self) -> dict[str, MuMoESpec]:
        shared = self.experts, self.factorization, self.gate, self.bias
        return {
            "first": MuMoESpec(self.in_features, self.hidden_features, *shared),
            "second": MuMoESpec(self.hidden_features, self.out_features, *shared),
        }

    def plan(self, batch_size: int = 1024, memory_limit: int | None = None) -> BlockPlan:
        """The plans of both layers; see `MuMoESpec.plan`."""
        first, second = (layer.plan(batch_size, memory_limit) for layer in self.layers.values())
        return BlockPlan(first, second)


def _fields(spec: Any) -> Any:
    return fields(spec)


def _check(spec: Any, *sizes: str) -> None:
    for name in sizes:
        object.__setattr__(spec, name, positive_integer(name, getattr(spec, name)))
    object.__setattr__(spec, "experts", _experts(spec.experts))
    if not isinstance(spec.factorization, Factorization):
        raise TensorMoEError("factorization", spec.factorization, "pass one such as tm.CP(rank=64)")
    if not isinstance(spec.gate, Gate):
        raise TensorMoEError("gate", spec.gate, 'pass one such as tm.Gate(activation="softmax")')
    _check_flag("bias", spec.bias)


def _check_flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise TensorMoEError(name, value, "pass True or False")


def _experts(value: object) -> tuple[int, ...]:
    counts = value if isinstance(value, (tuple, list)) else (value,)
    if not counts:
        raise TensorMoEError("experts", value, "pass at least one count, such as 64 or (16, 16)")
    try:
        return tuple(positive_integer("experts", count) for count in counts)
    except TensorMoEError as error:
        raise TensorMoEError(
            "experts", value, "pass a positive integer, or one for each level, such as 64 or (16, 16)"
        ) from error


def _parsed(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (json.JSONDecodeError, TypeError) as error:
        raise TensorMoEError("text", text, f"this is not JSON ({error})") from error
    if not isinstance(data, dict):
        raise TensorMoEError("text", text, 'pass a JSON object with a "type", as to_json writes it')
    return data


def _gate(data: object) -> Gate:
    known = tuple(field.name for field in fields(Gate))
    if not isinstance(data, Mapping):
        raise TensorMoEError("gate", data, f"pass an object with the fields {', '.join(known)}")
    for name in data:
        one_of("gate field", name, known)
    return Gate(**data)
