"""Layers and blocks on NumPy arrays: values and evaluation, no training."""

import secrets
from collections.abc import Sequence
from typing import Any, Self

import tensormoe as tm
from tensormoe.layers.parameters import grouped

from ._backend import backend


class _Module:
    """Holds a spec's arrays under the names that `tensormoe.initialize` gives them."""

    kind: type[tm.Spec]

    def __init__(self, spec: tm.Spec, seed: int | None, dtype: str) -> None:
        if not isinstance(spec, self.kind):
            raise tm.TensorMoEError("spec", spec, f"pass a {self.kind.__name__}")
        if seed is None:
            seed = secrets.randbits(63)
        self.spec = spec
        self.parameters, self.state = tm.initialize(spec, seed, dtype)

    @property
    def gate_weights(self) -> list[Any]:
        """The gate's parameters, (I, N_e) for each expert level."""
        return list(self._members("gate_weights").values())

    def _members(self, group: str) -> dict[str, Any]:
        return grouped(self.parameters)[group]

    def __call__(
        self, x: Any, return_coefficients: bool = False, *, previous: Sequence[Any] | None = None
    ) -> Any:
        """Compute y (…, O) from x (…, I); with the E coefficient arrays (…, N_e) if asked for.

        Args:
            x: of the layer's element type.
            return_coefficients: whether to return the pair of y and the coefficients.
            previous: the coefficients that the layer before returned, for `tm.AdaptiveClustering`.
        """
        y, coefficients, _ = tm.apply(
            self.spec,
            self.parameters,
            x,
            state=self.state,
            previous=previous,
            backend=backend,
        )
        return (y, coefficients) if return_coefficients else y


class MuMoE(_Module):
    """A μMoE layer on NumPy arrays.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5))
        >>> layer = tm.build(spec, backend="numpy", seed=0)
        >>> layer(np.ones((2, 8), dtype="float32")).shape
        (2, 6)
        >>> layer.materialize().shape
        (4, 9, 6)
    """

    kind = tm.MuMoESpec
    spec: tm.MuMoESpec

    @classmethod
    def from_spec(cls, spec: tm.MuMoESpec, seed: int | None = None, dtype: str = "float32") -> Self:
        """The layer of a specification with initial values from this seed, or a random one."""
        return cls(spec, seed, dtype)

    @property
    def cores(self) -> dict[str, Any]:
        """The factors of the weight tensor by name."""
        return self._members("cores")

    def materialize(self) -> Any:
        """The weight tensor W (N1, …, NE, I[+1], O), multiplied out."""
        return tm.materialize(self.spec, self.cores, backend=backend)


class MuMoEBlock(_Module):
    """A μMoE block on NumPy arrays.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> spec = tm.MuMoEBlockSpec(8, 16, 6, experts=4, factorization=tm.CP(rank=5))
        >>> block = tm.build(spec, backend="numpy", seed=0)
        >>> block(np.ones((2, 8), dtype="float32")).shape
        (2, 6)
    """

    kind = tm.MuMoEBlockSpec
    spec: tm.MuMoEBlockSpec

    @classmethod
    def from_spec(cls, spec: tm.MuMoEBlockSpec, seed: int | None = None, dtype: str = "float32") -> Self:
        """The block of a specification with initial values from this seed, or a random one."""
        return cls(spec, seed, dtype)

    @property
    def first(self) -> dict[str, Any]:
        """The first layer's cores by name."""
        return self._members("first")

    @property
    def second(self) -> dict[str, Any]:
        """The second layer's cores by name."""
        return self._members("second")

    def materialize(self) -> tuple[Any, Any]:
        """The weight tensors of both layers, multiplied out."""
        layers = self.spec.layers
        first = tm.materialize(layers["first"], self.first, backend=backend)
        return first, tm.materialize(layers["second"], self.second, backend=backend)
