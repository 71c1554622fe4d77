"""The demonstration: the same layer trained in PyTorch and in JAX on handwritten digits."""

from .run import EPOCHS, run

__all__ = ["EPOCHS", "run"]
