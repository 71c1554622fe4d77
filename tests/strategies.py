"""Hypothesis strategies for random networks, layers, values and element types, and the oracle they meet.

The oracle knows nothing of planning or lowering: it writes the definition as one `torch.einsum` over the
materialized weight tensor, in float64, and differentiates that.
"""

import string
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

import tensormoe as tm

# Listed one by one, so that a missing framework fails instead of skipping.
BACKENDS = ("numpy", "torch", "jax")
ACTIVATIONS = ("softmax", "sparsemax", "entmax15")
NORMS = ("layer", "batch", None)

# Each kind of network once, for one level of experts.
EVERY = [
    tm.CP(6),
    tm.Tucker((3, 4, 5)),
    tm.TensorTrain((3, 4)),
    tm.TensorRing((3, 2, 4)),
    tm.Dense(),
    tm.TensorNetwork("n o, i o"),
    tm.TensorNetwork("n i r, n r o", r=3),
    tm.TensorNetwork("g n p, g i q, g o s, g p q s", g=2, p=3, q=2, s=4),
]

# Each router, and each activation with each norm that differs in kind.
EVERY_GATE = [
    tm.Gate(),
    tm.Gate("softmax", "batch"),
    tm.Gate("sparsemax", None),
    tm.Gate(tm.Activation("entmax", alpha=1.3), temperature=0.5),
    tm.Gate(tm.Activation("entmax", alpha=3.0), noise=0.1),
    tm.Gate(tm.Activation("soft_top_k", k=2, eps=0.5)),
    tm.Gate(tm.Activation("top_k", k=2), "batch"),
    tm.Gate(router=tm.AdaptiveClustering()),
    tm.Gate("softmax", None, tm.AdaptiveClustering("vision", statistics="batch", assignment="hard")),
    tm.Gate("sparsemax", "batch", tm.AdaptiveClustering(dispersion="std", clusters=6)),
    tm.Gate("softmax", "batch", tm.AdaptiveClustering(statistics="batch", evaluation="batch")),
]

sizes = st.integers(1, 4)
# Element types with the error that frameworks may differ by, relative to the size of what is summed.
dtypes = st.sampled_from([("float64", 1e-12), ("float32", 1e-5)])


@st.composite
def notations(draw: st.DrawFn, levels: int) -> tuple[str, dict[str, int]]:
    """Index notation of a random network with these expert levels, and its bonds' sizes.

    Modes and bonds may be hyperedges, bonds may dangle from one core, and a core may hold bonds alone.
    """
    count = draw(st.integers(1, 5))
    cores: list[list[str]] = [[] for _ in range(count)]
    members = st.sets(st.integers(0, count - 1), min_size=1, max_size=min(count, 3))
    for mode in (*tm.expert_modes(levels), "i", "o"):
        for core in draw(members):
            cores[core].append(mode)
    names = [name for name in string.ascii_lowercase if name not in "ino"]
    bonds = {}
    for name in names[: draw(st.integers(0, 4))]:
        bonds[name] = draw(st.integers(1, 3))
        for core in draw(members):
            cores[core].append(name)
    shuffled = [draw(st.permutations(core)) for core in cores if core]
    used = {index for core in shuffled for index in core}
    return ", ".join(" ".join(core) for core in shuffled), {k: v for k, v in bonds.items() if k in used}


@st.composite
def factorizations(draw: st.DrawFn, levels: int) -> tm.Factorization:
    """A random network, or one of the named families at random ranks."""
    ranks = st.tuples(*[st.integers(1, 3)] * (levels + 2))
    kind = draw(st.sampled_from(["network"] * 4 + ["cp", "tucker", "ring", "train", "dense"]))
    if kind == "network":
        notation, bonds = draw(notations(levels))
        return tm.TensorNetwork(notation, **bonds)
    if kind == "cp":
        return tm.CP(draw(st.integers(1, 5)))
    if kind == "tucker":
        return tm.Tucker(draw(ranks))
    if kind == "ring":
        return tm.TensorRing(draw(ranks))
    if kind == "train":
        return tm.TensorTrain(draw(ranks)[1:])
    return tm.Dense()


