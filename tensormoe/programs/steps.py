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
        left, right, result: the factors and the product, with their indices. What is padded is left alone.
        kind: "matmul", "batched matmul" or "multiply"; "gather" where slices of the left are read, "pad"
            where zeros are put behind it.
        summed: the indices summed over.
    """

    left: Tensor
    right: Tensor | None
    result: Tensor
    kind: str
    summed: Indices

    @property
    def factors(self) -> tuple[Tensor, ...]:
        """What it reads."""
        return (self.left,) if self.right is None else (self.left, self.right)

    @property
    def is_product(self) -> bool:
        """Whether it multiplies or adds, rather than moves values."""
        return self.kind not in ("gather", "pad")
