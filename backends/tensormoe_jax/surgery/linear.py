"""Linear maps, whatever class of Flax computes them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import nnx

from tensormoe.errors import TensorMoEError
from tensormoe.typing import NumPyArray

# The last axis of x meets a matrix, which may be transposed; letters or an ellipsis stand before it.
_PRODUCT = re.compile(r"(?P<rows>(?:\.\.\.)?[a-zA-Z]*)(?P<i>\w),(?P<matrix>\w\w)->(?P=rows)(?P<o>\w)")
_CLASSES = (nnx.Linear, nnx.LinearGeneral, nnx.Einsum)


@dataclass(frozen=True)
class Linear:
    """A module that multiplies the last axis of x by a matrix.

    Args:
        module: with a kernel and perhaps a bias.
        transposed: whether the kernel is (O, I).
    """

    module: Any
    transposed: bool = False

    @property
    def matrix(self) -> jax.Array:
        """The weight (I, O)."""
        kernel: jax.Array = self.module.kernel.get_value()
        return kernel.T if self.transposed else kernel

    @property
    def vector(self) -> jax.Array | None:
        """The bias (O,), if there is one."""
        return None if self.module.bias is None else self.module.bias.get_value()

    @property
    def sizes(self) -> tuple[int, int]:
        """The sizes I and O."""
        rows, columns = self.module.kernel.shape
        return (columns, rows) if self.transposed else (rows, columns)


def read_weights(
    name: str, linears: Sequence[Linear], argument: str, value: object
) -> tuple[list[NumPyArray], list[NumPyArray | None]]:
    """The weights and biases of linear maps, in float64 where they are, otherwise in float32.

    Raises:
        TensorMoEError: names the module, and the argument that needs values where there are none.
    """
    biases = [
        None if each.vector is None else _to_numpy(name, each.vector, argument, value) for each in linears
    ]
    return [_to_numpy(name, each.matrix, argument, value) for each in linears], biases


def _to_numpy(name: str, array: object, argument: str, value: object) -> NumPyArray:
    if not isinstance(array, jax.Array | np.ndarray) or isinstance(array, jax.core.Tracer):
        remedy = f"{name} has no values, while JAX traces or evaluates shapes: load them first"
        raise TensorMoEError(argument, value, remedy)
    if isinstance(array, jax.Array) and not array.is_fully_addressable:
        remedy = f"the weights of {name} lie on several hosts: gather them first"
        raise TensorMoEError(argument, value, remedy)
    return np.asarray(array).astype("float64" if array.dtype == "float64" else "float32")


def read_linear(module: object) -> Linear | None:
    """A module as a linear map; None if it is not one, or several.

    It may be an `nnx.Linear`, an `nnx.LinearGeneral` from one axis to one, or an `nnx.Einsum` such as
    "bti,io->bto". Subclasses with a `__call__` of their own, such as adapted ones, are something else, and so
    are modules with a product of their own, such as quantized ones.
    """
    kind = next((each for each in _CLASSES if isinstance(module, each)), None)
    if kind is None or type(module).__call__ is not kind.__call__ or not _multiplies(module):
        return None
    if isinstance(module, nnx.Einsum):
        return _read_einsum(module)
    if isinstance(module, nnx.LinearGeneral):
        plain = tuple(module.axis) == (-1,) and not module.batch_axis
        fits = plain and len(module.in_features) == len(module.out_features) == 1
        return Linear(module) if fits and module.kernel.ndim == 2 else None
    return Linear(module) if isinstance(module, nnx.Linear) and module.kernel.ndim == 2 else None


def check_single(name: str, module: object, remedy: str) -> None:
    """Refuse a linear layer that holds several: `nnx.vmap` stacks them along an axis of their own.

    Raises:
        TensorMoEError: names the module, with the kernel's shape.
    """
    if type(module) is nnx.Linear and module.kernel.ndim != 2:
        shape = tuple(module.kernel.shape)
        text = f"it holds several layers in one: {remedy}, such as tensormoe_jax.stacked(…)"
        raise TensorMoEError(name, shape, text)


def _multiplies(module: Any) -> bool:
    """Whether a module's product is JAX's own."""
    if isinstance(module, nnx.Einsum):
        return module.einsum_op is jax.numpy.einsum
    own_class = getattr(module, "dot_general_cls", None)
    return own_class is None and getattr(module, "dot_general", None) in (None, jax.lax.dot_general)


def _read_einsum(module: nnx.Einsum) -> Linear | None:
    equation = _PRODUCT.fullmatch((module.einsum_str or "").replace(" ", ""))
    if equation is None or module.kernel.ndim != 2:
        return None
    rows, i, matrix, o = equation.group("rows", "i", "matrix", "o")
    apart = len({*rows.replace(".", ""), i, o}) == len(rows.replace(".", "")) + 2
    vector = module.bias is None or module.bias.ndim == 1
    if not apart or not vector or matrix not in (i + o, o + i):
        return None
    return Linear(module, transposed=matrix == o + i)
