"""Cores that layers of a model share, in JAX: one variable."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import tensormoe as tm
from tensormoe_jax import MuMoE, share


def model() -> nnx.Sequential:
    layers = (MuMoE(4, 4, 3, tm.CP(rank=2), gate=tm.Gate("softmax"), seed=seed) for seed in range(2))
    return nnx.Sequential(*layers)


def tied() -> nnx.Sequential:
    module = model()
    assert share(module, "*.cores.expert1") == {"layers.1.cores.expert1": "layers.0.cores.expert1"}
    return module


def test_it_is_one_variable_that_splits_and_merges() -> None:
    module = tied()
    count = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model(), nnx.Param)))
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param))) == count - 3 * 2
    for each in (module, nnx.merge(*nnx.split(module)), nnx.clone(module)):
        first, second = each.layers
        assert first.cores["expert1"] is second.cores["expert1"]
    assert [*module.layers[1].arrays()] == [*module.layers[0].arrays()]


def test_gradients_of_layers_are_added() -> None:
    module, apart = tied(), model()
    apart.layers[1].cores["expert1"].set_value(apart.layers[0].cores["expert1"].get_value())
    x = jnp.ones((2, 4))

    @nnx.jit
    def gradient(module: nnx.Module) -> nnx.State:
        return nnx.grad(lambda module: (module(x) ** 2).sum())(module)

    shared, own = gradient(module)["layers"], gradient(apart)["layers"]
    summed = own[0]["cores"]["expert1"][...] + own[1]["cores"]["expert1"][...]
    np.testing.assert_allclose(shared[0]["cores"]["expert1"][...], summed, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(module(x), apart(x), rtol=1e-5, atol=1e-6)


def test_what_cannot_be_one_is_refused() -> None:
    with pytest.raises(tm.TensorMoEError, match=r"layers.0.cores.input has the shape \(5, 2\)"):
        share(model(), ["layers.0.cores.input", "layers.1.cores.output"])
    with pytest.raises(tm.TensorMoEError, match=r"pass a flax.nnx.Module"):
        share("model", "*")  # type: ignore[arg-type]
    with pytest.raises(tm.TensorMoEError, match="there is no layer"):
        share(nnx.Linear(2, 2, rngs=nnx.Rngs(0)), "*")
