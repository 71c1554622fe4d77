"""What candidates are tried on: a fit to a weight, a training function of your own, or costs alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from math import prod
from typing import Protocol, runtime_checkable

import numpy as np

from ..errors import TensorMoEError, as_tuple, positive_integer
from ..fitting.descent import EXACT, Descent
from ..fitting.fit import ITERATIONS, fit
from ..fitting.least_squares import LeastSquares
from ..fitting.starts import decompose
from ..fitting.target import read_target, read_values
from ..layers.layer_spec import MuMoESpec
from ..layers.stage import Stage
from ..typing import Array, NumPyArray

Cores = Mapping[str, Array]
# What a training function may return: the loss, or losses as training went on, of which the last counts.
Loss = float | Sequence[float]


@dataclass(frozen=True)
class TaskResult:
    """What a task says of a candidate.

    Args:
        value: the task's objective; smaller is better.
        cores: what was found, by name, for a candidate that continues from it; None if nothing was.
        curve: the objective as it went on.
    """

    value: float | None
    cores: Cores | None = None
    curve: tuple[float, ...] = ()


@runtime_checkable
class Task(Protocol):
    """What candidates are tried on. Anything with these attributes is one.

    `name` tells it from others, also after a restart; `objective` is what its value is called, "error" or
    "loss", or "" if it has none.
    """

    @property
    def name(self) -> str:
        """What tells it from other tasks, also after a restart."""
        ...

    @property
    def objective(self) -> str:
        """What its value is called; "" if it has none."""
        ...

    def __call__(self, spec: MuMoESpec, seed: int, start: Cores | None = None) -> TaskResult:
        """Try a candidate, from the cores of another if they are given."""
        ...


def check_task(task: object) -> Task:
    """Return a task, or raise the error for anything else."""
    if not isinstance(task, Task) or isinstance(task, type):
        remedy = "pass tm.explore.fit_to(weight), tm.explore.train_with(function), or an object like these"
        raise TensorMoEError("task", task, remedy)
    return task


@dataclass(frozen=True)
class CostAlone:
    """No task: only costs and proofs."""

    name: str = "cost alone"
    objective: str = ""

    def __call__(self, spec: MuMoESpec, seed: int, start: Cores | None = None) -> TaskResult:
        return TaskResult(None)


@dataclass(frozen=True)
class FitTo:
    """Cores fitted to a weight; see `fit_to`."""

    target: Array = field(repr=False)
    iterations: int = ITERATIONS
    objective: str = "error"

    @cached_property
    def name(self) -> str:
        """What tells it from other tasks: the weight's digest, and how long it is fitted."""
        values = read_values("weight", self.target)
        digest = sha256(repr(values.shape).encode() + np.ascontiguousarray(values).tobytes())
        return f"fit to {digest.hexdigest()[:16]}, {self.iterations} iterations"

    def __call__(self, spec: MuMoESpec, seed: int, start: Cores | None = None) -> TaskResult:
        stage = spec.stage
        weight = read_target("weight", self.target, None, stage)
        # One matrix for all experts has a closed form, which `fit` knows.
        if prod(weight.shape[:-2]) > 1 and LeastSquares.suits(stage):
            decomposed = decompose(stage, weight, seed)
            given = [each for each in (start and _read(start), decomposed) if each]
            cores, error, _ = LeastSquares(stage, weight).minimize(seed, self.iterations, given=given)
            return TaskResult(error, cores)
        continued = None if start is None else self._continue(stage, weight, start)
        if continued is not None and continued[0] < 1e3 * EXACT:
            return TaskResult(*continued)
        fitted = fit(self.target, spec, seed=seed, iterations=self.iterations)
        if continued is not None and continued[0] < fitted.weight_error:
            return TaskResult(*continued)
        return TaskResult(fitted.weight_error, fitted.cores)

    def _continue(self, stage: Stage, weight: NumPyArray, start: Cores) -> tuple[float, Cores]:
        """Descend from given cores."""
        whole = np.broadcast_to(weight, (*stage.experts, *weight.shape[-2:]))
        descent = Descent(stage, whole, {})
        cores, error, _ = descent.minimize(_read(start), self.iterations, lambda step, error: None)
        return error, cores


def _read(cores: Cores) -> dict[str, NumPyArray]:
    return {name: read_values(name, core) for name, core in cores.items()}


@dataclass(frozen=True)
class TrainWith:
    """A training function; see `train_with`."""

    function: Callable[[MuMoESpec, int], Loss]
    name: str
    objective: str = "loss"

    def __call__(self, spec: MuMoESpec, seed: int, start: Cores | None = None) -> TaskResult:
        loss = self.function(spec, seed)
        curve = tuple(float(each) for each in as_tuple(loss))  # type: ignore[arg-type]
        if not curve:
            raise TensorMoEError("function", loss, "return the loss, or a sequence of losses")
        return TaskResult(curve[-1], None, curve if len(curve) > 1 else ())


def cost_alone() -> CostAlone:
    """No task: candidates are counted and proved, and nothing is computed with them.

    Examples:
        >>> import tensormoe as tm
        >>> specs = [tm.MuMoESpec(8, 6, 4, tm.CP(rank)) for rank in (2, 3)]
        >>> [trial.proved for trial in tm.explore.sweep(specs, task=tm.explore.cost_alone()).trials]
        [True, True]
    """
    return CostAlone()


def fit_to(weight: Array, *, iterations: int = ITERATIONS) -> FitTo:
    """Fit each candidate to a weight (I, O) or a stack of experts (N, I, O); the objective is "error".

    Small networks are fitted by Levenberg and Marquardt's method from several starts, others as by `tm.fit`.

    Args:
        weight: as for `tm.fit`.
        iterations: the largest number of steps of each descent.

    Raises:
        TensorMoEError: numbers that are not finite.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=6), bias=False)
        >>> task = tm.explore.fit_to(np.random.default_rng(0).normal(size=(8, 6)))
        >>> task(spec, seed=0).value < 1e-12
        True
    """
    task = FitTo(weight, positive_integer("iterations", iterations))
    _ = task.name  # its values are read now, so that a weight of no use is an error before a sweep
    return task


def train_with(function: Callable[[MuMoESpec, int], Loss], *, name: str | None = None) -> TrainWith:
    """Train each candidate by a function of your own, in any framework; the objective is "loss".

    Args:
        function: takes a specification and a seed, builds and trains a model, and returns the loss that
            counts, such as that of validation data; or losses as training goes on, of which the last counts.
        name: what tells the task from others after a restart; by default the function's name.

    Raises:
        TensorMoEError: what cannot be called.

    Examples:
        >>> import tensormoe as tm
        >>> def train(spec, seed):
        ...     return [1.0, 1 / spec.macs]                  # the losses as your own training went on
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=6), bias=False)
        >>> tm.explore.train_with(train)(spec, seed=0).curve
        (1.0, 0.007142857142857143)
    """
    if not callable(function):
        raise TensorMoEError("function", function, "pass a function of a specification and a seed")
    own: str = getattr(function, "__qualname__", type(function).__name__)
    return TrainWith(function, own if name is None else name)
