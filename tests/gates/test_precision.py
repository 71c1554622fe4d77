"""Routers, gates and statistics in half precision, under autocast, and over very many tokens."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from support.clusters import tokens, weights_by_formula
from support.frameworks import optional
from support.strategies import BACKENDS, EVERY_GATE, close

import tensormoe as tm
from tensormoe.layers.functional import compute_gate

torch = optional("torch")

HALVES = ("bfloat16", "float16")
ROUTERS = {
    "linear": tm.LinearRouter(),
    "soft clusters": tm.AdaptiveClustering(statistics="batch", shrinkage=0),
    "hard clusters": tm.AdaptiveClustering("vision", statistics="batch", assignment="hard", shrinkage=0),
    "deviations": tm.AdaptiveClustering(dispersion="std", statistics="batch", shrinkage=0),
}
ACTIVATIONS = {
    "softmax": tm.softmax,
    "sparsemax": tm.sparsemax,
    "entmax15": tm.entmax15,
    "entmax(1.3)": partial(tm.entmax, alpha=1.3),
    "entmax(2.5)": partial(tm.entmax, alpha=2.5),
    "soft_top_k": partial(tm.soft_top_k, k=3),
    "top_k": partial(tm.top_k, k=3),
    "soft_rank": tm.soft_rank,
}


def halves_of(backend: str) -> list[str]:
    return [dtype for dtype in HALVES if dtype in tm.get_backend(backend).float_types]


CASES = [(backend, dtype) for backend in BACKENDS for dtype in halves_of(backend)]


def round_values(backend: str, dtype: str, values: np.ndarray) -> np.ndarray:
    """The values that an array of this type can hold, in float64."""
    ops = tm.get_backend(backend)
    return np.asarray(ops.to_float64(ops.from_float64(values, dtype)))


def logits_by_formula(router: tm.Router, x: np.ndarray, g: np.ndarray, a: np.ndarray) -> np.ndarray:
    if isinstance(router, tm.LinearRouter):
        return np.asarray(x @ g)
    if router.assignment == "hard":
        a = np.eye(a.shape[1])[a.argmax(axis=1)]
    return np.asarray((x * weights_by_formula(x, a, router.preset, router.dispersion, 0)) @ g)


@pytest.mark.parametrize("router", ROUTERS)
@pytest.mark.parametrize(("backend", "dtype"), CASES)
def test_half_precision_chooses_the_experts_of_exact_logits(backend: str, dtype: str, router: str) -> None:
    experts, k, ops = (64, 48), 2, tm.get_backend(backend)
    gate = tm.Gate(tm.Activation("top_k", k=k), None, replace(ROUTERS[router]))
    if router != "linear":
        gate = replace(gate, router=replace(ROUTERS[router], clusters=4))
    spec = tm.MuMoESpec(128, 8, experts, tm.CP(4), gate)
    generator = np.random.default_rng(0)
    data = tokens(200, 128)
    x = round_values(backend, dtype, data.h)
    weights = [round_values(backend, dtype, generator.normal(size=(128, n))) for n in experts]
    a = round_values(backend, dtype, data.soft)
    parameters = {f"gate_weights.{level}": ops.from_float64(g, dtype) for level, g in enumerate(weights)}
    state = {name: ops.from_float64(np.zeros(shape), "float32") for name, shape in spec.state_shapes.items()}
    previous = [ops.from_float64(a, dtype) for _ in experts]
    call: dict[str, Any] = {"state": state, "training": True, "previous": previous}
    coefficients, logits, _ = compute_gate(spec, parameters, ops.from_float64(x, dtype), **call)
    for ours, mixed, g in zip(logits, coefficients, weights, strict=True):
        assert ops.dtype_name(ours) == "float32"
        assert ops.dtype_name(mixed) == dtype
        exact = logits_by_formula(ROUTERS[router], x, g, a)
        close(ops.to_float64(ours), exact, 3e-4 if router == "deviations" else 3e-6)
        order = np.sort(exact, axis=1)
        clear = order[:, -k] - order[:, -k - 1] > 1e-3 * np.abs(exact).max()
        assert clear.mean() > 0.9
        chosen = ops.to_float64(mixed) > 0
        # In float16 a coefficient may be too small to be more than 0.
        assert (chosen.sum(axis=1) <= k).all()
        assert (chosen <= (exact >= order[:, -k][:, None]))[clear].all()
        assert dtype == "float16" or (chosen.sum(axis=1) == k).mean() > 0.5


@pytest.mark.parametrize("backend", [backend for backend, dtype in CASES if dtype == "float16"])
def test_logits_beyond_the_range_of_float16_are_ordinary_numbers(backend: str) -> None:
    ops = tm.get_backend(backend)
    spec = tm.MuMoESpec(2048, 8, 4, tm.CP(4), tm.Gate("softmax", None))
    weights = np.zeros((2048, 4))
    weights[:, 0] = 1
    x = ops.from_float64(np.full((1, 2048), 40.0), "float16")
    parameters = {"gate_weights.0": ops.from_float64(weights, "float16")}
    (a,), (logits,), _ = compute_gate(spec, parameters, x)
    assert ops.to_float64(logits).tolist() == [[81920, 0, 0, 0]]
    assert ops.to_float64(a).tolist() == [[1, 0, 0, 0]]


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("gate", EVERY_GATE, ids=lambda gate: gate.steps)
def test_autocast_changes_nothing_in_a_gate(gate: tm.Gate, dtype: str) -> None:
    """Coefficients, statistics, gradients and second derivatives, if all of it runs under autocast."""
    if isinstance(gate.router, tm.AdaptiveClustering):
        gate = tuple(replace(gate, router=replace(gate.router, clusters=n)) for n in (5, 6))
    spec = tm.MuMoESpec(40, 5, (7, 6), tm.CP(3), gate)
    counts = spec.previous_experts
    generator = torch.Generator().manual_seed(0)
    shapes = spec.gate_shapes.values()
    x, *weights = (torch.randn(shape, generator=generator) for shape in ((9, 40), *shapes))
    previous = counts and [torch.softmax(torch.randn(9, k, generator=generator), -1) for k in counts]
    _, start = tm.initialize(spec)
    cotangents = [torch.randn(9, n, generator=generator) for n in spec.experts]

    def run(enabled: bool) -> list[Any]:
        with torch.autocast("cpu", getattr(torch, dtype), enabled=enabled):
            state = {name: torch.from_numpy(value.copy()) for name, value in start.items()}
            leaves = [leaf.clone().requires_grad_() for leaf in (x, *weights)]
            parameters = dict(zip(spec.gate_shapes, leaves[1:], strict=True))
            for step in range(2):
                noise = torch.Generator().manual_seed(step)
                output = compute_gate(
                    spec,
                    parameters,
                    leaves[0],
                    state=state,
                    training=True,
                    previous=previous,
                    generator=noise,
                )
                state = output.state
            loss = sum((a * c).sum() for a, c in zip(output.coefficients, cotangents, strict=True))
            first = torch.autograd.grad(loss, leaves, create_graph=True)
            second = torch.autograd.grad(sum(g.square().sum() for g in first), leaves)
        return [*output.coefficients, *output.logits, *state.values(), *first, *second]

    for mixed, exact in zip(run(True), run(False), strict=True):
        assert mixed.dtype == torch.float32
        close(mixed.detach(), exact.detach(), 1e-6)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("rows", [4, 256])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_autocast_changes_nothing_in_an_activation(name: str, rows: int, dtype: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x, cotangent = (torch.randn(rows, 32, generator=generator) for _ in range(2))
    results = []
    for enabled in (True, False):
        leaf = x.clone().requires_grad_()
        with torch.autocast("cpu", getattr(torch, dtype), enabled=enabled):
            y = ACTIVATIONS[name](leaf)
            y.backward(cotangent)
            _, tangent = torch.func.jvp(ACTIVATIONS[name], (x,), (cotangent,))
        results.append((y.detach(), leaf.grad, tangent))
    for mixed, exact in zip(*results, strict=True):
        assert mixed.dtype == torch.float32
        close(mixed, exact, 1e-6)


def test_autocast_reads_inputs_of_any_type_as_they_are() -> None:
    """Under autocast other layers hand over half precision, and parameters stay in float32."""
    layer = tm.build(tm.MuMoESpec(512, 8, 16, tm.CP(4), tm.Gate("softmax", None)), "torch", seed=0)
    torch.nn.init.normal_(layer.gate_weights[0], generator=torch.Generator().manual_seed(0))
    x = torch.randn(64, 512, generator=torch.Generator().manual_seed(1)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        _, (a,) = layer(x, return_coefficients=True)
    exact = torch.softmax(x.double() @ layer.gate_weights[0].detach().double(), -1)
    assert a.dtype == torch.bfloat16
    assert torch.equal(a, exact.bfloat16()) or (a.double() - exact).abs().max() < 2**-8


MANY = 2**20 - 3
SAMPLES = {
    "a constant": lambda generator, shape: np.full(shape, 0.1),
    "far from 0": lambda generator, shape: 1000 + generator.normal(size=shape),
    "positive": lambda generator, shape: generator.uniform(size=shape),
}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_statistics_of_a_million_tokens(backend: str, sample: str, dtype: str) -> None:
    """To 1e-4 of their size: means and variances of a batch norm; masses, sums and deviations of clusters."""
    ops = tm.get_backend(backend)
    generator = np.random.default_rng(0)
    x = SAMPLES[sample](generator, (MANY, 2)).astype(dtype)
    a = generator.dirichlet(np.ones(3), size=MANY).astype(dtype)
    router = tm.AdaptiveClustering(clusters=3)
    gate = tm.Gate("softmax", "batch", router)
    parameters = {"gate_weights.0": ops.from_float64(np.eye(2), dtype)}
    for spread in (router, replace(router, dispersion="std")):
        spec = tm.MuMoESpec(2, 2, 2, tm.CP(2), replace(gate, router=spread))
        state = {n: ops.from_float64(np.zeros(shape), "float32") for n, shape in spec.state_shapes.items()}
        call: dict[str, Any] = {"state": state, "training": True, "previous": [ops.from_numpy(a)]}
        _, (logits,), moved = compute_gate(spec, parameters, ops.from_numpy(x), **call)
        wide, weights = x.astype("float64"), a.astype("float64")
        normed = ops.to_float64(logits)
        mass, total = weights.sum(0), weights.T @ wide
        centred = [wide - total[k] / mass[k] for k in range(3)]
        power = 1 if spread is router else 2
        expected = {
            "gate_mean.0": 0.1 * normed.mean(0),
            "router_mass.0": mass,
            "router_total.0": total,
            "router_deviation.0": np.stack([weights[:, k] @ abs(centred[k]) ** power for k in range(3)]),
        }
        if sample != "a constant":
            expected["gate_variance.0"] = 0.1 * normed.var(0, ddof=1)
        for name, value in expected.items():
            floor = 1e-6 * np.abs(wide).max() ** power if name == "router_deviation.0" else 0
            off = np.abs(ops.to_float64(moved[name]) - value)
            assert (off <= 1e-4 * np.abs(value) + floor * mass.max()).all(), name


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scale", [1e2, 1e4])
def test_a_batch_norm_far_from_zero_is_as_exact_as_its_inputs(backend: str, scale: float) -> None:
    ops = tm.get_backend(backend)
    spec = tm.MuMoESpec(2, 2, 2, tm.CP(2), tm.Gate(lambda z: z, "batch"))
    x = (scale + np.random.default_rng(0).normal(size=(3000, 2))).astype("float32")
    parameters = {"gate_weights.0": ops.from_float64(np.eye(2), "float32")}
    state = {f"gate_{name}.0": ops.from_float64(np.ones(2), "float32") for name in ("mean", "variance")}
    (actual,), _, _ = compute_gate(spec, parameters, ops.from_numpy(x), state=state, training=True)
    exact = x.astype("float64")
    close(ops.to_float64(actual), (exact - exact.mean(0)) / np.sqrt(exact.var(0) + 1e-5), 1e-6)


@pytest.mark.parametrize("preset", ["language", "vision"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_that_are_not_cut_are_those_of_a_high_cut(backend: str, preset: str) -> None:
    ops = tm.get_backend(backend)
    data = tokens()
    h, a = ops.from_numpy(data.h.astype("float32")), ops.from_numpy(data.soft.astype("float32"))
    never, high = (tm.adaptive_clustering_weights(h, a, preset, clamp=c) for c in (float("inf"), 1e6))
    close(ops.to_float64(never), ops.to_float64(high))
    # Without tokens and at the first step all weights are 1.
    for router in (tm.AdaptiveClustering(preset, clamp=float("inf")), tm.AdaptiveClustering(preset)):
        spec = tm.MuMoESpec(6, 5, 4, tm.CP(4), tm.Gate("softmax", None, router))
        _, state = tm.initialize(spec)
        weights = {
            "gate_weights.0": ops.from_float64(np.random.default_rng(0).normal(size=(6, 4)), "float32")
        }
        kept = {name: ops.from_numpy(value) for name, value in state.items()}
        _, (logits,), _ = compute_gate(spec, weights, h, state=kept, training=True, previous=[a])
        close(ops.to_float64(logits), ops.to_float64(h) @ ops.to_float64(weights["gate_weights.0"]), 1e-6)
