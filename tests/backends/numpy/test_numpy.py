"""NumPy's modules: values and evaluation."""

import numpy as np
import pytest

import tensormoe as tm
from tensormoe_numpy import MuMoE, MuMoEBlock

SPEC = tm.MuMoESpec(7, 6, (5, 2), tm.CP(3), tm.Gate("softmax", norm="batch"))


def test_a_layer_is_its_definition() -> None:
    layer = MuMoE(7, 6, (5, 2), tm.CP(3), gate=tm.Gate("softmax", None), seed=0, dtype="float64")
    generator = np.random.default_rng(0)
    arrays = {name: generator.normal(size=shape) for name, shape in layer.spec.parameter_shapes.items()}
    layer.load_arrays(arrays)
    x = generator.normal(size=(2, 4, 7))
    y, coefficients = layer(x, return_coefficients=True)
    for a, g in zip(coefficients, layer.gate_weights, strict=True):
        powers = np.exp(x @ g)
        np.testing.assert_allclose(a, powers / powers.sum(axis=-1, keepdims=True))
    extended = np.concatenate([x, np.ones((2, 4, 1))], axis=-1)
    n, m = coefficients
    expected = np.einsum("nmio,btn,btm,bti->bto", layer.materialize(), n, m, extended)
    np.testing.assert_allclose(y, expected, rtol=1e-10)


def test_a_block_is_two_layers() -> None:
    block = MuMoEBlock(7, 8, 6, 5, tm.CP(3), nonlinearity="relu", input_norm=True, seed=1, dtype="float64")
    x = np.random.default_rng(0).normal(size=(4, 7))
    y, coefficients = block(x, return_coefficients=True)
    first, second = block.materialize()
    normalised = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    hidden = (
        np.einsum("nio,bn,bi->bo", first[:, :-1], coefficients[0], normalised)
        + coefficients[0] @ first[:, -1]
    )
    hidden = np.maximum(hidden, 0)
    expected = (
        np.einsum("nio,bn,bi->bo", second[:, :-1], coefficients[0], hidden) + coefficients[0] @ second[:, -1]
    )
    np.testing.assert_allclose(y, expected, rtol=1e-9, atol=1e-12)


def test_arguments_are_those_of_the_other_frameworks() -> None:
    layer = MuMoE(
        7,
        6,
        5,
        tm.CP(3),
        gate=tm.Gate(),
        bias=False,
        optimize="greedy",
        memory_limit=10_000,
        seed=0,
        dtype=None,
        device="cpu",
        recompute=True,
    )
    assert layer.spec == tm.MuMoESpec(7, 6, 5, tm.CP(3), bias=False, optimize="greedy", memory_limit=10_000)
    assert (layer.in_features, layer.out_features, layer.experts) == (7, 6, (5,))
    assert layer.dtype == "float32"
    assert list(layer.cores) == list(layer.spec.network.shapes)
    with pytest.raises(tm.TensorMoEError, match="device: received 'cuda'"):
        MuMoE(7, 6, 5, tm.CP(3), device="cuda")
    for dtype in ("int32", "bfloat", "complex64"):
        with pytest.raises(tm.TensorMoEError, match="dtype: received"):
            MuMoE(7, 6, 5, tm.CP(3), dtype=dtype)


def test_the_same_seed_gives_the_same_values_and_none_follows_numpys_own() -> None:
    parameters, _ = tm.initialize(SPEC, seed=3)
    layer = tm.build(SPEC, "numpy", seed=3)
    assert all((layer.parameters[name] == value).all() for name, value in parameters.items())
    drawn = []
    for seed in (0, 0, 1):
        np.random.seed(seed)
        drawn += [MuMoE.from_spec(SPEC).cores["input"], MuMoE.from_spec(SPEC).cores["input"]]
    assert (drawn[0] == drawn[2]).all()
    assert (drawn[1] == drawn[3]).all()
    assert all((drawn[0] != other).all() for other in (drawn[1], drawn[4]))


def test_half_precision_is_rounded_float32() -> None:
    whole, half = (MuMoE.from_spec(SPEC, seed=0, dtype=dtype) for dtype in ("float32", "float16"))
    assert half.dtype == "float16"
    assert all(
        (half.parameters[name] == value.astype("float16")).all() for name, value in whole.parameters.items()
    )
    assert half(np.ones((2, 7), "float16")).dtype == "float16"


def test_nothing_is_loaded_unless_everything_fits() -> None:
    layer = tm.build(SPEC, "numpy", seed=0)
    before = layer.parameters | layer.state
    parameters, state = tm.initialize(SPEC, seed=1, dtype="float64")
    arrays = parameters | state
    for unfit, said in (
        ({}, r"arrays: received \[\]; missing: 'cores.expert1', .*'gate_mean.0'"),
        (parameters, r"received \['cores.expert1'.*missing: 'gate_mean.0'.*pass exactly these"),
        (arrays | {"more": np.ones(2)}, r"received .*; unknown: 'more'; pass exactly these"),
        ({"cores": {"input": np.ones((8, 3))}}, r"received \['cores'\]; .*nested: .*nnx\.update"),
        (arrays | {"cores.input": arrays["cores.input"].T}, r"cores\.input.*pass an array of shape \(8, 3\)"),
        (arrays | {"cores.input": np.ones((8, 3), bool)}, r"cores\.input.*floating-point"),
    ):
        with pytest.raises(tm.TensorMoEError, match=said):
            layer.load_arrays(unfit)
    assert all((before[name] == value).all() for name, value in (layer.parameters | layer.state).items())
    layer.load_arrays(arrays)
    arrays["cores.input"][...] = 100
    assert layer.dtype == "float32"
    assert (layer.cores["input"] == tm.initialize(SPEC, seed=1)[0]["cores.input"]).all()


def test_specs_of_the_other_kind_are_refused() -> None:
    with pytest.raises(tm.TensorMoEError, match="pass a MuMoEBlockSpec"):
        MuMoEBlock.from_spec(SPEC)


def test_long_sums_of_wider_types_are_not_narrowed() -> None:
    """Along the first axis many float32 numbers are summed in float64, where wider ones would lose digits."""
    ops, x = tm.get_backend("numpy"), np.full((2000, 3), 2.0**-62, np.longdouble)
    x[0] = 1
    total = ops.sum(x, axis=0)
    assert total.dtype == np.longdouble
    assert (total == 1 + 1999 * np.longdouble(2.0**-62)).all()
