"""Rank and experts over the devices of a mesh, in a process that has eight of them."""

import os
import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from support.quick_xla import with_devices

import tensormoe as tm
import tensormoe_jax
from tensormoe.layers.functional import LayerOutput

TESTS = Path(__file__).parents[2]
AXES = {"rank": "model", "experts": "experts"}
SHARED = ("expert1", "expert2")
BLOCK = tm.MuMoEBlockSpec(6, 8, 6, (4, 2), tm.CP(8), tm.Gate("softmax"), input_norm=True, shared=SHARED)
SPECS = [
    (BLOCK, AXES),
    (
        tm.MuMoEBlockSpec(6, 8, 5, 4, tm.TensorRing((2, 3, 8)), tm.Gate("sparsemax", "batch"), gated=True),
        AXES,
    ),
    (tm.MuMoESpec(6, 5, 4, tm.Tucker((2, 4, 3))), {"rank": "model"}),
    (tm.MuMoESpec(6, 5, 4, tm.Dense()), {"experts": "experts"}),
]


# Which of them are tried how; "manual" is in shard_map, in which the kind of axis matters little.
TRIED = {
    "auto": SPECS[::2] + SPECS[3:],
    "explicit auto": SPECS[1:2] + SPECS[3:],
    "manual": SPECS[:2],
    "explicit manual": SPECS[2:3],
}


def steps(call: Any, parameters: Any, state: Any, x: jax.Array) -> Any:
    """Losses, gradients and statistics of three steps."""

    def loss(parameters: Any, state: Any) -> Any:
        result = call(parameters, state, x)
        return jnp.sin(result.y).sum(), result.state

    seen = []
    for _ in range(3):
        (value, state), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(parameters, state)
        parameters = {name: p - 0.01 * gradients[name] for name, p in parameters.items()}
        seen.append((value, gradients, state))
    return seen


def run(spec: tm.Spec, parameters: Any, state: Any, x: jax.Array) -> LayerOutput:
    return tensormoe_jax.apply(spec, parameters, x, state=state, training=True)


def differences(how: str) -> None:
    """Print how far losses, gradients and statistics are from those on one device."""
    generator = np.random.default_rng(0)
    x = jnp.asarray(generator.normal(size=(8, 6)), "float32")
    kind = AxisType.Explicit if "explicit" in how else AxisType.Auto
    mesh = jax.make_mesh((2, 2, 2), ("data", "experts", "model"), axis_types=(kind,) * 3)
    for spec, axes in TRIED[how]:
        parameters, state = tensormoe_jax.initialize(spec)
        for name in spec.gate_shapes:
            parameters[name] = jnp.asarray(generator.normal(size=spec.gate_shapes[name]), "float32")
        whole = partial(run, spec)
        expected = steps(whole, parameters, state, x)
        specs = tensormoe_jax.partition_specs(spec, **axes)
        if "manual" in how:
            inside = partial(tensormoe_jax.apply_shares, spec, **axes, training=True)
            call = jax.shard_map(
                lambda p, s, x, inside=inside: inside(p, x, state=s, all_reduce=over_data),
                mesh=mesh,
                in_specs=(specs, P(), P("data")),
                out_specs=LayerOutput(P("data"), P("data"), P()),
            )
        else:
            call = whole
        placed = {name: jax.device_put(p, NamedSharding(mesh, specs[name])) for name, p in parameters.items()}
        on_mesh = jax.device_put(x, NamedSharding(mesh, P("data")))
        with jax.set_mesh(mesh) if kind is AxisType.Explicit else nullcontext():
            actual = steps(call, placed, jax.device_put(state, NamedSharding(mesh, P())), on_mesh)
        for ours, theirs in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
            off = np.abs(np.asarray(ours) - np.asarray(theirs)).max()
            print(float(off / (1 + np.abs(theirs).max())))


