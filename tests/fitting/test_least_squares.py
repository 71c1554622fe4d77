"""Derivatives against differences of materialized weights, and fits against what is known to be best."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tensormoe as tm
from tensormoe.fitting.least_squares import LeastSquares
from tensormoe.testing import networks, specs, split_networks, sums

LAYER = tm.MuMoESpec(4, 4, 3, tm.Dense(), gate=None, bias=False)
FIXED = LAYER.replace(factorization=tm.TensorNetwork("n o, F: i o", fixed={"F": "hadamard"}))


def draw(spec: tm.MuMoESpec, seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    cores = {name: generator.normal(size=shape) for name, shape in spec.network.shapes.items()}
    return cores | spec.network.fixed_values()


def measure(spec: tm.MuMoESpec, weight: np.ndarray, cores: dict[str, np.ndarray]) -> float:
    return float(np.linalg.norm(tm.materialize(spec, cores) - weight) / np.linalg.norm(weight))


@settings(max_examples=60, deadline=None)
@given(st.one_of(specs(networks), specs(sums), specs(split_networks), st.just(FIXED)), st.integers(0, 3))
def test_derivatives_are_what_an_element_of_a_core_changes(spec: tm.MuMoESpec, seed: int) -> None:
    """The weight is linear in each element, so that the difference is the derivative."""
    fit = LeastSquares(spec.stage, np.zeros(spec.network.weight_shape))
    if not fit.suits(spec.stage):
        return
    cores = draw(spec, seed)
    ours = fit.derive({name: np.stack([core, 2 * core]) for name, core in cores.items()})
    theirs = []
    for name in spec.network.trained:
        for place in np.ndindex(cores[name].shape):
            changed = cores[name].copy()
            changed[place] += 1
            theirs.append(tm.materialize(spec, cores | {name: changed}) - tm.materialize(spec, cores))
    np.testing.assert_allclose(ours[0].T, [each.ravel() for each in theirs], atol=1e-9)


@pytest.mark.parametrize(
    "family",
    [
        tm.CP(3),
        tm.TensorRing((2, 2, 2)),
        tm.Tucker((2, 3, 2)),
        FIXED.factorization,
        tm.TensorNetwork("i o + n a, i b, o a b", a=2, b=2),
        tm.TensorNetwork("n i1 o1, i2 o2 n", i=(2, 2), o=(2, 2)),
    ],
    ids=str,
)
def test_what_a_network_has_is_found_and_its_error_is_true(family: tm.Factorization) -> None:
    spec = LAYER.replace(factorization=family)
    weight = tm.materialize(spec, draw(spec))
    cores, error, steps = LeastSquares(spec.stage, weight).minimize(1, 200)
    assert measure(spec, weight, cores) < 1e-10
    assert error == pytest.approx(measure(spec, weight, cores), abs=1e-13)
    assert 0 < steps < 500


def test_the_best_approximation_is_found_where_it_is_known() -> None:
    """Of one bond: the singular values cut off, by Eckart and Young."""
    weight = np.random.default_rng(0).normal(size=(3, 4, 4))
    spec = LAYER.replace(factorization=tm.TensorNetwork("n i a, a o", a=2))
    cores, error, _ = LeastSquares(spec.stage, weight).minimize(0, 300)
    values = np.linalg.svd(weight.reshape(12, 4), compute_uv=False)
    best = np.linalg.norm(values[2:]) / np.linalg.norm(values)
    assert error == pytest.approx(best, rel=1e-6)
    assert measure(spec, weight, cores) == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize(
    "family", [tm.CP(4), tm.TensorRing((2, 2, 2)), tm.Tucker((2, 3, 3)), FIXED.factorization], ids=str
)
def test_a_search_fits_no_worse_than_descent_where_nothing_is_exact(family: tm.Factorization) -> None:
    weight = np.random.default_rng(1).normal(size=(3, 4, 4))
    spec = LAYER.replace(factorization=family)
    error = tm.explore.fit_to(weight)(spec, seed=0).value
    assert error is not None
    assert error <= tm.fit(weight, spec).weight_error * (1 + 1e-3)


def test_given_cores_are_a_start_and_few_steps_are_kept() -> None:
    spec = LAYER.replace(factorization=tm.CP(3))
    cores = draw(spec)
    weight = tm.materialize(spec, cores)
    fit = LeastSquares(spec.stage, weight)
    found, error, steps = fit.minimize(0, 100, given=[cores])
    assert (error < 1e-14, steps) == (True, 0)
    np.testing.assert_allclose(tm.materialize(spec, found), weight)
    assert fit.minimize(0, 3)[2] <= 3 * 8
    assert fit.minimize(0, 100, enough=0.5)[2] < fit.minimize(0, 100)[2]


@pytest.mark.parametrize(
    ("layer", "family", "suits"),
    [
        (LAYER, tm.CP(3), True),
        (LAYER.replace(bias=True), tm.CP(3), True),
        (LAYER, tm.TensorNetwork("A: n a, A: n b, i a b, o a b", a=2, b=2), False),
        (LAYER, tm.TensorNetwork("n i1 o, i2 o", i=(2, 3), pad=True), False),
        (LAYER.replace(bias=True), tm.TensorNetwork("n i o + o"), False),
        (tm.MuMoESpec(64, 64, 8, tm.Dense()), tm.CP(64), False),
    ],
)
def test_what_is_small_and_plain_suits(layer: tm.MuMoESpec, family: tm.Factorization, suits: bool) -> None:
    assert LeastSquares.suits(layer.replace(factorization=family).stage) == suits
