"""Which arrays can be computed with: plain ones, of real floating-point numbers, all in one place."""

from ..errors import TensorMoEError
from ..typing import Array
from .backend import Backend

# Smaller types have no arithmetic, and of wider ones only NumPy knows some.
_FLOATS = ("float64", "float32", "bfloat16", "float16")
_WIDER = ("float128", "float96")


def check_kind(ops: Backend, argument: str, value: object) -> None:
    """Raise an error unless a value is a plain array of the backend's framework."""
    if not ops.is_tensor(value):
        raise TensorMoEError(argument, type(value), refuse_kind(ops, value))


def refuse_kind(ops: Backend, value: object) -> str:
    """What to pass instead of a value that is not a plain array of the backend's framework."""
    return ops.objection(value) or f"pass a dense array of the backend {ops.tensormoe_name}"


def check_real(ops: Backend, argument: str, array: Array, wider: bool = False) -> None:
    """Raise an error unless an array holds real floating-point numbers, wider ones if asked."""
    dtype = ops.dtype_name(array)
    if dtype in _FLOATS or (wider and dtype in _WIDER):
        return
    remedy = "pass real floating-point numbers: convert the array first"
    if "float" in dtype:
        remedy = f"convert the array to one of {', '.join(_FLOATS)} first"
    raise TensorMoEError(argument, dtype, remedy)


def check_place(ops: Backend, argument: str, array: Array, x: Array) -> None:
    """Raise an error if an array lives where it cannot meet x."""
    ours, theirs = ops.place(x), ops.place(array)
    if ours != theirs and None not in (ours, theirs):
        raise TensorMoEError("x", ours, f"{argument} is on {theirs}: move one to the other")
