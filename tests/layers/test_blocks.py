"""What a block's two layers share, and what each has of its own."""

from typing import Any

import numpy as np
import pytest
from support.frameworks import BACKENDS, optional

import tensormoe as tm
from tensormoe import cores_of
from tensormoe.layers.functional import mix

every_backend = pytest.mark.parametrize("backend", BACKENDS)
# Both layers have the same shapes, so that one could be taken for the other.
BLOCK = tm.MuMoEBlockSpec(5, 5, 5, (4, 3), tm.CP(3), input_norm=True)


def test_the_two_layers_start_with_values_of_their_own() -> None:
    parameters, _ = tm.initialize(BLOCK, 0)
    for core in ("expert1", "input", "output"):
        assert (parameters[f"first.{core}"] != parameters[f"second.{core}"]).any(), core


@every_backend
def test_a_block_materializes_both_of_its_layers(backend: str) -> None:
    module = tm.build(BLOCK, backend, seed=0)
    parameters, _ = tm.initialize(BLOCK, 0)
    ops = tm.get_backend(backend)
    for weight, (prefix, stage) in zip(module.materialize(), BLOCK.layers.items(), strict=True):
        cores = [parameters[f"{prefix}.{core.name}"].astype("float64") for core in stage.network.cores]
        letters = dict(zip(stage.network.sizes, "abcdefgh", strict=False))
        terms = ["".join(letters[index] for index in core.indices) for core in stage.network.cores]
        result = "".join(letters[index] for index in stage.network.modes)
        expected = np.einsum(f"{','.join(terms)}->{result}", *cores)
        np.testing.assert_allclose(ops.to_float64(weight), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("dtype", "unit"), [("float16", 2.0**-11), ("float32", 2.0**-24)])
def test_an_input_norm_is_computed_in_float32_at_least(dtype: str, unit: float) -> None:
    """Tokens far from 0 with a small spread: sums in half precision would leave little of it."""
    x = (10 + np.random.default_rng(0).normal(size=(3, 64)) / 4).astype(dtype)
    # Both layers are the identity, so that what comes out is the positive part of the norm.
    dense = tm.MuMoEBlockSpec(64, 64, 64, 1, tm.Dense(), bias=False, nonlinearity="relu", input_norm=True)
    parameters = {name: np.zeros(shape, dtype) for name, shape in dense.mixture_shapes.items()}
    for name in dense.core_names:
        parameters[name] = np.eye(64, dtype=dtype)[None]
    parameters["input_norm.weight"] += 1
    y = mix(dense, parameters, [np.ones((3, 1), dtype)], x)
    assert y.dtype == dtype
    centred = x.astype("float64") - x.astype("float64").mean(1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(y, np.maximum(expected, 0), rtol=2 * unit, atol=100 * 2.0**-24)


def test_a_memory_limit_holds_for_both_layers() -> None:
    """Each layer alone meets its limit; the second, which is larger, is the one that would not."""
    wide = tm.MuMoEBlockSpec(2, 2, 40, 4, tm.CP(3))
    sizes = [stage.plan().largest for stage in wide.layers.values()]
    assert sizes[0] < sizes[1]
    with pytest.raises(tm.TensorMoEError, match="memory_limit"):
        wide.replace(memory_limit=sizes[0])
    assert [stage.memory_limit for stage in wide.replace(memory_limit=sizes[1]).layers.values()] == [
        sizes[1]
    ] * 2


def test_an_input_norm_starts_as_the_identity() -> None:
    parameters, _ = tm.initialize(BLOCK, 0)
    assert (parameters["input_norm.weight"] == 1).all()
    assert (parameters["input_norm.bias"] == 0).all()


def test_each_layer_has_the_path_that_it_was_given() -> None:
    first, second = ((0, 3), (0, 2), (1, 2), (0, 1)), ((0, 1), (0, 1), (0, 2), (0, 1))
    block = tm.MuMoEBlockSpec(5, 6, 7, 4, tm.CP(3), optimize=(first, second))
    assert [stage.optimize for stage in block.layers.values()] == [first, second]


def test_what_the_layers_share_reaches_both() -> None:
    """Sizes are equal, so that one layer can't be told from the other by its shape."""
    for bias, limit in ((True, None), (False, 10**6)):
        block = BLOCK.replace(bias=bias, memory_limit=limit, optimize="greedy")
        for stage in block.layers.values():
            assert stage.arguments.items() <= {**block.arguments, "joint": ()}.items()


# Of equal sizes, so that no layer can be told from another by its shape.
GATED = BLOCK.replace(gated=True, nonlinearity="silu", input_norm=False)


@every_backend
@pytest.mark.parametrize("family", [tm.CP(3), tm.TensorRing((3, 2, 3, 2)), tm.Dense()], ids=str)
def test_a_gated_block_is_llamas_mlp_at_every_tokens_mixed_weights(
    backend: str, family: tm.Factorization
) -> None:
    """down(silu(gate(x)) ∗ up(x)) with each token's own matrices, in PyTorch's words."""
    torch = optional("torch")
    block = GATED.replace(factorization=family)
    ops, x = tm.get_backend(backend), np.random.default_rng(1).normal(size=(7, 5))
    parameters, state = tm.initialize(block, 0, "float64")
    generator = np.random.default_rng(2)
    parameters = {name: value + generator.normal(size=value.shape) / 4 for name, value in parameters.items()}
    with ops.double_precision():
        module = tm.build(block, backend, seed=0, dtype="float64")
        module.load_arrays(parameters | state)
        y, coefficients = module(ops.from_numpy(x), return_coefficients=True)
        y, a, b = (ops.to_float64(ops.stop_gradient(each)) for each in (y, *coefficients))
    weights = []
    for name, stage in block.layers.items():
        weight = tm.materialize(stage, cores_of(block, parameters, name))
        weights.append(torch.tensor(np.einsum("nmio,tn,tm->tio", weight, a, b)))

    def linear(weight: Any, data: Any) -> Any:
        return torch.einsum("ti,tio->to", torch.cat([data, torch.ones(7, 1)], dim=1), weight)

    gate, up, down = weights
    z = torch.tensor(x)
    expected = linear(down, torch.nn.functional.silu(linear(gate, z)) * linear(up, z))
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)


