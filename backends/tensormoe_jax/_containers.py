"""How modules hold the cores of a network."""

from collections.abc import Iterator, Mapping

import jax
from flax import nnx


class Cores(nnx.Dict[nnx.Variable[jax.Array]]):
    """The cores of a network by name, in the network's order, whatever order nnx keeps them in."""

    def __init__(self, variables: Mapping[str, nnx.Variable[jax.Array]]) -> None:
        super().__init__(variables)
        # One string, since nnx looks for arrays in a tuple.
        self._order = " ".join(variables)

    def __iter__(self) -> Iterator[str]:
        return iter(self._order.split())
