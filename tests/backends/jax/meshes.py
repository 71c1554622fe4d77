"""What `test_meshes.py` runs in a process of eight devices. Prints one JSON object a line."""

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import tensormoe as tm
import tensormoe_jax

BOTH, BATCH, SEQUENCE = P("batch", "model"), P("batch"), P(None, "model")
CLUSTERS = tm.AdaptiveClustering(dispersion="std")
STICKY = tm.AdaptiveClustering(assignment="hard", statistics="batch")
LAYER = partial(tm.MuMoESpec, 6, 6, 4, tm.CP(3))

# A layer or block, and how x (b, s, i) lies.
TOKENS: list[tuple[tm.Spec, P]] = [
    (LAYER(gate=tm.Gate("sparsemax", "batch", CLUSTERS, noise=0.5)), BOTH),
    (tm.MuMoEBlockSpec(6, 8, 6, 4, tm.TensorRing((2, 2, 4)), input_norm=True), SEQUENCE),
    (LAYER(gate=tm.Gate("softmax", None, STICKY)), SEQUENCE),
    (LAYER(gate=tm.Gate(tm.Activation("top_k", k=2))), BOTH),
    (tm.MuMoESpec(6, 6, 4, tm.Tucker((2, 4, 3)), tm.Gate(jax.nn.softmax)), SEQUENCE),
    (LAYER(gate=tm.Gate(tm.Activation("soft_top_k", k=2))), BATCH),
]
# A block, the index of its cores that lies over "model", and how x lies.
BONDS: list[tuple[tm.Factorization, str, P]] = [
    (tm.CP(4), "r", BATCH),
    (tm.CP(4), "n", BATCH),
    (tm.TensorRing((2, 2, 4)), "r3", BATCH),
    (tm.CP(4), "r", P("model")),
    (tm.TensorNetwork("g n p, g i q, g o s, g p q s", g=2, p=3, q=2, s=4), "g", P("model")),
]
MANUAL = [
    tm.Gate("sparsemax", "batch"),
    tm.Gate("softmax", None, STICKY),
]


def output(spec: tm.Spec, *arrays: Any) -> jax.Array:
    """In evaluation."""
    parameters, state, x, a = arrays
    return tm.apply(spec, parameters, x, state=state, previous=[a]).y


def loss(spec: tm.Spec, parameters: Any, state: Any, x: jax.Array, a: jax.Array, **call: Any) -> Any:
    given: dict[str, Any] = {"training": True, "generator": jax.random.key(0), **call}
    # Running statistics are read in the second call.
    for _ in range(2 if state else 1):
        y, _, state = tm.apply(spec, parameters, x, state=state, previous=[a], **given)
    return jnp.sin(y + x).sum(), y + x


def part(spec: tm.Spec, *arrays: Any) -> jax.Array:
    def over_devices(array: jax.Array) -> jax.Array:
        return jax.lax.psum(array, ("batch", "model"))

    return over_devices(loss(spec, *arrays, all_reduce=over_devices)[0])


def values(spec: tm.Spec) -> tuple[Any, Any, jax.Array, jax.Array]:
    generator = np.random.default_rng(0)
    parameters, state = tensormoe_jax.initialize(spec)
    parameters["gate_weights.0"] = jnp.asarray(generator.normal(size=(6, 4)), "float32")
    x, a = generator.normal(size=(8, 4, 6)), generator.dirichlet(np.ones(4), size=(8, 4))
    return parameters, state, jnp.asarray(x, "float32"), jnp.asarray(a, "float32")


def difference(ours: Any, theirs: Any) -> float:
    """The largest, relative to an array's largest element."""
    leaves = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max() / (1 + np.abs(b).max())) for a, b in leaves)


def transfers(function: Callable[..., Any], *arrays: Any) -> dict[str, int]:
    """How often devices talk to each other in a compiled program."""
    text = jax.jit(function).lower(*arrays).compile().as_text()
    kinds = "all-reduce", "all-gather", "all-to-all", "collective-permute"
    return {kind: text.count(f" {kind}(") + text.count(f" {kind}-start(") for kind in kinds}


