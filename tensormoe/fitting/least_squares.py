"""Small fits by Levenberg and Marquardt's method, from several starts at once.

A descent by gradients alone may take thousands of steps through a valley and then end in the wrong one. For a
small network the Jacobian matrix of its weight fits into memory; with it, a fit takes some ten steps. So many
starts are tried in the time of one, and those that are worst, or improve no more, are left early.

Source: Marquardt, "An Algorithm for Least-Squares Estimation of Nonlinear Parameters", 1963; Nielsen,
"Damping Parameter in Marquardt's Method", 1999; Tomasi and Bro, "A comparison of algorithms for fitting the
PARAFAC model", 2006, for its use with tensors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from ..layers.stage import Stage
from ..typing import NumPyArray
from .descent import EXACT
from .jacobian import Batch, Jacobian
from .starts import Cores, draw_like

# The most elements of all Jacobian matrices together, and the most parameters.
_LARGEST, _MOST = 500_000, 400
# At most so many starts, at least so many, and how many of the best go on after so many steps.
_MOST_STARTS, _FEWEST_STARTS, _BEST, _FIRST = 8, 2, 4, 15
# What improves the squared error by less than these parts of it in so many steps is left: at first, and then.
_PATIENCE, _COARSE, _FINE = 5, 1e-3, 1e-5
# How strong the damping is at first, relative to the squares of the derivatives, and at least.
_DAMPING, _LEAST = 1e-2, 1e-14


@dataclass(frozen=True)
class LeastSquares:
    """The fit of a small stage's cores to a weight; see the module.

    Args:
        stage: whose cores are fitted; `suits` says whether they can be.
        weight: (N1, …, NE, I[+1], O), in float64.
    """

    stage: Stage
    weight: NumPyArray

    @classmethod
    def suits(cls, stage: Stage) -> bool:
        """Whether a network is small, uses each core once, and has no terms for biases and no padding."""
        network = stage.network
        padded = any(each.pad for each in network.splits)
        if network.shared or network.has_bias_terms or padded:
            return False
        return network.num_parameters <= min(_MOST, _LARGEST // prod(network.weight_shape) // _FEWEST_STARTS)

    def minimize(
        self, seed: int, iterations: int, *, enough: float = EXACT, given: Sequence[Cores] = ()
    ) -> tuple[Cores, float, int]:
        """Fit from random starts.

        Args:
            seed: of the starts.
            iterations: the largest number of steps from each of them.
            enough: a relative error that ends the fit.
            given: further starts.

        Returns:
            The best cores, their relative error, and the number of steps.
        """
        elements = self.weight.size * max(self.stage.network.num_parameters, 1)
        starts = min(max(_LARGEST // elements, _FEWEST_STARTS), _MOST_STARTS)
        drawn = [draw_like(self.stage, self.weight, seed + number) for number in range(starts)]
        values = np.stack([self._join(each) for each in (*given, *drawn)])
        losses, steps = self._losses(values), 0
        damping, growth = np.full(len(values), _DAMPING), np.full(len(values), 2.0)
        active, marked = np.arange(len(values)), np.full(len(values), np.inf)
        for step in range(iterations):
            if step % _PATIENCE == 0:
                worth = _COARSE if step <= _FIRST else _FINE
                active = active[marked[active] - losses[active] > worth * losses[active]]
                marked = losses.copy()
            if step == _FIRST:
                active = active[np.argsort(losses[active])[:_BEST]]
            if not active.size or losses.min() <= enough**2:
                break
            steps += len(active)
            moved, promised = self._move(values[active], damping[active])
            reached = self._losses(moved)
            gains = losses[active] - reached
            better = gains > 0
            ratios = np.where(better, gains / np.maximum(promised, 1e-300), 0)
            values[active[better]], losses[active[better]] = moved[better], reached[better]
            slower = np.maximum(1 / 3, 1 - (2 * np.minimum(ratios, 10) - 1) ** 3)
            damping[active] = np.maximum(damping[active] * np.where(better, slower, growth[active]), _LEAST)
            growth[active] = np.where(better, 2.0, np.minimum(2 * growth[active], 1e6))
        best = int(np.argmin(losses))
        return self._split(values[best]), float(np.sqrt(losses[best])), steps

    def weigh(self, cores: Batch) -> NumPyArray:
        """(B, elements of the weight) the weights of B sets of cores, each of which has a leading axis."""
        first, *others = (each.weigh(cores) for each in self._terms)
        return sum(others, first)

    def derive(self, cores: Batch) -> NumPyArray:
        """(B, elements of the weight, parameters) their derivatives."""
        held = {core.name: term for term in self._terms for core in term.term.cores}
        return np.concatenate([held[name].derive(cores, name) for name in self.stage.network.trained], axis=2)

    def _move(self, values: NumPyArray, damping: NumPyArray) -> tuple[NumPyArray, NumPyArray]:
        """Where a step leads from each set of values, and the loss that it promises to take off."""
        cores = self._name(values)
        derivatives = self.derive(cores)
        missing = self._target - self.weigh(cores)
        slopes = (missing[:, None, :] @ derivatives)[:, 0]
        squares = derivatives.swapaxes(1, 2) @ derivatives
        diagonal = np.einsum("bpp->bp", squares)
        ridge = damping[:, None] * (diagonal + diagonal.mean(axis=1, keepdims=True))
        diagonal += ridge
        moves = np.linalg.solve(squares, slopes[..., None])[..., 0]
        promised = (moves * (slopes + ridge * moves)).sum(axis=1) / self._scale
        return values + moves, promised

    def _losses(self, values: NumPyArray) -> NumPyArray:
        """The squared relative errors."""
        difference = self.weigh(self._name(values)) - self._target
        losses: NumPyArray = (difference**2).sum(axis=1) / self._scale
        return losses

    @cached_property
    def _terms(self) -> tuple[Jacobian, ...]:
        return tuple(map(Jacobian, self.stage.network.terms))

    @cached_property
    def _target(self) -> NumPyArray:
        return self.weight.reshape(-1)

    @cached_property
    def _scale(self) -> float:
        return float(self._target @ self._target) or 1.0

    def _join(self, cores: Cores) -> NumPyArray:
        return np.concatenate([cores[name].ravel() for name in self.stage.network.trained])

    def _name(self, values: NumPyArray) -> Cores:
        """The cores of several sets of values, each with a leading axis."""
        cores, start = {}, 0
        for name, shape in self.stage.network.shapes.items():
            if name in self._fixed:
                cores[name] = np.broadcast_to(self._fixed[name], (len(values), *shape))
                continue
            size = prod(shape)
            cores[name] = values[:, start : start + size].reshape(len(values), *shape)
            start += size
        return cores

    def _split(self, values: NumPyArray) -> Cores:
        return {name: core[0] for name, core in self._name(values[None]).items()}

    @cached_property
    def _fixed(self) -> Cores:
        values = self.stage.network.fixed_values()
        return {name: np.asarray(value, "float64") for name, value in values.items()}
