"""Load, usage, dead experts and top inputs, against loops over inputs and experts."""

from itertools import product

import numpy as np
import pytest
from support.frameworks import BACKENDS

import tensormoe as tm

GENERATOR = np.random.default_rng(0)
# Sparse, so that some experts are dead; the leading axes are a batch and positions.
LEVELS = [tm.sparsemax(3 * GENERATOR.normal(size=(4, 5, n))) for n in (3, 4)]
LEVELS[0][..., 1] = 0
# By definition, one input and one expert at a time.
JOINT = np.array(
    [[LEVELS[0][t][m] * LEVELS[1][t][n] for m, n in product(range(3), range(4))] for t in np.ndindex(4, 5)]
)


@pytest.mark.parametrize("framework", BACKENDS)
def test_levels_of_any_framework_are_multiplied_in_the_order_of_the_experts(framework: str) -> None:
    arrays = [tm.get_backend(framework).from_float64(level, "float32") for level in LEVELS]
    joint = tm.analysis.joint(arrays)
    assert joint.dtype == np.float64
    np.testing.assert_allclose(joint.reshape(20, 12), JOINT, atol=1e-6)


def test_loads_are_shares_of_all_coefficients() -> None:
    expected = [sum(JOINT[t, n] for t in range(20)) / JOINT.sum() for n in range(12)]
    np.testing.assert_allclose(tm.analysis.load(LEVELS), expected, rtol=1e-12)


@pytest.mark.parametrize("threshold", [0.1, 0.5, float(JOINT.max())])
def test_usage_counts_the_inputs_from_the_threshold_on(threshold: float) -> None:
    expected = [sum(JOINT[t, n] >= threshold for t in range(20)) / 20 for n in range(12)]
    np.testing.assert_allclose(tm.analysis.usage(tm.analysis.joint(LEVELS), threshold), expected, rtol=1e-12)


def test_dead_experts_are_those_without_a_coefficient_above_the_threshold() -> None:
    for threshold in (0.0, 0.3):
        expected = [n for n in range(12) if all(JOINT[t, n] <= threshold for t in range(20))]
        assert {4, 5, 6, 7} <= {*expected}
        assert tm.analysis.dead(LEVELS, threshold).tolist() == expected


def test_top_inputs_are_the_first_of_a_stable_sort() -> None:
    top = tm.analysis.top_inputs(LEVELS, k=3)
    for n in range(12):
        expected = sorted(range(20), key=lambda t: (-JOINT[t, n], t))[:3]
        assert top.inputs[n].tolist() == expected
        np.testing.assert_allclose(top.coefficients[n], JOINT[expected, n], rtol=1e-12)


@pytest.mark.parametrize(
    ("coefficients", "message"),
    [
        (np.array([[0.5, -0.5]]), "received -0.5; coefficients are at least 0"),
        (np.array([[0.5, np.nan]]), "received nan; pass finite numbers"),
        (np.zeros((0, 3)), "at least one token"),
        ([], "at least one level"),
        ([np.ones((2, 3)), np.ones((4, 3))], "the same tokens"),
        ([[0.5, 0.5]], r"coefficients\[0\]"),
    ],
)
def test_what_are_not_coefficients_is_refused(coefficients: object, message: str) -> None:
    for measure in (tm.analysis.load, tm.analysis.usage, tm.analysis.dead, tm.analysis.joint):
        with pytest.raises(tm.TensorMoEError, match=message):
            measure(coefficients)


def test_measures_refuse_arguments_beyond_their_range() -> None:
    with pytest.raises(tm.TensorMoEError, match="k: received 21"):
        tm.analysis.top_inputs(LEVELS, 21)
    with pytest.raises(tm.TensorMoEError, match="threshold: received 0"):
        tm.analysis.usage(LEVELS, 0)
    with pytest.raises(tm.TensorMoEError, match="all of them are 0"):
        tm.analysis.load(np.zeros((2, 3)))
