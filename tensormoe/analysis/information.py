"""How certain a gate is, how many experts it uses, and what an expert tells of an input's class.

All are entropies in nats of a table of shares. A token's shares are its coefficients divided by their sum; a
token whose coefficients are all 0 uses no expert and has none. With a gate whose coefficients have no fixed
sum, shares say which experts a token uses and not how much they do: a token with coefficients (0.01, 0.01) is
one with (5, 5). Measures of tokens, such as `token_entropy` and `mutual_information`, count all tokens alike;
those of the load, such as `load_entropy`, count a token by its sum.
"""

from collections.abc import Sequence

import numpy as np

from ..errors import TensorMoEError, positive_integer
from ..typing import Array, NumPyArray
from .reading import Coefficients, check_used, count_classes, read_classes, read_experts
from .usage import load


def token_entropy(coefficients: Coefficients) -> NumPyArray:
    """The entropy of every token's shares: 0 for one expert, ln N for all alike.

    Use it to see how certain the gate is.

    Args:
        coefficients: as for `joint`.

    Returns:
        −Σ_n p_n ln p_n with p = a / Σ a, of the shape of the leading axes, in nats; 0 where all coefficients
        are 0.

    Raises:
        TensorMoEError: as `joint`.

    Source: Shannon, "A Mathematical Theory of Communication", 1948, section 6.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> tm.analysis.token_entropy(np.array([[0.5, 0.5], [1.0, 0.0]])).round(4)
        array([0.6931, 0.    ])
    """
    return entropy(_divide(read_experts(coefficients)))


def load_entropy(coefficients: Coefficients) -> float:
    """The entropy of the load: ln N if all experts do as much, 0 if one does all.

    Use it with `token_entropy`: experts that specialize have a small entropy per token and a large one of the
    load.

    Args:
        coefficients: as for `joint`.

    Returns:
        The entropy of `load`, in nats.

    Raises:
        TensorMoEError: as `load`.

    Source: Shannon, "A Mathematical Theory of Communication", 1948, section 6.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> round(tm.analysis.load_entropy(np.array([[0.0, 1.0], [1.0, 0.0]])), 4)
        0.6931
    """
    return float(entropy(load(coefficients)))


def effective_experts(coefficients: Coefficients) -> float:
    """The effective number of experts: that of equally loaded ones whose load has the same entropy.

    Use it in place of a count of living experts, which one input changes.

    Args:
        coefficients: as for `joint`.

    Returns:
        exp(load_entropy), from 1 to N.

    Raises:
        TensorMoEError: as `load`.

    Source: Hill, "Diversity and Evenness: A Unifying Notation and Its Consequences", 1973, the number of
    order 1.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> round(tm.analysis.effective_experts(np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]])), 6)
        2.0
    """
    return float(np.exp(load_entropy(coefficients)))


def class_means(
    coefficients: Coefficients, labels: Array | Sequence[int], *, classes: int | None = None
) -> NumPyArray:
    """The mean coefficients of the inputs of each class.

    Use it to see which experts a class uses.

    Args:
        coefficients: as for `joint`.
        labels: the class of each input: integers from 0 on, of the shape of the leading axes or (T,), of any
            framework.
        classes: how many there are, C; by default one more than the largest label.

    Returns:
        (C, N); a class without an input has no mean, and NaN.

    Raises:
        TensorMoEError: as `joint`; labels of another number than there are inputs, or beyond `classes`.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> coefficients = np.array([[0.75, 0.25], [0.25, 0.75], [0.0, 1.0]])
        >>> tm.analysis.class_means(coefficients, [0, 0, 1])
        array([[0.5, 0.5],
               [0. , 1. ]])
    """
    experts = read_experts(coefficients)
    numbers = read_classes("labels", labels, experts.shape[:-1])
    count = count_classes("labels", numbers, experts.shape[-1])
    if classes is not None:
        if positive_integer("classes", classes) < count:
            raise TensorMoEError("labels", count - 1, f"there are {classes} classes, numbered from 0 on")
        count = count_classes("classes", np.array([classes - 1]), experts.shape[-1])
    sums = add_up(experts.reshape(-1, experts.shape[-1]), numbers, count)
    sizes = np.bincount(numbers, minlength=count)[:, None]
    return np.divide(sums, sizes, out=np.full_like(sums, np.nan), where=sizes > 0)


def mutual_information(coefficients: Coefficients, labels: Array | Sequence[int]) -> float:
    """How much an expert tells of the class: the mutual information of an input's class and its expert.

    An input's expert is drawn with the probabilities of its shares. Use it to compare gates: it is 0 if all
    classes use the experts alike, and the entropy of the classes if each expert is used by one class alone.

    Args:
        coefficients: as for `joint`.
        labels: as for `class_means`.

    Returns:
        Σ_cn P(c, n) ln(P(c, n) / P(c) P(n)) in nats, where P(c, n) is the mean share of expert n over all
        inputs, with 0 for those of other classes than c.

    Raises:
        TensorMoEError: as `load`, or labels of another number than there are inputs.

    Source: Shannon, "A Mathematical Theory of Communication", 1948, section 12.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> coefficients = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> round(tm.analysis.mutual_information(coefficients, [0, 0, 1, 1]), 4)
        0.6931
        >>> tm.analysis.mutual_information(coefficients, [0, 1, 0, 1])
        0.0
    """
    experts = read_experts(coefficients)
    check_used(experts)
    numbers = read_classes("labels", labels, experts.shape[:-1])
    count = count_classes("labels", numbers, experts.shape[-1])
    return information(add_up(_divide(experts.reshape(-1, experts.shape[-1])), numbers, count))


def entropy(shares: NumPyArray) -> NumPyArray:
    """−Σ p ln p along the last axis, 0 ln 0 = 0."""
    logarithms = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    # 0 − x, lest the entropy of one share be −0.
    total: NumPyArray = 0 - (shares * logarithms).sum(axis=-1)
    return total


def information(table: NumPyArray) -> float:
    """The mutual information of a table's rows and columns, in nats; the table need not sum to 1."""
    joint = table / table.sum()
    expected = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    ratios = np.divide(joint, expected, out=np.ones_like(joint), where=joint > 0)
    # It is never negative, but the rounding of a sum is.
    return max(float((joint * np.log(ratios)).sum()), 0.0)


def add_up(rows: NumPyArray, numbers: NumPyArray, count: int) -> NumPyArray:
    """The sum of the rows of each class, (C, N)."""
    sums = np.zeros((count, rows.shape[-1]))
    np.add.at(sums, numbers, rows)
    return sums


def _divide(experts: NumPyArray) -> NumPyArray:
    """Each token's shares."""
    total = experts.sum(axis=-1, keepdims=True)
    shares: NumPyArray = np.divide(experts, total, out=np.zeros_like(experts), where=total > 0)
    return shares
