"""The conformance suite of backends: every operation of every protocol, against NumPy."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from ..arrays.backend import Backend
from ..arrays.registry import get_backend
from ..programs.instructions import Affine, Multiply
from ..programs.program import Program, released
from ..typing import NumPyArray
from .operations import OPERATIONS
from .selections import SELECTIVE
from .trials import Trial, cotangent, differentiate

# The relative error that a few roundings may leave; derivatives are compared with differences.
_TOLERANCES = {"float64": 1e-12, "float32": 1e-5}
_OF_DIFFERENCES = {"float64": 1e-6, "float32": 1e-4}


def check_backend(backend: str | Backend) -> None:
    """Assert that a backend conforms: its operations do what their protocols say, in float64 and float32.

    Values, shapes and element types are compared with NumPy's, and derivatives, where the framework offers
    any, with differences. Random numbers are left out, since every framework has a generator of its own.

    Args:
        backend: a name or a backend object.

    Raises:
        AssertionError: lists each operation that is wrong, with its protocol and what is wrong.

    Examples:
        >>> from tensormoe.testing import check_backend
        >>> check_backend("numpy")
    """
    ops = backend if isinstance(backend, Backend) else get_backend(backend)
    with ops.double_precision():
        faults = list(_find_faults(ops))
    if faults:
        raise AssertionError(f"the backend {ops.tensormoe_name!r} is wrong in\n" + "\n".join(faults))


def _find_faults(ops: Backend) -> Iterator[str]:
    for dtype in _TOLERANCES:
        selective = SELECTIVE if ops.can_gather([ops.from_float64(np.ones(1), dtype)]) else []
        for trial in (*OPERATIONS, *selective):
            yield from _attempt(f"{trial.name}, {dtype}", partial(_try_operation, ops, trial, dtype))
        for name, attempt in _OTHERS.items():
            yield from _attempt(f"{name}, {dtype}", partial(attempt, ops, dtype))


def _attempt(name: str, attempt: Callable[[], None]) -> Iterator[str]:
    try:
        attempt()
    except AssertionError as error:
        yield f"  {name}: {error}"
    except Exception as error:
        yield f"  {name}: {type(error).__name__}: {' '.join(str(error).split())}"


def _try_operation(ops: Backend, trial: Trial, dtype: str) -> None:
    inputs = [ops.from_float64(value, dtype) for value in trial.inputs]
    results, expected = trial.operation(ops, *inputs), trial.expected(*trial.inputs)
    pairs = zip(results, expected, strict=True) if isinstance(expected, tuple) else [(results, expected)]
    for result, value in pairs:
        _compare(ops, result, np.asarray(value), dtype, _OF_DIFFERENCES if trial.rough else _TOLERANCES)
    for array, value in zip(inputs, trial.inputs, strict=True):
        _check_values(ops.to_float64(array), value, _TOLERANCES[dtype], "it changes its argument to")
    if trial.smooth:
        _try_derivatives(ops, trial, inputs, dtype)


def _try_derivatives(ops: Backend, trial: Trial, inputs: list[Any], dtype: str) -> None:
    y = np.asarray(trial.expected(*trial.inputs))
    weights = ops.from_float64(cotangent(y), dtype)
    slopes = ops.gradients(lambda *arrays: trial.operation(ops, *arrays), inputs, weights)
    for place, slope in enumerate(slopes or ()):
        rest = list(trial.inputs)

        def vary(x: NumPyArray, place: int = place, rest: list[NumPyArray] = rest) -> NumPyArray:
            return np.asarray(trial.expected(*rest[:place], x, *rest[place + 1 :]))

        expected = differentiate(vary, trial.inputs[place])
        _check_values(ops.to_float64(slope), expected, _OF_DIFFERENCES[dtype], "its derivative is")


def _compare(
    ops: Backend,
    result: Any,
    expected: NumPyArray,
    dtype: str,
    tolerances: dict[str, float] = _TOLERANCES,
) -> None:
    values = result if isinstance(result, np.ndarray) else ops.to_float64(result)
    _check_values(values, expected, tolerances[dtype], "it gives")
    # Positions and conditions are of the framework's own types.
    if ops.is_tensor(result) and expected.dtype == np.float64:
        _check(ops.dtype_name(result) == dtype, f"its result is {ops.dtype_name(result)}")


def _check_values(values: NumPyArray, expected: NumPyArray, tolerance: float, what: str) -> None:
    _check(values.shape == expected.shape, f"{what} the shape {values.shape}, and not {expected.shape}")
    scale = max(1.0, float(np.max(np.abs(expected), initial=0)))
    close = np.allclose(values, expected, rtol=0, atol=tolerance * scale)
    _check(close, f"{what} {values.tolist()}, and not {expected.tolist()}")


def _check(condition: object, reason: str) -> None:
    if not condition:
        raise AssertionError(reason)


def _x(ops: Backend, dtype: str) -> tuple[NumPyArray, Any]:
    values = np.array([[0.5, -1.25, 2.0], [4.0, 0.0, -0.5]])
    return values, ops.from_float64(values, dtype)


def _try_types(ops: Backend, dtype: str) -> None:
    values, x = _x(ops, dtype)
    _check(ops.dtype_name(x) == dtype, f"dtype_name gives {ops.dtype_name(x)!r}")
    for name in ops.float_types:
        # These values are exact in every type.
        there = ops.cast(x, name)
        _check(ops.dtype_name(there) == name, f"cast to {name} gives {ops.dtype_name(there)}")
        _check_values(ops.to_float64(ops.cast(there, dtype)), values, 0, f"cast to {name} and back gives")
    _check(ops.epsilon(x) == np.finfo(dtype).eps, f"epsilon gives {ops.epsilon(x)}")


def _try_recognition(ops: Backend, dtype: str) -> None:
    _, x = _x(ops, dtype)
    _check(ops.is_tensor(x), "is_tensor refuses an array of its own")
    _check(not ops.is_tensor([1.0]), "is_tensor takes a list for an array")
    _check(ops.as_array(x) is x, "as_array changes an array")
    _check(ops.batch_size(x) == 2, f"batch_size gives {ops.batch_size(x)} of 2")
    _check(ops.holds(x == x) is True, f"holds gives {ops.holds(x == x)} of what holds")
    _check(ops.holds(x > 0) is False, f"holds gives {ops.holds(x > 0)} of what does not hold everywhere")
    _check(not ops.mixes_precision(), "mixes_precision says yes where nothing asks for it")


def _try_conversions(ops: Backend, dtype: str) -> None:
    values, _ = _x(ops, dtype)
    source = values.copy()
    array = ops.from_numpy(source)
    source[:] = 7
    _check_values(ops.to_float64(array), values, 0, "from_numpy shares memory, or gives")
    for device in ops.devices():
        placed = ops.from_float64(values, dtype, device)
        _check_values(ops.to_float64(placed), values, 0, f"from_float64 on {device} gives")


def _try_program(ops: Backend, dtype: str) -> None:
    """(x, 1) M ∗ c of inputs x and c and a core M, forwards and backwards."""
    values, x = _x(ops, dtype)
    matrix, factor = np.arange(8.0).reshape(4, 2) - 3, np.array([[1.0, 2.0], [3.0, -1.0]])
    steps = (Affine(0, 2), Multiply(3, 1))
    program = Program(3, steps, released(3, steps))
    operands = [x, ops.from_float64(matrix, dtype), ops.from_float64(factor, dtype)]
    extended = np.concatenate([values, np.ones((2, 1))], axis=1)
    weights = cotangent(factor)
    expected = [
        weights * factor @ matrix[:-1].T,
        extended.T @ (weights * factor),
        weights * (extended @ matrix),
    ]
    for recompute in (False, True):

        def compute(*leaves: Any, recompute: bool = recompute) -> Any:
            return ops.compute(program, (leaves[0], leaves[2]), (leaves[1],), recompute)

        _compare(ops, compute(*operands), extended @ matrix * factor, dtype)
        slopes = ops.gradients(compute, operands, ops.from_float64(weights, dtype))
        for slope, value in zip(slopes or (), expected, strict=bool(slopes)):
            _check_values(ops.to_float64(slope), value, _TOLERANCES[dtype], "its gradient is")


def _try_gradients(ops: Backend, dtype: str) -> None:
    values, x = _x(ops, dtype)
    weights = ops.from_float64(cotangent(values), dtype)
    tolerance = _TOLERANCES[dtype]
    combined = ops.with_gradients(lambda x: (x * x, x + 1), [x], weights)
    alone = ops.gradients(lambda x: x * x, [x], weights)
    _check((combined is None) == (alone is None), "only one of gradients and with_gradients is offered")
    if combined is not None and alone is not None:
        y, more, (slope,) = combined
        for result, value in ((y, values**2), (more, values + 1)):
            _check_values(ops.to_float64(result), value, tolerance, "with_gradients gives")
        for result in (slope, alone[0]):
            _check_values(
                ops.to_float64(result), 2 * values * cotangent(values), tolerance, "the gradient is"
            )
        stopped = ops.gradients(lambda x: ops.stop_gradient(x) * x, [x], weights) or (x,)
        _check_values(
            ops.to_float64(stopped[0]), values * cotangent(values), tolerance, "past stop_gradient it is"
        )


def _try_execution(ops: Backend, dtype: str) -> None:
    values, x = _x(ops, dtype)
    double = ops.compile(lambda x: x + x)
    with ops.without_gradients():
        _check_values(ops.to_float64(double(x)), 2 * values, 0, "compiled, a sum is")


def _try_instruments(ops: Backend, dtype: str) -> None:
    values, x = _x(ops, dtype)
    weight, bias = np.arange(6.0).reshape(3, 2), np.array([1.0, -2.0])
    y = ops.linear(x, ops.from_float64(weight, dtype), ops.from_float64(bias, dtype))
    _compare(ops, y, values @ weight + bias, dtype)
    _check(ops.devices()[0] == "cpu", f"devices gives {ops.devices()}, where the host's comes first")
    for device in ops.devices():
        _check(isinstance(ops.device_name(device), str), f"device_name({device!r}) is not a text")
        stop = ops.clock(device)()
        ops.wait([y])
        _check(stop() >= 0, f"the clock of {device} runs backwards")
    with ops.threads(None) as count:
        _check(count is None or count > 0, f"threads gives {count}")


_OTHERS: dict[str, Callable[[Backend, str], None]] = {
    "GateOps.dtype_name, cast, epsilon": _try_types,
    "ArrayOps.is_tensor, Execution.as_array, batch_size, holds, mixes_precision": _try_recognition,
    "Execution.compute": _try_program,
    "Execution.gradients, with_gradients, stop_gradient": _try_gradients,
    "Execution.compile, without_gradients": _try_execution,
    "Instruments.from_numpy, from_float64, to_float64": _try_conversions,
    "Instruments.linear, devices, device_name, clock, wait, threads": _try_instruments,
}
