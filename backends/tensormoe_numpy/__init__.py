"""tensormoe on NumPy: the backend object, for the functional API.

Examples:
    >>> import numpy as np
    >>> import tensormoe as tm
    >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5))
    >>> parameters, state = tm.initialize(spec, seed=0)
    >>> y, _, state = tm.apply(spec, parameters, np.ones((2, 8), dtype=np.float32), state=state)
    >>> y.shape
    (2, 6)
"""

from ._backend import backend
from ._module import MuMoE, MuMoEBlock

__all__ = ["MuMoE", "MuMoEBlock", "backend"]
