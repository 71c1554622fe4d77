"""NumPy's special kinds of arrays, which reach other frameworks, too."""

import numpy as np

from ..errors import TensorMoEError

# The floating-point types that layers have and NumPy knows, the last by another package.
NUMPY_TYPES = ("float64", "float32", "float16", "bfloat16")


def import_bfloat16() -> np.dtype:
    """NumPy's bfloat16, which another package defines.

    Raises:
        TensorMoEError: the package is not installed.
    """
    try:
        from ml_dtypes import bfloat16
    except ImportError as error:
        remedy = "for NumPy another package defines this type: pip install ml_dtypes"
        raise TensorMoEError("dtype", "bfloat16", remedy) from error
    dtype: np.dtype = np.dtype(bfloat16)
    return dtype


def object_to(value: object) -> str | None:
    """What to pass instead of a masked array or a matrix; None if the value is neither."""
    if isinstance(value, np.ma.MaskedArray):
        return "masked entries would count as numbers: pass x.filled(value)"
    if isinstance(value, np.matrix):
        return "a matrix's product is not elementwise: pass np.asarray(x)"
    return None