@st.composite
def specs(draw: st.DrawFn, max_levels: int = 4) -> tm.MuMoESpec:
    """A random layer: 1 to `max_levels` expert levels, with and without bias, any gate."""
    experts = draw(st.lists(sizes, min_size=1, max_size=max_levels))
    activation = tm.Activation("soft_top_k", k=1, eps=0.5), tm.Activation("entmax", alpha=2.5)
    gate = tm.Gate(draw(st.sampled_from([*ACTIVATIONS, *activation])), draw(st.sampled_from(NORMS)))
    factorization = draw(factorizations(len(experts)))
    return tm.MuMoESpec(
        draw(sizes), draw(sizes), tuple(experts), factorization, gate, bias=draw(st.booleans())
    )


@dataclass(frozen=True)
class Values:
    """Random float64 values for a layer's contraction: x (T, I), coefficients (T, N_e), cores, cotangent."""

    x: Any
    coefficients: list[Any]
    cores: list[Any]
    cotangent: Any

    @property
    def operands(self) -> list[Any]:
        return [self.x, *self.coefficients, *self.cores]

    @property
    def all(self) -> list[Any]:
        return [*self.operands, self.cotangent]

    def mapped(self, change: Callable[[Any], Any]) -> "Values":
        coefficients, cores = ([change(v) for v in part] for part in (self.coefficients, self.cores))
        return Values(change(self.x), coefficients, cores, change(self.cotangent))


def values_for(spec: tm.MuMoESpec, seed: int, tokens: int) -> Values:
    """Values of ordinary size; coefficients are arbitrary and need not sum to 1."""
    generator = np.random.default_rng(seed)
    return Values(
        generator.normal(size=(tokens, spec.in_features)),
        [generator.normal(size=(tokens, n)) for n in spec.counts],
        [generator.normal(size=shape) for shape in spec.network.shapes.values()],
        generator.normal(size=(tokens, spec.out_features)),
    )


@st.composite
def layers(draw: st.DrawFn, max_levels: int = 4) -> tuple[tm.MuMoESpec, Values]:
    """A random layer with values; the batch may be empty."""
    spec = draw(specs(max_levels))
    return spec, values_for(spec, draw(st.integers(0, 2**32)), draw(st.integers(0, 3)))


@dataclass(frozen=True)
class Truth:
    """What the definition says: the weight tensor, the output, and the gradient of each operand."""

    weight: Any
    y: Any
    gradients: list[Any]


def truth(spec: tm.MuMoESpec, values: Values) -> Truth:
    """The materialized soft MoE and its gradients by automatic differentiation, in float64."""
    network = spec.network
    letters = dict(zip(network.sizes, string.ascii_letters, strict=False))
    leaves = [torch.tensor(value, requires_grad=True) for value in values.operands]
    x, coefficients = leaves[0], leaves[1 : 1 + spec.levels]
    cores = leaves[1 + spec.levels :]
    terms = ["".join(letters[index] for index in core.indices) for core in network.cores]
    modes = "".join(letters[index] for index in network.modes)
    weight = torch.einsum(f"{','.join(terms)}->{modes}", *cores)
    z = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], dim=1) if spec.bias else x
    experts, i, o = modes[:-2], modes[-2], modes[-1]
    mixed = ",".join(f"Z{expert}" for expert in experts)
    y = torch.einsum(f"{modes},{mixed},Z{i}->Z{o}", weight, *coefficients, z)
    gradients = torch.autograd.grad(y, leaves, torch.tensor(values.cotangent))
    return Truth(weight.detach().numpy(), y.detach().numpy(), [g.numpy() for g in gradients])


def close(found: Any, expected: Any, tolerance: float = 1e-12) -> None:
    """Assert equal shapes, and entries equal relative to the largest."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    if prod(found.shape):
        scale = max(float(np.max(np.abs(expected))), 1.0)
        assert float(np.max(np.abs(found - expected))) <= tolerance * scale
