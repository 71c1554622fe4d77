"""The results of the experiment on cost: times and bytes by side and size, and the model fitted to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, cast

import numpy as np

from tensormoe.intervals import Interval, interval
from tensormoe.typing import NumPyArray

from . import cost_model
from .cost_model import Point
from .cost_sides import Count, Size
from .results import Results

MODES = {False: "inference", True: "training"}


class Settings(Protocol):
    """What of a configuration a report reads."""

    @property
    def widths(self) -> tuple[int, ...]: ...
    @property
    def experts(self) -> tuple[int, ...]: ...
    @property
    def batches(self) -> tuple[int, ...]: ...
    @property
    def middle(self) -> tuple[int, ...]: ...
    @property
    def published(self) -> tuple[tuple[int, ...], ...]: ...


@dataclass(frozen=True)
class Model:
    """A fit for a side, and by which factors it is off, in either direction.

    Args:
        rates: seconds of each term.
        fitted, held, published: factors where it was fitted, at the largest width, and at published sizes.
    """

    rates: NumPyArray
    fitted: NumPyArray
    held: NumPyArray
    published: NumPyArray


@dataclass(frozen=True)
class Costs:
    """Times and bytes of all sides."""

    settings: Settings
    results: Results

    @cached_property
    def _lines(self) -> dict[tuple[str, Size], dict[int, tuple[Mapping[str, object], Mapping[str, object]]]]:
        """Counts and timings by what was measured, size and seed."""
        lines: dict[tuple[str, Size], dict[int, tuple[Mapping[str, object], Mapping[str, object]]]] = {}
        for line in self.results.lines:
            cell = line["cell"]
            name = str(cell["what"]), Size(*(int(cell[each]) for each in Size._fields))
            lines.setdefault(name, {})[line["seed"]] = line["measures"], line["timings"]
        return lines

    @property
    def sizes(self) -> list[Size]:
        """At which times were measured."""
        return [size for what, size in self._lines if what == "time"]

    @property
    def published(self) -> list[Size]:
        return [Size(*each) for each in self.settings.published]

    def swept(self, what: str = "time") -> list[Size]:
        """The sizes that differ in experts only."""
        width, batch = self.settings.middle
        return [
            size for kind, size in self._lines if kind == what and (size.width, size.batch) == (width, batch)
        ]

    @property
    def _compared(self) -> list[Size]:
        return [size for size in self.sizes if size not in self.published]

    def count(self, side: str, size: Size, what: str = "time") -> Count:
        counts, _ = next(iter(self._lines[what, size].values()))
        return Count(**cast("dict[str, int]", counts[side]))

    def by_seed(self, side: str, training: bool, size: Size, what: str = "time") -> dict[int, float]:
        """Seconds of a call or bytes of one; empty where a side was too large."""
        name = f"{side}, {MODES[training]}"
        values = {seed: timings.get(name) for seed, (_, timings) in self._lines.get((what, size), {}).items()}
        return {seed: float(cast("float", value)) for seed, value in values.items() if value is not None}

    def interval(self, side: str, training: bool, size: Size, what: str = "time") -> Interval:
        return interval(list(self.by_seed(side, training, size, what).values()))

    def measured(self, side: str, training: bool, sizes: Sequence[Size], what: str = "time") -> list[Size]:
        """Those of the sizes at which a side was not too large."""
        return [size for size in sizes if self.by_seed(side, training, size, what)]

    def ratios(
        self,
        side: str,
        other: str,
        training: bool,
        what: str = "time",
        sizes: Sequence[Size] | None = None,
    ) -> dict[Size, Interval]:
        """How many times as much a side takes as another, by seed; by default not at published sizes."""
        if sizes is None:
            sizes = self._compared if what == "time" else self.swept(what)
        chosen = self.measured(other, training, self.measured(side, training, sizes, what), what)
        return {size: self._ratio((side, size), (other, size), training, what) for size in chosen}

    def growth(self, side: str, training: bool, sizes: tuple[Size, Size], what: str) -> dict[int, float]:
        """How many times as much the second size takes as the first, seed by seed."""
        first, second = (self.by_seed(side, training, size, what) for size in sizes)
        return {seed: second[seed] / first[seed] for seed in first if seed in second}

    def _ratio(self, one: tuple[str, Size], other: tuple[str, Size], training: bool, what: str) -> Interval:
        above, below = (self.by_seed(side, training, size, what) for side, size in (one, other))
        return interval([above[seed] / below[seed] for seed in above if seed in below])

    def points(self, side: str, training: bool, sizes: Sequence[Size]) -> list[Point]:
        """What a side counts and takes, medians over seeds."""
        return [
            Point(self.count(side, size), float(np.median([*self.by_seed(side, training, size).values()])))
            for size in self.measured(side, training, sizes)
        ]

    def split(self) -> tuple[list[Size], list[Size], list[Size]]:
        """The sizes that the model is fitted to, those that are held out, and the published ones."""
        last = self.settings.widths[-1]
        fitted = [size for size in self._compared if size.width != last]
        return fitted, [size for size in self._compared if size.width == last], self.published

    def model(self, side: str, training: bool) -> Model:
        """Fitted to all widths but the last."""
        parts = [self.points(side, training, sizes) for sizes in self.split()]
        rates = cost_model.fit(parts[0], training)
        return Model(rates, *(cost_model.off(rates, part, training) for part in parts))
