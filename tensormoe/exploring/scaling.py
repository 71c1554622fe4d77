"""Scaling laws: how a loss falls as layers of one family get wider and take more compute."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp
from os import PathLike
from typing import NamedTuple

import numpy as np

from ..errors import TensorMoEError, number_from, positive_integer, positive_number
from ..intervals import CONFIDENCE
from ..layers.layer_spec import MuMoESpec
from ..networks.factorization import Factorization
from ..typing import NumPyArray
from .study import Study
from .sweep import sweep
from .tasks import Task

COMPUTE = "macs"
# Fewer points leave a line no room for error.
_FEWEST = 3
_SAMPLES = 300


class Exponent(NamedTuple):
    """The exponent of a law with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ScalingLaw:
    """loss = coefficient · macs^(−exponent) + floor, as fitted to layers of several widths.

    Args:
        study: the layers that it is fitted to.
        widths: the input features of each of them, in order.
        exponent: with its 95 % interval.
        coefficient: the loss above the floor at one multiply-accumulate a token.
        floor: the loss that no compute removes.

    Examples:
        >>> import tensormoe as tm
        >>> def train(spec, seed):
        ...     return 3 * spec.macs ** -0.25 * (1 + 0.01 * (-1) ** seed)
        >>> layer = tm.MuMoESpec(16, 16, experts=4, factorization=tm.CP(4))
        >>> law = tm.explore.scaling(tm.CP(4), (16, 32, 64, 128), tm.explore.train_with(train), 2, like=layer)
        >>> law.exponent.low < 0.25 < law.exponent.high
        True
    """

    study: Study
    widths: tuple[int, ...]
    exponent: Exponent
    coefficient: float
    floor: float

    def predict(self, macs: float) -> float:
        """The loss at so many multiply-accumulates a token."""
        compute = positive_number("macs", macs)
        return float(self.coefficient * compute**-self.exponent.value + self.floor)

    def __str__(self) -> str:
        low, high = self.exponent.low, self.exponent.high
        floor = f" + {self.floor:.4g}" * (self.floor != 0)
        name = self.study.objectives[0]
        return (
            f"{name} = {self.coefficient:.4g} · macs^(−{self.exponent.value:.4g}){floor}; "
            f"exponent from {low:.4g} to {high:.4g} at {CONFIDENCE:.0%}, {len(self.widths)} widths"
        )


def scaling(
    family: Factorization | Callable[[int], MuMoESpec],
    widths: Sequence[int],
    task: Task,
    seeds: int | Sequence[int] = 1,
    *,
    like: MuMoESpec | None = None,
    floor: float | None = 0.0,
    path: str | PathLike[str] | None = None,
    jobs: int | None = 1,
    progress: bool = False,
) -> ScalingLaw:
    """Fit the law by which a task's loss falls with compute, over widths of one family.

    Use it to compare families by what they make of more compute, and not at one size only.

    Args:
        family: a function from a width to a layer; or a factorization in the layer `like`, whose features
            and bonds grow in proportion to the width.
        widths: at least three, each the number of input features.
        task: what gives the loss; see `sweep`.
        seeds: how many, from 0, or which.
        like: the layer in which a factorization stands.
        floor: the loss that no compute removes; None fits it, too, which takes many widths.
        path, jobs, progress: as for `sweep`.

    Raises:
        TensorMoEError: fewer than three widths, a task without a loss, too few layers that could be trained,
            or a floor that is not below every loss.

    Source: Potapczynski, Qiu et al., "Searching for Efficient Linear Layers over a Continuous Space of
    Structured Matrices", 2024, section 4, for linear layers.
    """
    specs = _read_widths(family, widths, like)
    if not getattr(task, "objective", ""):
        raise TensorMoEError("task", task, "it has no loss to fit a law to: pass fit_to or train_with")
    given = None if floor is None else number_from(0.0, "floor", floor)
    study = sweep(specs, None, task, seeds, costs=(COMPUTE,), path=path, jobs=jobs, progress=progress)
    name = study.objectives[0]
    compute = np.array([trial.values[COMPUTE] for trial in study.complete])
    losses = np.array([trial.values[name] for trial in study.complete])
    if len({*compute}) < _FEWEST:
        reasons = "; ".join(dict.fromkeys(trial.reason for trial in study.trials if trial.reason))
        remedy = f"only {len({*compute})} of them gave a loss, and a law takes {_FEWEST}: {reasons[:500]}"
        raise TensorMoEError("widths", tuple(widths), remedy)
    if losses.min() <= (given or 0.0):
        remedy = f"the smallest loss is {losses.min():.4g}, and a law takes losses above the floor"
        raise TensorMoEError("floor", floor, remedy)
    law = _fit(compute, losses) if given is None else _line(compute, losses, given)
    return ScalingLaw(study, tuple(spec.in_features for spec in specs), *law)


