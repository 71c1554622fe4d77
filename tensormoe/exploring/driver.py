"""What runs a search: it takes points from a method or a sampler, and tries their candidates."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from ..codec import Data
from ..errors import TensorMoEError
from ..fitting.target import read_target
from ..layers.layer_spec import MuMoESpec
from .board import Board
from .bounds import Bounds
from .budget import Budget
from .candidate import Candidate, decode
from .evaluation import Evaluation
from .guided import Outlook
from .layout import Layout
from .methods import METHODS, Setting, draw
from .parallel import each_result
from .rivals import rivals
from .space import Point, Space
from .tasks import Cores, FitTo
from .transfer import transfer
from .trial import Trial

if TYPE_CHECKING:
    import optuna

AUTO = "auto"
SAMPLERS = ("evolution", "tpe")
# So many points in a row whose networks are known already are the end.
_STALE = 200
_POPULATION = 20
# A candidate continues from one that differs from it in at most so many choices, of the last ones tried.
_NEAR, _HELD = 4, 200


class _Spent(Exception):
    """All trials are used up."""


@dataclass(eq=False)
class Driver:
    """One search, as `search` describes it.

    Args:
        space: of the points.
        evaluation: what is done with every candidate.
        budget: what it may cost.
        method: what says which is next.
        most: how many are tried.
        weights: what each objective counts in the score.
        workers: how many are tried at a time.
        seed: of the method and of the task.
        on_trial: called with each trial that this search has finished.
    """

    space: Space
    evaluation: Evaluation
    budget: Budget | None
    method: str
    most: int
    weights: Mapping[str, float]
    workers: int | None
    seed: int
    on_trial: Callable[[Trial], None] | None = None
    _cores: dict[str, tuple[Candidate, Cores]] = field(default_factory=dict)

    def check(self) -> None:
        """Raise an error unless the method suits the task and something is within the budget."""
        if self.method == AUTO:
            self.method = "guided" if self._bounds is not None else "evolution"
        if self.method == "guided" and self._bounds is None:
            remedy = "it needs the target of tm.explore.fit_to: choose another method"
            raise TensorMoEError("method", self.method, remedy)
        if self.budget is not None:
            candidate = decode(self.space, self.space.smallest)
            if candidate is not None and (cost := self.budget.cost(candidate.spec)) > self.budget.bound:
                remedy = f"even vectors alone, {candidate.spec.network}, take {cost:,.6g}: raise the budget"
                raise TensorMoEError("budget", str(self.budget), remedy)

    @property
    def settings(self) -> dict[str, Data]:
        """What tells this search from others."""
        return {
            "task": self.evaluation.task.name,
            "objectives": [*self.evaluation.objectives],
            "budget": None if self.budget is None else self.budget.to_dict(),
            "space": self.space.to_dict(),
            "weights": {**self.weights},
            "seed": self.seed,
        }

    def run(self, board: Board) -> None:
        """Try candidates until the trials are used up or the method has no more."""
        try:
            if self.method in METHODS:
                self._propose(board)
            else:
                self._sample(board)
        except _Spent:
            return

    def look(self, points: Sequence[Point]) -> Outlook:
        """The best score that points can have; infinite beyond the limits and the budget."""
        layout = Layout.of(self.space, points)
        tails = np.zeros((len(points), 1)) if self._bounds is None else self._bounds.tails(layout)
        worst, costs = tails.max(axis=1, initial=0), layout.parameters
        scores = self.weights.get(self.evaluation.task.objective, 0) * worst
        scores = scores + self.weights.get("parameters", 0) * costs
        scores[layout.cores > self.space.max_cores] = np.inf
        if self.budget is not None and self.budget.parameters is not None:
            scores[costs > self.budget.parameters] = np.inf
        return Outlook(scores, tails.mean(axis=1) if tails.size else worst, costs, layout.rows)

    def score(self, trial: Trial) -> float:
        """What methods make small."""
        if not trial.complete:
            return np.inf
        return sum(weight * trial.values[name] for name, weight in self.weights.items())

    @cached_property
    def _bounds(self) -> Bounds | None:
        task = self.evaluation.task
        if not isinstance(task, FitTo):
            return None
        stage = self.space.layer.stage
        weight = read_target("target", task.target, None, stage)
        return Bounds(self.space, np.broadcast_to(weight, (*stage.experts, *weight.shape[-2:])))

    @property
    def _batch(self) -> int:
        if self.workers == 1:
            return 1
        import joblib

        return int(joblib.effective_n_jobs(-1 if self.workers is None else self.workers))

    def _setting(self, begun: int) -> Setting:
        generator = np.random.default_rng([self.seed, begun])
        first = () if self.budget is None else rivals(self.space, self.budget)
        return Setting(self.space, self.look, generator, self._batch, first)

    def _propose(self, board: Board) -> None:
        """Try what a method of our own proposes."""
        proposals = METHODS[self.method](self._setting(0))
        points, stale = next(proposals, None), 0
        while points is not None and stale < 5 * _STALE:
            before = len(board.trials())
            scores = self._scores(board, points)
            stale = 0 if len(board.trials()) > before else stale + 1
            try:
                points = proposals.send(scores)
            except StopIteration:
                return

    def _scores(self, board: Board, points: Sequence[Point]) -> list[float]:
        """The scores of points, those of other processes included."""
        candidates = [decode(self.space, point) for point in points]
        unique = {each.key: each for each in candidates if each is not None}
        known = board.trials()
        while missing := [each for key, each in unique.items() if key not in known]:
            running = board.running()
            free = [each for each in missing if each.key not in running][: self._batch]
            if free:
                self._try(board, free)
            else:
                time.sleep(0.05)
                board.sweep()
            known = board.trials()
        return [np.inf if each is None else self.score(known[each.key]) for each in candidates]

    def _try(self, board: Board, candidates: Sequence[Candidate]) -> None:
        claimed = []
        for candidate in candidates[: self._left(board)]:
            ticket, _ = board.ask(candidate.point)
            if board.claim(ticket, candidate.key):
                claimed.append((ticket, candidate))
            else:
                board.tell(ticket, None)
        self._evaluate(board, claimed)

    def _sample(self, board: Board) -> None:
        """Try what a sampler of Optuna's proposes."""
        begun, stale = len(board.study.get_trials(deepcopy=False)), 0
        board.study.sampler = self._sampler(begun)
        setting = self._setting(begun)
        while stale < _STALE:
            claimed = []
            for _ in range(min(self._batch, self._left(board))):
                # A sampler begins with uniform choices, of which few are small networks.
                first = len(board.trials()) < _POPULATION
                ticket, point = board.ask(draw(setting) if first else None)
                candidate = decode(self.space, self._repair(point))
                known = None if candidate is None else board.trials().get(candidate.key)
                stale = stale + 1
                if candidate is None or known is not None or not board.claim(ticket, candidate.key):
                    board.tell(ticket, known)
                else:
                    claimed.append((ticket, candidate))
                    stale = 0
            self._evaluate(board, claimed)

    def _sampler(self, begun: int) -> "optuna.samplers.BaseSampler":
        from optuna import samplers

        # Of processes that share a storage, and of one that goes on, each draws other points.
        seed = self.seed if not begun else abs(hash((self.seed, begun, os.getpid()))) % 2**32
        if self.method == "evolution":
            return samplers.NSGAIISampler(population_size=_POPULATION, seed=seed)
        return samplers.TPESampler(seed=seed, n_startup_trials=_POPULATION)

    def _repair(self, point: Point) -> Point:
        """The point itself or, if it breaks a limit, one that is nearer to the smallest."""
        order = np.random.default_rng([*point]).permutation(len(point))
        smaller, points = list(point), [point]
        for place in order:
            if smaller[place]:
                smaller[place] = 0
                points.append(tuple(smaller))
        return points[int(np.argmax(np.isfinite(self.look(points).scores)))]

    def _left(self, board: Board) -> int:
        """How many more may be tried; raises if there is none."""
        left = self.most - len(board.trials())
        if left <= 0:
            raise _Spent
        return left

    def _evaluate(self, board: Board, claimed: "Sequence[tuple[optuna.Trial, Candidate]]") -> None:
        tickets = {ticket.number: (ticket, candidate) for ticket, candidate in claimed}
        given = [(ticket.number, each.spec, self._start(each)) for ticket, each in claimed]
        call = partial(_evaluate, self.evaluation, self.budget, self.seed)
        for trial, cores in each_result(call, given, 1 if len(given) < 2 else self.workers):
            ticket, candidate = tickets[trial.number]
            board.finish(ticket, trial)
            if self.on_trial is not None:
                self.on_trial(trial)
            if cores is not None:
                self._cores[candidate.key] = candidate, cores
                if len(self._cores) > _HELD:
                    del self._cores[next(iter(self._cores))]

    def _start(self, candidate: Candidate) -> Cores | None:
        """Values from the nearest candidate that was tried, if one is near."""
        near: dict[int, tuple[Candidate, Cores]] = {}
        for held in self._cores.values():
            apart = sum(a != b for a, b in zip(held[0].point, candidate.point, strict=True))
            near.setdefault(apart, held)
        least = min(near, default=_NEAR + 1)
        return None if least > _NEAR else transfer(*near[least], candidate, self.seed)


def _evaluate(
    evaluation: Evaluation,
    budget: Budget | None,
    seed: int,
    given: tuple[int, MuMoESpec, Cores | None],
) -> tuple[Trial, Cores | None]:
    number, spec, start = given
    if budget is not None and (cost := budget.cost(spec)) > budget.bound:
        reason = f"it takes {cost:,.6g} {budget.name} of {budget.bound:,.6g}"
        return Trial(spec, budget, seed, state="infeasible", reason=reason, number=number), None
    trial, cores = evaluation(spec, None, seed, number=number, start=start)
    return trial, cores
