"""The search for the largest rank within a budget."""

from collections.abc import Callable


def largest(count: Callable[[int], int], budget: int) -> int | None:
    """The largest positive integer whose count is within the budget, or None if 1 is not.

    Args:
        count: a strictly increasing function, such as a layer's parameters by rank.
        budget: the bound, inclusive.
    """
    if count(1) > budget:
        return None
    fits, exceeds = 1, 2
    while count(exceeds) <= budget:
        fits, exceeds = exceeds, 2 * exceeds
    while exceeds - fits > 1:
        middle = (fits + exceeds) // 2
        fits, exceeds = (middle, exceeds) if count(middle) <= budget else (fits, middle)
    return fits
