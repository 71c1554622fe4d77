"""Layers whose experts are merged for each sequence."""

from collections.abc import Sequence
from typing import Any

import jax
from flax import nnx
from jax.typing import ArrayLike

from tensormoe.layers.merging import apply_merged
from tensormoe.layers.parameters import split_name
from tensormoe.layers.spec import Spec

from ._backend import backend


class Merging(nnx.Module):
    """A module that can compute with one weight for each sequence."""

    spec: Spec

    def apply_merged(self, x: ArrayLike, coefficients: Sequence[ArrayLike] | ArrayLike) -> jax.Array:
        """Compute y[b, t] = W(a[b]) [x[b, t], 1], with one weight for each sequence; see `tm.apply_merged`.

        Args:
            x: (…, …, I), whose first axes are those of the coefficients.
            coefficients: E arrays (…, N_e), or the only one, of x's type.

        Raises:
            TensorMoEError: as `tm.apply_merged`.
        """
        parameters = {name: self._variable(name) for name in self.spec.mixture_shapes}
        y: jax.Array = apply_merged(self.spec, parameters, x, coefficients, backend=backend)
        return y

    def _variable(self, name: str) -> Any:
        group, member = split_name(name)
        members = getattr(self, group)
        return members[int(member) if isinstance(members, nnx.List) else member]
