"""NumPy's special kinds of arrays, which reach other frameworks, too."""

import numpy as np


def object_to(value: object) -> str | None:
    """What to pass instead of a masked array or a matrix; None if the value is neither."""
    if isinstance(value, np.ma.MaskedArray):
        return "masked entries would count as numbers: pass x.filled(value)"
    if isinstance(value, np.matrix):
        return "a matrix's product is not elementwise: pass np.asarray(x)"
    return None
