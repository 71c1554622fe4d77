"""The weight that cores are fitted to: read from any framework, checked, with the biases as its last row."""

from math import prod

import numpy as np

from ..arrays.checks import check_kind, check_real
from ..arrays.registry import backend_of
from ..errors import TensorMoEError
from ..layers.stage import Stage
from ..memory import check_memory, host_memory
from ..typing import Array, NumPyArray, Shape

# Elements of float64 that SciPy's L-BFGS keeps for each variable, and copies of the weight that a fit holds.
MEMORY = 20
_HELD = 4


def read_values(argument: str, array: Array) -> NumPyArray:
    """The values of an array of any framework in float64, all of them finite.

    Examples:
        >>> import numpy as np
        >>> from tensormoe.fitting.target import read_values
        >>> read_values("weight", np.array([1, np.nan]))
        Traceback (most recent call last):
        tensormoe.errors.TensorMoEError: weight: received nan; pass finite numbers
    """
    try:
        ops = backend_of(array)
    except TensorMoEError as error:
        raise TensorMoEError(argument, type(array), error.remedy) from error
    check_kind(ops, argument, array)
    check_real(ops, argument, array)
    try:
        values = np.array(ops.to_float64(array), "float64")
    except Exception as error:  # of the framework: a tensor on the meta device, a deleted or a traced array
        raise TensorMoEError(argument, type(array), f"its values cannot be read ({error})") from error
    if not np.isfinite(values).all():
        first = float(values[~np.isfinite(values)].flat[0])
        raise TensorMoEError(argument, first, "pass finite numbers")
    return values


def read_target(argument: str, weight: Array, bias: Array | None, stage: Stage) -> NumPyArray:
    """The weight as (N1, …, NE, I[+1], O), or (1, …, 1, I[+1], O) if all experts are the same.

    Args:
        argument: what the weight is called in errors.
        weight: (I, O), (N, I, O) or (N1, …, NE, I, O), with I+1 rows if the last one is the bias.
        bias: (O,), (N, O) or (N1, …, NE, O); None for zeros, or where the weight has the row.
        stage: the layer.
    """
    _check_needs(argument, weight, stage)
    values = read_values(argument, weight)
    rows = stage.rows
    heights = {stage.in_features, rows if bias is None else stage.in_features}
    leading = _find_experts(values.shape[:-2], stage) if values.ndim > 1 else None
    if leading is None or values.shape[-1] != stage.out_features or values.shape[-2] not in heights:
        raise TensorMoEError(argument, values.shape, _describe(values.shape, stage))
    values = values.reshape(*leading, *values.shape[-2:])
    if values.shape[-2] == rows and bias is None:
        return values
    if not stage.network.has_bias:
        raise TensorMoEError("bias", type(bias), "the specification has bias=False: leave the bias out")
    last = _read_bias(bias, stage)
    experts = np.broadcast_shapes(leading, last.shape[:-1])
    values = np.broadcast_to(values, (*experts, *values.shape[-2:]))
    return np.concatenate([values, np.broadcast_to(last, (*experts, last.shape[-1]))[..., None, :]], axis=-2)


def _read_bias(bias: Array | None, stage: Stage) -> NumPyArray:
    if bias is None:
        return np.zeros((*(1,) * stage.levels, stage.out_features))
    values = read_values("bias", bias)
    leading = _find_experts(values.shape[:-1], stage) if values.ndim else None
    if leading is None or values.shape[-1] != stage.out_features:
        shapes = " or ".join(str((*each, stage.out_features)) for each in _known(stage))
        raise TensorMoEError("bias", values.shape, f"pass an array of shape {shapes}")
    return values.reshape(*leading, stage.out_features)


def _known(stage: Stage) -> list[Shape]:
    """The leading shapes that a weight may have: none, one axis for all experts, or one for each level."""
    return list(dict.fromkeys([(), (prod(stage.experts),), stage.experts]))


def _find_experts(leading: Shape, stage: Stage) -> Shape | None:
    """One axis for each level; None for a shape that does not fit."""
    if not leading:
        return (1,) * stage.levels
    return stage.experts if leading in _known(stage) else None


def _describe(shape: Shape, stage: Stage) -> str:
    size = stage.in_features, stage.out_features
    shapes = " or ".join(str((*each, *size)) for each in _known(stage))
    if shape[-2:] == size[::-1]:
        return f"it is transposed, as nn.Linear keeps it: pass weight.T, of shape {shapes}"
    return f"pass an array of shape {shapes}; with a bias, it may have one more row"


def _check_needs(argument: str, weight: Array, stage: Stage) -> None:
    """Raise an error if the host lacks the memory for a fit to this weight."""
    shape = getattr(weight, "shape", None)
    if not isinstance(shape, tuple):
        return  # it is no array, which is said when it is read
    size = prod(each for each in shape if isinstance(each, int))
    variables = stage.num_parameters
    if len(shape) > 2:
        plan = stage.materialization_plan
        size = _HELD * size + plan.peak + plan.saved
        variables *= 2 * MEMORY
    needed = 8 * (_HELD * size + variables)
    check_memory(argument, shape, "a fit to it and its cores", needed, host_memory())
