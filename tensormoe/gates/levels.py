"""The gates of all expert levels, one for each: their arrays' names in a layer, and what they compute."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..arrays.backend import at_least_float32
from ..arrays.protocols import GateOps
from ..errors import TensorMoEError, as_tuple
from ..typing import Array, Shape, Shapes, State
from .call import Call, InitialState
from .gate import Gate


@dataclass(frozen=True)
class GateLevel:
    """The gate of one level, with the names that its parameters and statistics have in a layer.

    Args:
        gate: the gate.
        number: the level's number, from 0 on.
        in_features: I.
        experts: N, the level's number of experts.

    Examples:
        >>> import tensormoe as tm
        >>> from tensormoe.gates.levels import GateLevel
        >>> GateLevel(tm.Gate(), 1, 8, 4).parameter_shapes
        {'gate_weights.1': (8, 4)}
    """

    gate: Gate
    number: int
    in_features: int
    experts: int

    @cached_property
    def own_experts(self) -> int:
        """How many experts the gate itself has; steering may share their coefficients with others."""
        return self.experts - sum(step.added for step in self.gate.steering if step.level == self.number)

    @cached_property
    def _shapes(self) -> Shapes:
        shapes = self.gate.parameter_shapes(self.in_features, self.own_experts)
        if self.own_experts == self.experts:
            return shapes
        weights = shapes["gate_weights"]
        if weights != (self.in_features, self.own_experts):
            remedy = f"the weights of {self.gate.router} are not (I, N): they have no column for a share"
            raise TensorMoEError("gate steering", self.gate.steering, remedy)
        return shapes | {"gate_weights": (self.in_features, self.experts)}

    @cached_property
    def parameter_shapes(self) -> Shapes:
        """The shape of every parameter by its name in the layer."""
        return {f"{name}.{self.number}": shape for name, shape in self._shapes.items()}

    @cached_property
    def initial_state(self) -> InitialState:
        """Shape and initial value of every running statistic by its name in the layer."""
        initial = self.gate.initial_state(self.in_features, self.own_experts)
        return {f"{name}.{self.number}": value for name, value in initial.items()}

    @cached_property
    def starts(self) -> dict[str, tuple[float, float]]:
        """The two numbers between which each parameter starts, by its name in the layer."""
        shapes = self._shapes
        return {f"{name}.{self.number}": self.gate.start(name, shape) for name, shape in shapes.items()}

    @cached_property
    def parameters(self) -> dict[str, str]:
        """The layer's names of the parameters by the router's."""
        names = (name.removeprefix("gate_") for name in self._shapes)
        return dict(zip(names, self.parameter_shapes, strict=True))

    @cached_property
    def statistics(self) -> dict[str, str]:
        """The layer's names of the running statistics by the router's; a batch norm's are "gate_…"."""
        own = (name.removesuffix(f".{self.number}") for name in self.initial_state)
        return {
            name.removeprefix("router_"): full for name, full in zip(own, self.initial_state, strict=True)
        }


def read_gates(gate: object, experts: Shape, given: object) -> Gate | tuple[Gate, ...]:
    """One gate for all levels, or a gate for each.

    Args:
        gate: what was given.
        experts: the count of each level.
        given: what was given for the experts.

    Raises:
        TensorMoEError: anything else, or a gate that does not fit its level.

    Examples:
        >>> import tensormoe as tm
        >>> from tensormoe.gates.levels import read_gates
        >>> read_gates((tm.Gate("softmax"), tm.Gate("softmax")), (4, 3), (4, 3)).activation
        'softmax'
    """
    gates = [_read_gate(each) for each in as_tuple(gate)]
    if not experts:
        remedy = "without experts there is nothing to mix: pass gate=None, too, or counts such as (16, 16)"
        raise TensorMoEError("experts", given, remedy)
    if isinstance(gate, Gate):
        gate.check(experts, range(len(experts)))
        return gate
    if len(gates) != len(experts):
        raise TensorMoEError("gate", gates, f"pass one gate, or one for each of {len(experts)} levels")
    for level, each in enumerate(gates):
        each.check(experts, (level,))
    return gates[0] if gates and all(each == gates[0] for each in gates) else tuple(gates)


def _read_gate(gate: object) -> Gate:
    if not isinstance(gate, Gate):
        remedy = 'pass a gate such as tm.Gate(activation="softmax"), or None to bring coefficients with calls'
        raise TensorMoEError("gate", gate, remedy)
    return gate


def compute_levels(
    ops: GateOps,
    x: Array,
    levels: Sequence[GateLevel],
    parameters: Mapping[str, Array],
    state: Mapping[str, Array],
    calls: Sequence[Call],
) -> tuple[list[Array], list[Array], State]:
    """The coefficients of every level, the routers' logits, and the new running statistics.

    Args:
        ops: the backend object.
        x: (T, I), or (…, I) if all gates take leading axes.
        levels: one for each level.
        parameters, state: the layer's, by name.
        calls: the other arguments of the layer's call, for each level.

    Returns:
        E arrays (…, N_e) of x's element type, the logits, E arrays (…, N_e) in float32 or wider, and the
        state.
    """
    dtype = ops.dtype_name(x)
    wide = at_least_float32(dtype)
    # In half precision near logits trade places, and large ones overflow.
    if wide != dtype:
        x = ops.cast(x, wide)
    coefficients, logits, moved, kind = [], [], {**state}, x.dtype
    for level, call in zip(levels, calls, strict=True):
        own = {name: parameters[full] for name, full in level.parameters.items()}
        for name, array in own.items():
            if array.dtype != kind:
                own[name] = ops.cast(array, wide)
        running = {name: state[full] for name, full in level.statistics.items()} if state else state
        a, routed, changed = level.gate.compute(ops, x, own, running, call)
        for name, value in changed.items():
            moved[level.statistics[name]] = value
        coefficients.append(ops.cast(a, dtype))
        logits.append(routed)
    return coefficients, logits, moved
