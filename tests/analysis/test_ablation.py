"""Ablations against the materialized tensor, with the expert's joint coefficients set to 0."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.blocks import ACTIVATIONS
from support.frameworks import optional
from support.strategies import BACKENDS, EVERY, close, truth, values_for

import tensormoe as tm
from tensormoe.analysis import ablation_run
from tensormoe.testing import specs

SPARSE = tm.Gate("sparsemax", norm=None)


@cache
def materialize(layer: "Fixed") -> dict[str, Any]:
    """The weight of each layer by the definition, (∏ N_e, I[+1], O)."""
    weights = {}
    for name, stage in layer.spec.layers.items():
        sizes = stage.in_features, stage.out_features, stage.experts, stage.factorization
        values = values_for(tm.MuMoESpec(*sizes, bias=stage.bias), 0, 1)
        arrays = layer.parameters | layer.state
        cores = [arrays[f"{name}.{core}"] for core in stage.network.shapes]
        weight = truth(tm.MuMoESpec(*sizes, bias=stage.bias), replace(values, cores=cores)).weight
        weights[name] = weight.reshape(prod(stage.experts), *weight.shape[-2:])
    return weights


class Fixed(tm.SavedLayer):
    """A layer that can be a key: it is the only one of its values."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


def expected(
    layer: tm.SavedLayer,
    x: Any,
    levels: tuple[int, ...],
    expert: tuple[int, ...] | set[tuple[int, ...]],
    stages: set[str],
    mode: str,
) -> Any:
    """What the layer says without an expert, by the definition."""
    spec, ops = layer.spec, tm.get_backend("numpy")
    coefficients = tm.apply(spec, layer.parameters, x, state=layer.state, backend=ops).coefficients
    joint = np.ones((len(x), 1))
    for level in coefficients:
        joint = (joint[:, :, None] * level[:, None, :]).reshape(len(x), -1)
    gone = np.zeros(spec.experts, bool)
    for each in expert if isinstance(expert, set) else [expert]:
        place: list[Any] = [slice(None)] * spec.levels
        for level, number in zip(levels, each, strict=True):
            place[level] = number
        gone[tuple(place)] = True
    left = np.where(gone.reshape(-1), 0, joint)
    if mode == "renormalize":
        # The sums over the levels that keep their experts cancel.
        rest = left.sum(axis=1, keepdims=True)
        left = left * np.where(rest > 0, joint.sum(axis=1, keepdims=True) / np.where(rest > 0, rest, 1), 1)
    hidden, results = x, []
    if "input_norm.weight" in layer.parameters:
        hidden = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
        hidden = hidden * layer.parameters["input_norm.weight"] + layer.parameters["input_norm.bias"]
    *before, last = spec.layers

    def run(name: str, x: Any) -> Any:
        weight, mixed = materialize(layer)[name], left if name in stages else joint
        z = np.concatenate([x, np.ones((len(x), weight.shape[1] - x.shape[1]))], axis=1)
        return np.einsum("tn,nio,ti->to", mixed, weight, z, optimize="greedy")

    results = [run(name, hidden) for name in before]
    if results:
        hidden = ACTIVATIONS[spec.between][0](results[0])
        for factor in results[1:]:
            hidden = hidden * factor
    return run(last, hidden)


def make(spec: tm.Spec, seed: int = 0, sharpness: float = 1.0) -> Fixed:
    """A layer with random values, float64."""
    generator = np.random.default_rng(seed)
    parameters = {
        name: generator.normal(size=shape) * (sharpness if name in spec.gate_shapes else 1)
        for name, shape in spec.parameter_shapes.items()
    }
    _, state = tm.initialize(spec, dtype="float64")
    return Fixed(spec, parameters, state)


def on(framework: str, layer: tm.SavedLayer) -> tm.SavedLayer:
    ops = tm.get_backend(framework)

    def convert(arrays: Mapping[str, Any]) -> dict[str, Any]:
        return {name: ops.from_float64(each, "float64") for name, each in arrays.items()}

    return tm.SavedLayer(layer.spec, convert(layer.parameters), convert(layer.state))