def test_every_layer_of_a_gated_block_starts_as_a_linear_layer_of_its_own() -> None:
    wide = tm.MuMoEBlockSpec(64, 96, 64, 4, tm.CP(64), gated=True)
    parameters, _ = tm.initialize(wide, 0)
    for name, stage in wide.layers.items():
        weight = tm.materialize(stage, cores_of(wide, parameters, name)).mean(0)
        # nn.Linear's entries are uniform up to 1/√I.
        assert weight.std() == pytest.approx((1 / (3 * stage.in_features)) ** 0.5, rel=0.1), name
    for core in ("expert1", "input", "output"):
        assert (parameters[f"first.{core}"] != parameters[f"up.{core}"]).any(), core


def test_a_gated_block_is_matched_with_all_its_layers() -> None:
    mlp = 3 * 64 * 96
    spec = tm.MuMoEBlockSpec(64, 96, 64, 8, tm.CP(1), gated=True, bias=False).matched(mlp)
    (rank,) = {stage.network.sizes["r"] for stage in spec.layers.values()}
    larger = spec.replace(factorization=tm.CP(rank + 1))
    assert spec.num_parameters <= mlp < larger.num_parameters
    assert spec.num_parameters == sum(value.size for value in tm.initialize(spec)[0].values())


@every_backend
def test_only_a_gated_block_has_a_layer_up(backend: str) -> None:
    assert not hasattr(tm.build(BLOCK, backend, seed=0), "up")
    gated = tm.build(GATED, backend, seed=0)
    assert list(gated.up) == list(gated.first) == list(gated.second)
    assert len(gated.materialize()) == 3


def test_each_layer_of_a_gated_block_may_have_a_path_of_its_own() -> None:
    first, other = ((0, 3), (0, 2), (1, 2), (0, 1)), ((0, 1), (0, 1), (0, 2), (0, 1))
    paths = [first, other, first]
    block = tm.MuMoEBlockSpec(5, 6, 7, 4, tm.CP(3), gated=True, optimize=paths)
    assert [stage.optimize for stage in block.layers.values()] == paths
    with pytest.raises(tm.TensorMoEError, match="or one for each: first, up, second"):
        tm.MuMoEBlockSpec(5, 6, 7, 4, tm.CP(3), gated=True, optimize=paths[:2])
    with pytest.raises(tm.TensorMoEError, match="or one for each: first, second"):
        tm.MuMoEBlockSpec(5, 6, 7, 4, tm.CP(3), optimize=paths)
