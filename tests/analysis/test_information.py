"""Entropies, classes, hierarchies and matched runs, against sums over inputs and experts one at a time."""

from itertools import permutations
from math import exp, isnan, log

import numpy as np
import pytest
from scipy import stats
from support.frameworks import BACKENDS

import tensormoe as tm

GENERATOR = np.random.default_rng(1)
LEVELS = [tm.sparsemax(2 * GENERATOR.normal(size=(4, 5, n))) for n in (3, 4)]
LABELS = GENERATOR.integers(0, 3, size=(4, 5))
JOINT = np.einsum("abm,abn->abmn", *LEVELS).reshape(20, 12)
# Coefficients that do not sum to 1, and a token without any.
ONE = GENERATOR.uniform(size=(20, 5)) * GENERATOR.uniform(0, 3, size=(20, 1))
ONE[7] = 0


def entropy(shares: list[float]) -> float:
    return -sum(p * log(p) for p in shares if p > 0)


@pytest.mark.parametrize("coefficients", [ONE, LEVELS], ids=["one level", "two levels"])
def test_entropies_are_those_of_shares(coefficients: object) -> None:
    tokens = ONE if coefficients is ONE else JOINT
    shares = [[a / sum(row) for a in row] if sum(row) else [0] * len(row) for row in tokens.tolist()]
    measured = tm.analysis.token_entropy(coefficients)
    np.testing.assert_allclose(measured.reshape(-1), [entropy(row) for row in shares], atol=1e-12)
    total = [sum(column) for column in tokens.T.tolist()]
    expected = entropy([each / sum(total) for each in total])
    assert tm.analysis.load_entropy(coefficients) == pytest.approx(expected, rel=1e-12)
    assert tm.analysis.effective_experts(coefficients) == pytest.approx(exp(expected), rel=1e-12)


@pytest.mark.parametrize("framework", BACKENDS)
def test_means_of_classes_are_means_of_their_inputs(framework: str) -> None:
    ops = tm.get_backend(framework)
    labels = LABELS.reshape(-1).tolist()
    means = tm.analysis.class_means(
        [ops.from_float64(level, "float32") for level in LEVELS], labels, classes=4
    )
    for number in range(3):
        rows = [JOINT[t] for t in range(20) if labels[t] == number]
        np.testing.assert_allclose(means[number], sum(rows) / len(rows), atol=1e-6)
    assert all(isnan(value) for value in means[3])


@pytest.mark.parametrize("labels", [LABELS, LABELS.reshape(-1), LABELS.astype("uint8"), LABELS > 0])
def test_mutual_information_is_that_of_the_table_of_classes_and_experts(labels: np.ndarray) -> None:
    flat = labels.reshape(-1).astype(int)
    table = np.zeros((3, 12))
    for t in range(20):
        table[flat[t]] += JOINT[t] / JOINT[t].sum() / 20
    # By another formula: H(class) + H(expert) − H(class, expert).
    expected = stats.entropy(table.sum(1)) + stats.entropy(table.sum(0)) - stats.entropy(table.reshape(-1))
    assert tm.analysis.mutual_information(LEVELS, labels) == pytest.approx(expected, rel=1e-10)


def test_usage_given_the_level_before_is_a_quotient_of_sums() -> None:
    first, second = (level.reshape(20, -1) for level in LEVELS)
    (usage,) = tm.analysis.conditional_usage(LEVELS)
    table = np.array([[sum(first[:, m] * second[:, n]) for n in range(4)] for m in range(3)])
    np.testing.assert_allclose(usage, table / table.sum(axis=1, keepdims=True), rtol=1e-12)
    shares = table / table.sum()
    expected = stats.entropy(shares.sum(1)) + stats.entropy(shares.sum(0)) - stats.entropy(shares.reshape(-1))
    np.testing.assert_allclose(tm.analysis.level_information(LEVELS), [expected], rtol=1e-9)


def test_an_expert_without_inputs_has_no_conditional_usage() -> None:
    unused = LEVELS[0].copy()
    unused[..., 2] = 0
    usage, _ = tm.analysis.conditional_usage([unused, LEVELS[1], LEVELS[0]])
    assert np.isnan(usage[2]).all()
    np.testing.assert_allclose(usage[:2].sum(axis=1), 1)


def test_the_assignment_is_the_best_of_all() -> None:
    first, second = ONE[:, :4], GENERATOR.uniform(size=(20, 4))
    correlation = np.corrcoef(first.T, second.T)[:4, 4:]
    best = max(permutations(range(4)), key=lambda order: sum(correlation[range(4), order]))
    match = tm.analysis.agreement(first, second)
    assert match.first.tolist() == [0, 1, 2, 3]
    assert match.second.tolist() == [*best]
    np.testing.assert_allclose(match.correlations, correlation[range(4), best], rtol=1e-9)
    assert match.mean == pytest.approx(match.correlations.mean())


def test_runs_with_the_same_experts_in_another_order_agree_fully() -> None:
    order = [3, 0, 4, 1, 2]
    match = tm.analysis.agreement(ONE, ONE[:, order])
    assert [order[number] for number in match.second] == [0, 1, 2, 3, 4]
    assert match.mean == pytest.approx(1, abs=1e-12)
    # A uniform gate, as at the start, has experts like no others.
    assert tm.analysis.agreement(ONE, np.full((20, 3), 1 / 3)).mean == 0


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], "one for each of the inputs"),
        (LABELS.T, "one for each of the inputs"),
        (LABELS - 1, "received -1; number the classes from 0 on"),
        (LABELS / 2, "array of integers"),
        (LABELS * 2**60, "of memory"),
        (["cat"] * 20, "array of integers"),
        (None, "array of integers"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: object, message: str) -> None:
    for measure in (tm.analysis.class_means, tm.analysis.mutual_information):
        with pytest.raises(tm.TensorMoEError, match=f"labels: .*{message}"):
            measure(LEVELS, labels)


def test_what_has_no_hierarchy_or_other_inputs_is_refused() -> None:
    with pytest.raises(tm.TensorMoEError, match="at least two"):
        tm.analysis.conditional_usage(LEVELS[:1])
    with pytest.raises(tm.TensorMoEError, match=r"second: .*same inputs"):
        tm.analysis.agreement(LEVELS, LEVELS[0][:3])
    with pytest.raises(tm.TensorMoEError, match="at least two inputs"):
        tm.analysis.agreement(ONE[:1], ONE[:1])
    with pytest.raises(tm.TensorMoEError, match="labels: received 2; there are 2 classes"):
        tm.analysis.class_means(LEVELS, LABELS, classes=2)
