"""Every candidate at every budget and every seed."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from itertools import product
from os import PathLike

from ..codec import Data
from ..errors import TensorMoEError, as_tuple, place_number, true_or_false
from ..layers.layer_spec import MuMoESpec
from ..networks.factorization import Factorization
from .budget import Budget, check_budget
from .evaluation import Evaluation, verify_front
from .objectives import read_costs
from .parallel import check_jobs, each_result
from .storage import Journal
from .study import Study
from .tasks import Task, check_task, cost_alone
from .trial import Trial

COSTS = ("parameters", "macs")
_MOST_SEEDS = 10_000

Candidate = MuMoESpec | Factorization


def sweep(
    candidates: Sequence[Candidate],
    budgets: Sequence[Budget] | Budget | None = None,
    task: Task | None = None,
    seeds: int | Sequence[int] = 1,
    *,
    like: MuMoESpec | None = None,
    costs: Sequence[str] = COSTS,
    path: str | PathLike[str] | None = None,
    jobs: int | None = 1,
    progress: bool = False,
) -> Study:
    """Try every candidate at every budget and seed: matched, planned, proved, counted, and run on a task.

    Use it where you can list the candidates; `search` makes them. What fails for one candidate is written
    down, and the others go on. In the end the front is verified with exact arithmetic, too.

    Args:
        candidates: specifications, or families such as tm.CP(1) for the layer `like`.
        budgets: one or several that ranks are matched to; None keeps the candidates' own.
        task: what candidates are run on; None counts and proves them only.
        seeds: how many, from 0, or which.
        like: the layer in which families stand.
        costs: the objectives besides the task's, such as "macs@1"; see `OBJECTIVES`.
        path: a file of JSON lines in which every trial is written as soon as it is known. If it is there,
            the sweep goes on from it, and repeats nothing.
        jobs: how many processes; -1 for all cores, None for what `joblib.parallel_config` says.
        progress: whether to show a progress bar.

    Returns:
        The study: trials, Pareto front, intervals over seeds.

    Raises:
        TensorMoEError: no candidate, a family without `like`, an unknown cost, or a file of another study;
            before anything is computed.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> layer = tm.MuMoESpec(8, 6, experts=4, factorization=tm.Dense(), bias=False)
        >>> experts = np.random.default_rng(0).normal(size=(4, 8, 6))
        >>> families = [tm.CP(1), tm.TensorTrain((1, 1)), tm.TensorNetwork("n o, i o")]
        >>> study = tm.explore.sweep(
        ...     families, tm.explore.Budget(parameters=150), tm.explore.fit_to(experts), like=layer
        ... )
        >>> [trial.state for trial in study.trials]
        ['complete', 'complete', 'complete']
        >>> all(trial.proved and trial.verified for trial in study.front())
        True
    """
    plan = _Sweep(
        _read_candidates(candidates, like),
        _read_budgets(budgets),
        cost_alone() if task is None else check_task(task),
        _read_seeds(seeds),
        read_costs(costs),
    )
    workers, shown = check_jobs("jobs", jobs), true_or_false("progress", progress)
    study = Study((), plan.evaluation.objectives, plan.settings() if path is not None else {})
    with ExitStack() as stack:
        journal = None if path is None else stack.enter_context(Journal(path, study.header))
        trials = {trial.number: trial for trial in (journal.trials if journal else ())}
        new, missing = plan.trials(dict(trials), workers), plan.count - len(trials)
        for trial in _show(new, missing) if shown and missing else new:
            trials[trial.number] = trial
            if journal:
                journal.add(trial)
        done = replace(study, trials=tuple(trials[number] for number in sorted(trials)))
        final = verify_front(done)
        for before, after in zip(done.trials, final.trials, strict=True):
            if journal and before != after:
                journal.add(after)
    return final


def _show(trials: Iterator[Trial], total: int) -> Iterator[Trial]:
    from ..analysis.progress import show_progress

    return show_progress("candidates", trials, total)


@dataclass(frozen=True)
class _Sweep:
    """What is tried."""

    candidates: tuple[MuMoESpec, ...]
    budgets: tuple[Budget | None, ...]
    task: Task
    seeds: tuple[int, ...]
    costs: tuple[str, ...]

    @property
    def evaluation(self) -> Evaluation:
        return Evaluation(self.task, self.costs)

    @property
    def count(self) -> int:
        return len(self.candidates) * len(self.budgets) * len(self.seeds)

    def settings(self) -> dict[str, Data]:
        """What tells this sweep from another."""
        digest = sha256()
        for spec in self.candidates:
            digest.update(spec.to_json().encode())
        return {
            "task": self.task.name,
            "budgets": [None if each is None else each.to_dict() for each in self.budgets],
            "seeds": [*self.seeds],
            "number of candidates": len(self.candidates),
            "candidates": digest.hexdigest()[:32],
        }

    def trials(self, known: dict[int, Trial], jobs: int | None) -> Iterator[Trial]:
        """The trials that are not known yet, as they are known.

        What does not depend on the seed is done once for each candidate and budget. Matching by measured time
        may give another rank each time, so what is known of a candidate counts for its other seeds.
        """
        pairs = [*product(self.candidates, self.budgets)]
        count = len(self.seeds)
        missing = {
            place: [number for number in range(place * count, (place + 1) * count) if number not in known]
            for place in range(len(pairs))
        }
        ready: list[Trial] = []
        new: list[tuple[int, MuMoESpec, Budget | None]] = []
        for place, numbers in missing.items():
            first = next((known[n] for n in range(place * count, (place + 1) * count) if n in known), None)
            if numbers and first is not None and first.complete:
                costs = {name: first.values[name] for name in self.costs}
                trial = replace(first, values=costs, curve=(), seconds=0.0)
                ready += [self._at(trial, number) for number in numbers]
            elif numbers:
                new.append((place, *pairs[place]))
        for place, trial in each_result(partial(_prepare, self.evaluation), new, jobs):
            seeds = [self._at(trial, number) for number in missing[place]]
            if trial.complete and self.task.objective:
                ready += seeds
            else:
                yield from seeds
        yield from each_result(partial(_run, self.evaluation), ready, jobs)

    def _at(self, trial: Trial, number: int) -> Trial:
        return replace(trial, number=number, seed=self.seeds[number % len(self.seeds)])


def _prepare(evaluation: Evaluation, given: tuple[int, MuMoESpec, Budget | None]) -> tuple[int, Trial]:
    place, spec, budget = given
    return place, evaluation.prepare(spec, budget)


def _run(evaluation: Evaluation, trial: Trial) -> Trial:
    """The trial alone: cores stay where they were found."""
    return evaluation.run(trial)[0]


def _read_candidates(candidates: object, like: MuMoESpec | None) -> tuple[MuMoESpec, ...]:
    given = tuple(candidates) if isinstance(candidates, Iterator | range) else as_tuple(candidates)
    if not given:
        raise TensorMoEError("candidates", candidates, "pass at least one specification or family")
    if like is not None and not isinstance(like, MuMoESpec):
        raise TensorMoEError("like", like, "pass a MuMoESpec, whose factorization does not matter")
    specs = []
    for each in given:
        if isinstance(each, Factorization):
            if like is None:
                raise TensorMoEError("like", None, f"pass the layer in which {each} should stand")
            each = like.replace(factorization=each, optimize="auto")
        if not isinstance(each, MuMoESpec):
            remedy = "pass tm.MuMoESpec, or families such as tm.CP(1) together with like="
            raise TensorMoEError("candidates", each, remedy)
        specs.append(each)
    return tuple(specs)


def _read_budgets(budgets: object) -> tuple[Budget | None, ...]:
    given = as_tuple(budgets)
    if not given:
        raise TensorMoEError("budgets", budgets, "pass at least one, or None to keep the candidates' ranks")
    return tuple(check_budget("budgets", each) for each in given)


def _read_seeds(seeds: object) -> tuple[int, ...]:
    if isinstance(seeds, int) and not isinstance(seeds, bool) and seeds > 0:
        if seeds > _MOST_SEEDS:
            raise TensorMoEError("seeds", seeds, f"pass at most {_MOST_SEEDS:,}")
        return tuple(range(seeds))
    listed = seeds if isinstance(seeds, list | tuple | range) else ()
    given = tuple(place_number("seeds", each) for each in listed)
    if not given or len({*given}) < len(given):
        raise TensorMoEError("seeds", seeds, "pass how many, a positive integer, or a list of different ones")
    return given
