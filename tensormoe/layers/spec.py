"""What specifications share: checks, programs, rank matching, JSON."""

import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import ceil, prod
from operator import attrgetter
from typing import Any, Self

from ..codec import FORMAT, Data, Registered, check_format, read_json, write_json
from ..displays import draw_inline, draw_table, write_line
from ..errors import LARGEST, TensorMoEError, as_tuple, is_listed, one_of, positive_integer, true_or_false
from ..gates.gate import Gate
from ..gates.levels import read_gates
from ..networks.factorization import Factorization
from ..networks.notation import read_experts
from ..programs.block_plan import BlockPlan
from ..programs.plan import LARGE_BATCH, Plan
from .matching import Growing, Growth, choose_growing, most_units, one_budget
from .options import INITIALIZATIONS
from .plans import Plans


class Spec(Plans, Registered):
    """What layers and blocks share. Use `MuMoESpec` or `MuMoEBlockSpec`.

    Examples:
        >>> import tensormoe as tm
        >>> block = tm.MuMoEBlockSpec(8, 16, 6, experts=4, factorization=tm.CP(rank=5))
        >>> {prefix: stage.num_parameters for prefix, stage in block.layers.items()}
        {'first': 145, 'second': 135}
    """

    _what = "spec"

    in_features: int
    out_features: int
    experts: tuple[int, ...]
    factorization: Factorization | tuple[Factorization, ...]
    gate: Gate | tuple[Gate, ...] | None
    bias: bool | tuple[bool, ...]
    memory_limit: int | None
    initialization: str
    gate_features: int | None
    output_bias: bool

    def _set(self, **values: object) -> None:
        """Set fields of an instance under construction; afterwards it is frozen."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _set_shared(
        self,
        experts: object,
        factorization: Factorization | tuple[Factorization, ...],
        gate: object,
        bias: bool | tuple[bool, ...],
        memory_limit: object,
        initialization: object,
        gate_features: object,
        output_bias: object,
    ) -> None:
        """Check and set the fields that layers and blocks share; the layers' own are checked already."""
        counts = read_experts(experts)
        one_of("initialization", initialization, INITIALIZATIONS)
        limit = None if memory_limit is None else positive_integer("memory_limit", memory_limit)
        own = None if gate_features is None else positive_integer("gate_features", gate_features)
        if gate is None and own is not None:
            raise TensorMoEError("gate_features", own, "without a gate there is no router: leave it out")
        self._set(
            experts=counts,
            factorization=factorization,
            gate=None if gate is None else read_gates(gate, counts, experts),
            bias=bias,
            memory_limit=limit,
            initialization=initialization,
            gate_features=own,
            output_bias=true_or_false("output_bias", output_bias),
        )

    def _check_plans(self) -> None:
        """Raise an error if a network does not fit, or if no path meets the memory limit."""
        for name, shape in (self.parameter_shapes | self.state_shapes).items():
            if prod(shape) > LARGEST // 8:
                raise TensorMoEError(name, shape, "no array has so many elements: choose smaller sizes")
        if self.initialization == "published" and any(each.network.splits for each in self.layers.values()):
            remedy = 'no start of networks with split modes is published: use "linear"'
            raise TensorMoEError("initialization", self.initialization, remedy)
        if self.memory_limit is not None:
            for stage in self.layers.values():
                _ = stage.plans

    def __getstate__(self) -> dict[str, Any]:
        # Networks and programs are cached on the instance; a pickle carries only the fields.
        return self.arguments

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # immutable

    def prepare(self) -> None:
        """Plan now what would be planned at the first call, which torch.compile cannot trace.

        Modules do this themselves; with the functional API, call it before you compile.
        """
        for layer in self.layers.values():
            _ = layer.network.shapes, layer.materialization_plan
            if layer.experts:
                _ = layer.merging_plan.program
        for accelerated in (False, True) if self.active else ():
            _ = self.programs_for(self.active, accelerated)
        _ = self.programs, self.core_names, self.array_shapes, self.statistics_shapes
        _ = self.takes_leading_axes, self.previous_experts
        for level in self.gate_levels:
            _ = level.parameters, level.statistics, level.gate.weighting

    @abstractmethod
    def plan(self, batch_size: int = 1024, active: int | Sequence[int] | None = None) -> Plan | BlockPlan:
        """How the output is computed, and what that costs."""

    @property
    def features(self) -> tuple[int, ...]:
        """The features from the input to the output: (I, O) of a layer, (D, H, O) of a block."""
        *before, last = self.layers.values()
        hidden = [last.in_features] if before else []
        return (self.in_features, *hidden, self.out_features)

    def replace(self, **changes: Any) -> Self:
        """The same specification with some fields changed."""
        return replace(self, **changes)

    def change_gates(self, change: Callable[[Gate], Gate]) -> Self:
        """The same specification with every gate changed, such as `spec.change_gates(Gate.without_noise)`."""
        if self.gate is None:
            return self
        one = isinstance(self.gate, Gate)
        return self.replace(gate=change(self.gates[0]) if one else tuple(map(change, self.gates)))

    def without_noise(self) -> Self:
        """The same specification with gates that add no noise in training."""
        return self.change_gates(Gate.without_noise)

    @property
    def macs(self) -> int:
        """Multiply-accumulates a token in a large batch: the plan's, and the router's product.

        Examples:
            >>> import tensormoe as tm
            >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5), bias=False)
            >>> spec.macs == 5 * (4 + 8 + 6) + 8 * 4
            True
        """
        router = sum(map(prod, self.gate_shapes.values()))
        return ceil(self.plan(LARGE_BATCH).macs / LARGE_BATCH) + router

    def matched(
        self,
        parameters: int | None = None,
        bond: Growing | None = None,
        multiple_of: int = 1,
        *,
        macs: int | None = None,
    ) -> Self:
        """The same specification at the largest rank that stays within a budget.

        Use it to compare layers of equal size, or of equal cost. No rank is bought that can't matter: a bond
        of two cores grows to the number of rows or columns that it connects, and to no more, in each layer of
        a block by itself.

        Args:
            parameters: the budget for `num_parameters`, gate and bias included.
            bond: the bond to grow, several, or a mapping from bonds to their proportions, such as
                {"q": 2, "s": 1}. By default the family's choice: CP its rank, Tucker the input and the output
                rank together, tensor train and tensor ring the bond between the input and the output core, a
                notation its last bond. Every layer of a block that has such a bond grows it.
            multiple_of: what must divide the rank, such as 64 if a device computes faster with such sizes.
            macs: in place of `parameters`, the budget for `macs`.

        Raises:
            TensorMoEError: both budgets or none, an unknown bond, no bond to grow, or a budget that even the
                smallest rank exceeds.
            UserWarning: which bonds are smaller than the budget allows: their cores have no use for more.

        Examples:
            >>> import tensormoe as tm
            >>> spec = tm.MuMoESpec(768, 1000, experts=64, factorization=tm.CP(rank=1))
            >>> matched = spec.matched(parameters=769_000)       # nn.Linear(768, 1000)
            >>> matched.factorization, matched.num_parameters
            (CP(rank=392), 767688)
            >>> spec.matched(parameters=769_000, multiple_of=64).factorization
            CP(rank=384)
            >>> spec.matched(macs=768_000).factorization
            CP(rank=392)
        """
        argument, budget = one_budget(parameters=parameters, macs=macs)
        unit = positive_integer("multiple_of", multiple_of)
        growth = Growth(self.layers, choose_growing(self.layers, bond), unit)
        # Count without the memory limit, which may reject the large ranks that the search tries.
        free = self.replace(memory_limit=None)
        count = attrgetter("num_parameters" if argument == "parameters" else "macs")

        def take(units: int) -> int:
            return int(count(free.replace(factorization=growth.factorizations(units))))

        units = most_units(growth, take, argument, budget)
        if told := growth.tell(units):
            warnings.warn(f"matched: {told}", stacklevel=2)
        return self.replace(factorization=growth.factorizations(units))

    def _repr_html_(self) -> str:
        sizes = " → ".join(f"{size:,}" for size in self.features)
        experts = " × ".join(f"{count:,}" for count in self.experts) or "no"
        rows = [
            (name, str(stage.network), f"{stage.num_parameters:,}") for name, stage in self.layers.items()
        ]
        total = "with the gate's", "", f"{self.num_parameters:,}"
        counts = draw_table(("", "network", "parameters"), [*rows, total], text_columns=2)
        head = write_line(f"{sizes} with {experts} experts, {self.macs:,} MACs a token in large batches")
        return head + draw_inline(self) + counts

    def to_dict(self) -> dict[str, Data]:
        """Write the specification as plain data, for strict JSON; `from_dict` reads it back.

        Raises:
            TensorMoEError: the gate or the nonlinearity is a function of your own.

        Examples:
            >>> import tensormoe as tm
            >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5))
            >>> spec.to_dict()["format"], spec.to_dict()["factorization"]
            (1, {'type': 'CP', 'rank': 5})
        """
        return {"format": FORMAT, **super().to_dict()}

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """The specification that `to_dict` described.

        Raises:
            TensorMoEError: other data, a newer format, an unknown type, or a missing, unknown or invalid
                field.
        """
        return super().from_dict(check_format(data))

    @classmethod
    def _from_data(cls, data: Mapping[str, object]) -> Self:
        values = dict(data)
        given = values.get("factorization")
        several = isinstance(given, list) and tuple(map(Factorization.from_dict, given))
        values["factorization"] = several or Factorization.from_dict(given)
        if (gate := values.get("gate")) is not None:
            gates = tuple(map(Gate.from_dict, as_tuple(gate)))
            values["gate"] = gates if is_listed(gate) else gates[0]
        return super()._from_data(values)

    def to_json(self) -> str:
        """Write the specification as strict JSON text, for `from_json`."""
        return write_json(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read the specification that `to_json` wrote.

        Raises:
            TensorMoEError: malformed JSON, and as `from_dict`.

        Examples:
            >>> import tensormoe as tm
            >>> spec = tm.MuMoESpec(8, 6, experts=(4, 3), factorization=tm.Tucker(ranks=(2, 2, 3, 3)))
            >>> tm.MuMoESpec.from_json(spec.to_json()) == spec
            True
        """
        return cls.from_dict(read_json(text))


def check_factorization(factorization: object) -> Factorization:
    """Return a factorization, or raise the error for anything else."""
    if not isinstance(factorization, Factorization):
        remedy = "pass a factorization such as tm.CP(rank=64)"
        if isinstance(factorization, str):
            remedy += ', or notation with the size of each bond: tm.TensorNetwork("n r, i r, r o", r=64)'
        raise TensorMoEError("factorization", factorization, remedy)
    return factorization


def check_spec(spec: object) -> None:
    """Raise an error unless this is a specification."""
    if not isinstance(spec, Spec):
        refuse_module("spec", spec)
        raise TensorMoEError("spec", spec, "pass a MuMoESpec or a MuMoEBlockSpec")


def check_spec_kind(spec: object, kind: type[Spec]) -> None:
    """Raise an error unless this is a specification of a kind."""
    check_spec(spec)
    if not isinstance(spec, kind):
        raise TensorMoEError("spec", spec, f"pass a {kind.__name__}")


def refuse_module(argument: str, value: object) -> None:
    """Raise an error for a module where its specification is needed."""
    if isinstance(getattr(value, "spec", None), Spec):
        raise TensorMoEError(argument, type(value), "a module holds its specification: pass layer.spec")
