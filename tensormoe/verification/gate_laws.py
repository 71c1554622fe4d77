"""What any gate must do, whoever wrote it: for gates and routers that have no definition here.

A function passed to a gate may say what its weights are by attributes of its own: `total`, the sum of each
token's weights (1 by default; None for no fixed sum), `signed`, whether they may be negative, and
`mixes_tokens`, whether a token's weights depend on other tokens. A router says the latter by its method.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..arrays.backend import Backend
from ..gates.gate import Gate
from ..layers.functional import compute_gate
from ..layers.spec import Spec
from ..typing import NumPyArray
from .arithmetic.rounding import UNITS
from .attempt import step
from .floating import ratio, round_to
from .report import Check
from .whole import draw_previous

_TOKENS = 8
# How far rounding may move a coefficient in float64, with room for low temperatures.
_MOVED = 2.0**16


@dataclass(frozen=True)
class _Inputs:
    x: NumPyArray
    previous: list[NumPyArray] | None

    def take(self, rows: Any) -> "_Inputs":
        """The same for other rows."""
        return _Inputs(self.x[rows], self.previous and [a[rows] for a in self.previous])

    def mix(self, other: "_Inputs", rows: Any) -> "_Inputs":
        """The same, with these rows from another."""
        taken = zip(self.previous or (), other.previous or (), strict=True)
        previous = self.previous and [np.where(rows[:, None], b, a) for a, b in taken]
        return _Inputs(np.where(rows[:, None], other.x, self.x), previous)


# From inputs and whether the layer trains to the coefficients, and whether all are of the right type.
_Call = Callable[[_Inputs, bool], tuple[list[NumPyArray], bool]]
# An error and its bound.
_Pair = tuple[float, float]


def mixes_tokens(gate: Gate, training: bool) -> bool:
    """Whether a gate says that a token's coefficients depend on other tokens."""
    by_norm = gate.norm == "batch" and training
    functions = any(getattr(part, "mixes_tokens", False) for part in (gate.norm, gate.activation))
    return by_norm or functions or gate.router.mixes_tokens(training)


def gate_law_checks(name: str, ops: Backend, spec: Spec, generator: np.random.Generator) -> Iterator[Check]:
    """Try a gate in training and in evaluation, in every element type of a backend."""
    # Steering comes after what these laws are about.
    spec = spec.change_gates(lambda gate: replace(gate, steering=()))
    inputs, others = (_draw(spec, generator) for _ in range(2))
    parameters = {name: generator.normal(size=shape) for name, shape in spec.gate_shapes.items()}
    worst: dict[str, list[tuple[_Pair, str]]] = defaultdict(list)
    for dtype in ops.float_types:
        for training in (False, True):
            mode = f"{dtype}, in {'training' if training else 'evaluation'}"
            where = step("frameworks", name, f"gate: {mode}")
            # What overflows is looked for below.
            with where, ops.double_precision(), np.errstate(over="ignore", invalid="ignore"):
                call = _caller(ops, spec, parameters, dtype)
                pairs = dict(_try_values(spec, call(inputs, training), dtype))
                # Rounding to half precision would hide what little one token does to another.
                if dtype == ops.float_types[0]:
                    pairs |= _try_tokens(spec.gates, call, inputs, others, training, UNITS[dtype])
            for law, pair in pairs.items():
                worst[law].append((pair, mode))
    for law, tried in worst.items():
        pair, mode = max(tried, key=lambda each: ratio(each[0]))
        check = Check("frameworks", name, f"gate: {law}", *pair)
        yield check if check.passed else replace(check, quantity=f"gate: {law} ({mode})")


def _draw(spec: Spec, generator: np.random.Generator) -> _Inputs:
    x = generator.normal(size=(_TOKENS, spec.router_features)) / np.sqrt(spec.router_features)
    return _Inputs(x, draw_previous(spec, generator, _TOKENS))


def _caller(ops: Backend, spec: Spec, values: Mapping[str, NumPyArray], dtype: str) -> _Call:
    def convert(value: NumPyArray) -> Any:
        return ops.from_float64(round_to(value, dtype), dtype)

    parameters = {name: convert(value) for name, value in values.items()}
    wide = "float64" if dtype == "float64" else "float32"
    state = {key: ops.from_float64(np.full(shape, v), wide) for key, (shape, v) in spec.initial_state.items()}

    def call(inputs: _Inputs, training: bool) -> tuple[list[NumPyArray], bool]:
        previous = inputs.previous and [convert(a) for a in inputs.previous]
        options: Any = {"state": state, "training": training, "previous": previous, "backend": ops}
        coefficients = compute_gate(spec, parameters, convert(inputs.x), **options).coefficients
        typed = all(ops.dtype_name(a) == dtype for a in coefficients)
        return [ops.to_float64(a) for a in coefficients], typed

    return call


def _try_values(spec: Spec, output: tuple[list[NumPyArray], bool], dtype: str) -> Iterator[tuple[str, _Pair]]:
    """Laws of a single call."""
    coefficients, typed = output
    shapes = [(_TOKENS, n) for n in spec.experts]
    fits = [a.shape for a in coefficients] == shapes and typed
    yield "shape and element type", (float(not fits), 0.0)
    yield "finite", (float(sum(np.sum(~np.isfinite(a)) for a in coefficients)), 0.0)
    laws: dict[str, list[_Pair]] = defaultdict(list)
    wide = min(UNITS[dtype], UNITS["float32"])
    for gate, a in zip(spec.gates, coefficients, strict=True):
        if (total := gate.total) is not None:
            error = float(np.max(np.abs(a.sum(axis=-1) - total)))
            bound = abs(total) * (2 * UNITS[dtype] + 16 * (max(spec.experts) + 8) * wide)
            laws[f"sums to {total:g}"].append((error, bound))
        if not getattr(getattr(gate.weighting, "function", None), "signed", False):
            laws["not negative"].append((float(np.max(np.maximum(-a, 0))), 0.0))
    for law, pairs in laws.items():
        yield law, max(pairs, key=ratio)


def _try_tokens(
    gates: Sequence[Gate], call: _Call, inputs: _Inputs, others: _Inputs, training: bool, unit: float
) -> dict[str, _Pair]:
    """Laws of several calls: the same again, in another order, and with half of the other tokens changed."""
    right, _ = call(inputs, training)
    again, _ = call(inputs, training)
    turned, _ = call(inputs.take(slice(None, None, -1)), training)
    moved = {
        "the same twice": _difference(right, again),
        "each row from its own input": _difference(right, [a[::-1] for a in turned]),
    }
    if not any(mixes_tokens(gate, training) for gate in gates):
        changed = np.arange(_TOKENS) % 2 == 0
        errors = []
        for rows in (changed, ~changed):
            mixed, _ = call(inputs.mix(others, rows), training)
            errors.append(_difference([a[~rows] for a in right], [a[~rows] for a in mixed]))
        moved["no token sees another"] = float(np.max(errors))
    return {law: (error, _MOVED * unit) for law, error in moved.items()}


def _difference(these: Sequence[NumPyArray], those: Sequence[NumPyArray]) -> float:
    if [a.shape for a in these] != [a.shape for a in those]:
        return float("inf")
    return float(np.max([np.max(np.abs(a - b)) for a, b in zip(these, those, strict=True)]))
