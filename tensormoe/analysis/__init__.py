"""What experts do: measures of their coefficients and of their weights."""

from .usage import TopInputs, dead, joint, load, top_inputs, usage

__all__ = [
    "TopInputs",
    "dead",
    "joint",
    "load",
    "top_inputs",
    "usage",
]
