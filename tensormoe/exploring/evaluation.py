"""One candidate from its budget to its values: matched, planned, proved, counted, and tried on the task."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import TypedDict

from ..errors import TensorMoEError
from ..layers.layer_spec import MuMoESpec
from ..verification.verify import verify
from .budget import Budget, BudgetError
from .objectives import measure, read_costs
from .proving import prove_shared
from .study import Study
from .tasks import Cores, Task, TaskResult, check_task
from .trial import Trial


@dataclass(frozen=True)
class Evaluation:
    """What is done with every candidate.

    Args:
        task: what it is tried on.
        costs: the names of the costs that are counted.

    Raises:
        TensorMoEError: something else than a task, or an unknown cost.

    Examples:
        >>> import tensormoe as tm
        >>> evaluation = tm.explore.Evaluation(tm.explore.cost_alone(), ("parameters", "macs@1"))
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5), bias=False, gate=None)
        >>> trial, cores = evaluation(spec)
        >>> trial.proved, trial.values
        (True, {'parameters': 90.0, 'macs@1': 90.0})
    """

    task: Task
    costs: tuple[str, ...]

    def __post_init__(self) -> None:
        check_task(self.task)
        object.__setattr__(self, "costs", read_costs(self.costs))

    @property
    def objectives(self) -> tuple[str, ...]:
        """The names of all values of a complete trial, the task's first."""
        return (*([self.task.objective] if self.task.objective else []), *self.costs)

    def __call__(
        self,
        spec: MuMoESpec,
        budget: Budget | None = None,
        seed: int = 0,
        *,
        number: int = 0,
        start: Cores | None = None,
    ) -> tuple[Trial, Cores | None]:
        """Evaluate a candidate. Whatever fails is written down: nothing but an interruption is raised.

        Args:
            spec: the candidate.
            budget: what its ranks are matched to; None keeps them.
            seed: of the task.
            number: the trial's place in the study.
            start: cores to continue from.

        Returns:
            The trial, and the cores that the task found, if it did.
        """
        return self.run(replace(self.prepare(spec, budget), seed=seed, number=number), start)

    def prepare(self, spec: MuMoESpec, budget: Budget | None = None) -> Trial:
        """Match a candidate, prove its programs and count its costs: all that does not depend on a seed."""
        began, trial = time.perf_counter(), Trial(spec, budget)
        try:
            if budget is not None:
                trial = replace(trial, spec=budget.match(spec))
            trial = replace(trial, proved=prove_shared(trial.spec))
            trial = replace(trial, values=_finite(measure(trial.spec, self.costs)))
        except BudgetError as error:
            trial = replace(trial, state="infeasible", reason=str(error))
        except Exception as error:
            trial = replace(trial, state="failed", reason=_reason(error))
        return replace(trial, seconds=time.perf_counter() - began)

    def run(self, trial: Trial, start: Cores | None = None) -> tuple[Trial, Cores | None]:
        """Try what `prepare` returned on the task, at the trial's seed."""
        if not isinstance(trial, Trial):
            raise TensorMoEError("trial", trial, "pass what prepare returned")
        if not trial.complete or not self.task.objective:
            return trial, None
        began, cores = time.perf_counter(), None
        try:
            result = self.task(trial.spec, trial.seed, start)
            if not isinstance(result, TaskResult):
                raise TensorMoEError("task", result, "it should return a tm.explore.TaskResult")
            values = {self.task.objective: result.value, **trial.values}
            trial = replace(trial, values=_finite(values), curve=_tell(result.curve))
            cores = result.cores
        except (Exception, SystemExit) as error:
            trial = replace(trial, state="failed", reason=_reason(error))
        return replace(trial, seconds=trial.seconds + time.perf_counter() - began), cores


def verify_front(study: Study) -> Study:
    """The study with its front verified, in exact arithmetic, too; what does not pass has failed.

    What is too large to be verified stays, and its reason says so.
    """
    tried: set[int] = set()
    while new := [trial for trial in study.front() if trial.number not in tried]:
        for trial in new:
            tried.add(trial.number)
            same = (trial.spec, trial.budget)
            changes = {} if trial.verified else _verify(trial)
            trials = [
                replace(each, **changes) if each.complete and (each.spec, each.budget) == same else each
                for each in study.trials
            ]
            study = replace(study, trials=tuple(trials))
    return study


class _Changes(TypedDict, total=False):
    state: str
    reason: str
    verified: bool


def _verify(trial: Trial) -> _Changes:
    try:
        report = verify(trial.spec, backends=("numpy",), methods=("proof", "exact"))
    except TensorMoEError as error:
        return {"reason": f"not verified: {_reason(error)}"}
    if not report.passed:
        broken = [f"{check.method} of {check.subject}" for check in report.checks if not check.passed]
        return {"state": "failed", "reason": f"verification failed: {', '.join(broken)}"}
    return {"verified": True}


def _finite(values: Mapping[str, object]) -> dict[str, float]:
    """Values as floats, none of which is infinite or NaN."""
    checked = {}
    for name, value in values.items():
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise TensorMoEError(name, value, "the task returned no number") from error
        if not isfinite(number):
            raise TensorMoEError(name, number, "the task diverged: it returned no finite number")
        checked[name] = number
    return checked


def _tell(curve: Sequence[float]) -> tuple[float, ...]:
    """A curve up to where it stops being finite."""
    values = [float(value) for value in curve]
    ends = [place for place, value in enumerate(values) if not isfinite(value)]
    return tuple(values[: ends[0]] if ends else values)


def _reason(error: BaseException) -> str:
    """What an error says, with its kind unless it is this library's."""
    try:
        text = str(error) if isinstance(error, TensorMoEError) else f"{type(error).__name__}: {error}"
    except Exception:  # an error of the user's own may not print
        text = type(error).__name__
    # Files and pages have no place for half a character.
    return text[:2_000].encode("utf-8", "replace").decode()
