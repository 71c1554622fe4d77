"""What a block's two layers share, and what each has of its own."""

import numpy as np
import pytest
from support.frameworks import BACKENDS

import tensormoe as tm
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
            assert stage.arguments.items() <= block.arguments.items()
