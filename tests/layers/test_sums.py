"""Layers of sums: how they start, what they are fitted to, and what they refuse."""

from pathlib import Path

import numpy as np
import pytest

import tensormoe as tm
from tensormoe.layers.initialization import recipes
from tensormoe.layers.shares import share_stages
from tensormoe.verification.capacity import find_unused

SHARED = tm.TensorNetwork("i o")
FAMILIES = [
    SHARED + tm.CP(rank=16),
    tm.CP(rank=8) + tm.Tucker((3, 16, 16)) + tm.Dense(),
    SHARED + tm.TensorNetwork("n i r, n r o", r=4),
]


@pytest.mark.parametrize("family", FAMILIES, ids=["shared", "three", "lora"])
def test_a_sum_starts_at_the_scale_of_a_linear_layer(family: tm.Factorization) -> None:
    spec = tm.MuMoESpec(64, 48, 8, family, tm.Gate("softmax"), bias=False)
    x = np.random.default_rng(0).normal(size=(256, 64))
    outputs = []
    for seed in range(12):
        parameters, state = tm.initialize(spec, seed, "float64")
        outputs.append(tm.apply(spec, parameters, x, state=state).y)
    # nn.Linear's weights are uniform on ±√(1/I), so that an output has a variance of 1/3.
    ratio = np.std(outputs) * np.sqrt(3)
    assert 0.8 <= ratio <= 1.2


def test_terms_of_a_published_start_share_its_variance() -> None:
    alone = tm.MuMoESpec(64, 48, 8, tm.CP(rank=16), bias=False, initialization="published")
    recipe, one = recipes(alone.replace(factorization=tm.CP(rank=16) + tm.CP(rank=16))), recipes(alone)
    bounds = [recipe[f"cores.{name}"].bound for name in ("input", "output", "input_2", "output_2")]
    whole = [one[f"cores.{name}"].bound for name in ("input", "output")]
    assert np.prod(bounds[:2]) ** 2 + np.prod(bounds[2:]) ** 2 == pytest.approx(np.prod(whole) ** 2)


@pytest.mark.parametrize("family", FAMILIES, ids=["shared", "three", "lora"])
def test_every_expert_and_bond_of_a_sum_can_be_used(family: tm.Factorization) -> None:
    assert find_unused(tm.MuMoESpec(24, 20, 5, family)) == ()


@pytest.mark.parametrize("family", FAMILIES, ids=["shared", "three", "lora"])
def test_a_sum_is_upcycled_exactly_and_its_experts_differ(family: tm.Factorization) -> None:
    generator = np.random.default_rng(0)
    weight, bias = generator.normal(size=(12, 10)), generator.normal(size=10)
    spec = tm.MuMoESpec(12, 10, 5, family)
    parameters, state = tm.upcycle(weight, spec, bias=bias, dtype="float64")
    x = generator.normal(size=(7, 12))
    np.testing.assert_allclose(tm.apply(spec, parameters, x, state=state).y, x @ weight + bias, atol=1e-10)
    experts = tm.materialize(spec, tm.cores_of(spec, parameters))
    spread = np.linalg.norm(experts - experts.mean(0)) / np.linalg.norm(experts)
    assert spread == pytest.approx(1e-2, rel=0.05)


def test_terms_of_too_low_a_rank_are_fitted_one_to_what_the_other_leaves() -> None:
    generator = np.random.default_rng(0)
    left, values, right = np.linalg.svd(generator.normal(size=(9, 8)))
    spec = tm.MuMoESpec(9, 8, 3, tm.CP(rank=2) + tm.CP(rank=3), bias=False)
    parameters, _ = tm.upcycle(left[:, :8] * values @ right, spec, noise=0.0, dtype="float64")
    cores = tm.cores_of(spec, parameters)
    best = left[:, :5] * values[:5] @ right[:5]
    np.testing.assert_allclose(tm.materialize(spec, cores)[0], best, atol=1e-10)


def test_a_shared_weight_and_what_experts_add_are_fitted_together() -> None:
    generator = np.random.default_rng(0)
    shared, rows, columns = (generator.normal(size=size) for size in ((8, 6), (4, 8, 1), (4, 1, 6)))
    spec = tm.MuMoESpec(8, 6, 4, SHARED + tm.TensorNetwork("n i r, n r o", r=1), bias=False)
    assert tm.fit(shared + rows @ columns, spec).weight_error < 1e-4


def test_shares_of_a_bond_of_one_term_are_refused() -> None:
    spec = tm.MuMoESpec(8, 6, 4, SHARED + tm.CP(rank=4))
    shapes = {f"cores.{name}": shape for name, shape in spec.network.shapes.items()}
    halved = {
        name: tuple(2 if axis == 4 and name != "cores.expert1_2" else axis for axis in shape)
        for name, shape in shapes.items()
    }
    halved["cores.expert1_2"] = (4, 2)
    with pytest.raises(tm.TensorMoEError, match="it is a sum"):
        share_stages(spec, halved)


def test_tensorly_has_no_sums() -> None:
    spec = tm.MuMoESpec(8, 6, 4, tm.CP(rank=2) + tm.CP(rank=3))
    with pytest.raises(tm.TensorMoEError, match="TensorLy supports CP"):
        tm.to_tensorly(tm.build(spec, "numpy", seed=0))


def test_a_sum_is_saved_and_read(tmp_path: Path) -> None:
    spec = tm.MuMoESpec(8, 6, (4, 3), FAMILIES[0])
    layer = tm.build(spec, "numpy", seed=0)
    tm.save(layer, tmp_path / "layer.safetensors")
    again = tm.load(tmp_path / "layer.safetensors", backend="numpy")
    assert again.spec == spec
    x = np.random.default_rng(0).normal(size=(3, 8)).astype("float32")
    np.testing.assert_array_equal(again(x), layer(x))
