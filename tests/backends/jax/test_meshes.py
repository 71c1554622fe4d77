"""Meshes of several devices: explicit, automatic and manual axes, in a process that has four of them."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import tensormoe as tm
import tensormoe_jax

# On manual axes noise is each device's own.
MANUAL = [
    tm.Gate("sparsemax"),
    tm.Gate(tm.Activation("soft_top_k", k=2), temperature=0.5),
    tm.Gate(router=tm.AdaptiveClustering()),
    tm.Gate("softmax", None, tm.AdaptiveClustering(assignment="hard", statistics="batch")),
    tm.Gate("sparsemax", "batch", tm.AdaptiveClustering(dispersion="std")),
]
GATES = [
    *MANUAL,
    tm.Gate(tm.Activation("entmax", alpha=3.0), noise=0.5),
]
TESTS = Path(__file__).parents[2]


def loss(spec: tm.Spec, reduce: Any, parameters: Any, state: Any, x: jax.Array, a: jax.Array) -> jax.Array:
    call: dict[str, Any] = {"training": True, "generator": jax.random.key(0), "all_reduce": reduce}
    for _ in range(2):
        y, _, state = tm.apply(spec, parameters, x, state=state, previous=[a], **call)
    return jnp.sin(y).sum()


def over_devices(array: jax.Array) -> jax.Array:
    return jax.lax.psum(array, "tokens")


def part(spec: tm.Spec, *arrays: Any) -> jax.Array:
    return over_devices(loss(spec, over_devices, *arrays))


def differences(how: str) -> None:
    """Print how far outputs and gradients of every kind of gate are from those on one device."""
    generator = np.random.default_rng(0)
    values = generator.normal(size=(8, 6)), generator.dirichlet(np.ones(4), size=8)
    x, a = (jnp.asarray(value, "float32") for value in values)
    kind = AxisType.Explicit if how == "explicit" else AxisType.Auto
    mesh = jax.make_mesh((4,), ("tokens",), axis_types=(kind,))
    whole, shared = NamedSharding(mesh, P()), NamedSharding(mesh, P("tokens"))
    for gate in MANUAL if how == "manual" else GATES:
        spec = tm.MuMoESpec(6, 5, 4, tm.CP(3), gate)
        parameters, state = tensormoe_jax.initialize(spec)
        parameters["gate_weights.0"] = jnp.asarray(generator.normal(size=(6, 4)), "float32")
        expected = jax.value_and_grad(partial(loss, spec, None))(parameters, state, x, a)
        call = partial(loss, spec, None)
        if how == "manual":
            specs = P(), P(), P("tokens"), P("tokens")
            call = jax.shard_map(partial(part, spec), mesh=mesh, in_specs=specs, out_specs=P())
        with jax.set_mesh(mesh):
            arrays = *jax.device_put((parameters, state), whole), *jax.device_put((x, a), shared)
            actual = jax.jit(jax.value_and_grad(call))(*arrays)
        for ours, theirs in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
            off = np.abs(np.asarray(ours) - np.asarray(theirs)).max()
            print(float(off / (1 + np.abs(theirs).max())))


@pytest.mark.parametrize("how", ["explicit", "auto", "manual"])
def test_layers_give_the_same_on_several_devices(how: str) -> None:
    program = f"from test_meshes import differences; differences({how!r})"
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    path = os.pathsep.join([str(Path(__file__).parent), str(TESTS), *sys.path])
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **flags, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    off = [float(line) for line in result.stdout.split()]
    assert len(off) >= 20
    assert max(off) < 1e-5