@contextmanager
def forced(engine: str, largest: int = 2**22) -> Iterator[None]:
    """Everything by linearity, or pair by pair; by default whichever is cheaper."""
    with pytest.MonkeyPatch.context() as patch:
        if engine != "cheaper":
            patch.setattr(ablation_run, "_price", lambda *_: 1e99 if engine == "grid" else 0)
        patch.setattr(ablation_run, "_LARGEST", largest)
        yield


def check(layer: Fixed, framework: str, engine: str, seed: int, largest: int = 2**22, kinds: int = 3) -> None:
    """All experts of several levels, in both modes, and of a block in some layers."""
    spec = layer.spec
    x = np.random.default_rng(seed).normal(size=(5, spec.in_features))
    choices: list[tuple[int, ...]] = [(0,), tuple(range(spec.levels))]
    choices += [(spec.levels - 1, 0)] if spec.levels > 1 else []
    with tm.get_backend(framework).double_precision(), forced(engine, largest):
        same = on(framework, layer)
        for number, levels in enumerate(list(dict.fromkeys(choices))[-kinds:]):
            mode = ("zero", "renormalize")[(seed + number) % 2]
            names = list(spec.layers)
            stages = [*names[:1], None, *names[1:]][(seed + number) % (1 + len(names))]
            outputs = tm.analysis.ablate(same, x, level=levels, layers=stages, mode=mode)
            sizes = tuple(spec.experts[level] for level in levels)
            assert outputs.shape == (prod(sizes), 5, spec.out_features)
            for place, expert in enumerate(np.ndindex(*sizes)):
                chosen = {stages} if stages else {*names}
                close(outputs[place], expected(layer, x, levels, expert, chosen, mode), 1e-9)


