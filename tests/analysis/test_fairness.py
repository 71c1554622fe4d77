"""Fairness of predictions against counts one input at a time, and the baselines on data with a known bias."""

from statistics import fmean, pstdev

import numpy as np
import pytest
from scipy.optimize import minimize
from support.frameworks import BACKENDS

import tensormoe as tm

GENERATOR = np.random.default_rng(3)
PREDICTIONS, LABELS = GENERATOR.integers(0, 3, size=(2, 60))
# No input is of group 2.
GROUPS = GENERATOR.choice([0, 1, 3], size=60)


def rate(chosen: list[int]) -> float:
    return fmean(PREDICTIONS[t] == LABELS[t] for t in chosen)


BY_GROUP = {g: rate([t for t in range(60) if GROUPS[t] == g]) for g in (0, 1, 3)}


@pytest.mark.parametrize("framework", BACKENDS)
def test_accuracies_are_counts(framework: str) -> None:
    ops = tm.get_backend(framework)
    predictions, labels, groups = (ops.tensor(each) for each in (PREDICTIONS, LABELS, GROUPS))
    assert tm.analysis.accuracy(predictions, labels) == pytest.approx(rate([*range(60)]))
    measured = tm.analysis.group_accuracy(predictions, labels, groups)
    np.testing.assert_allclose(measured, [BY_GROUP.get(g, np.nan) for g in range(4)])


def test_measures_of_fairness_are_those_of_the_groups_with_inputs() -> None:
    arguments = PREDICTIONS, LABELS, GROUPS
    assert tm.analysis.max_min_fairness(*arguments) == pytest.approx(min(BY_GROUP.values()))
    assert tm.analysis.standard_deviation_bias(*arguments) == pytest.approx(pstdev(BY_GROUP.values()))
    for positive in (1, 2):
        rates = [rate([t for t in range(60) if GROUPS[t] == g and LABELS[t] == positive]) for g in (0, 1, 3)]
        measured = tm.analysis.equality_of_opportunity(*arguments, positive=positive)
        assert measured == pytest.approx(max(rates) - min(rates))


def test_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(tm.TensorMoEError, match=r"labels: .*one for each"):
        tm.analysis.accuracy(PREDICTIONS, LABELS[:3])
    with pytest.raises(tm.TensorMoEError, match=r"groups: .*one for each"):
        tm.analysis.max_min_fairness(PREDICTIONS, LABELS, GROUPS[:3])
    with pytest.raises(tm.TensorMoEError, match=r"predictions: .*from 0 on"):
        tm.analysis.group_accuracy(-PREDICTIONS, LABELS, GROUPS)
    with pytest.raises(tm.TensorMoEError, match=r"class 7 are in 0 group\(s\)"):
        tm.analysis.equality_of_opportunity(PREDICTIONS, LABELS, GROUPS, positive=7)


def test_oversampled_groups_are_equal_and_lose_no_input() -> None:
    chosen = tm.analysis.oversample(GROUPS, seed=4)
    sizes = np.bincount(GROUPS[chosen], minlength=4)
    assert sizes.tolist() == [max(np.bincount(GROUPS))] * 2 + [0] + [max(np.bincount(GROUPS))]
    assert {*chosen.tolist()} == {*range(60)}
    assert (chosen == tm.analysis.oversample(GROUPS, seed=4)).all()
    assert (chosen != tm.analysis.oversample(GROUPS)).any()


def test_a_blind_threshold_moves_one_logit_of_every_input() -> None:
    logits = GENERATOR.normal(size=(2, 5, 3))
    shifted = tm.analysis.blind_threshold(logits, output=1, constant=-0.5)
    np.testing.assert_allclose(shifted, logits + np.array([0, -0.5, 0]), rtol=1e-15)
    for output, constant in ((3, 1.0), (-1, 1.0), (0, np.inf)):
        with pytest.raises(tm.TensorMoEError):
            tm.analysis.blind_threshold(logits, output, constant)


# The label follows the first feature, and the second one, which tells the group.
SIGNAL, ATTRIBUTE, NOISE = GENERATOR.normal(size=(3, 400))
FEATURES = np.stack([SIGNAL, 3 * ATTRIBUTE + 1], axis=1)
CLASSES = SIGNAL + 0.8 * ATTRIBUTE + 0.5 * NOISE > 0.1
SIDES = ATTRIBUTE > 0


def test_without_an_adversary_the_head_is_a_logistic_regression() -> None:
    head = tm.analysis.adversarial_head(FEATURES, CLASSES, SIDES, strength=0, steps=3000, rate=8.0)

    def cost(theta: np.ndarray) -> float:
        margins = (FEATURES @ theta[:2] + theta[2]) * np.where(CLASSES, 1, -1)
        return float(np.logaddexp(0, -margins).mean())

    best = minimize(cost, np.zeros(3), tol=1e-10)
    weight, bias = head.weight[:, 1] - head.weight[:, 0], head.bias[1] - head.bias[0]
    assert cost(np.append(weight, bias)) == pytest.approx(best.fun, abs=1e-4)


def test_an_adversary_makes_logits_tell_less_of_the_group() -> None:
    heads = [tm.analysis.adversarial_head(FEATURES, CLASSES, SIDES, strength=s) for s in (0, 1)]
    logits = [FEATURES @ head.weight + head.bias for head in heads]
    chosen = [each.argmax(axis=1) for each in logits]
    # How much more often one side gets the second class.
    gaps = [each[SIDES].mean() - each[~SIDES].mean() for each in chosen]
    correlations = [abs(np.corrcoef(each[:, 1] - each[:, 0], ATTRIBUTE)[0, 1]) for each in logits]
    assert abs(gaps[1]) < 0.5 * gaps[0]
    assert correlations[1] < 0.5 * correlations[0]
    assert heads[1].leakage < heads[0].leakage
    # It is still a classifier.
    assert tm.analysis.accuracy(chosen[1], CLASSES) > 0.7


def test_data_that_the_head_cannot_train_on_is_refused() -> None:
    with pytest.raises(tm.TensorMoEError, match="labels"):
        tm.analysis.adversarial_head(FEATURES, CLASSES[:5], SIDES)
    with pytest.raises(tm.TensorMoEError, match=r"features: .*\(T, d\)"):
        tm.analysis.adversarial_head(FEATURES[0], CLASSES, SIDES)
    with pytest.raises(tm.TensorMoEError, match="features: received nan"):
        tm.analysis.adversarial_head(FEATURES * np.nan, CLASSES, SIDES)