def _read_widths(
    family: Factorization | Callable[[int], MuMoESpec], widths: Sequence[int], like: MuMoESpec | None
) -> list[MuMoESpec]:
    listed = widths if isinstance(widths, list | tuple | range) else ()
    sizes = [positive_integer("widths", width) for width in listed]
    if len({*sizes}) < max(_FEWEST, len(sizes)):
        raise TensorMoEError("widths", widths, f"pass at least {_FEWEST} different numbers of features")
    if isinstance(family, Factorization):
        if not isinstance(like, MuMoESpec):
            raise TensorMoEError("like", like, f"pass the layer in which {family} should stand")
        return [_widen(like.replace(factorization=family, optimize="auto"), width) for width in sizes]
    if not callable(family):
        raise TensorMoEError("family", family, "pass a factorization, or a function from widths to layers")
    specs = [family(width) for width in sizes]
    for spec in specs:
        if not isinstance(spec, MuMoESpec):
            raise TensorMoEError("family", spec, "the function should return a MuMoESpec")
    return specs


def _widen(spec: MuMoESpec, width: int) -> MuMoESpec:
    """The layer with so many input features; its outputs and bonds grow in proportion."""
    ratio, bonds = width / spec.in_features, spec.factorization.bonds(len(spec.experts))
    wider = {name: max(1, round(size * ratio)) for name, size in bonds.items()}
    return spec.replace(
        in_features=width,
        out_features=max(1, round(spec.out_features * ratio)),
        factorization=spec.factorization.with_bonds(wider),
    )


# The exponent, the coefficient and the floor.
Law = tuple[Exponent, float, float]


def _line(compute: NumPyArray, losses: NumPyArray, floor: float) -> Law:
    """The law with a known floor: a line through logarithms, with Student's interval of its slope."""
    from scipy.stats import linregress, t

    line = linregress(np.log(compute), np.log(losses - floor))
    half = float(t.ppf((1 + CONFIDENCE) / 2, len(losses) - 2)) * float(line.stderr)
    slope = -float(line.slope)
    return Exponent(slope, slope - half, slope + half), exp(line.intercept), floor


def _fit(compute: NumPyArray, losses: NumPyArray) -> Law:
    """The law with the floor that fits best; its interval is that of residuals drawn again (bootstrap)."""
    logs = np.log(compute)
    # The sum of squares has several minima in the floor: the best of several starts is taken.
    starts = []
    for floor in losses.min() * np.array([0.0, 0.5, 0.9, 0.99]):
        slope, intercept = np.polyfit(logs, np.log(losses - floor), 1)
        starts.append(np.array([-slope, intercept, floor]))
    best = min((_descend(logs, losses, start) for start in starts), key=lambda each: each[1])[0]
    fitted = _logarithm(best, logs)
    residuals = np.log(losses) - fitted
    # Residuals of n points about a law of three numbers are too small by this much.
    residuals *= np.sqrt(len(losses) / max(len(losses) - 3, 1))
    generator = np.random.default_rng(0)
    drawn = [
        _descend(logs, np.exp(fitted + generator.choice(residuals, len(residuals))), best)[0][0]
        for _ in range(_SAMPLES)
    ]
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Exponent(float(best[0]), float(low), float(high)), exp(best[1]), float(best[2])


def _logarithm(law: NumPyArray, logs: NumPyArray) -> NumPyArray:
    """The logarithm of the loss, from the exponent, the logarithm of the coefficient and the floor."""
    return np.asarray(np.log(np.exp(law[1] - law[0] * logs) + law[2]))


def _descend(logs: NumPyArray, losses: NumPyArray, start: NumPyArray) -> tuple[NumPyArray, float]:
    """The law of least squares between logarithms that a start leads to, and half their sum."""
    from scipy.optimize import least_squares

    bounds = ([-np.inf, -np.inf, 0.0], [np.inf, np.inf, np.inf])
    wanted = np.log(losses)
    result = least_squares(lambda law: _logarithm(law, logs) - wanted, start, bounds=bounds, x_scale="jac")
    return result.x, float(result.cost)
