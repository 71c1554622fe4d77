"""The fit of a candidate in a search: the cheapest that its size allows, from good starts."""

from math import prod

import numpy as np

from ..layers.stage import Stage
from ..typing import NumPyArray
from .compression import Directions, compress, count_directions, expand, find_directions, narrow
from .descent import EXACT, Descent
from .fit import fit
from .least_squares import LeastSquares
from .starts import Cores, decompose

# After a fit in some directions, so many times fewer steps in all of them.
_FEWER = 50


def fit_candidate(
    stage: Stage,
    weight: NumPyArray,
    seed: int,
    iterations: int,
    *,
    start: Cores | None = None,
    directions: Directions | None = None,
) -> tuple[Cores, float]:
    """The best cores that are found, and their relative error.

    Small networks are fitted by least squares; large ones in the directions that they can use, then in all;
    others, and one matrix for all experts, as by `fit`.

    Args:
        stage: whose cores are fitted.
        weight: (N1, …, NE, I[+1], O), or (1, …, 1, I[+1], O) for all experts.
        seed: of what is random.
        iterations: the largest number of steps of each descent.
        start: cores to begin with, besides others.
        directions: what `find_directions` says of the weight, if it is known.
    """
    stacked = prod(weight.shape[:-2]) > 1
    if stacked and LeastSquares.suits(stage):
        given = [each for each in (start, decompose(stage, weight, seed)) if each is not None]
        return LeastSquares(stage, weight).minimize(seed, iterations, given=given)[:2]
    counts = count_directions(stage) if stacked else None
    further = iterations if counts is None else -(-iterations // _FEWER)
    descent = Descent(stage, np.broadcast_to(weight, (*stage.experts, *weight.shape[-2:])), {})
    continued = None if start is None else descent.minimize(start, further, _ignore)[:2]
    if continued is not None and continued[1] < 1e3 * EXACT:
        return continued
    if counts is None:
        alone = weight if stacked else weight.reshape(weight.shape[-2:])
        fitted = fit(alone, stage, seed=seed, iterations=iterations)
        best = fitted.cores, fitted.weight_error
    else:
        known = find_directions(weight) if directions is None else directions
        bases = {mode: known[mode][:, :count] for mode, count in counts.items()}
        cores, _ = fit_candidate(narrow(stage, counts), compress(weight, bases), seed, iterations)
        best = descent.minimize(expand(stage, cores, bases), further, _ignore)[:2]
    return continued if continued is not None and continued[1] < best[1] else best


def _ignore(step: int, error: float) -> None:
    """Report nothing."""
