"""Names, shapes and axes of a specification's parameters and running statistics."""

from abc import ABC, abstractmethod
from functools import cached_property
from math import prod

from ..errors import TensorMoEError
from ..gates.call import InitialState
from ..gates.gate import Gate
from ..gates.levels import GateLevel
from ..gates.steering import Step
from ..typing import Shapes
from .parameters import join_name, name_core
from .stage import Stage


class Names(ABC):
    """What follows from a specification's stages and its gates."""

    in_features: int
    gate_features: int | None
    out_features: int
    experts: tuple[int, ...]
    output_bias: bool
    gate: Gate | tuple[Gate, ...] | None

    @property
    @abstractmethod
    def layers(self) -> dict[str, Stage]:
        """The stages, in order, by the prefix of the parameter names of their cores."""

    @property
    def levels(self) -> int:
        """The number of expert levels, E."""
        return len(self.experts)

    @property
    def router_features(self) -> int:
        """The size of what the router reads: x, or an input of its own."""
        return self.in_features if self.gate_features is None else self.gate_features

    @cached_property
    def parameter_shapes(self) -> Shapes:
        """The shape of every parameter by name: trained cores, the gate's weights, the input norm."""
        names = [*self.core_names, *self.gate_shapes, *self.mixture_shapes]
        shapes = self.mixture_shapes | self.gate_shapes
        return {name: shapes[name] for name in dict.fromkeys(names) if name not in self.fixed_shapes}

    @cached_property
    def gates(self) -> tuple[Gate, ...]:
        """The gate of each level; () without a gate.

        Examples:
            >>> import tensormoe as tm
            >>> gates = tm.Gate("softmax"), tm.Gate(tm.Activation("top_k", k=2))
            >>> spec = tm.MuMoESpec(8, 6, experts=(4, 3), factorization=tm.CP(rank=5), gate=gates)
            >>> spec.gates == gates, spec.replace(gate=tm.Gate()).gates == (tm.Gate(), tm.Gate())
            (True, True)
        """
        if self.gate is None:
            return ()
        return self.gate if isinstance(self.gate, tuple) else (self.gate,) * self.levels

    @cached_property
    def gate_levels(self) -> tuple[GateLevel, ...]:
        """The gate of each level, with the names of its arrays."""
        pairs = zip(self.gates, self.experts, strict=False)
        return tuple(GateLevel(gate, level, self.router_features, n) for level, (gate, n) in enumerate(pairs))

    @cached_property
    def gate_shapes(self) -> Shapes:
        """The shape of each of the gates' parameters by name."""
        return {name: shape for level in self.gate_levels for name, shape in level.parameter_shapes.items()}

    @cached_property
    def takes_leading_axes(self) -> bool:
        """Whether all gates take inputs (…, I) with several axes of tokens."""
        return all(gate.takes_leading_axes for gate in self.gates)

    @cached_property
    def previous_experts(self) -> tuple[int | None, ...] | None:
        """How many experts each level must have in the layer before; None if no router uses that layer."""
        counts = tuple(
            gate.router.previous_experts(n) for gate, n in zip(self.gates, self.experts, strict=False)
        )
        return counts if any(count is not None for count in counts) else None

    @cached_property
    def mixture_shapes(self) -> Shapes:
        """The shape of all that is no gate's by name: the cores, and the output bias if there is one."""
        shapes = {
            name_core(prefix, layer, name): shape
            for prefix, layer in self.layers.items()
            for name, shape in layer.network.shapes.items()
        }
        return shapes | {"output.bias": (self.out_features,)} if self.output_bias else shapes

    @cached_property
    def core_names(self) -> tuple[str, ...]:
        """The names of all cores, each once, fixed ones included, layer by layer."""
        names = (
            name_core(prefix, layer, name)
            for prefix, layer in self.layers.items()
            for name in layer.network.shapes
        )
        return tuple(dict.fromkeys(names))

    @cached_property
    def bond_axes(self) -> dict[str, dict[str, int]]:
        """The axis of every core that carries an index, by index and parameter name.

        Use it to shard, to prune or to read cores of any network. Bonds and expert modes have the same names
        in all layers of a block; `i` and `o` are each layer's own input and output.

        Examples:
            >>> import tensormoe as tm
            >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5))
            >>> print(spec.network)
            n r, i r, r o
            >>> spec.bond_axes["r"]
            {'cores.expert1': 1, 'cores.input': 1, 'cores.output': 0}
            >>> spec.bond_axes["n"]
            {'cores.expert1': 0}
        """
        axes: dict[str, dict[str, int]] = {}
        for prefix, layer in self.layers.items():
            for index, cores in layer.network.axes.items():
                named = {name_core(prefix, layer, core): axis for core, axis in cores.items()}
                axes[index] = axes.get(index, {}) | named
        return axes

    @cached_property
    def fixed_shapes(self) -> Shapes:
        """The shape of every fixed core by name."""
        return {
            join_name(prefix, name): layer.network.shapes[name]
            for prefix, layer in self.layers.items()
            for name, _ in layer.network.fixed
        }

    @cached_property
    def statistics_shapes(self) -> Shapes:
        """The shape of every running statistic by name; empty for gates without any."""
        return {name: shape for name, (shape, _) in self.initial_state.items()}

    @cached_property
    def initial_state(self) -> InitialState:
        """Shape and initial value of every running statistic by name."""
        return {name: each for level in self.gate_levels for name, each in level.initial_state.items()}

    @property
    def adds_noise(self) -> bool:
        """Whether a gate draws random numbers in training."""
        return any(gate.adds_noise for gate in self.gates)

    @property
    def steering(self) -> tuple[Step, ...]:
        """The steps after the gates' activations; () without a gate."""
        return tuple(step for gate in dict.fromkeys(self.gates) for step in gate.steering)

    def require_gate(self, purpose: str) -> None:
        """Raise an error that names the purpose, for a layer without a gate."""
        if self.gate is None:
            known = "coefficients come with each call" if self.experts else "there are no experts to mix"
            raise TensorMoEError("gate", None, f"{purpose}, and this layer has no gate: {known}")

    @cached_property
    def state_shapes(self) -> Shapes:
        """The shape of all that is held beside the parameters by name: fixed cores, running statistics."""
        return self.fixed_shapes | self.statistics_shapes

    @cached_property
    def array_shapes(self) -> Shapes:
        """The shape of every array by name, those of a layer's cores together in the network's order."""
        names = (*self.core_names, *self.parameter_shapes, *self.state_shapes)
        shapes = self.parameter_shapes | self.state_shapes
        return {name: shapes[name] for name in dict.fromkeys(names)}

    @property
    def num_parameters(self) -> int:
        """The number of trainable values: cores (bias included), gate and, if there is one, input norm."""
        return sum(prod(shape) for shape in self.parameter_shapes.values())

    @property
    def num_fixed(self) -> int:
        """The number of values in fixed cores, which are not trained.

        Examples:
            >>> import tensormoe as tm
            >>> hashed = tm.TensorNetwork("H: i q, n q, q o", q=4, fixed={"H": "hash"})
            >>> spec = tm.MuMoESpec(8, 6, experts=5, factorization=hashed, bias=False)
            >>> spec.num_parameters, spec.num_fixed             # 5 · 4 + 4 · 6, and 8 · 5 of the gate
            (84, 32)
        """
        return sum(prod(shape) for shape in self.fixed_shapes.values())
