"""Finished trials: a line of measures for each, by cell and seed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

from tensormoe.errors import TensorMoEError
from tensormoe.intervals import Interval, interval

from .trial import Cell, Scalar, Value


class Line(TypedDict):
    """A line of the results: one trial.

    Keys:
        configuration, cell, seed: which trial.
        measures, timings: as in `Outcome`.
        seconds, cpu_seconds: how long it took, and how long its processors worked.
        versions, hardware: what it ran on.
    """

    configuration: Mapping[str, Value]
    cell: Cell
    seed: int
    measures: Mapping[str, Value]
    timings: Mapping[str, Value]
    seconds: float
    cpu_seconds: float
    versions: Mapping[str, str]
    hardware: str


@dataclass(frozen=True)
class Results:
    """The lines of one configuration, with the measures by cell and seed."""

    lines: tuple[Line, ...]

    @property
    def minutes(self) -> float:
        """How long all trials took, whenever they ran."""
        return sum(line["seconds"] for line in self.lines) / 60

    @property
    def seeds(self) -> int:
        """How many seeds have run."""
        return len({line["seed"] for line in self.lines})

    def of(self, **cell: Scalar) -> "Results":
        """The lines whose cells have these values."""
        return Results(tuple(line for line in self.lines if cell.items() <= line["cell"].items()))

    def by_seed(self, measure: str, **cell: Scalar) -> dict[int, float]:
        """A measure or timing of one cell for each seed that has it; NaN and null are left out.

        Raises:
            TensorMoEError: several cells have these values.
        """
        chosen = self.of(**cell).lines
        values = {line["seed"]: {**line["measures"], **line["timings"]}.get(measure) for line in chosen}
        if len(values) < len(chosen):
            raise TensorMoEError("cell", cell, "name more of what varies: several cells have these values")
        return {seed: float(v) for seed, v in sorted(values.items()) if isinstance(v, int | float) and v == v}

    def interval(self, measure: str, **cell: Scalar) -> Interval:
        """A measure of one cell: the mean over seeds, with its interval."""
        return interval(list(self.by_seed(measure, **cell).values()))

    def difference(self, measure: str, first: Cell, second: Cell) -> Interval:
        """A measure of the first cell less that of the second, seed by seed."""
        one, other = self.by_seed(measure, **first), self.by_seed(measure, **second)
        return interval([one[seed] - other[seed] for seed in one if seed in other])


def key(cell: Cell, seed: int) -> str:
    """The name of a trial among those of its configuration."""
    return json.dumps([dict(sorted(cell.items())), seed])
