"""The definitions that verification compares with, themselves compared with formulas written otherwise."""

import numpy as np
import pytest
from scipy import special

from tensormoe import MuMoESpec, TensorTrain
from tensormoe.verification.reference.families import weight_of_family
from tensormoe.verification.reference.gate import _statistics, normalize
from tensormoe.verification.reference.layer import _POINTWISE

# By distributions and hyperbolic functions: x σ(x) is x (1 + tanh(x / 2)) / 2.
NONLINEARITIES = {
    "gelu": lambda x: x * special.ndtr(x),
    "gelu_tanh": lambda x: x * special.expit(np.sqrt(8 / np.pi) * (x + 0.044715 * x * x * x)),
    "relu": lambda x: (x + np.abs(x)) / 2,
    "silu": lambda x: x * (1 + np.tanh(x / 2)) / 2,
    "quick_gelu": lambda x: x * (1 + np.tanh(0.851 * x)) / 2,
    "relu2": lambda x: x * (x + np.abs(x)) / 2,
    "sigmoid": lambda x: (1 + np.tanh(x / 2)) / 2,
    "tanh": lambda x: 2 * special.expit(2 * x) - 1,
    "identity": lambda x: +x,
}


def test_nonlinearities_are_those_of_the_literature() -> None:
    x = np.linspace(-6, 6, 49)
    assert _POINTWISE.keys() == NONLINEARITIES.keys()
    for name, definition in _POINTWISE.items():
        np.testing.assert_allclose(definition(x), NONLINEARITIES[name](x), atol=1e-12, err_msg=name)


def test_cores_that_are_no_tensor_train_are_named_by_their_outer_ranks() -> None:
    layer = MuMoESpec(5, 6, 4, TensorTrain((2, 3))).stage
    cores = [np.ones((4, 7, 2)), np.ones((5, 2, 3)), np.ones((8, 3, 6))]
    with pytest.raises(ValueError, match="are 1, not 7 and 8"):
        weight_of_family(layer, cores)


def test_a_norms_bound_is_what_a_change_of_one_value_comes_near() -> None:
    """The first of 64 values, which is the mean, is off by up to half of the standard deviation."""
    z = np.concatenate([[0.0], np.tile([-1.0, 1.0], 31), [0.0]])[None]
    error = np.zeros_like(z)
    error[0, 0] = 0.5
    normalized, bound = normalize(z, error, 0.0, axis=1)
    changes = [np.abs(normalize(z + sign * error, 0 * error, 0.0, 1)[0] - normalized) for sign in (-1, 1)]
    largest = np.max(changes)
    assert (np.max(changes, axis=0) <= bound).all()
    assert largest <= bound.max() < 1.12 * largest


def test_the_bound_of_running_statistics_is_what_the_worst_errors_reach() -> None:
    """All values move by a tenth: together, as the mean is moved most, or apart, as the variance is."""
    z, running = np.tile([[-1.0, 2.0], [1.0, 6.0]], (3, 1)), [np.zeros(2), np.ones(2)]
    error = np.full_like(z, 0.1)
    mean, variance = _statistics(z, error, running, 0.0)
    moved = z + 0.1, z + 0.1 * np.sign(z - z.mean(axis=0))
    np.testing.assert_allclose(mean[0], 0.1 * z.mean(axis=0))
    np.testing.assert_allclose(mean[0] + mean[1], 0.1 * moved[0].mean(axis=0))
    np.testing.assert_allclose(variance[0], 0.9 + 0.1 * z.var(axis=0, ddof=1))
    np.testing.assert_allclose(variance[0] + variance[1], 0.9 + 0.1 * moved[1].var(axis=0, ddof=1))
