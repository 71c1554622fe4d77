"""Every field of every specification, gate, router, gate activation and family, with another value for each.

A new field needs a line in `CHANGES`: `tests/layers/test_fields.py` asks for it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from zlib import crc32

import numpy as np

import tensormoe as tm
from tensormoe.gates.steering import Steering

RING = tm.TensorNetwork("n a b, b i c, c o a", a=8, b=8, c=8)
TRAIN = (2, 4), (4, 2), (2,)
SPLIT = tm.TensorNetwork("n i1 o, i2 o", i=(2, 4))
NAMED = tm.TensorNetwork("H: n r, i r, o r", r=2)
PATH = ((0, 3), (0, 2), (1, 2), (0, 1))
_TOKENS = 12


def layer(**fields: Any) -> tm.MuMoESpec:
    """Few parameters, and a network for which a memory limit changes the path."""
    sizes = {"in_features": 8, "out_features": 8, "experts": 8, "factorization": RING}
    return tm.MuMoESpec(**{**sizes, **fields})


def block(**fields: Any) -> tm.MuMoEBlockSpec:
    return tm.MuMoEBlockSpec(**{"hidden_features": 8, **layer().arguments, **fields})


def gated(**fields: Any) -> tm.MuMoESpec:
    return layer(factorization=tm.CP(2), gate=tm.Gate(**fields))


def routed(**fields: Any) -> tm.MuMoESpec:
    return gated(activation="softmax", norm=None, router=tm.AdaptiveClustering(**fields))


def learned(router: Callable[..., tm.Router], **fields: Any) -> tm.MuMoESpec:
    return gated(activation="softmax", norm=None, router=router(**fields))


def activated(name: str = "top_k", **options: Any) -> tm.MuMoESpec:
    return gated(activation=tm.Activation(name, **options), norm=None)


@dataclass(frozen=True)
class Change:
    """How to make a specification, and the same with another value of one field of one of its parts."""

    kind: type
    field: str
    make_before: Callable[[], tm.Spec]
    make_after: Callable[[], tm.Spec]


def _each(kind: type, make: Callable[..., tm.Spec], **values: Any) -> list[Change]:
    return [Change(kind, name, make, partial(make, **{name: value})) for name, value in values.items()]


def _family(kind: type, field: str, before: tm.Factorization, after: tm.Factorization) -> Change:
    return Change(kind, field, partial(layer, factorization=before), partial(layer, factorization=after))


_SHARED: dict[str, Any] = {
    "in_features": 7,
    "out_features": 7,
    "experts": 7,
    "factorization": tm.CP(2),
    "gate": tm.Gate("softmax"),
    "bias": False,
    "memory_limit": layer().plan().largest - 1,
    "initialization": "published",
    "gate_features": 7,
    "output_bias": True,
}

CHANGES = [
    *_each(tm.MuMoESpec, layer, optimize=PATH, **_SHARED),
    *_each(
        tm.MuMoEBlockSpec,
        block,
        optimize=(PATH, "auto"),
        hidden_features=7,
        nonlinearity="relu",
        gated=True,
        input_norm=True,
        shared=("core1",),
        **_SHARED,
    ),
    *_each(
        tm.Gate,
        gated,
        activation="softmax",
        norm="batch",
        router=tm.AdaptiveClustering(),
        temperature=0.5,
        noise=0.5,
        steering=(Steering(0, 1, 0.25),),
    ),
    *_each(
        tm.AdaptiveClustering,
        routed,
        preset="vision",
        dispersion="std",
        assignment="hard",
        statistics="batch",
        evaluation="batch",
        clamp=1.01,
        normalization="global",
        eps=0.5,
        shrinkage=9.0,
        momentum=0.5,
        clusters=5,
    ),
    *_each(tm.LinearRouter, partial(learned, tm.LinearRouter), bias=True),
    *_each(tm.LowRankRouter, partial(learned, tm.LowRankRouter, rank=2), rank=3),
    *_each(tm.CosineRouter, partial(learned, tm.CosineRouter), rank=3, temperature=2.0),
    *_each(tm.NoisyRouter, partial(learned, tm.NoisyRouter), noise=0.5),
    Change(tm.Activation, "name", partial(activated, "sparsemax"), partial(activated, "softmax")),
    Change(tm.Activation, "options", partial(activated, k=2), partial(activated, k=3)),
    _family(tm.CP, "rank", tm.CP(2), tm.CP(3)),
    _family(tm.Tucker, "ranks", tm.Tucker((2, 3, 4)), tm.Tucker((2, 3, 5))),
    _family(tm.TensorRing, "ranks", tm.TensorRing((2, 3, 4)), tm.TensorRing((2, 3, 5))),
    _family(tm.TensorTrain, "ranks", tm.TensorTrain((2, 3)), tm.TensorTrain((2, 5))),
    _family(tm.TensorNetwork, "text", RING, tm.TensorNetwork("n a c, a b i, o b c", a=8, b=8, c=8)),
    _family(tm.Kronecker, "i", tm.Kronecker((2, 4), (4, 2)), tm.Kronecker((4, 2), (4, 2))),
    _family(tm.Kronecker, "o", tm.Kronecker((2, 4), (4, 2)), tm.Kronecker((2, 4), (2, 4))),
    _family(tm.Kronecker, "rank", tm.Kronecker((2, 4), (4, 2)), tm.Kronecker((2, 4), (4, 2), 3)),
    _family(tm.Kronecker, "shared", tm.Kronecker((2, 4), (4, 2)), tm.Kronecker((2, 4), (4, 2), shared=True)),
    _family(tm.Monarch, "i", tm.Monarch((2, 4), (4, 2)), tm.Monarch((4, 2), (4, 2))),
    _family(tm.Monarch, "o", tm.Monarch((2, 4), (4, 2)), tm.Monarch((2, 4), (2, 4))),
    _family(tm.Monarch, "shared", tm.Monarch((2, 4), (4, 2)), tm.Monarch((2, 4), (4, 2), shared=True)),
    _family(tm.BTT, "i", tm.BTT((2, 4), (4, 2), 2), tm.BTT((4, 2), (4, 2), 2)),
    _family(tm.BTT, "o", tm.BTT((2, 4), (4, 2), 2), tm.BTT((2, 4), (2, 4), 2)),
    _family(tm.BTT, "rank", tm.BTT((2, 4), (4, 2), 2), tm.BTT((2, 4), (4, 2), 3)),
    _family(tm.BTT, "shared", tm.BTT((2, 4), (4, 2), 2), tm.BTT((2, 4), (4, 2), 2, shared=True)),
    _family(tm.Butterfly, "i", tm.Butterfly((2, 4), (4, 2)), tm.Butterfly((4, 2), (4, 2))),
    _family(tm.Butterfly, "o", tm.Butterfly((2, 4), (4, 2)), tm.Butterfly((2, 4), (2, 4))),
    _family(tm.TTMatrix, "i", tm.TTMatrix((2, 4), (4, 2), (2,)), tm.TTMatrix((4, 2), (4, 2), (2,))),
    _family(tm.TTMatrix, "o", tm.TTMatrix((2, 4), (4, 2), (2,)), tm.TTMatrix((2, 4), (2, 4), (2,))),
    _family(tm.TTMatrix, "ranks", tm.TTMatrix((2, 4), (4, 2), (2,)), tm.TTMatrix((2, 4), (4, 2), (3,))),
    _family(tm.TTMatrix, "shared", tm.TTMatrix(*TRAIN), tm.TTMatrix((2, 4), (4, 2), (2, 2), shared=True)),
    _family(tm.TensorNetwork, "parts", SPLIT, tm.TensorNetwork(SPLIT.text, i=(4, 2))),
    # Of sizes that are refused without it.
    _family(tm.TensorNetwork, "pad", SPLIT, tm.TensorNetwork(SPLIT.text, i=(3, 3), pad=True)),
    _family(tm.Kronecker, "pad", tm.Kronecker((2, 4), (4, 2)), tm.Kronecker((3, 3), (3, 3), pad=True)),
    _family(tm.Monarch, "pad", tm.Monarch((2, 4), (4, 2)), tm.Monarch((3, 3), (3, 3), pad=True)),
    _family(tm.BTT, "pad", tm.BTT((2, 4), (4, 2), 2), tm.BTT((3, 3), (3, 3), 2, pad=True)),
    _family(tm.Butterfly, "pad", tm.Butterfly((2, 4), (4, 2)), tm.Butterfly((3, 3), (3, 3), pad=True)),
    _family(tm.TTMatrix, "pad", tm.TTMatrix(*TRAIN), tm.TTMatrix((3, 3), (3, 3), (2,), pad=True)),
    _family(tm.Sum, "terms", tm.CP(2) + tm.Dense(), tm.CP(3) + tm.Dense()),
    _family(
        tm.TensorNetwork, "fixed", NAMED, tm.TensorNetwork(NAMED.text, r=2, fixed={"H": np.ones((8, 2))})
    ),
    _family(tm.TensorNetwork, "ranks", RING, tm.TensorNetwork(RING.text, a=8, b=8, c=7)),
]


def outcome(spec: tm.Spec) -> dict[str, Any]:
    """All that a specification settles: shapes, plans, and what three calls give, the last in evaluation."""
    parameters = {name: _values(name, shape) for name, shape in spec.parameter_shapes.items()}
    _, state = tm.initialize(spec, 0, "float64")
    # Tokens that lie around few centres, so that clusters differ.
    x = (
        _values("x", (_TOKENS, spec.in_features))
        + 3 * _values("centres", (3, spec.in_features))[np.arange(_TOKENS) % 3]
    )
    counts = spec.previous_experts
    previous = counts and [np.exp(3 * _values("previous", (_TOKENS, k))) for k in counts]
    call: dict[str, Any] = {"previous": previous and [a / a.sum(1, keepdims=True) for a in previous]}
    if spec.gate_features is not None:
        call["router_input"] = _values("router_input", (_TOKENS, spec.gate_features))
    results: list[Any] = []
    for training in (True, True, False):
        noise = np.random.default_rng(0) if training else None
        done = tm.apply(spec, parameters, x, state=state, training=training, generator=noise, **call)
        state = done.state
        results += [done.y, *done.coefficients, *state.values()]
    start, _ = tm.initialize(spec, 0)
    return {
        "start": {name: value.round(6).tolist() for name, value in start.items()},
        "shapes": (spec.parameter_shapes, spec.state_shapes),
        "plans": (str(spec.plan(1)), str(spec.plan())),
        "results": [np.asarray(result).round(9).tolist() for result in results],
    }


def _values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(crc32(name.encode())).normal(size=shape)
