"""Layers with shared cores: one parameter in every framework and file, and how it starts."""

from pathlib import Path

import numpy as np
import pytest
from support.strategies import BACKENDS, close, truth, values_for

import tensormoe as tm
from tensormoe.layers.initialization import recipes
from tensormoe.layers.shares import rank_index, share_stages
from tensormoe.verification.capacity import find_unused

TIED = tm.TensorNetwork("n r, A: i r, A: o r", r=16)
SUM = tm.TensorNetwork("A: i r, B: r o, n r + A: i s, C: s o, n s", r=12, s=12)
FAMILIES = {
    "tied": TIED,
    "sum": SUM,
    # In one term the core is read by inputs, in the other by outputs, which ask for other variances.
    "crossed": tm.TensorNetwork("A: i r, r o, n r + A: o s, i s, n s", r=16, s=16),
    "power": tm.TensorNetwork("n r t, i r, A: r s, A: s t, o t", r=12, s=12, t=12),
    "identity": tm.TensorNetwork("i r, A: r s, A: s t, o t, n o", r=24, s=24, t=24),
    "levels": tm.TensorNetwork("A: n1 r, A: n2 r, i r, o r", r=16),
}
every = pytest.mark.parametrize("name", FAMILIES)


def spec_of(name: str, **options: object) -> tm.MuMoESpec:
    experts = (6, 6) if name == "levels" else 6
    gate = tm.Gate("softmax")
    return tm.MuMoESpec(48, 48, experts, FAMILIES[name], gate, bias=False, **options)  # type: ignore[arg-type]


@every
def test_a_shared_core_starts_at_the_scale_of_a_linear_layer(name: str) -> None:
    x = np.random.default_rng(0).normal(size=(128, 48))
    outputs = []
    for seed in range(12):
        parameters, state = tm.initialize(spec_of(name), seed, "float64")
        outputs.append(tm.apply(spec_of(name), parameters, x, state=state).y)
    assert 0.8 <= np.std(outputs) * np.sqrt(3) <= 1.2


@every
def test_every_expert_and_bond_can_be_used(name: str) -> None:
    assert find_unused(spec_of(name)) == ()


def test_a_shared_core_has_the_mean_variance_of_its_uses() -> None:
    shared = recipes(spec_of("tied"))["cores.A"]
    apart = recipes(tm.MuMoESpec(48, 48, 6, tm.TensorNetwork("n r, i r, o r", r=16), bias=False))
    assert shared.bound**2 == pytest.approx(apart["cores.core2"].bound * apart["cores.core3"].bound)
    assert shared.shape == (48, 16)


@pytest.mark.parametrize("backend", BACKENDS)
def test_frameworks_hold_one_parameter_and_add_its_gradients(backend: str) -> None:
    spec = tm.MuMoESpec(5, 5, 3, TIED, bias=False)
    layer = tm.build(spec, backend, seed=0)
    assert [name for name in layer.arrays() if name.startswith("cores")] == ["cores.core1", "cores.A"]
    assert spec.num_parameters == sum(np.asarray(each).size for each in tm.initialize(spec)[0].values())
    values = values_for(spec, 0, 3)
    expected = truth(spec, values)
    ops = tm.get_backend(backend)
    x, *others = (ops.from_float64(each, "float32") for each in values.operands)
    coefficients, cores = others[:1], others[1:]
    y = ops.to_float64(tm.contract(spec, cores, coefficients, x))
    np.testing.assert_allclose(y, expected.y, rtol=1e-4, atol=1e-4)


def test_frameworks_agree_forwards_and_backwards() -> None:
    spec = tm.MuMoESpec(5, 5, 3, tm.TensorNetwork("n r, A: i r, A: o r", r=3), tm.Gate("softmax"), bias=False)
    # JAX compiles for ten seconds; its gradients are those of the same program.
    backends = [backend for backend in BACKENDS if backend != "jax"]
    report = tm.verify(spec, backends, methods=("float", "frameworks"))
    assert report.passed, str(report)


def test_files_hold_a_shared_core_once(tmp_path: Path) -> None:
    spec = tm.MuMoESpec(5, 5, 3, SUM, bias=False)
    layer = tm.build(spec, "numpy", seed=0)
    tm.save(layer, tmp_path / "layer")
    again = tm.load(tmp_path / "layer", backend="numpy")
    assert again.spec == spec
    assert [*again.cores] == ["A", "B", "core3", "C", "core6"]
    for name, array in layer.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array)


def test_shares_of_a_shared_core_are_refused() -> None:
    spec = tm.MuMoESpec(5, 5, 4, tm.TensorNetwork("n r, A: i r, A: o r", r=4), bias=False)
    with pytest.raises(tm.TensorMoEError, match="used more than once"):
        rank_index(spec)
    shapes = {"cores.core1": (4, 2), "cores.A": (5, 2)}
    with pytest.raises(tm.TensorMoEError, match="used more than once"):
        share_stages(spec, shapes)
    # Experts are in another core.
    assert share_stages(spec, {"cores.core1": (2, 4), "cores.A": (5, 4)})["cores"].experts == (2,)


def test_one_matrix_is_not_fitted_core_by_core() -> None:
    spec = tm.MuMoESpec(6, 6, 3, TIED, bias=False)
    with pytest.raises(tm.TensorMoEError, match="A is used more than once"):
        tm.upcycle(np.eye(6), spec)
    with pytest.raises(tm.TensorMoEError, match="A is used more than once"):
        tm.fit(np.eye(6), spec)


def test_a_shared_core_is_fitted_to_experts() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(3, 2)), generator.normal(size=(6, 2))
    weight = np.einsum("nr,ir,or->nio", first, second, second)
    spec = tm.MuMoESpec(6, 6, 3, tm.TensorNetwork("n r, A: i r, A: o r", r=2), bias=False)
    fitted = tm.fit(weight, spec, inputs=generator.normal(size=(40, 6)))
    assert fitted.weight_error < 1e-4
    close(tm.materialize(spec, fitted.cores), np.einsum("nr,ir,or->nio", *_twice(fitted.cores)))


def _twice(cores: dict[str, np.ndarray]) -> list[np.ndarray]:  # type: ignore[type-arg]
    return [cores["core1"], cores["A"], cores["A"]]
