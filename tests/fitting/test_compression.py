"""Large fits by way of small ones: exact where the target is, and never worse than their own start."""

import numpy as np
import pytest

import tensormoe as tm
from tensormoe.fitting.compression import compress, count_directions, expand, find_directions, narrow
from tensormoe.fitting.searched import fit_candidate

LAYER = tm.MuMoESpec(40, 60, 3, tm.Dense(), gate=None, bias=False)
NETWORKS = [
    tm.TensorNetwork("n i, n o + i a, o a", a=3),
    tm.TensorNetwork("n i a, n o a", a=2),
    tm.TensorNetwork("n a, a i b, b o", a=2, b=4),
    tm.Tucker((2, 3, 3)),
]


def plant(family: tm.Factorization, noise: float = 0.0) -> tuple[tm.MuMoESpec, np.ndarray]:
    spec, generator = LAYER.replace(factorization=family), np.random.default_rng(0)
    cores = {name: generator.normal(size=shape) for name, shape in spec.network.shapes.items()}
    weight = tm.materialize(spec, cores)
    return spec, weight + noise * weight.std() * generator.normal(size=weight.shape)


@pytest.mark.parametrize("family", NETWORKS, ids=str)
def test_the_directions_that_a_network_uses_hold_all_of_its_weight(family: tm.Factorization) -> None:
    spec, weight = plant(family)
    counts = count_directions(spec.stage)
    assert counts is not None
    bases = {mode: each[:, : counts[mode]] for mode, each in find_directions(weight).items()}
    small = compress(weight, bases)
    assert small.shape == (3, counts["i"], counts["o"])
    np.testing.assert_allclose(np.linalg.norm(small), np.linalg.norm(weight))
    np.testing.assert_allclose(bases["i"] @ small @ bases["o"].T, weight, atol=1e-9)


@pytest.mark.parametrize("family", NETWORKS, ids=str)
def test_cores_in_some_directions_are_expanded_to_the_same_weight(family: tm.Factorization) -> None:
    spec, weight = plant(family)
    counts = count_directions(spec.stage)
    assert counts is not None
    bases = {mode: each[:, : counts[mode]] for mode, each in find_directions(weight).items()}
    part, generator = narrow(spec.stage, counts), np.random.default_rng(1)
    cores = {name: generator.normal(size=shape) for name, shape in part.network.shapes.items()}
    small = tm.materialize(part, cores)
    expanded = expand(spec.stage, cores, bases)
    np.testing.assert_allclose(tm.materialize(spec, expanded), bases["i"] @ small @ bases["o"].T, atol=1e-9)


@pytest.mark.parametrize("family", NETWORKS, ids=str)
def test_a_fit_is_true_and_no_worse_than_what_was_planted(family: tm.Factorization) -> None:
    spec, weight = plant(family, noise=0.02)
    cores, error = fit_candidate(spec.stage, weight, 0, 500)
    product = tm.materialize(spec, cores)
    assert error == pytest.approx(np.linalg.norm(product - weight) / np.linalg.norm(weight))
    assert error < 0.02


def test_a_start_that_is_better_is_kept() -> None:
    spec, weight = plant(NETWORKS[0])
    generator = np.random.default_rng(0)
    cores = {name: generator.normal(size=shape) for name, shape in spec.network.shapes.items()}
    kept, error = fit_candidate(spec.stage, weight, 0, 1, start=cores)
    assert error < 1e-12
    np.testing.assert_allclose(tm.materialize(spec, kept), weight)


@pytest.mark.parametrize(
    ("layer", "family"),
    [
        (LAYER.replace(bias=True), NETWORKS[1]),
        (LAYER, tm.TensorNetwork("n i, i o, n o")),
        (LAYER, tm.TensorNetwork("n i a, n o a", a=20)),
        (LAYER, tm.TensorNetwork("n i1 a, i2 a o", i=(5, 8), a=2)),
        (LAYER, tm.TensorNetwork("n r, A: i r, o r", r=2, fixed={"A": np.ones((40, 2))})),
    ],
)
def test_what_uses_all_directions_or_an_input_twice_is_not_compressed(
    layer: tm.MuMoESpec, family: tm.Factorization
) -> None:
    assert count_directions(layer.replace(factorization=family).stage) is None
