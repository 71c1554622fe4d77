"""Pictures of tensor networks in Penrose's notation."""

from .draw import draw

__all__ = ["draw"]
