"""Changes of ranks: raised with the same weight, lowered with a small error, removed where useless."""

from .canonicalize import canonicalize
from .change import RankChange, Step
from .grow import grow
from .simplify import simplify
from .truncate import truncate

__all__ = ["RankChange", "Step", "canonicalize", "grow", "simplify", "truncate"]
