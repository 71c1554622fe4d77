"""Coefficients of a call in JAX: jit, gradients, vmap, NNX, recordings, shares."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import tensormoe as tm
import tensormoe_jax
from tensormoe.analysis import recording
from tensormoe_jax import MuMoE

X, A = (jax.random.normal(jax.random.key(n), (5, n)) for n in (6, 4))


@pytest.fixture(scope="module")
def layer() -> MuMoE:
    return MuMoE(6, 5, 4, tm.CP(3), gate=None, seed=0)


def definition(layer: MuMoE, x: Any, a: Any) -> Any:
    one = jnp.concatenate([x, jnp.ones_like(x[..., :1])], -1)
    return jnp.einsum("nio,...n,...i->...o", layer.materialize(), a, one)


def test_a_jitted_layer_hands_gradients_to_its_coefficients(layer: MuMoE) -> None:
    @nnx.jit
    def both(layer: MuMoE, x: Any, a: Any) -> Any:
        return jax.value_and_grad(lambda a: jnp.sin(layer(x, coefficients=a)).sum())(a)

    value, gradient = both(layer, X, A)
    expected = jax.value_and_grad(lambda a: jnp.sin(definition(layer, X, a)).sum())(A)
    np.testing.assert_allclose(value, expected[0], rtol=1e-5)
    np.testing.assert_allclose(gradient, expected[1], rtol=1e-4, atol=1e-6)


def test_coefficients_are_mapped_by_vmap(layer: MuMoE) -> None:
    y = jax.vmap(lambda x, a: layer(x, coefficients=a))(X, A)
    np.testing.assert_allclose(y, definition(layer, X, A), rtol=1e-5, atol=1e-6)


def test_nnx_splits_and_merges_layers_without_a_gate(layer: MuMoE) -> None:
    for module, call in ((layer, {"coefficients": np.asarray(A)}), (linear(), {})):
        graph, state = nnx.split(module)
        np.testing.assert_array_equal(nnx.merge(graph, state)(X, **call), module(X, **call))
        assert len(module.gate_weights) == 0
        again = MuMoE.from_arrays(module.spec, module.arrays())
        np.testing.assert_array_equal(again(X, **call), module(X, **call))


def linear() -> MuMoE:
    return MuMoE(6, 5, (), tm.CP(3), gate=None, rngs=nnx.Rngs(0))


def test_a_layer_without_experts_is_a_linear_layer() -> None:
    layer = linear()
    weight = layer.materialize()
    np.testing.assert_allclose(layer(X), X @ weight[:6] + weight[6], rtol=1e-5, atol=1e-6)


def test_a_recording_sees_what_was_passed(layer: MuMoE) -> None:
    class Model(nnx.Module):
        def __init__(self) -> None:
            self.before = MuMoE(6, 6, (), tm.CP(3), gate=None, seed=0)
            self.layer = layer

        def __call__(self, x: Any, a: Any) -> Any:
            return self.layer(self.before(x), coefficients=a)

    model, a = Model(), jnp.eye(4)[jnp.array([0, 0, 2, 3, 0])]
    with recording(model) as recorder:
        nnx.jit(lambda model, x, a: model(x, a))(model, X, a)
    assert [*recorder] == ["layer"]
    assert recorder["layer"].load()[0].tolist() == pytest.approx([0.6, 0, 0.2, 0.2])


def test_coefficients_take_the_place_of_a_gates() -> None:
    layer = MuMoE(6, 5, 4, tm.CP(3), gate=tm.Gate("softmax", norm="batch"), seed=0)
    before = {name: np.asarray(value) for name, value in layer.arrays().items()}
    np.testing.assert_allclose(layer(X, coefficients=A), definition(layer, X, A), rtol=1e-4, atol=1e-6)
    assert all((before[name] == value).all() for name, value in layer.arrays().items())


@pytest.mark.parametrize("experts", [4, ()], ids=["experts", "linear"])
def test_shares_take_coefficients(experts: Any) -> None:
    spec = tm.MuMoESpec(6, 5, experts, tm.CP(4), gate=None)
    parameters, _ = tensormoe_jax.initialize(spec, seed=0)
    brought = [A] if experts else []
    axes = {"rank": "model"} | ({"experts": "experts"} if experts else {})
    mesh = jax.make_mesh((1, 1), ("model", "experts"), axis_types=(AxisType.Auto,) * 2)
    specs = tensormoe_jax.partition_specs(spec, **axes)
    share = jax.shard_map(
        partial(tensormoe_jax.apply_shares, spec, **axes),
        mesh=mesh, in_specs=(specs, P()), out_specs=P(),
    )  # fmt: skip
    if experts:
        share = jax.shard_map(
            lambda shares, x, a: tensormoe_jax.apply_shares(spec, shares, x, coefficients=a, **axes),
            mesh=mesh, in_specs=(specs, P(), P()), out_specs=P(),
        )  # fmt: skip
    result = share(parameters, X, *brought)
    expected = tm.apply(spec, parameters, X, coefficients=brought)
    np.testing.assert_allclose(result.y, expected.y, rtol=1e-5, atol=1e-6)


def test_merged_experts_are_jitted_and_differentiated(layer: MuMoE) -> None:
    tokens = jax.random.normal(jax.random.key(3), (5, 3, 6))

    @nnx.jit
    def merged(layer: MuMoE, a: Any) -> Any:
        return jax.grad(lambda a: jnp.sin(layer.apply_merged(tokens, a)).sum())(a)

    mixture = jax.grad(lambda a: jnp.sin(definition(layer, tokens, a[:, None].repeat(3, 1))).sum())(A)
    np.testing.assert_allclose(merged(layer, A), mixture, rtol=1e-4, atol=1e-5)
    expected = jnp.einsum("nio,bn->bio", layer.materialize(), A)
    np.testing.assert_allclose(layer.merge(np.asarray(A)), expected, rtol=1e-5, atol=1e-6)
