import numpy as np
import pytest
from hypothesis import given
from support.strategies import BACKENDS, EVERY

import tensormoe as tm
from tensormoe.testing import specs


def cores(factorization: tm.Factorization, experts=200, features=300, out=150, seed: int = 0) -> dict:
    spec = tm.MuMoESpec(features, out, experts, factorization)
    parameters, _ = tm.initialize(spec, seed, "float64")
    return tm.cores_of(spec, parameters)


@pytest.mark.parametrize("factorization", EVERY, ids=str)
@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_the_same_seed_gives_the_same_bits_everywhere(factorization: tm.Factorization, norm: str) -> None:
    import jax
    import torch

    for spec in (
        tm.MuMoESpec(7, 6, 5, factorization, tm.Gate(norm=norm)),
        tm.MuMoEBlockSpec(7, 8, 6, 5, factorization, tm.Gate(norm=norm), input_norm=True),
    ):
        parameters, state = tm.initialize(spec, seed=3)
        module = tm.build(spec, "torch", seed=3)
        named = dict(module.named_parameters())
        assert {k: tuple(v.shape) for k, v in named.items()} == spec.parameter_shapes
        theirs, their_state = __import__("tensormoe_jax").initialize(spec, seed=3)
        for name, value in parameters.items():
            assert value.dtype == np.float32
            assert (named[name].detach().numpy() == value).all()
            assert (np.asarray(theirs[name]) == value).all()
        buffers = dict(module.named_buffers())
        assert set(state) == set(buffers) == set(their_state) == set(spec.state_shapes)
        doubled, _ = tm.initialize(spec, seed=3, dtype="float64")
        assert all((doubled[name].astype("float32") == parameters[name]).all() for name in parameters)
        half = tm.build(spec, "torch", seed=3, dtype=torch.bfloat16)
        jax_half, _ = __import__("tensormoe_jax").initialize(spec, seed=3, dtype=jax.numpy.bfloat16)
        for name, value in half.named_parameters():
            assert (value.detach().float().numpy() == np.asarray(jax_half[name].astype("float32"))).all()


def test_seeds_differ_and_unfit_ones_are_refused() -> None:
    assert (cores(tm.CP(2), seed=0)["input"] != cores(tm.CP(2), seed=1)["input"]).all()
    spec = tm.MuMoESpec(4, 3, 2, tm.CP(2))
    for seed in (-1, 1.5, "0", True):
        with pytest.raises(tm.TensorMoEError, match="seed"):
            tm.initialize(spec, seed)
    with pytest.raises(tm.TensorMoEError, match=r"dtype.*'float32', 'float64'"):
        tm.initialize(spec, 0, "bfloat16")


def test_cp_starts_as_published() -> None:
    spec = tm.MuMoESpec(300, 150, (200, 10), tm.CP(6))
    parameters, _ = tm.initialize(spec, 0, "float64")
    first = parameters["cores.expert1"]
    assert abs(first.mean() - 1) < 0.1
    assert abs(first.std() - 1) < 0.1
    assert (parameters["cores.expert2"] == 1).all()
    for name, bound in {"input": (1 / 300) ** 0.5, "output": (1 / 6) ** 0.5}.items():
        values = np.abs(parameters[f"cores.{name}"])
        assert 0.95 * bound < values.max() <= bound
        assert abs(values.mean() - bound / 2) < 0.05 * bound
    assert (parameters["gate_weights.0"] == 0).all()
    assert (parameters["gate_weights.1"] == 0).all()


def test_tensor_ring_starts_as_published() -> None:
    spec = tm.MuMoESpec(300, 150, (200, 10), tm.TensorRing((4, 4, 4, 7)))
    parameters, _ = tm.initialize(spec, 0, "float64")
    first, second = parameters["cores.expert1"], parameters["cores.expert2"]
    diagonal = np.eye(4, dtype=bool)[None]
    assert (first[np.broadcast_to(~diagonal, first.shape)] == 0).all()
    noise = first[np.broadcast_to(diagonal, first.shape)]
    assert abs(noise.mean() - 1) < 0.1
    assert abs(noise.std() - 1) < 0.1
    assert (second == np.broadcast_to(diagonal, second.shape)).all()
    for name, bound in {"input": (1 / 300) ** 0.5, "output": (1 / (7 * 4)) ** 0.5}.items():
        values = np.abs(parameters[f"cores.{name}"])
        assert 0.95 * bound < values.max() <= bound


@pytest.mark.parametrize(
    ("factorization", "drawn"), list(zip(EVERY, (2, 3, 2, 2, 1, 1, 2, 3), strict=True)), ids=str
)
def test_the_mean_expert_has_the_scale_of_a_linear_layer(factorization, drawn: int) -> None:
    """Its entries' variance is 1/(3 I) times 1/3 for every further core that is drawn uniformly."""
    features, actual = 300, []
    for seed in range(8):
        values = cores(factorization, experts=400, features=features, out=40, seed=seed)
        spec = tm.MuMoESpec(features, 40, 400, factorization)
        actual.append(tm.materialize(spec, values).mean(axis=0)[:features].var())
    expected = 1 / (3**drawn * features)
    assert 0.6 < np.mean(actual) / expected < 1.6


@given(specs())
def test_every_network_starts_finite_with_distinct_experts(spec: tm.MuMoESpec) -> None:
    parameters, _ = tm.initialize(spec, 0, "float64")
    assert all(np.isfinite(value).all() for value in parameters.values())
    named = tm.cores_of(spec, parameters)
    weight = tm.materialize(spec, named)
    assert np.abs(weight).max() > 0
    if spec.experts[0] > 1:
        assert (weight[0] != weight[1]).any()
    # Further levels start alike: coefficients that sum to 1 change nothing.
    for axis in range(1, spec.levels):
        np.testing.assert_allclose(weight, np.take(weight, [0] * weight.shape[axis], axis=axis), rtol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_coefficients_start_uniform(backend: str) -> None:
    spec = tm.MuMoESpec(7, 6, (5, 4), tm.CP(3))
    ops = tm.get_backend(backend)
    x = ops.from_numpy(np.random.default_rng(0).normal(size=(3, 7)).astype("float32"))
    _, coefficients = tm.build(spec, backend, seed=0)(x, return_coefficients=True)
    for a, n in zip(coefficients, spec.experts, strict=True):
        np.testing.assert_allclose(ops.to_numpy(a), 1 / n, rtol=1e-6)
