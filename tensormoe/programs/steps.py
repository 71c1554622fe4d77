"""The steps of a plan: which tensors are multiplied, and what comes out."""

from dataclasses import dataclass

from ..networks.notation import Indices


@dataclass(frozen=True)
class Tensor:
    """A register with a name and the indices of its axes."""

    register: int
    name: str
    indices: Indices


@dataclass(frozen=True)
class Step:
    """One pairwise product of the plan.

    Args:
        left, right, result: the factors and the product, with their indices.
        kind: "matmul", "batched matmul" or "multiply"; "gather" where slices of the left are read.
        summed: the indices summed over.
    """

    left: Tensor
    right: Tensor
    result: Tensor
    kind: str
    summed: Indices
