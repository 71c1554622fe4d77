"""What rides along with a batch: labels, masks and numbers of tokens, laid out as a layer's tokens are."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from ..arrays.checks import check_kind
from ..arrays.registry import backend_of
from ..errors import TensorMoEError
from ..typing import Array, NumPyArray, Shape
from .recording_sums import IGNORED

# The column of a store that holds labels.
LABELS = "labels"


@dataclass(frozen=True)
class Batch:
    """The labels and columns of a batch's tokens, and which of them count.

    Args:
        columns: by name, numbers of any of the leading axes that coefficients have.
        mask: 1 for the tokens that count; None if all do.
    """

    columns: Mapping[str, NumPyArray] = field(default_factory=dict)
    mask: NumPyArray | None = None

    @classmethod
    def read(cls, labels: Array | None, mask: Array | None, columns: Mapping[str, Array]) -> "Batch":
        """Check what the user passed.

        Raises:
            TensorMoEError: labels that are not integers from 0 on, a mask of other numbers than 0 and 1, or
                a column that is not of numbers.
        """
        own = {name: _read_column(name, column) for name, column in columns.items()}
        if labels is not None:
            own[LABELS] = read_labels(labels)
        return cls(own, None if mask is None else _read_mask(mask))

    def keep(self, leading: Shape, name: str) -> NumPyArray | None:
        """Which tokens of a layer count, (T,); None if all do."""
        if self.mask is None:
            return None
        mask = self.mask
        if _is_longer(mask, leading):
            # A vector for all of a sequence counts if any of its tokens does.
            mask = np.any(mask, axis=tuple(range(len(leading), mask.ndim)), keepdims=False).reshape(leading)
        return _spread(mask, leading, "mask", name)

    def spread(self, leading: Shape, name: str) -> dict[str, NumPyArray]:
        """The columns of a layer's tokens, (T,) each.

        A vector for all of a sequence has labels of its own, or none, but not its tokens' columns.
        """
        return {
            label: _spread(column, leading, label, name)
            for label, column in self.columns.items()
            if label == LABELS or not _is_longer(column, leading)
        }


def to_numpy(argument: str, value: Array) -> NumPyArray:
    """A NumPy array with the values of any framework's array, or of a list.

    Raises:
        TensorMoEError: something else.
    """
    try:
        if not hasattr(value, "dtype") or isinstance(value, np.generic):
            return np.asarray(value)
        ops = backend_of(value)
        check_kind(ops, argument, value)
        return np.asarray(ops.to_numpy(value))
    except TensorMoEError:
        raise
    except Exception as error:  # of the framework too: a tensor on the meta device, a traced array
        raise TensorMoEError(
            argument, type(value), "pass an array with values, or a list of numbers"
        ) from error


def read_labels(value: Any) -> NumPyArray:
    """Labels as integers of 64 bits.

    Raises:
        TensorMoEError: anything but integers from 0 on, and what stands for no class.
    """
    labels = to_numpy(LABELS, value)
    if labels.dtype.kind not in "biu":
        raise TensorMoEError(LABELS, labels.dtype, "labels are integers from 0 on: number the classes")
    labels = labels.astype("int64")
    wrong = labels[(labels < 0) & (labels != IGNORED)]
    if wrong.size:
        raise TensorMoEError(
            LABELS, int(wrong[0]), f"labels are integers from 0 on; {IGNORED} leaves one out"
        )
    return labels


def _read_mask(value: Any) -> NumPyArray:
    mask = to_numpy("mask", value)
    if mask.dtype.kind not in "biuf" or not ((mask == 0) | (mask == 1)).all():
        raise TensorMoEError("mask", mask.dtype, "pass 1 for tokens that count and 0 for padding")
    counts: NumPyArray = mask != 0
    return counts


def _read_column(name: str, value: Any) -> NumPyArray:
    column = to_numpy(name, value)
    if column.dtype.kind in "biu":
        return column.astype("int64")
    if column.dtype.kind == "f":
        return column.astype("float64")
    raise TensorMoEError(name, column.dtype, "what rides along with tokens are numbers, such as their ids")


def _is_longer(values: NumPyArray, leading: Shape) -> bool:
    """Whether there are several values for each of a layer's vectors."""
    within = values.shape[: len(leading)] == leading
    return within and values.ndim > len(leading) and values.size != prod(leading)


def _spread(values: NumPyArray, leading: Shape, argument: str, name: str) -> NumPyArray:
    """Values of some of the leading axes, or of all tokens in their order, for each token."""
    if values.shape == leading[: values.ndim]:
        wide = values.reshape(values.shape + (1,) * (len(leading) - values.ndim))
        return np.broadcast_to(wide, leading).reshape(-1)
    if values.size == prod(leading):
        return values.reshape(-1)
    remedy = (
        f"coefficients of {name or 'the layer'} have the leading axes {leading}: pass {leading[:1]} or those"
    )
    raise TensorMoEError(argument, values.shape, remedy)
