"""JAX's strict modes: no promotion of element types, none of ranks. What is traced raises the errors."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from support.strategies import EVERY, EVERY_GATE, close

import tensormoe as tm
import tensormoe_jax
from tensormoe.arrays.nonlinearities import NONLINEARITIES

ACTIVATIONS = {
    "softmax": tm.softmax,
    "sparsemax": tm.sparsemax,
    "entmax15": tm.entmax15,
    "entmax(1.3)": partial(tm.entmax, alpha=1.3),
    "entmax(3)": partial(tm.entmax, alpha=3),
    "soft_top_k": partial(tm.soft_top_k, k=2),
    "top_k": partial(tm.top_k, k=2),
    "soft_rank": tm.soft_rank,
}
WAYS: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "value": lambda f: f,
    "gradient": jax.grad,
    "gradient of jit": lambda f: jax.grad(jax.jit(f)),
    "forward mode of jit": lambda f: jax.jacfwd(jax.jit(f)),
    "vmap of gradient": lambda f: jax.vmap(jax.grad(f)),
}
ways = pytest.mark.parametrize("way", WAYS)


@contextmanager
def strict() -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(jax.numpy_dtype_promotion("strict"))
        stack.enter_context(jax.numpy_rank_promotion("raise"))
        yield


def trace(way: str, function: Callable[[jax.Array], jax.Array], shape: tuple[int, ...]) -> None:
    """Trace a sum of the function's values in one of the ways, without compiling anything."""
    shape = (2, *shape) if way.startswith("vmap") else shape
    x = jax.ShapeDtypeStruct(shape, "float32")
    with strict():
        jax.eval_shape(WAYS[way](lambda x: function(x)[..., 0].sum()), x)


@ways
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_promote_nothing(name: str, way: str) -> None:
    trace(way, ACTIVATIONS[name], (3, 5))


@ways
@pytest.mark.parametrize("options", [{}, {"dispersion": "std", "preset": "vision"}], ids=str)
def test_cluster_weights_promote_nothing(options: dict[str, Any], way: str) -> None:
    for previous in (jnp.full((3, 4), 0.25), jnp.array([0, 1, 0])):
        trace(way, lambda h, a=previous: tm.adaptive_clustering_weights(h, a, clusters=4, **options), (3, 5))


@ways
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("gate", EVERY_GATE, ids=lambda gate: gate.steps)
def test_layers_and_blocks_promote_nothing(gate: tm.Gate, training: bool, way: str) -> None:
    if isinstance(gate.router, tm.AdaptiveClustering):
        gate = replace(gate, router=replace(gate.router, clusters=4))
    block = tm.MuMoEBlockSpec(5, 6, 4, (3, 2), tm.CP(2), gate, input_norm=True)
    for spec in (tm.MuMoESpec(5, 4, (3, 2), tm.CP(2), gate), block):
        trace(way, partial(call, spec, training=training), (3, 5))


def call(spec: tm.Spec, x: jax.Array, training: bool) -> jax.Array:
    parameters, state = tensormoe_jax.initialize(spec)
    options: dict[str, Any] = {"training": training, "recompute": training, "generator": jax.random.key(0)}
    previous = [jnp.full((*x.shape[:-1], 4), 0.25)] * 2
    return tm.apply(spec, parameters, x, state=state, previous=previous, **options).y


@ways
@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
def test_nonlinearities_promote_nothing(nonlinearity: str, way: str) -> None:
    spec = tm.MuMoEBlockSpec(5, 6, 4, 3, tm.CP(2), nonlinearity=nonlinearity, gated=True)
    parameters, _ = tensormoe_jax.initialize(spec)
    trace(way, lambda x: tm.apply(spec, parameters, x).y, (3, 5))


@pytest.mark.parametrize("family", EVERY, ids=str)
def test_families_promote_nothing(family: tm.Factorization) -> None:
    spec = tm.MuMoESpec(5, 4, 3, family)
    for way in ("value", "gradient of jit"):
        parameters, _ = tensormoe_jax.initialize(spec)
        trace(way, lambda x, parameters=parameters: tm.apply(spec, parameters, x).y, (3, 5))
    with strict():
        layer = nnx.eval_shape(lambda: tm.build(spec, "jax", rngs=nnx.Rngs(0)))
        jax.eval_shape(lambda: tensormoe_jax.initialize(spec, key=jax.random.key(0)))
    assert layer.cores


def test_modules_work_in_strict_modes() -> None:
    spec = tm.MuMoESpec(5, 4, (3, 2), tm.CP(2), tm.Gate("sparsemax", "batch"))
    x = jnp.arange(15.0).reshape(3, 5)
    plain = tm.build(spec, "jax", seed=0)(x)
    with strict():
        layer = tm.build(spec, "jax", seed=0)
        gradients = nnx.grad(lambda layer, x: layer(x).sum())(layer, x)
        layer.load_arrays(tensormoe_jax.initialize(spec)[0] | tensormoe_jax.initialize(spec)[1])
        close(layer(x), plain, 1e-6)
        assert layer.materialize().shape == (3, 2, 6, 4)
        assert tensormoe_jax.stacked(spec, 2, seed=0).cores["input"].shape == (2, 6, 2)
    assert jax.tree.leaves(gradients)


def test_the_users_modes_are_left_as_they_were() -> None:
    with strict():
        tm.sparsemax(jnp.ones((2, 3)))
        with pytest.raises(Exception, match="promotion"):
            jnp.ones(2) + jnp.ones(2, bool)


def test_a_compiled_top_k_keeps_exactly_k() -> None:
    """XLA may compute logits once to sort them and again, rounded otherwise, to compare them."""
    spec = tm.MuMoESpec(6, 5, 4, tm.CP(3), tm.Gate(tm.Activation("top_k", k=2), "batch"))
    for seed in (1, 2, 4):
        report = tm.verify(spec, "jax", seed, methods="frameworks")
        assert report.passed, str(report)
