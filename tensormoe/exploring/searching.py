"""A search for a network: a space, a task, and a method that says what to try next."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from math import inf
from os import PathLike

from ..errors import (
    TensorMoEError,
    mapping,
    one_of,
    place_number,
    positive_integer,
    real_number,
    true_or_false,
)
from .board import Storage, open_board
from .budget import Budget, check_budget
from .driver import AUTO, SAMPLERS, Driver
from .evaluation import Evaluation, verify_front
from .methods import METHODS
from .objectives import read_costs
from .parallel import check_jobs
from .rivals import offer
from .space import Space
from .study import Study
from .tasks import Task, check_task

# What a parameter counts beside the task, if nothing else is said: it decides between equals.
_EQUALS = 1e-9


def search(
    budget: Budget | None,
    task: Task,
    space: Space,
    *,
    method: str = AUTO,
    trials: int = 100,
    costs: Sequence[str] = ("parameters",),
    weights: Mapping[str, float] | None = None,
    storage: Storage | None = None,
    workers: int | None = 1,
    seed: int = 0,
    progress: bool = False,
) -> Study:
    """Find networks of a layer that do well on a task within a budget.

    Use it where you can't list the candidates, as `sweep` asks for. Each network is tried once, however it is
    written, and continues from the values of a similar one where the task allows it. What fails for one
    candidate is written down, and the others go on. In the end the front is verified in exact arithmetic.

    Args:
        budget: what candidates may cost; None for no limit. CP and low-rank experts, where the space has
            them, may have the largest rank in the budget beside those that the space lists; a guided search
            tries them first.
        task: what they are tried on.
        space: the networks that may be tried.
        method: "guided", by lower bounds from the target's unfoldings, for `fit_to`; "exhaustive", for small
            spaces; "greedy"; "alternating" (TnALE); or one of Optuna's samplers, "evolution" (NSGA-II),
            "tpe" and "random". "auto" is "guided" for `fit_to`, otherwise "evolution".
        trials: the most candidates that are tried, those in the storage included.
        costs: the objectives besides the task's; see `OBJECTIVES`.
        weights: what each objective counts in the score that methods make small, where they need one; by
            default the task's alone, and parameters among equals. NSGA-II and TPE take all objectives as
            they are.
        storage: a file, or the URL of a database that Optuna takes, such as "sqlite:///search.db". A search
            goes on from what is there, and several processes and machines share it. `optuna-dashboard`
            shows it.
        workers: how many candidates are tried at a time, by joblib: -1 for all cores, None for what
            `joblib.parallel_config` says.
        seed: of the method, and of the task.
        progress: whether to show a progress bar.

    Returns:
        The study, with all trials of the storage.

    Raises:
        TensorMoEError: a space without a network in the budget, a method that does not suit, or a storage
            of another search; before anything is tried.

    Source: Hashemizadeh et al., "Adaptive Tensor Learning with Tensor Networks", 2020, Li and Sun,
    "Evolutionary Topology Search for Tensor Network Decomposition", 2020, and Li et al., "Alternating Local
    Enumeration (TnALE)", 2023, for methods; Akiba et al., "Optuna: A Next-generation Hyperparameter
    Optimization Framework", 2019.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> layer = tm.MuMoESpec(5, 5, experts=4, factorization=tm.CP(rank=2), gate=None, bias=False)
        >>> cores = tm.initialize(layer, seed=0, dtype="float64")[0]
        >>> experts = tm.materialize(layer, tm.cores_of(layer, cores))
        >>> space = tm.explore.Space(layer, ranks=3)
        >>> study = tm.explore.search(None, tm.explore.fit_to(experts), space, trials=20)
        >>> study.best("error").spec.factorization
        TensorNetwork('n a, i a, o a', a=2)
    """
    evaluation = Evaluation(check_task(task), read_costs(costs))
    if not isinstance(space, Space):
        raise TensorMoEError("space", space, "pass tm.explore.Space(layer, …)")
    one_of("method", method, (AUTO, *METHODS, *SAMPLERS))
    bound = check_budget("budget", budget)
    space = space if bound is None else offer(space, bound)
    driver = Driver(
        space,
        evaluation,
        bound,
        method=method,
        most=positive_integer("trials", trials),
        weights=read_weights(weights, evaluation.objectives),
        workers=check_jobs("workers", workers),
        seed=place_number("seed", seed),
    )
    shown = true_or_false("progress", progress)
    if not isinstance(storage, str | PathLike | None):
        raise TensorMoEError("storage", storage, "pass a path, or the URL of a database")
    driver.check()
    with ExitStack() as stack:
        board = stack.enter_context(open_board(space, evaluation.objectives, driver.settings, storage))
        if shown:
            from ..analysis.progress import open_bar

            advance = stack.enter_context(open_bar("networks", driver.most, len(board.trials())))
            driver.on_trial = lambda trial: advance()
        driver.run(board)
        tried = sorted(board.trials().values(), key=lambda trial: trial.number)
    return verify_front(Study(tuple(tried), evaluation.objectives, driver.settings))


def read_weights(weights: object, objectives: tuple[str, ...]) -> dict[str, float]:
    """What each objective counts, those that are not named nothing."""
    if weights is None:
        return {objectives[0]: 1.0} | ({"parameters": _EQUALS} if "parameters" in objectives[1:] else {})
    read = {}
    for name, weight in mapping("weights", weights).items():
        number = real_number(weight)
        one_of("weights", name, objectives)
        if number is None or not 0 <= number < inf:
            raise TensorMoEError(f"weights[{name!r}]", weight, "pass a number that is not negative")
        read[name] = float(number)
    if not any(read.values()):
        raise TensorMoEError("weights", weights, f"give one of these a weight: {', '.join(objectives)}")
    return read
