"""Intervals over seeds: Student's, at 95 %."""

from collections.abc import Sequence
from statistics import mean, stdev
from typing import NamedTuple

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A mean over seeds with its 95 % interval by Student's distribution, which takes seeds as normal.

    Args:
        mean, low, high: NaN without a value; `low` and `high` are infinite with one.
        seeds: how many.
    """

    mean: float
    low: float
    high: float
    seeds: int

    @property
    def half(self) -> float:
        """Half the width."""
        return (self.high - self.low) / 2

    def scaled(self, scale: float) -> "Interval":
        """The same in another unit; the scale is positive."""
        return Interval(scale * self.mean, scale * self.low, scale * self.high, self.seeds)

    @property
    def negated(self) -> "Interval":
        """That of the values with the opposite sign."""
        return Interval(-self.mean, -self.high, -self.low, self.seeds)

    def shown(self, digits: int = 1, scale: float = 1.0, unit: str = "", sign: bool = False) -> str:
        """Text such as "97.2 ± 0.4 %"."""
        plus = "+" if sign else ""
        value = f"{scale * self.mean:{plus}.{digits}f}".replace("-", "−")
        return f"{value} ± {scale * self.half:.{digits}f}{unit and ' ' + unit}"


def interval(values: Sequence[float]) -> Interval:
    """The mean of one value for each seed, with its interval."""
    count = len(values)
    if count < 2:
        value = values[0] if values else float("nan")
        return Interval(value, -float("inf"), float("inf"), count)
    from scipy.stats import t

    half = float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * stdev(values) / count**0.5
    return Interval(mean(values), mean(values) - half, mean(values) + half, count)
