"""The demonstration: the same layer trained on handwritten digits, in PyTorch, in JAX, or in both."""

from .run import EPOCHS, run

__all__ = ["EPOCHS", "run"]
