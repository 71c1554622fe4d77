"""How fair a classifier is to groups of its inputs.

A group is any subpopulation with a number: an attribute, or a class and an attribute together. Groups without
an input count for nothing.
"""

from collections.abc import Sequence

import numpy as np

from ..errors import TensorMoEError, place_number
from ..typing import Array, NumPyArray
from .reading import count_classes, read_classes

# Numbers of classes or groups of any framework, or a list of them.
Numbers = Array | Sequence[int]


def accuracy(predictions: Numbers, labels: Numbers) -> float:
    """The share of inputs whose prediction is their label.

    Args:
        predictions, labels: integers from 0 on, one for each input, of any framework.

    Raises:
        TensorMoEError: other numbers, or different counts of them.

    Examples:
        >>> import tensormoe as tm
        >>> tm.analysis.accuracy([0, 1, 1, 1], [0, 1, 1, 0])
        0.75
    """
    return float(_compare(predictions, labels).mean())


def group_accuracy(predictions: Numbers, labels: Numbers, groups: Numbers) -> NumPyArray:
    """The accuracy within each group.

    Args:
        predictions, labels: as for `accuracy`.
        groups: the group of each input, integers from 0 on.

    Returns:
        (G,), G one more than the largest number; NaN for a group without an input.

    Raises:
        TensorMoEError: as `accuracy`.

    Examples:
        >>> import tensormoe as tm
        >>> tm.analysis.group_accuracy([0, 1, 1, 1], [0, 1, 1, 0], groups=[0, 0, 1, 1])
        array([1. , 0.5])
    """
    right = _compare(predictions, labels)
    return _mean_by_group(right, _read_groups(groups, right))


def equality_of_opportunity(
    predictions: Numbers, labels: Numbers, groups: Numbers, *, positive: int = 1
) -> float:
    """The largest difference of the groups' true positive rates: 0 if opportunities are equal.

    Args:
        predictions, labels, groups: as for `group_accuracy`.
        positive: the class that is an opportunity.

    Returns:
        max_g TPR_g − min_g TPR_g, from 0 to 1; TPR_g is the share of group g's inputs of the positive class
        that are predicted as such. Groups without one count for nothing.

    Raises:
        TensorMoEError: as `accuracy`, or fewer than two groups with an input of the positive class.

    Source: Hardt, Price and Srebro, "Equality of Opportunity in Supervised Learning", 2016, definition 2.2;
    the difference makes a measure of it.

    Examples:
        >>> import tensormoe as tm
        >>> tm.analysis.equality_of_opportunity([1, 1, 1, 0], [1, 1, 1, 1], groups=[0, 0, 1, 1])
        0.5
    """
    chosen = place_number("positive", positive)
    right = _compare(predictions, labels)
    members, truth = _read_groups(groups, right), read_classes("labels", labels)
    rates = _present(_mean_by_group(right[truth == chosen], members[truth == chosen]))
    if len(rates) < 2:
        remedy = f"inputs of class {chosen} are in {len(rates)} group(s): pass those of at least two"
        raise TensorMoEError("groups", len(rates), remedy)
    return float(rates.max() - rates.min())


def standard_deviation_bias(predictions: Numbers, labels: Numbers, groups: Numbers) -> float:
    """The standard deviation of the groups' accuracies: 0 if all are served alike.

    Args:
        predictions, labels, groups: as for `group_accuracy`.

    Returns:
        √(Σ_g (acc_g − mean)² / G) over the groups that have an input.

    Raises:
        TensorMoEError: as `accuracy`.

    Source: Wang and Deng, "Mitigating Bias in Face Recognition Using Skewness-Aware Reinforcement Learning",
    2020, where the standard deviation of accuracies over groups measures bias.

    Examples:
        >>> import tensormoe as tm
        >>> tm.analysis.standard_deviation_bias([0, 1, 1, 1], [0, 1, 1, 0], groups=[0, 0, 1, 1])
        0.25
    """
    return float(_present(group_accuracy(predictions, labels, groups)).std())


def max_min_fairness(predictions: Numbers, labels: Numbers, groups: Numbers) -> float:
    """The accuracy of the group that is served worst. Of several classifiers, the fairest has the largest.

    Args:
        predictions, labels, groups: as for `group_accuracy`.

    Returns:
        min_g acc_g over the groups that have an input.

    Raises:
        TensorMoEError: as `accuracy`.

    Source: Lahoti et al., "Fairness without Demographics through Adversarially Reweighted Learning", 2020,
    definition 1 with accuracy for utility, after Rawls.

    Examples:
        >>> import tensormoe as tm
        >>> tm.analysis.max_min_fairness([0, 1, 1, 1], [0, 1, 1, 0], groups=[0, 0, 1, 1])
        0.5
    """
    return float(_present(group_accuracy(predictions, labels, groups)).min())


def _compare(predictions: Numbers, labels: Numbers) -> NumPyArray:
    """Whether each prediction is right, (T,)."""
    ours = read_classes("predictions", predictions)
    right: NumPyArray = ours == read_classes("labels", labels, ours.shape)
    return right


def _read_groups(groups: Numbers, right: NumPyArray) -> NumPyArray:
    return read_classes("groups", groups, right.shape)


def _mean_by_group(right: NumPyArray, groups: NumPyArray) -> NumPyArray:
    if not len(groups):
        return np.full(1, np.nan)
    count = count_classes("groups", groups, 1)
    sizes = np.bincount(groups, minlength=count)
    sums = np.bincount(groups, weights=right, minlength=count)
    shares: NumPyArray = np.divide(sums, sizes, out=np.full(count, np.nan), where=sizes > 0)
    return shares


def _present(values: NumPyArray) -> NumPyArray:
    """The values of groups that have an input."""
    return values[~np.isnan(values)]
