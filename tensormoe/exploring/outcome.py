"""A candidate at a budget, with all its seeds: what reports and pictures of a study show."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..intervals import Interval, interval
from .trial import Trial


@dataclass(frozen=True)
class Outcome:
    """Trials that differ in nothing but their seed.

    Args:
        mean: the first of them, with the means of their values.
        trials: one for each seed.
        is_best: whether it is on the Pareto front.
    """

    mean: Trial
    trials: tuple[Trial, ...]
    is_best: bool

    @property
    def name(self) -> str:
        """Its factorization."""
        return str(self.mean.spec.factorization)

    def interval(self, objective: str) -> Interval:
        """An objective over seeds."""
        return interval([trial.values[objective] for trial in self.trials])

    def show(self, objective: str) -> str:
        """An objective's mean, and half its interval where there are several seeds."""
        shown, half = show_number(self.mean.values[objective]), self.half(objective)
        return f"{shown} ± {half:,.2g}" if half else shown

    def half(self, objective: str) -> float:
        """Half of an objective's interval; 0 for one seed, which has none."""
        return self.interval(objective).half if len(self.trials) > 1 else 0.0


def show_number(value: float) -> str:
    """Whole numbers as they are, others with four digits."""
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:,.4g}"


def choose_axes(objectives: Sequence[str]) -> tuple[str | None, str]:
    """What a picture shows along x, where None stands for the trials' numbers, and along y."""
    return (objectives[1] if len(objectives) > 1 else None), objectives[0]


def spans_decades(values: Sequence[float]) -> bool:
    """Whether an axis of these values is best read on a logarithmic scale."""
    return min(values, default=0.0) > 0 and max(values) > 10 * min(values)
