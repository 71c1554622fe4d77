"""Routers: the adaptive clustering rule against formulas written out in NumPy, and what it must not do."""

import inspect
import json
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clusters import PRESETS, tokens, weights_by_formula
from support.frameworks import optional
from support.strategies import BACKENDS, close

import tensormoe as tm

torch = optional("torch")
jax = optional("jax")
jnp = optional("jax.numpy")
nnx = optional("flax.nnx")
JaxMuMoE = optional("tensormoe_jax").MuMoE
MuMoE, MuMoEBlock = optional("tensormoe_torch").MuMoE, optional("tensormoe_torch").MuMoEBlock


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("form", ["labels", "one-hot"])
def test_hard_labels_give_the_published_rule(backend: str, preset: str, form: str) -> None:
    data = tokens()
    one_hot = np.eye(4)[data.labels]
    ops = tm.get_backend(backend)
    with ops.double_precision():
        given = ops.from_numpy(data.labels if form == "labels" else one_hot)
        actual = ops.to_numpy(tm.adaptive_clustering_weights(ops.from_numpy(data.h), given, preset))
    # As published: no cluster is filled up.
    close(actual, weights_by_formula(data.h, one_hot, preset, shrinkage=0), 1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("dispersion", ["mad", "std"])
@given(seed=st.integers(0, 2**32), clusters=st.sampled_from([1, 3, 11]))
def test_soft_coefficients_give_the_formulas(
    backend: str, preset: str, dispersion: str, seed: int, clusters: int
) -> None:
    data = tokens(26, 5, clusters, seed)
    a = np.where(data.soft > 0.1, data.soft, 0)
    a = a / a.sum(1, keepdims=True)
    ops = tm.get_backend(backend)
    with ops.double_precision():
        actual = tm.adaptive_clustering_weights(
            ops.from_numpy(data.h), ops.from_numpy(a), preset, dispersion=dispersion
        )
        actual = ops.to_numpy(actual)
    # Squares that cancel leave half the digits of a deviation.
    tolerance = 1e-10 if dispersion == "mad" else 1e-5
    close(actual, weights_by_formula(data.h, a, preset, dispersion), tolerance)


@pytest.mark.parametrize("dispersion", ["mad", "std"])
def test_uniform_coefficients_weigh_every_feature_by_one(dispersion: str) -> None:
    data = tokens()
    close(
        tm.adaptive_clustering_weights(data.h, np.full((24, 5), 0.2), dispersion=dispersion),
        np.ones((24, 6)),
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_an_empty_cluster_changes_nothing(preset: str) -> None:
    data = tokens()
    four, five = np.eye(4)[data.labels], np.eye(5)[data.labels]
    with_it = tm.adaptive_clustering_weights(data.h, five, preset)
    close(with_it, tm.adaptive_clustering_weights(data.h, four, preset))
    almost = np.concatenate([four * (1 - 1e-6), np.full((24, 1), 1e-6)], axis=1)
    assert (abs(tm.adaptive_clustering_weights(data.h, almost, preset) / with_it - 1) < 1e-4).all()


def test_a_single_token_does_not_crush_the_other_clusters() -> None:
    data = tokens(60)
    h = np.concatenate([data.h, data.h[:1] + 3])
    labels = np.append(data.labels, 4)
    without = tm.adaptive_clustering_weights(data.h, data.labels, "vision")
    with_it = tm.adaptive_clustering_weights(h, labels, "vision")[:-1]
    published = tm.adaptive_clustering_weights(h, labels, "vision", shrinkage=0)[:-1]
    assert (abs(with_it / without - 1) < 0.5).all()
    assert (published < without / 50).all()


def test_no_gradient_goes_through_the_weights() -> None:
    data = tokens()
    h = torch.tensor(data.h, requires_grad=True)
    a = torch.tensor(data.soft, requires_grad=True)
    weights = tm.adaptive_clustering_weights(h, a)
    assert not weights.requires_grad
    (weights * h).sum().backward()
    assert torch.equal(h.grad, weights)
    assert a.grad is None
    with jax.enable_x64(True):
        by_h, by_a = jax.grad(lambda h, a: (tm.adaptive_clustering_weights(h, a) * h).sum(), (0, 1))(
            jnp.asarray(data.h), jnp.asarray(data.soft)
        )
    close(by_h, weights.numpy())
    assert not by_a.any()


def test_arguments_are_checked() -> None:
    data = tokens()

    def refused(match: str, *arguments: Any, **options: Any) -> None:
        with pytest.raises(tm.TensorMoEError, match=match):
            tm.adaptive_clustering_weights(*arguments, **options)

    refused("h: received", data.h[0], data.labels)
    refused("previous: received .*24", data.h, data.labels[:5])
    refused("previous", data.h, torch.tensor(data.labels))
    refused("negative", data.h, data.labels - 1)
    refused("previous: received 3; .* = 2$", data.h, data.labels, clusters=3)
    refused("pass integer labels", data.h, data.labels * 0.5)
    refused("preset: received 'audio'", data.h, data.labels, preset="audio")
    refused("dispersion", data.h, data.labels, dispersion="var")
    refused("clamp: received 0.5", data.h, data.labels, clamp=0.5)
    refused("eps: received 0", data.h, data.labels, eps=0)
    with pytest.raises(tm.TensorMoEError, match="clusters: received None"):
        jax.jit(tm.adaptive_clustering_weights)(jnp.asarray(data.h), jnp.asarray(data.labels))
    for unfit in (
        {"statistics": "epoch"},
        {"assignment": "firm"},
        {"momentum": 0},
        {"clusters": 0},
        {"normalization": "none"},
        {"shrinkage": -1},
    ):
        with pytest.raises(tm.TensorMoEError, match=next(iter(unfit))):
            tm.AdaptiveClustering(**unfit)


def test_the_routers_defaults_are_those_of_the_function() -> None:
    parameters = inspect.signature(tm.adaptive_clustering_weights).parameters
    defaults = {field.name: field.default for field in fields(tm.AdaptiveClustering)}
    shared = {name: default for name, default in defaults.items() if name in parameters}
    assert {"preset", "dispersion", "eps", "shrinkage"} < shared.keys()
    assert shared == {name: parameters[name].default for name in shared}


def spec_of(router: tm.Router, **gate: Any) -> tm.MuMoESpec:
    return tm.MuMoESpec(6, 5, (4, 3), tm.CP(4), tm.Gate(router=router, **gate))


def values(spec: tm.MuMoESpec, count: int = 24, seed: int = 0) -> tuple[dict, dict, np.ndarray, list]:
    parameters, state = tm.initialize(spec, 0, "float64")
    generator = np.random.default_rng(seed)
    parameters = {name: generator.normal(size=value.shape) for name, value in parameters.items()}
    clusters = spec.previous_experts or spec.experts
    previous = [generator.dirichlet(np.ones(k), size=count) for k in clusters]
    return parameters, state, tokens(count, seed=seed).h, previous


def softmax(x: np.ndarray) -> np.ndarray:
    exponentials = np.exp(x - x.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


@pytest.mark.parametrize("assignment", ["soft", "hard"])
def test_a_layers_logits_are_those_of_weighted_inputs(assignment: str) -> None:
    router = tm.AdaptiveClustering(statistics="batch", assignment=assignment)
    spec = spec_of(router, activation="softmax", norm=None)
    parameters, state, x, previous = values(spec)
    _, actual, _ = tm.apply(spec, parameters, x, state=state, training=True, previous=previous)
    for level, a in enumerate(previous):
        a = a if assignment == "soft" else np.eye(a.shape[1])[a.argmax(1)]
        weighted = weights_by_formula(x, a, "language") * x
        close(actual[level], softmax(weighted @ parameters[f"gate_weights.{level}"]), 1e-10)


def test_without_previous_coefficients_it_is_the_linear_router() -> None:
    spec = spec_of(tm.AdaptiveClustering(statistics="batch"))
    parameters, state, x, _ = values(spec)
    y, _, moved = tm.apply(spec, parameters, x, state=state, training=True)
    linear = spec_of(tm.LinearRouter())
    close(y, tm.apply(linear, parameters, x)[0])
    assert all((moved[name] == state[name]).all() for name in state)


@pytest.mark.parametrize("dispersion", ["mad", "std"])
def test_running_statistics_are_averages_of_the_batches_before(dispersion: str) -> None:
    router = tm.AdaptiveClustering(dispersion=dispersion, momentum=0.25)
    spec = spec_of(router, activation="softmax", norm=None)
    parameters, state, _, _ = values(spec)
    mass, total, deviation = np.zeros(4), np.zeros((4, 6)), np.zeros((4, 6))
    power = 1 if dispersion == "mad" else 2
    for seed in range(3):
        _, _, x, previous = values(spec, 12, seed)
        _, _, state = tm.apply(spec, parameters, x, state=state, training=True, previous=previous)
        a = previous[0]
        mass = 0.75 * mass + a.sum(0)
        total = 0.75 * total + a.T @ x
        away = abs(x[:, None] - (total / mass[:, None])[None]) ** power
        deviation = 0.75 * deviation + (a[:, :, None] * away).sum(0)
        close(state["router_mass.0"], mass)
        close(state["router_total.0"], total)
        close(state["router_deviation.0"], deviation)
    spread = deviation / mass[:, None]
    pooled = deviation.sum(0) / mass.sum()
    if dispersion == "std":
        spread, pooled = np.sqrt(spread), np.sqrt(pooled)
    share = (mass / np.maximum(mass, 2))[:, None]
    weights = 1 / (share * spread + (1 - share) * pooled + 1e-4)
    weights = np.minimum(weights, 10 * (share * weights).mean(1).sum() / share.sum())
    weights /= (share * weights).sum(0) / share.sum()
    _, actual, after = tm.apply(spec, parameters, x, state=state, previous=previous)
    close(actual[0], softmax((a @ weights * x) @ parameters["gate_weights.0"]), 1e-10)
    assert all((after[name] == state[name]).all() for name in state)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("backend", BACKENDS)
def test_running_statistics_let_no_token_see_another(backend: str, training: bool) -> None:
    def outputs(statistics: str, change: float) -> np.ndarray:
        spec = spec_of(tm.AdaptiveClustering(statistics=statistics, evaluation=statistics))
        parameters, state, x, previous = values(spec)
        ops = tm.get_backend(backend)
        with ops.double_precision():
            arrays = {name: ops.from_numpy(value) for name, value in parameters.items()}
            earlier = [ops.from_numpy(a) for a in previous]
            kept = {name: ops.from_numpy(value) for name, value in state.items()}
            call = {"training": True, "previous": earlier}
            _, _, kept = tm.apply(spec, arrays, ops.from_numpy(x), state=kept, **call)
            x[-1] += change
            call["training"] = training
            y, _, _ = tm.apply(spec, arrays, ops.from_numpy(x), state=kept, **call)
            return np.asarray(ops.to_numpy(y))

    before, after = outputs("running", 0.0), outputs("running", 3.0)
    assert (before[:-1] == after[:-1]).all()
    assert (before[-1] != after[-1]).all()
    # The published statistics do leak: this test can fail.
    assert (outputs("batch", 0.0)[:-1] != outputs("batch", 3.0)[:-1]).any()


def test_an_empty_batch_moves_nothing() -> None:
    for statistics in ("running", "batch"):
        spec = spec_of(tm.AdaptiveClustering(statistics=statistics))
        parameters, state, x, previous = values(spec)
        _, _, state = tm.apply(spec, parameters, x, state=state, training=True, previous=previous)
        none = [a[:0] for a in previous]
        y, _, moved = tm.apply(spec, parameters, x[:0], state=state, training=True, previous=none)
        assert y.shape == (0, 5)
        assert all((moved[name] == state[name]).all() for name in state)


def test_statistics_of_the_batch_alone_need_no_state() -> None:
    router = tm.AdaptiveClustering(statistics="batch", evaluation="batch")
    spec = spec_of(router)
    parameters, state, x, previous = values(spec)
    assert state == {}
    trained, _, _ = tm.apply(spec, parameters, x, training=True, previous=previous)
    close(tm.apply(spec, parameters, x, previous=previous)[0], trained)


@pytest.mark.parametrize("statistics", ["running", "batch"])
@pytest.mark.parametrize("dispersion", ["mad", "std"])
def test_halves_reduced_over_devices_equal_the_whole_batch(statistics: str, dispersion: str) -> None:
    spec = spec_of(tm.AdaptiveClustering(statistics=statistics, dispersion=dispersion))
    parameters, state, x, previous = values(spec)
    _, _, state = tm.apply(spec, parameters, x, state=state, training=True, previous=previous)
    whole, _, moved = tm.apply(spec, parameters, x, state=state, training=True, previous=previous)
    with jax.enable_x64(True):
        arrays, kept = ({k: jnp.asarray(v) for k, v in part.items()} for part in (parameters, state))

        def half(x: jax.Array, previous: list) -> tuple:
            return tm.apply(
                spec,
                arrays,
                x,
                state=kept,
                training=True,
                previous=previous,
                all_reduce=lambda array: jax.lax.psum(array, "halves"),
            )

        halves = [jnp.asarray(a).reshape(2, 12, -1) for a in previous]
        y, _, statistics_of_both = jax.vmap(half, axis_name="halves")(
            jnp.asarray(x).reshape(2, 12, 6), halves
        )
        close(y.reshape(24, 5), whole, 1e-10)
        for name, value in moved.items():
            close(statistics_of_both[name][0], value, 1e-10)
            close(statistics_of_both[name][1], value, 1e-10)


def _trained(statistics: str, part: slice) -> dict[str, torch.Tensor]:
    """The output of a training step for some of the tokens, and the statistics after it."""
    spec = spec_of(tm.AdaptiveClustering(statistics=statistics))
    _, _, x, previous = values(spec)
    layer = tm.build(spec, "torch", seed=0, dtype=torch.float64)
    for weights in layer.gate_weights:
        torch.nn.init.normal_(weights, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        y = layer(torch.tensor(x[part]), previous=[torch.tensor(a[part]) for a in previous])
    return {"y": y.detach(), **dict(layer.named_buffers())}


def _process(rank: int, address: str, results: str, shares: tuple[slice, slice]) -> None:
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    actual = {statistics: _trained(statistics, shares[rank]) for statistics in ("batch", "running")}
    torch.save(actual, f"{results}.{rank}")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("first", [12, 24], ids=["halves", "all and none"])
def test_processes_of_pytorch_share_their_statistics(first: int, tmp_path: Any) -> None:
    address, results = f"file://{tmp_path}/join", f"{tmp_path}/result"
    shares = slice(0, first), slice(first, 24)
    torch.multiprocessing.spawn(_process, (address, results, shares), nprocs=2)
    parts = [torch.load(f"{results}.{rank}") for rank in range(2)]
    for statistics in ("batch", "running"):
        whole = _trained(statistics, slice(0, 24))
        close(torch.cat([part[statistics]["y"] for part in parts]), whole.pop("y"), 1e-10)
        for name, value in whole.items():
            for part in parts:
                close(part[statistics][name], value, 1e-10)


def test_unfit_coefficients_are_refused() -> None:
    layer = tm.build(spec_of(tm.AdaptiveClustering()), "torch")
    x, fit = torch.ones(7, 6), [torch.ones(7, 4) / 4, torch.ones(7, 3) / 3]
    assert layer(x, previous=fit).shape == (7, 5)
    for unfit in (fit[:1], fit[0], [fit[1], fit[0]], [fit[0][:5], fit[1]], [a.numpy() for a in fit]):
        with pytest.raises(tm.TensorMoEError, match="previous"):
            layer(x, previous=unfit)
    assert tm.build(spec_of(tm.LinearRouter()), "torch")(x, previous=fit).shape == (7, 5)
    gates = tuple(tm.Gate(router=tm.AdaptiveClustering(clusters=n)) for n in (2, 9))
    other = tm.build(spec_of(tm.LinearRouter()).replace(gate=gates), "torch")
    assert other(x, previous=[torch.ones(7, 2) / 2, torch.ones(7, 9) / 9]).shape == (7, 5)
    with pytest.raises(tm.TensorMoEError, match="clusters"):
        tm.AdaptiveClustering(clusters=(2, 9))


def test_layers_and_blocks_hand_coefficients_on_in_pytorch() -> None:
    gate = tm.Gate(router=tm.AdaptiveClustering(statistics="batch"))
    first = MuMoE(6, 8, 4, tm.CP(3), seed=0)
    second = MuMoEBlock(
        8, 8, 6, 5, tm.CP(3), gate=replace(gate, router=replace(gate.router, clusters=4)), seed=1
    )
    torch.nn.init.normal_(first.gate_weights[0], generator=torch.Generator().manual_seed(0))
    torch.nn.init.normal_(second.gate_weights[0], generator=torch.Generator().manual_seed(1))
    x = torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(0))
    h, coefficients = first(x, return_coefficients=True)
    y = second(h, previous=coefficients)
    assert y.shape == (2, 9, 6)
    assert (y != second(h)).any()
    y.square().sum().backward()
    assert first.gate_weights[0].grad.abs().max() > 0
    assert second.router_mass.get_buffer("0").sum() > 0
    second.eval()
    expected = second(h, previous=coefficients)
    torch._dynamo.reset()
    compiled = torch.compile(second, fullgraph=True, backend="aot_eager")
    close(compiled(h, previous=coefficients).detach(), expected.detach(), 1e-5)
    second.train()
    assert torch.isfinite(compiled(h, previous=coefficients)).all()


def test_layers_hand_coefficients_on_in_jax() -> None:
    gate = tm.Gate(router=tm.AdaptiveClustering(statistics="batch"))
    first, second = (JaxMuMoE(6, 6, 4, tm.CP(3), gate=gate, seed=seed) for seed in range(2))
    for layer in (first, second):
        layer.gate_weights[0][...] = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)), "float32")
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 9, 6)), "float32")

    @nnx.jit
    def run(first: JaxMuMoE, second: JaxMuMoE, x: jax.Array) -> jax.Array:
        h, coefficients = first(x, return_coefficients=True)
        return second(h, previous=coefficients)

    run(first, second, x)
    assert (second.router_mass[0][...] > 0).all()
    assert not (first.router_mass[0][...] > 0).any()
    trained = run(first, second, 2 * x + 1)
    second.eval()
    assert (run(first, second, 2 * x + 1) != trained).any()


@dataclass(frozen=True)
class Doubling(tm.Router):
    """A router of a user's own, with a field."""

    factor: float = 2.0

    def logits(self, ops, x, parameters, state, call):
        return self.factor * ops.matmul(x, parameters["weights"]), {}


def test_a_router_of_ones_own() -> None:
    spec = spec_of(Doubling(3.0), norm=None)
    assert tm.spec_from_json(spec.to_json()) == spec
    assert json.loads(spec.to_json())["gate"]["router"] == {"type": "Doubling", "factor": 3.0}
    assert tm.verify(spec, methods="frameworks").passed
    parameters, _, x, _ = values(spec)
    tripled = {k: 3 * v if "gate" in k else v for k, v in parameters.items()}
    linear = spec_of(tm.LinearRouter(), norm=None)
    close(tm.apply(spec, parameters, x)[0], tm.apply(linear, tripled, x)[0])
