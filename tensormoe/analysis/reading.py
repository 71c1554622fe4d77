"""What measures take: coefficients of any framework, of one level or of several, and numbers of classes."""

from collections.abc import Sequence
from math import prod

import numpy as np

from ..arrays.checks import check_kind
from ..arrays.registry import backend_of
from ..errors import LARGEST, TensorMoEError
from ..fitting.target import read_values
from ..memory import check_memory, host_memory
from ..typing import Array, NumPyArray, Shape

# One level's coefficients (…, N), or those of each level as layers return them.
Coefficients = Array | Sequence[Array]


def read_levels(coefficients: Coefficients, argument: str = "coefficients") -> list[NumPyArray]:
    """Each level's coefficients (…, N_e) in float64, with the same leading axes.

    Raises:
        TensorMoEError: no array, no token, a negative or a non-finite coefficient, or levels of different
            tokens.
    """
    listed = isinstance(coefficients, list | tuple)
    names = [f"{argument}[{level}]" for level in range(len(coefficients))] if listed else [argument]
    if not names:
        raise TensorMoEError(argument, coefficients, "pass the coefficients of at least one level")
    levels = [
        _read_level(name, level)
        for name, level in zip(names, coefficients if listed else [coefficients], strict=True)
    ]
    for name, level in zip(names, levels, strict=True):
        if level.shape[:-1] != levels[0].shape[:-1]:
            remedy = f"{names[0]} has the tokens {levels[0].shape[:-1]}: pass all levels of the same tokens"
            raise TensorMoEError(name, level.shape, remedy)
    return levels


def _read_level(argument: str, array: Array) -> NumPyArray:
    values = read_values(argument, array)
    if values.ndim == 0 or values.size == 0:
        raise TensorMoEError(argument, values.shape, "pass an array (…, N) with at least one token")
    if (values < 0).any():
        raise TensorMoEError(argument, float(values.min()), "coefficients are at least 0")
    return values


def read_experts(coefficients: Coefficients, argument: str = "coefficients") -> NumPyArray:
    """The coefficients (…, ∏ N_e) of a layer's experts in float64, those of several levels multiplied."""
    first, *others = read_levels(coefficients, argument)
    shape = (*first.shape[:-1], first.shape[-1] * prod(level.shape[-1] for level in others))
    check_memory(argument, shape, "the coefficients of all experts", 16 * prod(shape), host_memory())
    for level in others:
        first = (first[..., :, None] * level[..., None, :]).reshape(*level.shape[:-1], -1)
    return first


def read_tokens(coefficients: Coefficients, argument: str = "coefficients") -> NumPyArray:
    """The same with all tokens along one axis, (T, ∏ N_e).

    Raises:
        TensorMoEError: also if all coefficients are 0.
    """
    experts = read_experts(coefficients, argument)
    check_used(experts, argument)
    return experts.reshape(-1, experts.shape[-1])


def check_used(experts: NumPyArray, argument: str = "coefficients") -> None:
    """Raise an error if all coefficients are 0."""
    if not experts.any():
        raise TensorMoEError(argument, experts.shape, "all of them are 0: pass those of tokens with experts")


def read_classes(argument: str, values: Array | Sequence[int], tokens: Shape | None = None) -> NumPyArray:
    """Numbers of classes or groups, one for each token, (T,).

    Args:
        argument: what they are called in errors.
        values: integers from 0 on, of any framework, of the shape `tokens` or (T,); or a list of them.
        tokens: the leading axes of what they belong to; None for any.

    Raises:
        TensorMoEError: other numbers, or another count of them.
    """
    numbers = _read_integers(argument, values)
    if tokens is not None and numbers.shape not in (tokens, (prod(tokens),)):
        raise TensorMoEError(argument, numbers.shape, f"pass one for each of the inputs {tokens}")
    if (numbers < 0).any():
        raise TensorMoEError(argument, int(numbers.min()), "number the classes from 0 on")
    return numbers.reshape(-1)


def count_classes(argument: str, numbers: NumPyArray, width: int) -> int:
    """How many classes there are, if a table of this width has room for them.

    Raises:
        TensorMoEError: a number so large that the host lacks the memory.
    """
    count = int(numbers.max()) + 1
    check_memory(argument, count - 1, "tables of so many classes", 16 * count * width, host_memory())
    return count


def _read_integers(argument: str, values: Array | Sequence[int]) -> NumPyArray:
    remedy = "pass an array of integers, one for each input"
    try:
        if isinstance(values, list | tuple):
            numbers = np.asarray(values)
        else:
            ops = backend_of(values)
            check_kind(ops, argument, values)
            numbers = np.asarray(ops.to_numpy(values))
    except Exception as error:  # of the framework too: a tensor on the meta device, a traced array
        raise TensorMoEError(argument, type(values), remedy) from error
    if numbers.dtype.kind not in "biu" or numbers.size == 0 or numbers.max() > LARGEST:
        raise TensorMoEError(argument, numbers.dtype, remedy)
    return numbers.astype("int64")
