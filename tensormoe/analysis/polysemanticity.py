"""How far experts are from serving a single class."""

from typing import NamedTuple

import numpy as np

from ..errors import TensorMoEError
from ..fitting.target import read_values
from ..typing import Array, NumPyArray


class Polysemanticity(NamedTuple):
    """How far each expert is from serving a single class.

    Args:
        experts: (N,), 0 for an expert that one class depends on altogether; NaN for one without which no
            accuracy changes.
        mean: over the other experts; NaN if there are none.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> tm.analysis.polysemanticity(np.array([[-1.0, 0.0], [-1.0, -1.0]])).experts
        array([0., 1.])
    """

    experts: NumPyArray
    mean: float


def polysemanticity(changes: Array) -> Polysemanticity:
    """The class-level polysemanticity of each expert, and its mean.

    Use it to compare layers: more experts, or sparser gates, should bring it down.

    Args:
        changes: how much the accuracy of each class changes without an expert, (N, C), from −1 to 1, of any
            framework, such as `accuracy_by_ablation` returns.

    Returns:
        A `Polysemanticity`: ‖d_n − e_n‖₂ of each expert, where d_n are the absolute changes and e_n is 1 at
        the largest of them, the first of equal ones, and 0 elsewhere.

    Raises:
        TensorMoEError: another shape, or changes beyond 1 or that are not finite.

    Source: Oldfield et al., "Multilinear Mixture of Experts: Scalable Expert Specialization through
    Factorization", 2024, class-level polysemanticity.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> changes = np.array([[-1.0, 0.0], [-0.5, -0.5], [0.0, 0.0]])
        >>> result = tm.analysis.polysemanticity(changes)
        >>> result.experts.round(3), round(result.mean, 3)
        (array([0.   , 0.707,   nan]), 0.354)
    """
    distances = np.abs(read_values("changes", changes))
    if distances.ndim != 2 or distances.size == 0:
        raise TensorMoEError("changes", distances.shape, "pass one row for each expert, (N, C)")
    if distances.max() > 1:
        raise TensorMoEError(
            "changes", float(distances.max()), "accuracies are from 0 to 1, and so are changes"
        )
    largest = distances.argmax(axis=1)
    matters = distances.any(axis=1)
    distances[np.arange(len(distances)), largest] -= 1
    experts = np.where(matters, np.linalg.norm(distances, axis=1), np.nan)
    return Polysemanticity(experts, float(experts[matters].mean()) if matters.any() else float("nan"))
