"""The floating-point method of gates: coefficients and running statistics within their error bounds."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np

from ..arrays.backend import Backend, at_least_float32
from ..gates.call import Call
from ..gates.levels import GateLevel, compute_levels
from ..layers.spec import Spec
from ..typing import NumPyArray
from .attempt import guard, step
from .floating import largest, ratio, round_to
from .reference.gate import STATISTICS, ExpertLevel, initial_statistics, own_arrays
from .report import Check

# The least number of input vectors: enough for iterations to end at different times.
_BATCH = 32


def gate_checks(
    spec: Spec, objects: Mapping[str, Backend], generator: np.random.Generator, batch_size: int
) -> Iterator[Check]:
    """A gate's coefficients and running statistics in training, in every element type of each backend."""
    values = [generator.normal(size=(max(batch_size, _BATCH), spec.router_features))]
    # Of a vector, one for each expert, the entries are those of a matrix with one row.
    values += [
        generator.normal(size=shape) / np.sqrt(shape[0] if len(shape) > 1 else 1)
        for shape in spec.gate_shapes.values()
    ]
    for name, ops in objects.items():
        for dtype in ops.float_types:
            given = [round_to(value, dtype) for value in values]
            yield from guard("float", _compare(f"{name} {dtype}", ops, spec, given, dtype), f"{name} {dtype}")


def _compare(subject: str, ops: Backend, spec: Spec, given: list[NumPyArray], dtype: str) -> Iterator[Check]:
    x, *values = given
    parameters = dict(zip(spec.gate_shapes, values, strict=True))
    with step("float", subject, "coefficients of the gate"):
        coefficients, state = _compute(ops, spec, given, dtype)
    levels = [
        ExpertLevel(level.gate, x, own_arrays(level, parameters), initial_statistics(level.experts), dtype)
        for level in spec.gate_levels
    ]
    pairs = [largest(np.abs(a - e.p), e.bound) for a, e in zip(coefficients, levels, strict=True)]
    # Coefficients lie between 0 and 1.
    yield Check("float", subject, "coefficients of the gate", *max(pairs, key=ratio), limit=1.0)
    pairs = [
        largest(np.abs(state[f"{key}.{number}"] - value), bound)
        for number, level in enumerate(levels)
        for key, (value, bound) in zip(STATISTICS, level.statistics, strict=False)
    ]
    if pairs:
        yield Check("float", subject, "running statistics", *max(pairs, key=ratio))


def _compute(
    ops: Backend, spec: Spec, values: list[NumPyArray], dtype: str
) -> tuple[list[NumPyArray], dict[str, NumPyArray]]:
    """The coefficients and the state after one call in training, in float64."""
    # Each framework draws its own noise.
    levels = spec.without_noise().gate_levels
    with ops.double_precision():
        wide = at_least_float32(dtype)
        state = {k: ops.from_float64(np.full(shape, v), wide) for k, (shape, v) in spec.initial_state.items()}
        arrays = [ops.from_float64(value, dtype) for value in values]
        coefficients, _, moved = _compile(ops, levels)(state, *arrays)
        statistics = {key: ops.to_float64(statistic) for key, statistic in moved.items()}
        return [ops.to_float64(a) for a in coefficients], statistics


@cache
def _compile(ops: Backend, levels: tuple[GateLevel, ...]) -> Any:
    """The gates in training, cached: layers with the same gates and sizes are compiled once."""
    calls = [Call(training=True, level=level.number) for level in levels]
    names = [name for level in levels for name in level.parameter_shapes]

    def run(state: Any, x: Any, *values: Any) -> Any:
        parameters = dict(zip(names, values, strict=True))
        return ops.compute_precisely(compute_levels, x, levels, parameters, state, calls)

    return ops.compile(run)
