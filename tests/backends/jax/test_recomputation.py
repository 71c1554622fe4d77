"""Rematerialization, which runs layers again in the backward pass: noise and statistics as at first."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support.strategies import close

import tensormoe as tm
import tensormoe_jax

# Running statistics that change what the next step computes, and a batch norm's.
GATES = [tm.Gate("softmax", "batch"), tm.Gate(router=tm.AdaptiveClustering())]
every = pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.steps)


def spec_of(gate: tm.Gate) -> tm.MuMoESpec:
    router = gate.router
    if router != tm.LinearRouter():
        router = replace(router, clusters=3)
    return tm.MuMoESpec(6, 6, 4, tm.CP(5), replace(gate, noise=0.5, router=router))


def draw() -> tuple[jax.Array, list[jax.Array]]:
    generator = np.random.default_rng(0)
    x, a = generator.normal(size=(9, 6)), generator.dirichlet(np.ones(3), size=9)
    return jnp.asarray(x, "float32"), [jnp.asarray(a, "float32")]


def train(gate: tm.Gate, wrap: Callable[[Any], Any], recompute: bool = False) -> list[jax.Array]:
    """Gradients of two steps of a module, and its statistics, which they move."""
    layer = tm.build(spec_of(gate), "jax", seed=0, recompute=recompute)
    layer.gate_weights[0][...] = jnp.asarray(np.random.default_rng(1).normal(size=(6, 4)), "float32")
    rngs = nnx.Rngs(noise=0)
    x, previous = draw()

    def loss(layer: Any, rngs: nnx.Rngs, x: jax.Array) -> jax.Array:
        run = wrap(lambda layer, rngs, x: layer(x, previous=previous, generator=rngs))
        return jnp.square(run(layer, rngs, x)).sum()

    gradients = [nnx.jit(nnx.grad(loss))(layer, rngs, x * factor) for factor in (1, 2)]
    return jax.tree.leaves((gradients, nnx.state(layer, nnx.BatchStat)))


@every
def test_modules_under_remat_have_the_gradients_and_statistics_without(gate: tm.Gate) -> None:
    expected = train(gate, lambda run: run)
    for actual in (train(gate, nnx.remat), train(gate, lambda run: run, recompute=True)):
        for ours, theirs in zip(actual, expected, strict=True):
            close(ours, theirs, 1e-5)


@every
def test_functions_under_checkpoint_have_the_gradients_and_statistics_without(gate: tm.Gate) -> None:
    spec = spec_of(gate)
    parameters, state = tensormoe_jax.initialize(spec)
    parameters["gate_weights.0"] += jnp.asarray(np.random.default_rng(1).normal(size=(6, 4)), "float32")
    x, previous = draw()

    def loss(parameters: Any, state: Any) -> Any:
        call = {"training": True, "previous": previous, "generator": jax.random.key(0)}
        for _ in range(2):
            y, _, state = tm.apply(spec, parameters, x, state=state, **call)
        return jnp.square(y).sum(), state

    expected, actual = (
        jax.tree.leaves(jax.jit(jax.grad(call, has_aux=True))(parameters, state))
        for call in (loss, jax.checkpoint(loss))
    )
    for ours, theirs in zip(actual, expected, strict=True):
        close(ours, theirs, 1e-5)
