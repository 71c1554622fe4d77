"""Recording in JAX: under nnx.jit and nnx.grad, and what compiled functions do afterwards."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from analysis.recordings import assert_measures, build, collect
from flax import nnx

import tensormoe as tm
import tensormoe_jax
from tensormoe.analysis import record, recording

X = jnp.asarray(np.random.default_rng(0).normal(size=(6, 5)), "float32")


def test_a_compiled_call_is_recorded_and_tells_nobody_afterwards() -> None:
    model = build("jax", [(3,), (2, 2)])
    run = nnx.jit(lambda model, x: model(x))
    recorded = record(model, [(X,), (2 * X,)], call=lambda model, batch: run(model, *batch), progress=False)
    for layer, levels in zip(recorded.values(), collect("jax", model, [X, 2 * X]), strict=True):
        assert_measures(layer, levels)
    run(model, X)
    jax.effects_barrier()
    assert recorded["layers.0"].tokens == 12


def test_training_is_recorded() -> None:
    model = build("jax", [(3,)])
    step = nnx.jit(nnx.value_and_grad(lambda model, x: (model.layers[0](x) ** 2).sum()))
    plain = step(model, X)
    with recording(model) as recorded:
        for label in range(2):
            with recorded.batch(labels=label):
                loss, gradient = step(model, X)
        nnx.grad(lambda model, x: model.layers[0](x).sum())(model, X)
    levels = collect("jax", model, [X])[0]
    assert recorded["layers.0"].labels == (0, 1)
    assert recorded["layers.0"].tokens == 18
    np.testing.assert_allclose(recorded["layers.0"].load()[0], np.asarray(levels[0]).mean(0), rtol=1e-5)
    np.testing.assert_allclose(loss, plain[0], rtol=1e-6)
    for ours, theirs in zip(jax.tree.leaves(gradient), jax.tree.leaves(plain[1]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_function_compiled_around_a_model_is_refused() -> None:
    model = build("jax", [(3,)])
    model.eval()
    run = jax.jit(lambda x: model(x))
    run(X)
    with pytest.raises(tm.TensorMoEError, match=r"nnx.jit take it as an argument"):
        record(model, [X], call=lambda model, x: run(x), progress=False)


def test_compiled_functions_do_not_keep_a_recording_alive() -> None:
    model = build("jax", [(3,)])
    run = nnx.jit(lambda model, x: model(x))
    with recording(model) as recorded, recorded.batch():
        run(model, X)
    gone = weakref.ref(recorded)
    del recorded
    gc.collect()
    assert gone() is None


def test_layers_that_return_coefficients_go_on_doing_so() -> None:
    layer = tm.build(tm.MuMoESpec(5, 2, 3, tm.CP(2)), "jax", seed=0)
    with recording(layer) as recorded:
        y, coefficients = layer(X, return_coefficients=True)
        assert isinstance(layer, tensormoe_jax.MuMoE)
    assert y.shape == (6, 2)
    assert coefficients[0].shape == (6, 3)
    assert recorded[""].tokens == 6


def test_stacked_layers_are_refused() -> None:
    stack = tensormoe_jax.stacked(tm.MuMoESpec(5, 5, 3, tm.CP(2)), n=2, seed=0)
    with pytest.raises(tm.TensorMoEError, match="several layers, stacked"):
        record(stack, [X])


def test_modes_of_single_modules_are_given_back() -> None:
    model = build("jax", [(3,)])
    model.layers[1].deterministic = True
    record(model, [X], progress=False)
    assert [model.layers[0].use_running_average, model.layers[1].deterministic] == [False, True]
    assert model.layers[2].use_running_average is False
