"""tensormoe on NumPy: modules for evaluation, and the backend object for the functional API.

Examples:
    >>> import numpy as np
    >>> import tensormoe as tm
    >>> from tensormoe_numpy import MuMoE
    >>> layer = MuMoE(8, 6, experts=4, factorization=tm.CP(rank=5), seed=0)
    >>> layer(np.ones((2, 8), dtype=np.float32)).shape
    (2, 6)
"""

from ._backend import backend
from ._module import MuMoE, MuMoEBlock

__all__ = ["MuMoE", "MuMoEBlock", "backend"]