def try_tokens(kind: AxisType) -> Iterator[dict[str, Any]]:
    mesh = make_mesh(kind)
    # Both are the same to us: a few will do for the second.
    for spec, layout in TOKENS if kind is AxisType.Explicit else TOKENS[:2]:
        parameters, state, x, a = values(spec)
        step = jax.jit(jax.value_and_grad(partial(loss, spec), argnums=(0, 2), has_aux=True))
        expected = step(parameters, state, x, a)
        with jax.set_mesh(mesh):
            arrays = *jax.device_put((parameters, state), NamedSharding(mesh, P())), x, a
            arrays = *arrays[:2], *jax.device_put((x, a), NamedSharding(mesh, layout))
            actual = step(*arrays)
            talk = transfers(partial(output, spec), *arrays)
        yield {
            "what": f"{spec.gate.steps}, {spec.factorization}, {layout}",
            "off": difference(actual, expected),
            "stays": actual[0][1].sharding.is_equivalent_to(arrays[2].sharding, 3),
            "mixes": callable(spec.gate.activation),
            "transfers": talk,
        }


def try_bonds(kind: AxisType) -> Iterator[dict[str, Any]]:
    mesh = make_mesh(kind)
    for family, index, layout in BONDS:
        spec = tm.MuMoEBlockSpec(6, 8, 6, 4, family)
        parameters, state, x, a = values(spec)
        step = jax.jit(jax.value_and_grad(partial(loss, spec), has_aux=True))
        expected = step(parameters, state, x, a)
        axes = {
            f"{layer}.{core.name}": P(*("model" if name == index else None for name in core.indices))
            for layer, stage in spec.layers.items()
            for core in stage.network.cores
        }
        with jax.set_mesh(mesh):
            lies = {name: NamedSharding(mesh, axes.get(name, P())) for name in parameters}
            parameters = jax.device_put(parameters, lies)
            x, a = jax.device_put((x, a), NamedSharding(mesh, layout))
            actual = step(parameters, state, x, a)
            talk = transfers(partial(output, spec), parameters, state, x, a)
        yield {
            "what": f"{family}, {index}, {layout}",
            "off": difference(actual, expected),
            "stays": actual[0][1].sharding.is_equivalent_to(x.sharding, 3)
            and all(g.sharding.is_equivalent_to(lies[name], g.ndim) for name, g in actual[1].items()),
            "transfers": talk,
        }


def try_manual() -> Iterator[dict[str, Any]]:
    mesh = make_mesh(AxisType.Auto)
    for gate in MANUAL:
        spec = LAYER(gate=gate)
        arrays = values(spec)
        expected = jax.value_and_grad(lambda *given, spec=spec: loss(spec, *given)[0])(*arrays)
        specs = P(), P(), BOTH, BOTH
        call = jax.shard_map(partial(part, spec), mesh=mesh, in_specs=specs, out_specs=P())
        actual = jax.jit(jax.value_and_grad(call))(*arrays)
        yield {"what": spec.gate.steps, "off": difference(actual, expected)}


def try_module() -> Iterator[dict[str, Any]]:
    """A module in a model with a residual connection."""
    mesh = make_mesh(AxisType.Explicit)
    block = tensormoe_jax.MuMoEBlock(6, 8, 6, 4, tm.CP(3), seed=0)
    x = values(block.spec)[2]
    expected = x + block(x)
    with jax.set_mesh(mesh):
        there = tensormoe_jax.MuMoEBlock(6, 8, 6, 4, tm.CP(3), seed=0, device=NamedSharding(mesh, P()))
        spread = jax.device_put(x, NamedSharding(mesh, BOTH))
        actual = nnx.jit(lambda block, x: x + block(x))(there, spread)
        eager = there(spread)
    yield {
        "what": "module",
        "off": max(difference(actual, expected), difference(eager, expected - x)),
        "stays": all(jax.typeof(y).sharding.spec == P("batch", "model", None) for y in (actual, eager)),
    }


def make_mesh(kind: AxisType) -> Mesh:
    return jax.make_mesh((4, 2), ("batch", "model"), axis_types=(kind, kind))


TRIALS: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
    "explicit": partial(try_tokens, AxisType.Explicit),
    "auto": partial(try_tokens, AxisType.Auto),
    "bonds": partial(try_bonds, AxisType.Explicit),
    "manual": try_manual,
    "module": try_module,
}

if __name__ == "__main__":
    for line in TRIALS[sys.argv[1]]():
        print(json.dumps(line), flush=True)
