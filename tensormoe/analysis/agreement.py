"""Whether two runs find the same experts, in whatever order."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..errors import TensorMoEError
from ..typing import NumPyArray
from .reading import Coefficients, read_experts


class Agreement(NamedTuple):
    """The experts of two runs, each with its partner.

    Args:
        first, second: the numbers of the partners, (K,) each, K = min(N, M); `first` ascends.
        correlations: of their coefficients, (K,), from −1 to 1.
        mean: the mean correlation.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> run = np.array([[1.0, 0.0], [0.0, 1.0]])
        >>> round(tm.analysis.agreement(run, run).mean, 6)
        1.0
    """

    first: NumPyArray
    second: NumPyArray
    correlations: NumPyArray
    mean: float


def agreement(first: Coefficients, second: Coefficients) -> Agreement:
    """Match the experts of two runs one to one, so that their coefficients correlate most.

    Use it to see whether training again, or in another framework, finds the same experts: 1 if it does, 0 for
    no more than chance.

    Args:
        first, second: the coefficients of two layers for the same inputs, as for `joint`. The layers may have
            different numbers of experts; then some of the larger one's have no partner.

    Returns:
        An `Agreement`. An expert whose coefficient is the same for all inputs correlates with none: 0.

    Raises:
        TensorMoEError: as `joint`, other leading axes, or fewer than two inputs.

    Source: Li, Yosinski, Clune, Lipson and Hopcroft, "Convergent Learning: Do Different Neural Networks Learn
    the Same Representations?", 2016, section 3, one-to-one matching. The assignment is
    `scipy.optimize.linear_sum_assignment`.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> run = np.array([[0.8, 0.2, 0.0], [0.1, 0.7, 0.2], [0.0, 0.3, 0.7]])
        >>> again = tm.analysis.agreement(run, run[:, [2, 0, 1]])
        >>> again.second, round(again.mean, 6)
        (array([1, 2, 0]), 1.0)
    """
    ours, theirs = read_experts(first, "first"), read_experts(second, "second")
    if ours.shape[:-1] != theirs.shape[:-1]:
        remedy = f"the first run has the tokens {ours.shape[:-1]}: pass coefficients of the same inputs"
        raise TensorMoEError("second", theirs.shape, remedy)
    correlations = _standardize("first", ours).T @ _standardize("second", theirs)
    rows, columns = linear_sum_assignment(correlations, maximize=True)
    matched = correlations[rows, columns].clip(-1, 1)
    return Agreement(rows, columns, matched, float(matched.mean()))


def _standardize(argument: str, experts: NumPyArray) -> NumPyArray:
    """Each expert's coefficients less their mean, of length 1; zeros where they do not vary."""
    tokens = experts.reshape(-1, experts.shape[-1])
    if len(tokens) < 2:
        raise TensorMoEError(argument, experts.shape, "correlations take at least two inputs")
    deviations = tokens - tokens.mean(axis=0)
    # The mean of equal numbers is rounded: what is left of them is no variation.
    varies = np.ptp(tokens, axis=0) > 0
    length = np.where(varies, np.linalg.norm(deviations, axis=0), 1)
    standardized: NumPyArray = np.where(varies, deviations / length, 0)
    return standardized