def checkpoints(folder: str) -> None:
    """Shares are saved and restored on one device and in other shares, and the other way round."""
    import orbax.checkpoint as ocp

    mesh = jax.make_mesh((2, 4), ("experts", "model"), axis_types=(AxisType.Auto,) * 2)
    parameters, _ = tensormoe_jax.initialize(BLOCK, seed=0)
    whole = dict.fromkeys(parameters, P())
    ways = (
        whole,
        tensormoe_jax.partition_specs(BLOCK, **AXES),
        tensormoe_jax.partition_specs(BLOCK, rank="model"),
    )

    def lay(specs: Any, arrays: Any) -> Any:
        return {name: jax.device_put(a, NamedSharding(mesh, specs[name])) for name, a in arrays.items()}

    with ocp.StandardCheckpointer() as checkpointer:
        for number, saved in enumerate(ways):
            path = Path(folder) / str(number)
            checkpointer.save(path, lay(saved, parameters))
            checkpointer.wait_until_finished()
            for wanted in ways:
                like = lay(wanted, jax.tree.map(jnp.zeros_like, parameters))
                for name, array in checkpointer.restore(path, like).items():
                    assert array.sharding.is_equivalent_to(like[name].sharding, array.ndim), name
                    assert (np.asarray(array) == np.asarray(parameters[name])).all(), name


def over_data(array: jax.Array) -> jax.Array:
    return jax.lax.psum(array, "data")


@pytest.mark.parametrize("how", ["auto", "manual"])
def test_rank_and_experts_over_devices_train_as_on_one(how: str) -> None:
    """Along automatic mesh axes and along explicit ones."""
    calls = f"differences({how!r}); test_sharding.differences({f'explicit {how}'!r})"
    off = [float(line) for line in printed(calls).split()]
    assert len(off) >= 20
    assert max(off) < 1e-5


def test_checkpoints_of_shares_are_restored_in_other_shares(tmp_path: Path) -> None:
    printed(f"checkpoints({str(tmp_path)!r})")


def printed(call: str) -> str:
    """What a call of this file prints in a process with eight devices."""
    program = f"import test_sharding; test_sharding.{call}"
    path = os.pathsep.join([str(Path(__file__).parent), str(TESTS), *sys.path])
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**with_devices(8), "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def test_the_experts_core_of_cp_lies_on_both_axes() -> None:
    specs = tensormoe_jax.partition_specs(BLOCK.replace(shared=()), **AXES)
    assert specs["first.expert1"] == specs["second.expert1"] == P("experts", "model")
    assert tensormoe_jax.partition_specs(BLOCK, **AXES)["shared.expert1"] == P("experts", "model")
    assert specs["first.expert2"] == P(None, "model")
    assert specs["second.output"] == P("model", None)
    assert specs["gate_weights.0"] == P(None, None)
    assert specs["input_norm.weight"] == P(None)


def test_each_of_four_devices_takes_its_own_experts() -> None:
    """An axis of `jax.vmap` in place of a mesh's: each takes two of the eight experts."""
    spec = tm.MuMoESpec(3, 2, 8, tm.Dense(), tm.Gate("softmax", None))
    parameters, _ = tm.initialize(spec, seed=0)
    (name,) = spec.core_names
    generator = np.random.default_rng(0)
    parameters["gate_weights.0"] = generator.normal(size=(3, 8)).astype("float32")
    x = generator.normal(size=(5, 3)).astype("float32")

    def share(core: jax.Array) -> jax.Array:
        whole = {key: jnp.asarray(value) for key, value in parameters.items()}
        y: jax.Array = tensormoe_jax.apply_shares(
            spec, {**whole, name: core}, jnp.asarray(x), experts="experts"
        ).y
        return y

    actual = jax.jit(jax.vmap(share, axis_name="experts"))(jnp.reshape(parameters[name], (4, 2, 4, 2)))
    expected = tm.apply(spec, parameters, x).y
    for each in actual:
        np.testing.assert_allclose(each, expected, atol=1e-5)


def test_axes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(tm.TensorMoEError, match="name the mesh axis"):
        tensormoe_jax.partition_specs(BLOCK)
    with pytest.raises(tm.TensorMoEError, match="the rank has this axis"):
        tensormoe_jax.partition_specs(BLOCK, rank="model", experts="".join(("mo", "del")))
    for given in ({"rank": 1}, {"rank": "model", "experts": ("experts",)}):
        with pytest.raises(tm.TensorMoEError, match="pass the name of a mesh axis"):
            tensormoe_jax.partition_specs(BLOCK, **given)
    with pytest.raises(tm.TensorMoEError, match="no bond"):
        tensormoe_jax.partition_specs(tm.MuMoESpec(6, 5, 4, tm.Dense()), rank="model")
    with pytest.raises(tm.TensorMoEError, match="bond: received 's'"):
        tensormoe_jax.partition_specs(BLOCK, rank="model", bond="s")
