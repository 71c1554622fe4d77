"""The frameworks' own modules: whole layers as classes, against their definition."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..arrays.backend import Backend
from ..arrays.registry import get_backend, get_module
from ..errors import TensorMoEError
from ..layers.building import build
from ..layers.spec import Spec
from ..typing import NumPyArray
from .attempt import step
from .reference.gate import have_references
from .reference.layer import Output, compute, materialize, mix
from .report import Check
from .whole import Values, convert, convert_tokens, is_small

# Relative to the largest entry.
_TOLERANCE = 1e-12


def has_modules(name: str, ops: Backend) -> bool:
    """Whether a backend comes with module classes that run on it."""
    try:
        return get_module(name) is not None and get_backend(name) is ops
    except TensorMoEError:
        return False


def module_checks(name: str, ops: Backend, spec: Spec, values: Values) -> Iterator[Check]:
    """A module in evaluation, in training, and in evaluation after it: there it uses the moved statistics."""
    if not has_modules(name, ops):
        return
    if not have_references(spec.gates):
        yield from _compare_mixture(name, ops, spec, values)
        return
    given = spec.without_noise(), values.parameters

    def define(state: dict[str, NumPyArray], training: bool) -> Output:
        brought: Any = {"previous": values.previous, "given": values.coefficients}
        brought["router_input"] = values.router_input
        return compute(*given, state, values.x, training=training, **brought)

    moved = define(values.state, True)
    expected = {
        "evaluation": define(values.state, False),
        "training": moved,
        "evaluation after training": define(moved.state, False),
    }
    with step("frameworks", name, "module"), ops.double_precision():
        layer = _build(name, ops, spec, values)
        quiet = layer
        if spec.adds_noise:
            quiet = _build(name, ops, spec.without_noise(), values)
    for mode, output in expected.items():
        running = layer if mode == "evaluation" else quiet
        if not _set_mode(running, mode):
            continue
        with step("frameworks", name, f"module in {mode}"), ops.double_precision():
            results = _call(ops, running, values)
        error = _largest_error(results, [output.y, *output.coefficients])
        yield Check("frameworks", f"{name} = definition", f"module in {mode}", error, _TOLERANCE)
    if is_small(spec):
        with step("frameworks", name, "module's weights"), ops.double_precision():
            weights = layer.materialize()
            arrays = weights if isinstance(weights, tuple) else (weights,)
            error = _largest_error([ops.to_float64(a) for a in arrays], materialize(spec, values.arrays))
        yield Check("frameworks", f"{name} = definition", "module's weights", error, _TOLERANCE)


def _compare_mixture(name: str, ops: Backend, spec: Spec, values: Values) -> Iterator[Check]:
    """The output in evaluation of a module whose gate has no definition, at the gate's coefficients."""
    quantity = "module at its coefficients"
    with step("frameworks", name, quantity), ops.double_precision():
        layer = _build(name, ops, spec, values)
        _set_mode(layer, "evaluation")
        y, *coefficients = _call(ops, layer, values)
    error = _largest_error([y], [mix(spec, values.arrays, coefficients, values.x)])
    yield Check("frameworks", f"{name} = definition", quantity, error, _TOLERANCE)


def _build(name: str, ops: Backend, spec: Spec, values: Values) -> Any:
    layer = build(spec, name, seed=0, dtype="float64")
    layer.load_arrays(convert(ops, values.arrays))
    return layer


def _set_mode(layer: Any, mode: str) -> bool:
    """Set a module's mode; False if it cannot train."""
    trains = hasattr(layer, "train")
    if trains and mode == "training":
        layer.train()
    elif trains:
        layer.eval()
    return trains or mode == "evaluation"


def _call(ops: Backend, layer: Any, values: Values) -> list[NumPyArray]:
    """The output and the coefficients of one call, in NumPy."""
    x = ops.from_numpy(values.x[None])
    previous = convert_tokens(ops, values.previous)
    given = values.bring(convert_tokens(ops, values.brought) or [])
    with ops.without_gradients():
        y, coefficients = layer(x, return_coefficients=True, previous=previous, **given)
    return [ops.to_float64(a)[0] for a in (y, *coefficients)]


def _largest_error(results: Sequence[NumPyArray], expected: Sequence[NumPyArray]) -> float:
    """The largest difference, relative to the largest entry of each array."""
    if [a.shape for a in results] != [a.shape for a in expected]:
        return float("inf")
    pairs = zip(results, expected, strict=True)
    return float(np.max([np.max(np.abs(a - b)) / (np.max(np.abs(b)) or 1.0) for a, b in pairs]))
