"""What a framework has to offer, as protocols."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from ..typing import Array

# From a value and what the last correction remembered, to what is to be added and what to remember.
Correction: TypeAlias = Callable[..., tuple[Array, ...]]


class Differentiable(Protocol):
    """A function of one array whose Jacobian is symmetric and known in closed form; hashable.

    It may also depend on scalars, which are then passed along everywhere.
    """

    def value(self, tl: Any, x: Array, *scalars: Array) -> Array:
        """The function's value."""

    def jacobian_product(self, tl: Any, y: Array, v: Array, *scalars: Array) -> Array:
        """J v at the point whose value is y, where J = ∂y/∂x."""

    def sensitivities(self, tl: Any, y: Array, *scalars: Array) -> tuple[Array, ...]:
        """∂y/∂scalar at the point whose value is y, for each scalar."""


@dataclass(frozen=True)
class Elementwise:
    """A function of each element.

    Args:
        value: from a backend object and x to f(x).
        pull: from a backend object, x and a gradient with respect to f(x) to one with respect to x; perhaps
            in the same memory.
        overwrite: like `value`, perhaps in the memory of x; None where nothing is gained by that.
    """

    value: Callable[[Any, Array], Array]
    pull: Callable[[Any, Array, Array], Array]
    overwrite: Callable[[Any, Array], Array] | None = None
