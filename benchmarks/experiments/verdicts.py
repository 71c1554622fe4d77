"""What intervals say of a claim: it holds, it does not, or they are too wide to tell."""

from collections.abc import Iterable
from typing import Literal, TypeAlias

from tensormoe.intervals import Interval

Verdict: TypeAlias = Literal[
    "holds", "does not hold at this size", "undecided at this size", "not testable here"
]


def judge(gains: Iterable[Interval], margin: float = 0.0) -> Verdict:
    """The verdict on a claim that every gain is above the margin.

    It holds if all intervals are above, does not if one is below, and is undecided otherwise.

    Examples:
        >>> from tensormoe.intervals import interval
        >>> judge([interval([0.2, 0.3, 0.25])])
        'holds'
        >>> judge([interval([0.2, 0.3, 0.25]), interval([-0.2, 0.3, 0.05])])
        'undecided at this size'
        >>> judge([interval([0.2, 0.3, 0.25]), interval([-0.2, -0.3, -0.25])])
        'does not hold at this size'
    """
    listed = list(gains)
    return decide(all(gain.low > margin for gain in listed), any(gain.high <= margin for gain in listed))


def decide(holds: bool, fails: bool) -> Verdict:
    """The verdict, from whether intervals show that a claim holds, and whether they show that it does not."""
    if holds:
        return "holds"
    return "does not hold at this size" if fails else "undecided at this size"
