"""tensormoe on JAX: `flax.nnx.Module`s, functions over plain pytrees, and the backend object.

Examples:
    >>> import jax.numpy as jnp
    >>> import tensormoe as tm
    >>> from tensormoe_jax import MuMoE
    >>> layer = MuMoE(8, 6, experts=4, factorization=tm.CP(rank=5), seed=0)
    >>> layer(jnp.ones((2, 8))).shape
    (2, 6)
"""

from tensormoe.layers.functional import apply

from ._backend import backend
from ._containers import Fixed
from ._initialization import initialize
from ._module import MuMoE, MuMoEBlock
from ._observer import observer
from ._sharding import apply_shares, partition_specs
from ._stacking import stacked
from ._tying import share
from .surgery import replace

__all__ = [
    "Fixed",
    "MuMoE",
    "MuMoEBlock",
    "apply",
    "apply_shares",
    "backend",
    "initialize",
    "observer",
    "partition_specs",
    "replace",
    "share",
    "stacked",
]