@settings(max_examples=max(25, settings.default.max_examples // 3), deadline=None)
@given(
    specs(max_levels=3),
    st.integers(0, 99),
    st.sampled_from(["grid", "pairs", "cheaper"]),
    st.sampled_from([0.1, 1, 10]),
)
def test_ablations_of_random_layers_are_those_of_the_materialized_tensor(
    spec: tm.MuMoESpec, seed: int, engine: str, sharpness: float
) -> None:
    layer = make(spec, seed, sharpness)
    check(layer, "numpy", engine, seed, largest=(2**22, 30)[seed % 2])


BLOCKS = [
    tm.MuMoEBlockSpec(4, 5, 3, 3, tm.CP(4), SPARSE),
    tm.MuMoEBlockSpec(4, 5, 3, (3, 2), tm.TensorRing((2, 2, 2, 2)), input_norm=True, nonlinearity="tanh"),
    tm.MuMoEBlockSpec(4, 5, 3, (2, 2), tm.Tucker((2, 2, 3, 3)), gated=True, nonlinearity="silu", bias=False),
]


@pytest.mark.parametrize("engine", ["grid", "pairs"])
@pytest.mark.parametrize("block", BLOCKS, ids=["CP", "ring", "gated"])
def test_ablations_of_blocks_are_those_of_the_materialized_tensors(
    block: tm.MuMoEBlockSpec, engine: str
) -> None:
    for seed in range(6):
        check(make(block, seed), "numpy", engine, seed, largest=(2**22, 30)[seed % 2])


@pytest.mark.parametrize("factorization", EVERY, ids=repr)
def test_ablations_of_every_family(factorization: tm.Factorization) -> None:
    for seed, engine in enumerate(("grid", "pairs")):
        check(make(tm.MuMoESpec(4, 3, 3, factorization, SPARSE)), "numpy", engine, seed)


@pytest.mark.parametrize("framework", BACKENDS)
@pytest.mark.parametrize("engine", ["grid", "pairs"])
def test_frameworks_agree_with_the_materialized_tensor(framework: str, engine: str) -> None:
    tried = [BLOCKS[0], tm.MuMoESpec(4, 3, (3, 2), tm.CP(4), SPARSE)]
    # JAX compiles each operation for each shape.
    tried = [tried[engine == "pairs"]] if framework == "jax" else tried
    for seed, spec in enumerate(tried):
        check(make(spec, seed), framework, engine, seed + 1, kinds=1 if framework == "jax" else 3)


SETS = [
    tm.MuMoESpec(4, 3, 5, tm.CP(4), SPARSE),
    tm.MuMoESpec(4, 3, (3, 2), tm.Tucker((2, 2, 3, 3))),
    tm.MuMoESpec(4, 3, (3, 2, 2), tm.CP(4), SPARSE),
    *BLOCKS,
]


def check_sets(spec: tm.Spec, framework: str, seed: int, levels: tuple[int, ...], mode: str) -> None:
    """Random sets of experts of some levels: one, several and all of them."""
    layer, draws = make(spec, seed), np.random.default_rng(seed)
    every = list(np.ndindex(*(spec.experts[level] for level in levels)))
    sizes = 1, int(draws.integers(1, len(every) + 1)), int(draws.integers(1, len(every) + 1)), len(every)
    sets = [{every[place] for place in draws.permutation(len(every))[:size]} for size in sizes]
    x = draws.normal(size=(5, spec.in_features))
    names = list(spec.layers)
    stages = [None, names[-1], names[0]][seed % 3]
    with tm.get_backend(framework).double_precision():
        same = on(framework, layer)
        outputs = tm.analysis.ablate(same, x, experts=sets, level=levels, layers=stages, mode=mode)
    for each, output in zip(sets, outputs, strict=True):
        chosen = {stages} if stages else {*names}
        close(output, expected(layer, x, levels, each, chosen, mode), 1e-9)


@settings(max_examples=settings.default.max_examples // 2, deadline=None)
@given(st.sampled_from(SETS), st.integers(0, 99), st.sampled_from(["zero", "renormalize"]), st.data())
def test_sets_of_experts_are_those_of_the_materialized_tensor(
    spec: tm.Spec, seed: int, mode: str, data: st.DataObject
) -> None:
    levels = data.draw(st.permutations(range(spec.levels)))[: data.draw(st.integers(1, spec.levels))]
    check_sets(spec, "numpy", seed, tuple(levels), mode)


@pytest.mark.parametrize("framework", BACKENDS)
def test_frameworks_agree_on_sets_of_experts(framework: str) -> None:
    # JAX compiles each operation for each shape.
    spec, levels = (SETS[0], (0,)) if framework == "jax" else (SETS[1], (0, 1))
    check_sets(spec, framework, 1, levels, "renormalize")


def test_a_set_may_stand_alone_or_beside_single_experts() -> None:
    layer = make(tm.MuMoESpec(6, 4, 8, tm.CP(5), tm.Gate(tm.Activation("top_k", k=2), norm=None)))
    x = np.random.default_rng(1).normal(size=(20, 6))
    alone = tm.analysis.ablate(layer, x, experts={1, 4})
    outputs = tm.analysis.ablate(layer, x, experts=[{1, 4}, 2, frozenset({2})])
    np.testing.assert_array_equal(outputs[:1], alone)
    np.testing.assert_array_equal(outputs[1], outputs[2])
    np.testing.assert_allclose(outputs[1], tm.analysis.ablate(layer, x, experts=2)[0], rtol=1e-12, atol=1e-13)
    y, (coefficients,), _ = tm.apply(layer.spec, layer.parameters, x)
    unused = (coefficients[:, [1, 4]] == 0).all(axis=1)
    assert unused.any()
    np.testing.assert_array_equal(alone[0, unused], np.asarray(y)[unused])
    labels = np.arange(20) % 4
    changes = tm.analysis.accuracy_by_ablation(layer, x, labels, experts=[{1, 4}])
    right = [np.bincount(labels[p.argmax(1) == labels], minlength=4) for p in (alone[0], np.asarray(y))]
    np.testing.assert_allclose(changes[0], (right[0] - right[1]) / 5)


@pytest.mark.parametrize("framework", BACKENDS)
def test_modules_are_ablated_in_evaluation_and_stay_as_they_are(framework: str) -> None:
    gate = tm.Gate("softmax", "batch", noise=0.5)
    layer = tm.build(tm.MuMoESpec(4, 3, 3, tm.CP(4), gate), framework, seed=0)
    before = {name: np.array(tm.get_backend(framework).to_numpy(a)) for name, a in layer.arrays().items()}
    x = np.ones((2, 5, 4))
    outputs = tm.analysis.ablate(layer, x, experts=[2, 0])
    assert outputs.shape == (2, 2, 5, 3)
    assert outputs.dtype == np.float32
    np.testing.assert_allclose(outputs[::-1], tm.analysis.ablate(layer, x, experts=[0, 2]), rtol=1e-4)
    for name, array in layer.arrays().items():
        np.testing.assert_array_equal(tm.get_backend(framework).to_numpy(array), before[name])


@pytest.mark.parametrize("framework", BACKENDS)
def test_a_routers_own_input_decides_which_experts_are_missed(framework: str) -> None:
    layer = make(tm.MuMoESpec(3, 2, 4, tm.CP(2), tm.Gate("sparsemax"), gate_features=5))
    x, read = np.random.default_rng(0).normal(size=(6, 3)), np.random.default_rng(1).normal(size=(6, 5))
    ops = tm.get_backend("numpy")
    (a,) = tm.apply(layer.spec, layer.parameters, x, router_input=read, backend=ops).coefficients
    (weight,) = materialize(layer).values()
    z = np.concatenate([x, np.ones((6, 1))], axis=1)
    with tm.get_backend(framework).double_precision():
        outputs = tm.analysis.ablate(on(framework, layer), x, router_input=read)
    for expert in range(4):
        left = np.where(np.arange(4) == expert, 0, a)
        close(outputs[expert], np.einsum("tn,nio,ti->to", left, weight, z), 1e-9)


def test_a_tensor_that_wants_a_gradient_is_taken_without_one() -> None:
    torch = optional("torch")
    layer = tm.build(tm.MuMoESpec(4, 3, 3, tm.CP(4)), "torch", seed=0)
    x = torch.ones(2, 4, requires_grad=True)
    assert tm.analysis.ablate(layer, x).shape == (3, 2, 3)
    assert layer.training
    assert x.grad is None


def diagonal(gate: tm.Gate, weights: Any) -> tm.SavedLayer:
    """W[n, n, n] = 1."""
    size = len(weights)
    spec = tm.MuMoESpec(size, size, size, tm.CP(size), gate, bias=False)
    cores = {f"cores.{name}": np.eye(size) for name in ("expert1", "input", "output")}
    return tm.SavedLayer(spec, {**cores, "gate_weights.0": np.asarray(weights, "float64")}, {})


@pytest.mark.parametrize("engine", ["grid", "pairs"])
def test_what_is_left_of_a_nearly_one_hot_token_is_as_precise_as_any_output(engine: str) -> None:
    """A difference from the whole output would keep no digit of it."""
    layer = diagonal(tm.Gate("softmax", norm=None), 35 * np.eye(3))
    x = np.eye(3) + 1e-3
    coefficients = tm.apply(layer.spec, layer.parameters, x).coefficients[0]
    with forced(engine):
        renormalized = tm.analysis.ablate(layer, x, mode="renormalize")
        zeroed = tm.analysis.ablate(layer, x)
    for token in range(3):
        left = np.delete(np.arange(3), token)
        np.testing.assert_allclose(zeroed[token, token, left], coefficients[token, left] * 1e-3, rtol=1e-12)
        np.testing.assert_allclose(renormalized[token, token, left], 0.5e-3, rtol=1e-12)


@pytest.mark.parametrize("engine", ["grid", "pairs"])
def test_an_expert_that_a_token_does_not_use_changes_no_bit_of_it(engine: str) -> None:
    layer = make(tm.MuMoESpec(6, 4, 8, tm.CP(5), tm.Gate(tm.Activation("top_k", k=2), norm=None)))
    x = np.random.default_rng(1).normal(size=(20, 6))
    y, (coefficients,), _ = tm.apply(layer.spec, layer.parameters, x)
    with forced(engine):
        for mode in ("zero", "renormalize"):
            outputs = tm.analysis.ablate(layer, x, mode=mode)
            unused = coefficients.T == 0
            np.testing.assert_array_equal(outputs[unused], np.broadcast_to(y, outputs.shape)[unused])
            assert (outputs[~unused] != np.broadcast_to(y, outputs.shape)[~unused]).any(axis=1).all()


def test_a_token_that_had_one_expert_alone_gets_nothing() -> None:
    layer = diagonal(SPARSE, 5 * np.eye(3))
    for mode in ("zero", "renormalize"):
        outputs = tm.analysis.ablate(layer, np.eye(3), mode=mode)
        np.testing.assert_array_equal(outputs[1], np.diag([1.0, 0, 1]))


def test_accuracies_are_counted_one_evaluation_at_a_time() -> None:
    layer = make(tm.MuMoESpec(6, 4, (5, 2), tm.CP(5), SPARSE), seed=3)
    generator = np.random.default_rng(0)
    x = generator.normal(size=(40, 6))
    labels = tm.apply(layer.spec, layer.parameters, x).y.argmax(axis=1)
    labels[::5] = 0
    labels[labels == 2] = 1  # a class without an input
    changes = tm.analysis.accuracy_by_ablation(layer, x, labels, level=0)
    assert changes.shape == (5, 4)
    before = tm.apply(layer.spec, layer.parameters, x).y.argmax(axis=1)
    for number in range(5):
        after = expected(layer, x, (0,), (number,), {"cores"}, "zero").argmax(axis=1)
        for label in range(4):
            members = labels == label
            change = (
                np.mean((after == label)[members]) - np.mean((before == label)[members])
                if any(members)
                else 0
            )
            assert changes[number, label] == pytest.approx(change, abs=1e-12)
    assert changes.any()
    assert not changes[:, 2].any()
    shaped = tm.analysis.accuracy_by_ablation(layer, x.reshape(8, 5, 6), labels.reshape(8, 5), level=0)
    np.testing.assert_array_equal(shaped, changes)


def test_polysemanticity_is_the_distance_from_one_class() -> None:
    changes = np.array([[0, -1.0, 0], [0.6, 0, -0.6], [0, 0, 0], [0.25, 0.5, 0]])
    result = tm.analysis.polysemanticity(changes)
    distances = [0, np.hypot(0.4, 0.6), np.nan, np.hypot(0.25, 0.5)]
    np.testing.assert_allclose(result.experts, distances)
    assert result.mean == pytest.approx(np.nanmean(distances))
    assert np.isnan(tm.analysis.polysemanticity(np.zeros((2, 3))).mean)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (np.ones(3), r"changes: received \(3,\); pass one row for each expert"),
        (np.ones((0, 3)), "one row for each expert"),
        (np.full((2, 3), 1.5), "changes: received 1.5; accuracies are from 0 to 1"),
        (np.array([[0, np.nan]]), "changes: received nan; pass finite numbers"),
        ([[0.5, 0]], "changes"),
    ],
)
def test_changes_that_are_none_are_refused(changes: Any, message: str) -> None:
    with pytest.raises(tm.TensorMoEError, match=message):
        tm.analysis.polysemanticity(changes)


HEAD = make(tm.MuMoESpec(3, 2, (2, 3), tm.CP(2)))
X = np.ones((4, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"experts": 6}, "expert: received 6; pass a number from 0 to 5, or one for each level"),
        ({"experts": [0, -1]}, "expert: received -1"),
        ({"experts": [(1, 3)]}, r"expert: received \(1, 3\)"),
        ({"experts": 2, "level": 0}, "expert: received 2; pass a number from 0 to 1"),
        ({"experts": []}, r"experts: received \[\]; pass at least one"),
        ({"experts": 1.0}, "expert: received 1.0"),
        ({"experts": set()}, r"experts: received set\(\); a set has at least one expert"),
        ({"experts": [{0}, {6}]}, "expert: received 6; pass a number from 0 to 5"),
        ({"experts": [{0}, {(0, 3)}]}, r"expert: received \(0, 3\)"),
        ({"level": 2}, "level: received 2; pass one or several different ones, from 0 to 1"),
        ({"level": (0, 0)}, r"level: received \(0, 0\)"),
        ({"level": ()}, r"level: received \(\)"),
        ({"level": -1}, "level: received -1"),
        ({"layers": "second"}, "layers: received 'second'; choose one of 'cores'"),
        ({"layers": ()}, r"layers: received \(\); choose some of cores"),
        ({"mode": "remove"}, "mode: received 'remove'; choose one of 'zero', 'renormalize'"),
        ({"x": np.full((4, 3), np.nan)}, "x: received nan; pass finite numbers"),
        ({"x": np.ones((4, 2))}, "x: received"),
        ({"x": np.ones((0, 3))}, r"x: received \(0, 3\); pass at least one input"),
        ({"x": [[1.0, 2.0, 3.0]]}, "x: received"),
        ({"layer": HEAD.spec}, "layer: received .*; pass a layer's or a block's module"),
        ({"layer": tm.SavedLayer}, "layer: received"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], message: str) -> None:
    arguments = {"layer": HEAD, "x": X} | options
    with pytest.raises(tm.TensorMoEError, match=message):
        tm.analysis.ablate(**arguments)
    with pytest.raises(tm.TensorMoEError, match=message):
        tm.analysis.accuracy_by_ablation(**arguments, labels=[0, 1, 0, 1])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 0], r"labels: received \(3,\); pass one for each of the inputs \(4,\)"),
        ([0, 1, 0, 2], "labels: received 2; the layer has 2 outputs"),
        ([0, 1, 0, -1], "labels: received -1"),
        ([0.0, 1.0, 0.0, 1.0], "labels"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: Any, message: str) -> None:
    with pytest.raises(tm.TensorMoEError, match=message):
        tm.analysis.accuracy_by_ablation(HEAD, X, labels)


