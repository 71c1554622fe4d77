"""How modules hold the cores of a network, trained and fixed."""

from collections.abc import Iterator, Mapping

import jax
from flax import nnx


class Fixed(nnx.Variable[jax.Array]):
    """A core that is not trained: no `nnx.Param`, so that optimizers and `nnx.grad` leave it out.

    Examples:
        >>> import tensormoe as tm
        >>> from flax import nnx
        >>> from tensormoe_jax import Fixed, MuMoE
        >>> mixed = tm.TensorNetwork("H: i q, n q, q o", q=8, fixed={"H": "hadamard"})
        >>> layer = MuMoE(8, 6, experts=4, factorization=mixed, bias=False, seed=0)
        >>> list(nnx.state(layer, Fixed)["cores"])
        ['H']
    """


class Cores(nnx.Dict[nnx.Variable[jax.Array]]):
    """The cores of a network by name, in the network's order, whatever order nnx keeps them in."""

    def __init__(self, variables: Mapping[str, nnx.Variable[jax.Array]]) -> None:
        super().__init__(variables)
        # One string, since nnx looks for arrays in a tuple.
        self._order = " ".join(variables)

    def __iter__(self) -> Iterator[str]:
        return iter(self._order.split())
