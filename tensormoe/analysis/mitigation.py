"""Three simple ways to a fairer classifier, with which an edit of experts is compared."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import (
    TensorMoEError,
    non_negative_integer,
    number_from,
    positive_integer,
    positive_number,
    real_number,
)
from ..fitting.target import read_values
from ..memory import check_memory, host_memory
from ..typing import Array, NumPyArray
from .reading import count_classes, read_classes


def oversample(groups: Array | Sequence[int], *, seed: int = 0) -> NumPyArray:
    """The numbers of inputs to train on so that all groups are as large as the largest.

    Args:
        groups: the group of each input, integers from 0 on, of any framework.
        seed: of what is drawn, with replacement, from smaller groups.

    Returns:
        Numbers of inputs in random order, (largest size · number of groups,); each input is there at least
        once.

    Raises:
        TensorMoEError: other numbers, or more inputs than the host has memory for.

    Source: Wang et al., "Towards Fairness in Visual Recognition: Effective Strategies for Bias Mitigation",
    2020, oversampling.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> groups = np.array([0, 0, 0, 1])
        >>> np.bincount(groups[tm.analysis.oversample(groups)])
        array([3, 3])
    """
    generator = np.random.default_rng(non_negative_integer("seed", seed))
    numbers = read_classes("groups", groups)
    kinds, sizes = np.unique(numbers, return_counts=True)
    largest = int(sizes.max())
    check_memory("groups", len(kinds), "so many inputs", 24 * largest * len(kinds), host_memory())
    drawn = []
    for kind in kinds:
        members = np.flatnonzero(numbers == kind)
        drawn += [members, generator.choice(members, largest - len(members))]
    return generator.permutation(np.concatenate(drawn))


def blind_threshold(logits: Array, output: int, constant: float) -> NumPyArray:
    """Add one constant to a logit for every input, whatever its group.

    Use it as the baseline of an edit that adds to a logit for one subpopulation alone.

    Args:
        logits: (…, C) of any framework.
        output: the logit's number.
        constant: what is added; negative for less.

    Returns:
        (…, C) in NumPy's float64.

    Raises:
        TensorMoEError: logits that are not finite, or an output that they lack.

    Source: Oldfield et al., "Multilinear Mixture of Experts: Scalable Expert Specialization through
    Factorization", 2024, where edited experts are compared with it.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> tm.analysis.blind_threshold(np.array([[0.0, 1.0], [2.0, 3.0]]), output=0, constant=0.5)
        array([[0.5, 1. ],
               [2.5, 3. ]])
    """
    added = real_number(constant)
    if added is None or not np.isfinite(added):
        raise TensorMoEError("constant", constant, "pass a finite number")
    shifted = read_values("logits", logits)
    outputs = shifted.shape[-1] if shifted.ndim else 0
    if non_negative_integer("output", output) >= outputs:
        raise TensorMoEError("output", output, f"there are {outputs} logits, numbered from 0 on")
    shifted[..., output] += added
    return shifted


class AdversarialHead(NamedTuple):
    """A linear classifier, and how well its adversary does.

    Args:
        weight: (d, C); logits are features @ weight + bias.
        bias: (C,).
        leakage: the adversary's accuracy less the largest group's share: 0 if logits tell it nothing.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> head = tm.analysis.adversarial_head(np.eye(2), [0, 1], groups=[0, 1], strength=0)
        >>> (np.eye(2) @ head.weight + head.bias).argmax(axis=1)
        array([0, 1])
    """

    weight: NumPyArray
    bias: NumPyArray
    leakage: float


def adversarial_head(
    features: Array,
    labels: Array | Sequence[int],
    groups: Array | Sequence[int],
    *,
    strength: float = 1.0,
    steps: int = 500,
    rate: float = 1.0,
) -> AdversarialHead:
    """Train a linear classifier from whose logits a linear adversary cannot tell the group.

    Both are trained by gradient descent on all inputs at once, from zeros, on standardized features; steps
    fall with the square root of their number. The classifier's step leaves out what would help the adversary
    and adds what hurts it.

    Args:
        features: (T, d) of any framework.
        labels, groups: of each input, integers from 0 on, (T,).
        strength: how much the adversary counts, α; 0 trains without one.
        steps, rate: how many steps, and the size of the first.

    Returns:
        An `AdversarialHead`.

    Raises:
        TensorMoEError: features that are not finite, labels or groups of another number, or a training that
            diverges.

    Source: Zhang, Lemoine and Mitchell, "Mitigating Unwanted Biases with Adversarial Learning", 2018,
    equation 1.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> features = np.random.default_rng(0).normal(size=(200, 2))
        >>> labels, groups = features[:, 0] + features[:, 1] > 0, features[:, 1] > 0
        >>> plain = tm.analysis.adversarial_head(features, labels, groups, strength=0)
        >>> fair = tm.analysis.adversarial_head(features, labels, groups)
        >>> fair.leakage < plain.leakage
        True
    """
    alpha, count = number_from(0, "strength", strength), positive_integer("steps", steps)
    size = positive_number("rate", rate)
    x = read_values("features", features)
    if x.ndim != 2 or x.size == 0:
        raise TensorMoEError("features", x.shape, "pass an array (T, d)")
    classes, members = (
        _one_hot(name, numbers, len(x)) for name, numbers in (("labels", labels), ("groups", groups))
    )
    mean, spread = x.mean(axis=0), x.std(axis=0)
    spread = np.where(spread > 0, spread, 1)
    x = np.concatenate([(x - mean) / spread, np.ones((len(x), 1))], axis=1)
    head, adversary = (
        np.zeros((x.shape[1], classes.shape[1])),
        np.zeros((classes.shape[1] + 1, members.shape[1])),
    )
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(1, count + 1):
            logits = _extend(x @ head)
            task = x.T @ (_softmax(x @ head) - classes) / len(x)
            residual = (_softmax(logits @ adversary) - members) / len(x)
            # The adversary's loss as the head changes it.
            against = x.T @ (residual @ adversary[:-1].T)
            change = _oppose(task, against, alpha) if alpha else task
            head -= size / np.sqrt(step) * change
            adversary -= size / np.sqrt(step) * (logits.T @ residual)
    if not (np.isfinite(head).all() and np.isfinite(adversary).all()):
        raise TensorMoEError("rate", rate, "the training diverges: pass a smaller rate or strength")
    guesses = (_extend(x @ head) @ adversary).argmax(axis=1)
    leakage = float((guesses == members.argmax(axis=1)).mean() - members.mean(axis=0).max())
    weight = head[:-1] / spread[:, None]
    return AdversarialHead(weight, head[-1] - mean @ weight, leakage)


def _oppose(task: NumPyArray, against: NumPyArray, alpha: float) -> NumPyArray:
    """The task's gradient without its part along the adversary's, less α times that."""
    square = float((against * against).sum())
    along = float((task * against).sum()) / square if square > 0 else 0.0
    return task - (along + alpha) * against


def _one_hot(argument: str, numbers: Array | Sequence[int], inputs: int) -> NumPyArray:
    read = read_classes(argument, numbers, (inputs,))
    count = count_classes(argument, read, inputs)
    members: NumPyArray = (read[:, None] == np.arange(count)).astype("float64")
    return members


def _extend(logits: NumPyArray) -> NumPyArray:
    return np.concatenate([logits, np.ones((len(logits), 1))], axis=1)


def _softmax(logits: NumPyArray) -> NumPyArray:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NumPyArray = exponentials / exponentials.sum(axis=1, keepdims=True)
    return shares