def test_parameters_that_are_not_finite_are_refused() -> None:
    broken = {**HEAD.parameters, "cores.output": np.full((2, 2), np.nan)}
    with pytest.raises(tm.TensorMoEError, match=r"layer: received .*is not finite"):
        tm.analysis.ablate(tm.SavedLayer(HEAD.spec, broken, {}), X)


def test_outputs_that_fit_no_memory_are_refused() -> None:
    layer = make(tm.MuMoESpec(1, 1, (10**6, 10**6), tm.CP(1), SPARSE))
    with pytest.raises(tm.TensorMoEError, match=r"experts: received 1000000000000; .* of memory"):
        tm.analysis.ablate(layer, np.ones((1, 1)))


def test_models_say_which_layers_they_have() -> None:
    torch = optional("torch")
    head = tm.build(tm.MuMoESpec(3, 2, 4, tm.CP(2)), "torch", seed=0)
    with pytest.raises(
        tm.TensorMoEError, match=r"layer: .*with the inputs that it gets: this model's are '1'"
    ):
        tm.analysis.ablate(torch.nn.Sequential(torch.nn.Identity(), head), X)
    with pytest.raises(tm.TensorMoEError, match=r"layer: .*; it has no μMoE layer"):
        tm.analysis.accuracy_by_ablation(torch.nn.Linear(3, 2), X, [0, 1, 0, 1])
