"""What a sweep or a search found: trials, their Pareto front, tables and intervals over seeds."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from statistics import mean
from typing import TYPE_CHECKING, Self

import numpy as np

from ..checkpoints.files import check_path
from ..codec import Data
from ..displays import draw_table, write_line
from ..errors import TensorMoEError, as_tuple, mapping, one_of
from ..intervals import Interval, interval
from ..tables import table
from .outcome import Outcome, choose_axes
from .storage import read_lines, write_lines
from .trial import Trial

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

Cell = None | bool | int | float | str
# Trials that differ in nothing but the seed, by the place of their candidate and budget.
Groups = dict[tuple[str, object], list[Trial]]


@dataclass(frozen=True)
class Study:
    """What a sweep or a search found; prints as a table of the front.

    Args:
        trials: in the order of their numbers.
        objectives: the names of what is made small.
        settings: what was asked for: task, budgets, seeds and so on, as plain data.

    Raises:
        TensorMoEError: no objective, or something else than trials.

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=2))
        >>> trial = tm.explore.Trial(spec, values={"error": 0.5, "parameters": 90}, proved=True)
        >>> study = tm.explore.Study((trial,), ("error", "parameters"))
        >>> study.best("error").spec.factorization
        CP(rank=2)
    """

    trials: tuple[Trial, ...]
    objectives: tuple[str, ...]
    settings: Mapping[str, Data] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "trials", as_tuple(self.trials))
        object.__setattr__(self, "objectives", as_tuple(self.objectives))
        mapping("settings", self.settings)
        for trial in self.trials:
            if not isinstance(trial, Trial):
                raise TensorMoEError("trials", trial, "pass a list of trials")
        if not self.objectives or not all(isinstance(name, str) for name in self.objectives):
            raise TensorMoEError("objectives", self.objectives, "name at least one")

    @property
    def complete(self) -> tuple[Trial, ...]:
        """The trials whose objectives are all known."""
        wanted = {*self.objectives}
        return tuple(trial for trial in self.trials if trial.complete and wanted <= {*trial.values})

    def front(self) -> tuple[Trial, ...]:
        """The Pareto front: no other is at least as good in every objective and better in one.

        Trials that differ only in their seed count as one, the first of them, with the means of their values.
        In order of the first objective.
        """
        return tuple(outcome.mean for outcome in self._outcomes() if outcome.is_best)

    def best(self, objective: str | None = None) -> Trial:
        """The trial with the smallest value of an objective, by default the first.

        Raises:
            TensorMoEError: an unknown objective, or no trial that is complete.
        """
        name = self._objective(objective)
        if not self.complete:
            reasons = "; ".join(dict.fromkeys(trial.reason for trial in self.trials))
            raise TensorMoEError("study", f"{len(self.trials)} trials", f"none is complete: {reasons[:300]}")
        return min(self.complete, key=lambda trial: trial.values[name])

    def intervals(self, objective: str | None = None) -> list[tuple[Trial, Interval]]:
        """Each candidate at each budget with the 95 % interval of an objective over seeds, best first.

        Raises:
            TensorMoEError: an unknown objective.
        """
        name = self._objective(objective)
        groups = [
            (_average(trials, self.objectives), interval([each.values[name] for each in trials]))
            for trials in self._groups().values()
        ]
        return sorted(groups, key=lambda each: each[1].mean)

    def table(self) -> list[dict[str, Cell]]:
        """A row for each trial, as `pandas.DataFrame` takes them."""
        return [self._row(trial) for trial in self.trials]

    def to_pandas(self) -> "pandas.DataFrame":
        """The table as a data frame of pandas, which must be installed."""
        try:
            import pandas
        except ImportError as error:
            remedy = "install pandas, or use study.table(), a list of rows"
            raise TensorMoEError("to_pandas", "no pandas", remedy) from error
        return pandas.DataFrame(self.table())

    def save(self, path: str | PathLike[str]) -> None:
        """Write the study as JSON lines: the settings, then one trial a line."""
        write_lines(path, self.header, self.trials)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read what `save`, `sweep` or `search` wrote.

        A last line that a killed process left half-written is dropped.

        Raises:
            TensorMoEError: no such file, or a file of another form.
        """
        header, trials = read_lines(path)
        objectives, settings = header["objectives"], header["settings"]
        if not isinstance(objectives, list) or not isinstance(settings, dict):
            raise TensorMoEError("path", str(path), "its first line has no objectives and settings")
        return cls(tuple(trials), tuple(map(str, objectives)), settings)

    def report(self, path: str | PathLike[str], *, title: str = "") -> None:
        """Write the study as one HTML file, to open in a browser: nothing is fetched, nothing needs a server.

        It shows the Pareto front, on which each point shows its network; a table that sorts; and the
        candidates on the front, then others, each with network, plan, proof and the curves of its seeds.

        Args:
            path: of the file; by custom its name ends in ".html".
            title: of the page; by default the objectives.

        Raises:
            TensorMoEError: the file cannot be written, the title is not text, or Plotly is missing.
        """
        # What draws takes as long to import as all the rest, and processes that evaluate don't need it.
        from ..analysis.pictures_style import check_text
        from .report import write_report

        check_path(path)
        named = check_text("title", title) or f"Study: {', '.join(self.objectives)}"
        complete = {id(trial) for trial in self.complete}
        lost = [trial for trial in self.trials if id(trial) not in complete]
        write_report(self._outcomes(), lost, self.objectives, named).save(path)

    def draw(self, x: str | None = None, y: str | None = None, *, title: str = "") -> "Figure":
        """Draw the candidates as points, with those on the Pareto front named.

        Args:
            x, y: the objectives along the axes; by default the second and the first, and for a study with
                only one the trials' numbers along x.
            title: of the figure.

        Returns:
            A `matplotlib.figure.Figure`; bars are 95 % intervals over seeds.

        Raises:
            TensorMoEError: an unknown objective, the title is not text, or Matplotlib is missing.
        """
        from .pictures import draw_front

        across, up = choose_axes(self.objectives)
        across = across if x is None else self._objective(x)
        return draw_front(self._outcomes(), across, up if y is None else self._objective(y), title)

    def _repr_html_(self) -> str:
        best = [each for each in self._outcomes() if each.is_best]
        rows = [(each.name, *(each.show(name) for name in self.objectives)) for each in best]
        head = f"{len(self.trials):,} trials, {len(self.complete):,} complete"
        return write_line(head) + draw_table(("front", *self.objectives), rows)

    @property
    def header(self) -> dict[str, Data]:
        """The first line of the file: what tells this study from another."""
        return {"objectives": [*self.objectives], "settings": {**self.settings}}

    def __str__(self) -> str:
        rows = [
            (str(trial.spec.factorization), *(f"{trial.values[name]:,.6g}" for name in self.objectives))
            for trial in self.front()
        ]
        states = [trial.state for trial in self.trials]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        total = f"{len(self.trials)} trial{'s' * (len(self.trials) != 1)} ({counts or 'none'})"
        return f"{total}\n{table(('front', *self.objectives), rows, text_columns=1)}" if rows else total

    def _objective(self, name: str | None) -> str:
        chosen = self.objectives[0] if name is None else name
        one_of("objective", chosen, self.objectives)
        return chosen

    def _groups(self) -> Groups:
        """Complete trials by all but their seed."""
        groups: Groups = {}
        for trial in self.complete:
            groups.setdefault((repr(trial.spec), trial.budget), []).append(trial)
        return groups

    def _outcomes(self) -> list[Outcome]:
        """All candidates with their seeds, in the order of the first objective."""
        groups = [*self._groups().values()]
        means = [_average(trials, self.objectives) for trials in groups]
        points = np.array([[trial.values[name] for name in self.objectives] for trial in means])
        best = {*pareto(points)} if means else set()
        outcomes = [
            Outcome(mean, tuple(trials), place in best)
            for place, (mean, trials) in enumerate(zip(means, groups, strict=True))
        ]
        return sorted(outcomes, key=lambda each: each.mean.values[self.objectives[0]])

    def _row(self, trial: Trial) -> dict[str, Cell]:
        budget = trial.budget
        return {
            "number": trial.number,
            "factorization": str(trial.spec.factorization),
            "budget": None if budget is None else str(budget),
            "seed": trial.seed,
            "state": trial.state,
            "proved": trial.proved,
            "verified": trial.verified,
            **{name: trial.values.get(name) for name in self.objectives},
            "took": trial.seconds,
            "reason": trial.reason,
        }


def _average(trials: list[Trial], objectives: tuple[str, ...]) -> Trial:
    """The first of several seeds with the means of their values."""
    means = {name: mean(each.values[name] for each in trials) for name in objectives}
    return replace(trials[0], values=means)


def pareto(points: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> list[int]:
    """The rows that no other row dominates, in order of the first column; of equal rows the first."""
    front: list[int] = []
    for place in np.lexsort(points.T[::-1]):
        # Rows before it are not larger in the first column, so only they can dominate it.
        if not front or not (points[front] <= points[place]).all(axis=1).any():
            front.append(int(place))
    return front
