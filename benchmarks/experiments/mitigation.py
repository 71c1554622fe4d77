"""Ways to a fairer classifier, each at several strengths, and the published measures of it."""

from collections.abc import Sequence

import torch

import tensormoe as tm
from tensormoe.editing import RewriteBias, edit
from tensormoe.typing import NumPyArray
from tensormoe_torch import MuMoE

from .data.population import Population, Task

# The class that is sought, and the group of it that has few examples to learn from: that with the attribute.
SOUGHT, RARE = 1, 3
MEASURES = ("accuracy", "opportunity gap", "deviation", "worst group")


def measure(logits: NumPyArray, population: Population) -> dict[str, float]:
    """The published measures: accuracy, and three of fairness.

    Equality of opportunity is between inputs without and with the attribute; the deviation and the accuracy
    of the worst group are over the four groups of class and attribute.
    """
    guesses, labels = logits.argmax(axis=1), population.labels
    values = (
        tm.analysis.accuracy(guesses, labels),
        tm.analysis.equality_of_opportunity(guesses, labels, population.attributes),
        tm.analysis.standard_deviation_bias(guesses, labels, population.groups),
        tm.analysis.max_min_fairness(guesses, labels, population.groups),
    )
    return dict(zip(MEASURES, values, strict=True))


def rewrite(head: MuMoE, task: Task, strength: float) -> list[NumPyArray]:
    """Give the sought logit λ·ā[n] more for expert n, ā the mean coefficients of the group with few examples.

    Args:
        head: the trained layer.
        task: its inputs, the features.
        strength: λ.

    Returns:
        Logits of validation and of test.
    """
    rare = torch.from_numpy(task.train.x[task.train.groups == RARE])
    with torch.no_grad():
        _, (coefficients,) = head(rare, return_coefficients=True)
    change = RewriteBias(coefficients.mean(dim=0), output=SOUGHT, strength=strength)
    return classify(edit(head, change).layer, task)


def shift(head: MuMoE, task: Task, constant: float) -> list[NumPyArray]:
    """Give the sought logit a constant more, for whatever input."""
    return [tm.analysis.blind_threshold(logits, SOUGHT, constant) for logits in classify(head, task)]


def oppose(task: Task, strength: float) -> list[NumPyArray]:
    """A linear head in place of the experts, from whose logits an adversary can't tell the attribute."""
    train = task.train
    head = tm.analysis.adversarial_head(train.x, train.labels, train.attributes, strength=strength)
    return [part.x @ head.weight + head.bias for part in (task.validation, task.test)]


def classify(head: torch.nn.Module, task: Task) -> list[NumPyArray]:
    """The logits of validation and of test."""
    with torch.no_grad():
        return [head(torch.from_numpy(part.x)).numpy() for part in (task.validation, task.test)]


def choose(values: Sequence[dict[str, float]]) -> int:
    """Which strength serves the worst group of validation best; of equal ones the first."""
    worst = [each["worst group"] for each in values]
    return worst.index(max(worst))
