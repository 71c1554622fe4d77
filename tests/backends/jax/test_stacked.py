"""Layers stacked along a leading axis."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support.strategies import close

import tensormoe as tm
import tensormoe_jax

BLOCK = tm.MuMoEBlockSpec(7, 8, 7, 5, tm.TensorRing((2, 2, 3)), tm.Gate("softmax", "batch"), input_norm=True)


def x(*leading: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(*leading, 7)).astype("float32")


@nnx.scan(in_axes=(0, nnx.Carry), out_axes=nnx.Carry)
def run(block: nnx.Module, x: jnp.ndarray) -> jnp.ndarray:
    return x + block(x)


def test_a_scan_applies_the_layers_that_the_seed_makes() -> None:
    blocks = tensormoe_jax.stacked(BLOCK, n=3, seed=2)
    seeds = np.random.SeedSequence(2).generate_state(3, "uint64")
    separate = [tensormoe_jax.MuMoEBlock.from_spec(BLOCK, seed=int(seed)) for seed in seeds]
    y = run(blocks, jnp.asarray(x(16)))
    expected = jnp.asarray(x(16))
    for block in separate:
        expected = expected + block(expected)
    close(y, expected, 1e-5)
    # Running statistics move as they do in the layers one by one.
    for number, block in enumerate(separate):
        close(blocks.gate_mean[0][number], block.gate_mean[0][...], 1e-5)


def test_stacked_layers_differ_whatever_they_are_made_from() -> None:
    spec = tm.MuMoESpec(7, 6, 5, tm.CP(3))
    for source in ({"seed": 0}, {"rngs": nnx.Rngs(0)}):
        layers = tensormoe_jax.stacked(spec, 2, dtype="bfloat16", **source)
        assert isinstance(layers, tensormoe_jax.MuMoE)
        assert layers.dtype == "bfloat16"
        first, second = layers.cores["input"][...]
        assert (first != second).any()
        assert list(layers.cores) == list(spec.network.shapes)
        y = nnx.vmap(lambda layer, x: layer(x), in_axes=(0, None))(layers, jnp.asarray(x(4), "bfloat16"))
        assert y.shape == (2, 4, 6)


def test_a_stack_learns() -> None:
    blocks = tensormoe_jax.stacked(BLOCK.replace(gate=tm.Gate("softmax")), n=2, rngs=nnx.Rngs(0))
    gradients = nnx.grad(lambda blocks: jnp.square(run(blocks, jnp.asarray(x(4)))).sum())(blocks)
    assert gradients["first"]["input"].shape == (2, *BLOCK.layers["first"].network.shapes["input"])
    assert all((jnp.abs(layer) > 0).any() for layer in gradients["first"]["input"][...])


def test_unfit_arguments_are_refused() -> None:
    for unfit, said in (
        ({"n": 0, "seed": 0}, "n: received 0"),
        ({"n": 2}, "rngs: received None; pass rngs=nnx.Rngs"),
        ({"n": 2, "rngs": 0}, "rngs: received 0; pass rngs=nnx.Rngs"),
        ({"n": 2, "seed": 0, "rngs": nnx.Rngs(0)}, "seed: received 0; rngs is given as well"),
        ({"spec": tm.build(BLOCK, "jax", seed=0), "n": 2, "seed": 0}, "pass layer.spec"),
        ({"n": 2, "seed": -1}, "seed: received -1"),
    ):
        with pytest.raises(tm.TensorMoEError, match=said):
            tensormoe_jax.stacked(**{"spec": BLOCK, **unfit})


def test_a_stack_that_needs_more_than_there_is_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tm.MuMoESpec(2**10, 2**10, 4, tm.CP(512))
    needed = 300 * 4 * spec.num_parameters
    monkeypatch.setattr(type(tm.get_backend("jax")), "memory_of", lambda self, array: needed - 1)
    with pytest.raises(tm.TensorMoEError, match=r"n: received 300; so many layers need 1 GiB"):
        tensormoe_jax.stacked(spec, n=300, seed=0)
