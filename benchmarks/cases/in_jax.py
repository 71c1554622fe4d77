"""The layer in JAX against the same mathematics written by hand, both under jax.jit."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import tensormoe as tm
import tensormoe_jax
from tensormoe.benching.timing import Call
from tensormoe.layers.parameters import split_name

from ..suite import Measurement, Settings
from .gpt2 import CP, EXPERTS, HIDDEN, RING, TOKENS, WIDTH
from .tiny import BATCH, INPUTS, OUTPUTS, RANK
from .tiny import EXPERTS as FEW

Arrays = Mapping[str, jax.Array]
Function = Callable[[Arrays, jax.Array], jax.Array]


def in_jax(settings: Settings) -> Iterator[Measurement | str]:
    """The jitted layer against the same written by hand in jax.numpy, with the same gate activation."""
    if settings.device == "cuda" and jax.default_backend() != "gpu":
        yield "left out: this JAX has no GPU"
        return
    specs: dict[str, tuple[tm.Spec, int]] = {
        "tiny CP": (tm.MuMoESpec(INPUTS, OUTPUTS, FEW, tm.CP(RANK)), BATCH),
        "GPT-2 CP": (tm.MuMoEBlockSpec(WIDTH, HIDDEN, WIDTH, EXPERTS, CP), TOKENS),
        "GPT-2 TR": (tm.MuMoEBlockSpec(WIDTH, HIDDEN, WIDTH, EXPERTS, RING), TOKENS),
    }
    device = jax.devices("gpu" if settings.device == "cuda" else "cpu")[0]
    with jax.default_device(device):
        for name, (spec, tokens) in specs.items():
            yield from _compared(name, spec, tokens, settings)


def _compared(name: str, spec: tm.Spec, tokens: int, settings: Settings) -> Iterator[Measurement]:
    parameters, _ = tensormoe_jax.initialize(spec, settings.seed)
    generator = np.random.default_rng(settings.seed)

    def normal(*shape: int) -> jax.Array:
        return jnp.asarray(generator.standard_normal(shape, dtype=np.float32))

    scale = spec.in_features**-0.5
    parameters |= {key: scale * normal(*v.shape) for key, v in parameters.items() if "gate" in key}
    x, cotangent = normal(tokens, spec.in_features), normal(tokens, spec.out_features)
    functions: dict[str, Function] = {
        "ours": lambda values, x: tensormoe_jax.apply(spec, values, x)[0],
        "by hand": _by_hand(spec),
    }
    module = nnx.jit(lambda module, x: module(x))
    layer = _module(spec, parameters)

    sides = {side: _side(jax.jit(function), parameters, x) for side, function in functions.items()}
    sides["ours, nnx.jit of the module"] = lambda: module(layer, x)
    _agree(sides)
    yield settings.times(f"{name}, forward", sides, wait=jax.block_until_ready)

    def with_gradients(function: Function) -> Callable[[Arrays, jax.Array], Any]:
        def loss(values: Arrays, x: jax.Array) -> jax.Array:
            return jnp.vdot(function(values, x), cotangent)

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))

    steps = {side: _side(with_gradients(function), parameters, x) for side, function in functions.items()}
    _agree(steps)
    yield settings.times(f"{name}, value and gradient", steps, wait=jax.block_until_ready)


def _side(function: Callable[[Arrays, jax.Array], Any], parameters: Arrays, x: jax.Array) -> Call:
    return lambda: function(parameters, x)


def _agree(sides: Mapping[str, Call]) -> None:
    results = [jax.tree.leaves(side()) for side in sides.values()]
    for result in results[1:]:
        for actual, expected in zip(result, results[0], strict=True):
            size = float(jnp.abs(expected).max())
            np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4 * size)


def _module(spec: tm.Spec, parameters: Arrays) -> Any:
    """The nnx module with these values."""
    module = tm.build(spec, "jax", seed=0)
    for key, value in parameters.items():
        group, member = split_name(key)
        getattr(module, group)[int(member) if member.isdigit() else member][...] = value
    return module


def _by_hand(spec: tm.Spec) -> Function:
    """What a user would write for these cores: matrix products, the bias as the input core's last row."""
    contract = _cp if isinstance(spec.factorization, tm.CP) else _ring
    prefixes = list(spec.layers)

    def function(values: Arrays, x: jax.Array) -> jax.Array:
        logits = x @ values["gate_weights.0"]
        centred = logits - logits.mean(-1, keepdims=True)
        # There is no other 1.5-entmax for JAX to compare with.
        a = tm.entmax15(centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5))
        hidden = x
        for number, prefix in enumerate(prefixes):
            if number:
                hidden = jax.nn.gelu(hidden, approximate=False)
            cores = (values[f"{prefix}.{name}"] for name in ("expert1", "input", "output"))
            hidden = contract(a, hidden, *cores)
        return hidden

    return function


def _cp(a: jax.Array, x: jax.Array, n: jax.Array, i: jax.Array, o: jax.Array) -> jax.Array:
    return ((a @ n) * (x @ i[:-1] + i[-1])) @ o


def _ring(a: jax.Array, x: jax.Array, n: jax.Array, i: jax.Array, o: jax.Array) -> jax.Array:
    experts = jnp.einsum("tn,npq->tpq", a, n)
    inputs = jnp.einsum("ti,iqs->tqs", x, i[:-1]) + i[-1]
    return jnp.einsum("tps,pso->to", jnp.einsum("tpq,tqs->tps", experts, inputs), o)
