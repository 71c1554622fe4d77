"""What a module that is to be replaced computes with."""

from dataclasses import dataclass

from torch import nn

from .linear import Linear, read_linear
from .patterns import PATTERNS, Pattern, get_child


@dataclass(frozen=True)
class Dense:
    """A linear map, or an MLP: of two linear maps or, gated, of three.

    Args:
        first: the linear map that x goes through.
        second: the one that gives an MLP's output.
        up: a gated MLP's second map of x.
        function: an MLP's nonlinearity, a module or a function.
        dropout: of the output.
        inner: dropout of an MLP's hidden features.
        pattern: what an MLP was recognised by.
    """

    first: Linear
    second: Linear | None = None
    up: Linear | None = None
    function: object = None
    dropout: nn.Module | None = None
    inner: nn.Module | None = None
    pattern: Pattern | None = None

    @property
    def linears(self) -> tuple[Linear, ...]:
        """All linear maps, in the order in which x meets them."""
        return tuple(each for each in (self.first, self.up, self.second) if each is not None)

    @property
    def bias(self) -> bool:
        """Whether any has a bias."""
        return any(each.vector is not None for each in self.linears)

    @property
    def outside(self) -> str | None:
        """The name of the second map beside the module; None if it is inside."""
        return self.pattern.second if self.pattern is not None and self.pattern.outside else None


def read_dense(module: nn.Module, parent: nn.Module) -> Dense | None:
    """What a module computes with; None if it is neither a linear map nor an MLP that `PATTERNS` has."""
    linear = read_linear(module)
    if linear is not None:
        return Dense(linear)
    candidates = (_read(module, parent, pattern) for pattern in PATTERNS if pattern.fits(module, parent))
    return next((dense for dense in candidates if dense is not None), None)


def _read(module: nn.Module, parent: nn.Module, pattern: Pattern) -> Dense | None:
    first = read_linear(get_child(module, pattern.first))
    second = read_linear(get_child(parent if pattern.outside else module, pattern.second))
    up = None if pattern.up is None else read_linear(get_child(module, pattern.up))
    dropout, inner = (
        None if name is None else get_child(module, name) for name in (pattern.dropout, pattern.inner)
    )
    fits = (
        first is not None
        and second is not None
        and (pattern.up is None) == (up is None)
        and first.out_features == second.in_features
        and (up is None or (up.in_features, up.out_features) == (first.in_features, first.out_features))
        and all(each is None or isinstance(each, nn.Dropout | nn.Identity) for each in (dropout, inner))
    )
    if not fits or first is None:
        return None
    function = getattr(module, pattern.nonlinearity)
    return Dense(first, second, up, function, dropout, inner, pattern)
