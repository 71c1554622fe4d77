"""What candidates are tried on: a fit to a weight, a training function of your own, or costs alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Protocol, runtime_checkable

import numpy as np

from ..errors import TensorMoEError, as_tuple, positive_integer
from ..fitting.compression import Directions, count_directions, find_directions
from ..fitting.fit import ITERATIONS
from ..fitting.searched import fit_candidate
from ..fitting.target import read_target, read_values
from ..layers.layer_spec import MuMoESpec
from ..typing import Array

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

    @cached_property
    def _directions(self) -> Directions:
        return find_directions(read_values("weight", self.target))

    def __call__(self, spec: MuMoESpec, seed: int, start: Cores | None = None) -> TaskResult:
        stage = spec.stage
        weight = read_target("weight", self.target, None, stage)
        begun = None if start is None else {name: read_values(name, core) for name, core in start.items()}
        known = None if count_directions(stage) is None else self._directions
        cores, error = fit_candidate(stage, weight, seed, self.iterations, start=begun, directions=known)
        return TaskResult(error, cores)


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

    Small networks are fitted by Levenberg and Marquardt's method from several starts; large ones first in the
    directions of inputs and outputs that they can use; others as by `tm.fit`.

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
