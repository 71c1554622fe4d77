"""Gathered programs under jit: values and gradients of those that read all."""

import numpy as np
from support.frameworks import optional
from support.strategies import close

import tensormoe as tm
from tensormoe.layers.functional import run_mixture

jax = optional("jax")


def test_a_jitted_layer_reads_slices() -> None:
    spec = tm.MuMoESpec(80, 80, 160, tm.Dense(), tm.Gate(tm.Activation("top_k", k=2)))
    parameters = {name: jax.numpy.array(value) for name, value in tm.initialize(spec)[0].items()}
    gate = np.random.default_rng(0).normal(size=(80, 160)).astype("float32")
    parameters["gate_weights.0"] = jax.numpy.array(gate)
    x = jax.numpy.array(np.random.default_rng(1).normal(size=(2, 80)).astype("float32"))
    assert "gather" in str(jax.make_jaxpr(lambda p, x: tm.apply(spec, p, x).y)(parameters, x))

    def loss(parameters: dict, x: jax.Array) -> jax.Array:
        return (tm.apply(spec, parameters, x).y ** 2).sum()

    def whole(parameters: dict, x: jax.Array) -> jax.Array:
        a = tm.apply(spec, parameters, x).coefficients
        cores = {"cores.core1": parameters["cores.core1"]}
        return (run_mixture(tm.get_backend("jax"), spec, cores, a, x, False) ** 2).sum()

    value, slopes = jax.jit(jax.value_and_grad(loss))(parameters, x)
    expected, others = jax.jit(jax.value_and_grad(whole))(parameters, x)
    close(value, expected, 1e-4)
    for name, slope in slopes.items():
        close(slope, others[name], 1e-4)
