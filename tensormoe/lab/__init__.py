"""`tensormoe lab`: a local page on which to write a layer's notation and see what it is and costs."""

from .command import add_command
from .serve import serve

__all__ = ["add_command", "serve"]
