"""What is computed from cores, against the materialized tensor."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.frameworks import BACKENDS
from support.strategies import EVERY, close, truth, values_for

import tensormoe as tm
from tensormoe.testing import specs


def experts_of(spec: tm.MuMoESpec, values: object, bias: bool = True) -> np.ndarray:
    """Every expert's matrix by the definition, (N, I[+1], O)."""
    weight = truth(spec, values).weight
    weight = weight.reshape(-1, *weight.shape[-2:])
    return weight[:, : spec.in_features] if not bias else weight


def check(spec: tm.MuMoESpec, framework: str, seed: int, bias: bool) -> None:
    values = values_for(spec, seed, 1)
    weight = experts_of(spec, values, bias)
    rows = weight.reshape(len(weight), -1)
    ops = tm.get_backend(framework)
    with ops.double_precision():
        cores = [ops.from_float64(core, "float64") for core in values.cores]
        products = tm.analysis.gram(spec, cores, bias=bias)
        close(products, rows @ rows.T)
        assert (products == products.T).all()
        lengths = np.linalg.norm(rows, axis=1)
        close(tm.analysis.norms(spec, cores, bias=bias), lengths)
        # An expert of zeros has no direction.
        scales = np.outer(lengths, lengths)
        angles = np.divide(rows @ rows.T, scales, out=np.zeros_like(scales), where=scales > 0)
        close(tm.analysis.cosines(spec, cores, bias=bias), angles, 1e-9)
        for number in (0, len(weight) - 1):
            expected = np.linalg.svd(weight[number], compute_uv=False)
            close(tm.analysis.spectrum(spec, number, cores, bias=bias), expected)


@settings(max_examples=max(30, settings.default.max_examples // 2), deadline=None)
@given(specs(max_levels=3), st.integers(0, 99), st.sampled_from(BACKENDS), st.booleans())
def test_random_networks_agree_with_the_materialized_tensor(
    spec: tm.MuMoESpec, seed: int, framework: str, bias: bool
) -> None:
    check(spec, framework, seed, bias)


@pytest.mark.parametrize("factorization", EVERY, ids=repr)
def test_every_family_agrees_with_the_materialized_tensor(factorization: tm.Factorization) -> None:
    for bias in (True, False):
        check(tm.MuMoESpec(9, 11, 5, factorization), "numpy", 0, bias)


@pytest.mark.parametrize("framework", BACKENDS)
def test_modules_and_the_layers_of_blocks_are_taken(framework: str) -> None:
    spec = tm.MuMoESpec(8, 6, experts=(4, 3), factorization=tm.CP(5))
    layer = tm.build(spec, framework, seed=0)
    cores = tm.build(spec, "numpy", seed=0).cores
    for measure in (tm.analysis.gram, tm.analysis.cosines, tm.analysis.norms):
        np.testing.assert_array_equal(measure(layer), measure(spec, cores))
    np.testing.assert_array_equal(tm.analysis.spectrum(layer, 7), tm.analysis.spectrum(spec, (2, 1), cores))
    block = tm.build(tm.MuMoEBlockSpec(8, 16, 6, 4, tm.CP(5)), framework, seed=0)
    second = tm.analysis.gram(block.spec.layers["second"], block.second)
    assert second.shape == (4, 4)
    with pytest.raises(tm.TensorMoEError, match=r"block.spec.layers\['second'\]"):
        tm.analysis.gram(block)


def test_an_expert_of_zeros_has_no_direction() -> None:
    spec = tm.MuMoESpec(3, 2, 3, tm.CP(2))
    cores = {name: np.ones(shape) for name, shape in spec.network.shapes.items()}
    cores["expert1"][1] = 0
    expected = [[1, 0, 1], [0, 0, 0], [1, 0, 1]]
    np.testing.assert_allclose(tm.analysis.cosines(spec, cores), expected, atol=1e-12)
    assert tm.analysis.norms(spec, cores)[1] == 0


def test_the_weight_tensor_is_never_built() -> None:
    """Neither it nor anything of its size: 10¹² elements would not fit."""
    spec = tm.MuMoESpec(1000, 1000, (100, 100, 100), tm.CP(2))
    cores = {name: np.ones(shape) for name, shape in spec.network.shapes.items()}
    assert tm.analysis.norms(spec, cores).shape == (10**6,)
    with pytest.raises(tm.TensorMoEError, match="TiB of memory"):
        tm.analysis.gram(spec, cores)


def test_an_experts_matrix_is_never_built_either() -> None:
    """Neither of its sides: 10¹¹ elements would not fit."""
    for sizes in ((300_000, 300_000), (10, 300_000), (300_000, 10)):
        spec = tm.MuMoESpec(*sizes, 3, tm.CP(2))
        cores = {name: np.ones(shape) for name, shape in spec.network.shapes.items()}
        values = tm.analysis.spectrum(spec, 2, cores)
        assert values.shape == (min(sizes[0] + 1, sizes[1]),)
        np.testing.assert_allclose(values[0], 2 * np.sqrt((sizes[0] + 1) * sizes[1]))
        assert abs(values[1:]).max() < 1e-6 * values[0]


SPEC = tm.MuMoESpec(3, 2, (2, 3), tm.CP(2))
CORES = {name: np.ones(shape) for name, shape in SPEC.network.shapes.items()}


@pytest.mark.parametrize("expert", [6, -1, (2, 0), (0, 3), (0,), (0, 0, 0), 1.0, True])
def test_experts_that_the_layer_lacks_are_refused(expert: object) -> None:
    with pytest.raises(tm.TensorMoEError, match="expert"):
        tm.analysis.spectrum(SPEC, expert, CORES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": np.ones((3, 2))}, r"cores\['input'\]: received \(3, 2\); pass an array of shape \(4, 2\)"),
        ({"input": np.full((4, 2), np.nan)}, r"cores\['input'\]: received nan"),
        ({"input": np.full((4, 2), 1e200)}, "too large to multiply"),
        ({"other": np.ones(2)}, "unknown: 'other'"),
        ({"input": "text"}, r"cores\['input'\]"),
    ],
)
def test_cores_that_are_not_the_layers_are_refused(change: dict[str, object], message: str) -> None:
    for measure in (tm.analysis.gram, tm.analysis.norms, tm.analysis.cosines):
        with pytest.raises(tm.TensorMoEError, match=message):
            measure(SPEC, CORES | change)
