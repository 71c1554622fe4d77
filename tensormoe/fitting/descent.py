"""The squared error of a network's weight, made small by L-BFGS with the gradient of its own program."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Protocol

import numpy as np

from ..arrays.registry import get_backend
from ..layers.stage import Stage
from ..networks.network import Core
from ..networks.notation import INPUT, OUTPUT
from ..typing import NumPyArray
from .metric import Metric, Metrics, transform, whiten
from .starts import Cores
from .target import MEMORY

# An error below this, relative to the weight, is rounding.
EXACT = 1e-13
# So many steps that improve the error by less than a millionth of it are the end.
_PATIENCE, _WORTHWHILE = 20, 1e-6

# Called after every step with the number of steps so far and the relative error.
Report = Callable[[int, float], None]


@dataclass(frozen=True)
class Descent:
    """The fit of a stage's cores to a weight.

    Where one core (of each term, in a sum) carries a mode, its metric is absorbed: the core is fitted to the
    whitened weight, in which all directions count the same, and multiplied by the inverse in the end.
    Otherwise the difference is whitened.

    Args:
        stage: whose cores are fitted.
        weight: (N1, …, NE, I[+1], O).
        metrics: how much each direction counts, by mode.
    """

    stage: Stage
    weight: NumPyArray
    metrics: Metrics

    def minimize(self, cores: Cores, iterations: int, report: Report) -> tuple[Cores, float, int]:
        """Improve cores, which are those of the whitened weight where a metric is absorbed.

        Returns:
            The cores, their relative error (of the whitened weight), and the number of steps.
        """
        from scipy.optimize import minimize  # it takes as long to import as this library

        flat = np.concatenate([cores[name].ravel() for name in self.stage.network.trained])
        watch = _Watch(report)
        error = np.sqrt(2 * self._evaluate(flat)[0])
        if iterations and error > EXACT:
            # SciPy's own tests compare with 1 and stop long before a fit is exact; `watch` stops instead.
            options = {"maxiter": iterations, "maxfun": 3 * iterations, "maxcor": MEMORY}
            result = minimize(
                self._evaluate,
                flat,
                jac=True,
                method="L-BFGS-B",
                callback=watch,
                options={**options, "ftol": 0.0, "gtol": 0.0},
            )
            if result.fun <= error**2 / 2:
                flat, error = result.x, float(np.sqrt(2 * result.fun))
        return self._split(flat), float(error), watch.steps

    def absorb(self, cores: Cores) -> Cores:
        """Cores of the whitened weight from those of the weight."""
        return self._change(cores, lambda metric: metric.root)

    def restore(self, cores: Cores) -> Cores:
        """Cores of the weight from those of the whitened weight."""
        return self._change(cores, lambda metric: metric.inverse)

    def _change(self, cores: Cores, choose: Callable[[Metric], NumPyArray]) -> Cores:
        changed = dict(cores)
        for mode, carriers in self._absorbed.items():
            for core in carriers:
                axis = core.indices.index(mode)
                changed[core.name] = transform(changed[core.name], axis, choose(self.metrics[mode]))
        return changed

    @cached_property
    def target(self) -> NumPyArray:
        """The whitened weight."""
        return np.ascontiguousarray(whiten(self.weight, self.metrics))

    @cached_property
    def _absorbed(self) -> dict[str, list[Core]]:
        """The only core of each term that carries a mode, for every mode that has a metric and such cores."""
        terms = self.stage.network.terms
        held = self.stage.network.held
        carriers = {
            mode: [[core for core in term.cores if mode in core.indices] for term in terms]
            for mode in self.metrics
        }
        return {
            mode: [core for (core,) in cores]
            for mode, cores in carriers.items()
            if all(len(each) == 1 and each[0].name not in held for each in cores)
        }

    @cached_property
    def _scale(self) -> float:
        return float(np.sum(self.target * self.target)) or 1.0

    @cached_property
    def _fixed(self) -> Cores:
        return {
            name: np.asarray(value, "float64") for name, value in self.stage.network.fixed_values().items()
        }

    def _split(self, flat: NumPyArray) -> Cores:
        """All cores in the network's order; fixed ones are no part of the values."""
        cores, start = dict(self._fixed), 0
        shapes = self.stage.network.shapes
        for name in self.stage.network.trained:
            size = prod(shapes[name])
            cores[name] = flat[start : start + size].reshape(shapes[name])
            start += size
        return {name: cores[name] for name in shapes}

    def _evaluate(self, flat: NumPyArray) -> tuple[float, NumPyArray]:
        """Half the squared relative error, and its gradient."""
        ops, program = get_backend("numpy"), self.stage.materialization_plan.program
        operands = [*self._split(flat).values()]
        product, registers = program.forward(ops, operands)
        difference = self._whiten(product) - self.target
        loss = float(np.vdot(difference, difference)) / (2 * self._scale)
        cotangent = np.ascontiguousarray(self._whiten(difference)) / self._scale
        wanted = [number for number, name in enumerate(self.stage.network.shapes) if name not in self._fixed]
        gradients = program.backward(ops, registers, cotangent, wanted)
        return loss, np.concatenate([gradient.ravel() for gradient in gradients if gradient is not None])

    def _whiten(self, weight: NumPyArray) -> NumPyArray:
        """Multiply by the metrics that no core absorbs; they are symmetric, so this is the adjoint, too."""
        axes = {INPUT: weight.ndim - 2, OUTPUT: weight.ndim - 1}
        for mode, metric in self.metrics.items():
            if mode not in self._absorbed:
                weight = transform(weight, axes[mode], metric.root)
        return weight


class _Result(Protocol):
    """What SciPy tells after a step."""

    fun: float


class _Watch:
    """Counts steps, reports them, and ends a descent that is exact or improves no more."""

    def __init__(self, report: Report) -> None:
        self.steps = 0
        self._report = report
        self._losses: list[float] = []

    def __call__(self, intermediate_result: _Result) -> None:
        loss = float(intermediate_result.fun)
        self.steps += 1
        self._losses.append(loss)
        self._report(self.steps, float(np.sqrt(2 * loss)))
        past = self._losses[-_PATIENCE - 1] if len(self._losses) > _PATIENCE else np.inf
        if loss <= EXACT**2 / 2 or past - loss <= _WORTHWHILE * loss:
            raise StopIteration
