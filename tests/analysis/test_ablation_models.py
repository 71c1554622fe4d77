"""Ablations in whole models, against models that were edited by hand and run once for each expert."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from analysis.recordings import FRAMEWORKS, array
from support.frameworks import BACKENDS, optional

import tensormoe as tm
from tensormoe.analysis import ablate_model, accuracy_by_ablation
from tensormoe.editing import Ablate, edit

torch = optional("torch")
nnx = optional("flax.nnx")

frameworks = pytest.mark.parametrize("framework", [name for name in FRAMEWORKS if name in BACKENDS])
GATE = tm.Gate("sparsemax")
FIRST = tm.MuMoEBlockSpec(4, 6, 4, (2, 2), tm.CP(3), GATE, input_norm=True)
# JAX compiles every operation for every shape.
SMALL = tm.MuMoESpec(4, 4, 2, tm.CP(2), tm.Gate("softmax"))
LAST = tm.MuMoESpec(4, 3, 3, tm.CP(3), tm.Gate("softmax"))
LABELS = [[0, 1, 1, 2, 2], [2, -100, 0, 1, 0]]


def build(framework: str, spec: tm.Spec, seed: int) -> Any:
    draws = np.random.default_rng(seed)
    parameters, state = tm.initialize(spec)
    values = {name: draws.normal(size=each.shape).astype("float32") for name, each in parameters.items()}
    return tm.SavedLayer(spec, values, state).build(framework)


def chain(framework: str, seed: int = 0, tail: bool = True) -> tuple[Any, list[str]]:
    """A block, a nonlinearity, a layer and, as a tail, a mirror of the logits; and the layers' names."""
    if framework == "jax":
        rest = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
        return nnx.Sequential(build("jax", SMALL, seed), nnx.tanh, rest), ["layers.0"]
    layers = [build(framework, FIRST, seed), build(framework, LAST, seed + 1)]
    mirror = torch.nn.Linear(3, 3, bias=False)
    torch.nn.init.normal_(mirror.weight, generator=torch.Generator().manual_seed(0))
    parts = [layers[0], torch.nn.Tanh(), torch.nn.Dropout(0.9), layers[1], *[mirror] * tail]
    return torch.nn.Sequential(*parts), ["0", "3"]


def without(framework: str, model: Any, name: str, number: int) -> Any:
    """The model with one expert taken out of a copy of its layer."""
    place = int(name.rpartition(".")[2])
    parts = list(model) if framework == "torch" else list(model.layers)
    spec = parts[place].spec
    expert = tuple(map(int, np.unravel_index(number, spec.experts)))
    edits = [Ablate(expert, layer=layer if len(spec.layers) > 1 else None) for layer in spec.layers]
    parts[place] = edit(parts[place], edits).layer
    return torch.nn.Sequential(*parts).eval() if framework == "torch" else nnx.Sequential(*parts)


def batches_of(framework: str) -> list[Any]:
    draws = np.random.default_rng(5)
    return [(array(framework, draws.normal(size=(5, 4))), labels) for labels in LABELS]


def accuracy_of(framework: str, model: Any, batches: list[Any]) -> np.ndarray:
    right, members = np.zeros(3), np.zeros(3)
    for x, labels in batches:
        logits = tm.get_backend(framework).to_float64(model(x))
        for row, label in zip(logits, labels, strict=True):
            if label >= 0:
                members[label] += 1
                right[label] += np.argmax(row) == label
    return right / members


# Whether the last layer is followed by another; JAX compiles much for each.
ENDS = [("torch", True), ("torch", False), ("jax", True)]


@pytest.mark.parametrize(("framework", "tail"), [each for each in ENDS if each[0] in BACKENDS])
def test_changes_are_those_of_a_model_that_was_edited_for_each_expert(framework: str, tail: bool) -> None:
    (model, names), batches = chain(framework, tail=tail), batches_of(framework)
    changes = ablate_model(model, batches, labels=1, progress=False)
    if framework == "torch":
        assert model.training
        model.eval()
    before = accuracy_of(framework, model, batches)
    assert list(changes) == names
    assert [len(each) for each in changes.values()] == ([2] if framework == "jax" else [4, 3])
    assert any(each.any() for each in changes.values())
    for name, each in changes.items():
        for number, change in enumerate(each):
            after = accuracy_of(framework, without(framework, model, name, number), batches)
            np.testing.assert_allclose(change, after - before, atol=1e-12)


@pytest.mark.skipif("torch" not in BACKENDS, reason="it needs PyTorch")
def test_a_measure_of_ones_own_takes_the_place_of_accuracy() -> None:
    (model, names), batches = chain("torch"), batches_of("torch")
    options = {"labels": 1, "layers": names[0], "progress": False}
    changes = ablate_model(model, batches, measure=lambda y, batch: y**2, **options)
    model.eval()
    x = torch.cat([x for x, _ in batches])
    for number, change in enumerate(changes[names[0]]):
        after = without("torch", model, names[0], number)
        with torch.no_grad():
            expected = (after(x) ** 2 - model(x) ** 2).mean(dim=0)
        np.testing.assert_allclose(change, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif("torch" not in BACKENDS, reason="it needs PyTorch")
def test_a_layer_that_runs_twice_loses_its_expert_in_both_calls() -> None:
    layer = build("torch", tm.MuMoESpec(3, 3, 4, tm.CP(3), GATE), 3)
    model = torch.nn.Sequential(layer, torch.nn.Tanh(), layer, torch.nn.Tanh())
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    changes = ablate_model(model, [x], measure=lambda y, batch: y[:, 0], progress=False)["0"]
    for number, (change,) in enumerate(changes):
        other = edit(layer, Ablate(number)).layer
        with torch.no_grad():
            expected = (torch.tanh(other(torch.tanh(other(x)))) - model(x))[:, 0].mean()
        np.testing.assert_allclose(change, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.skipif("torch" not in BACKENDS, reason="it needs PyTorch")
def test_of_a_head_it_is_the_accuracy_by_ablation_and_one_evaluation() -> None:
    head, (batch, _) = build("torch", LAST, 2), batches_of("torch")
    runs = []

    def call(model: Any, given: Any) -> Any:
        runs.append(given)
        return SimpleNamespace(logits=model(given[0])) if len(given) > 2 else model(given[0])

    for mode, level in (("zero", None), ("renormalize", 0)):
        runs.clear()
        changes = ablate_model(
            torch.nn.Sequential(head), [batch], labels=1, mode=mode, level=level, call=call, progress=False
        )
        np.testing.assert_array_equal(changes["0"], accuracy_by_ablation(head, *batch, mode=mode))
        assert len(runs) == 1
    named = ablate_model(head, [(*batch, None)], labels=1, call=call, progress=False)
    np.testing.assert_array_equal(named[""], accuracy_by_ablation(head, *batch))


@pytest.mark.skipif("torch" not in BACKENDS, reason="it needs PyTorch")
def test_experts_that_no_input_uses_cost_nothing_and_a_bar_is_shown(capsys: Any) -> None:
    model, _ = chain("torch")
    model[0].gate_weights[0].data[:] = torch.tensor([50.0, -50.0]) * torch.ones(4, 1)
    batches = [(x.abs(), labels) for x, labels in batches_of("torch")]
    runs = []
    changes = ablate_model(
        model, batches, labels=1, layers="0", call=lambda model, batch: runs.append(0) or model(batch[0])
    )["0"]
    assert not changes[2:].any()
    assert len(runs) <= 2 * (1 + 2)
    assert "ablating" in capsys.readouterr().err


@frameworks
def test_nothing_stays_on_the_model(framework: str) -> None:
    (model, _), batches = chain(framework), batches_of(framework)
    parts = list(model.modules()) if framework == "torch" else list(model.layers)
    kinds = [type(each) for each in parts]
    with pytest.raises(tm.TensorMoEError, match="measure"):
        ablate_model(model, batches, labels=1, measure=lambda y, batch: 1 / 0, progress=False)
    assert [type(each) for each in parts] == kinds
    if framework == "torch":
        assert not any(each._forward_hooks for each in parts)
        assert model.training


@pytest.mark.skipif("jax" not in BACKENDS, reason="it needs JAX")
def test_a_compiled_call_is_refused() -> None:
    model, _ = chain("jax")
    jitted = nnx.jit(lambda model, x: model(x))
    with pytest.raises(tm.TensorMoEError, match="does not compile"):
        ablate_model(
            model, batches_of("jax"), labels=1, call=lambda model, b: jitted(model, b[0]), progress=False
        )


def first(model: Any, batch: Any) -> Any:
    return model(batch[0])


@pytest.mark.skipif("torch" not in BACKENDS, reason="it needs PyTorch")
@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({}, "labels"),
        ({"measure": 3}, "measure"),
        ({"labels": 1, "measure": lambda y, batch: y.sum()}, "measure"),
        ({"labels": True}, "labels"),
        ({"labels": lambda batch: [0, 1], "call": first}, "labels"),
        ({"labels": lambda batch: [3] * 5, "call": first}, "labels"),
        ({"labels": lambda batch: [0.5] * 5, "call": first}, "labels"),
        ({"labels": 1, "layers": "2"}, "layers"),
        ({"labels": 1, "level": 1}, "level"),
        ({"labels": 1, "mode": "half"}, "mode"),
        ({"labels": 1, "call": 3}, "call"),
        ({"labels": 1, "progress": 1}, "progress"),
        ({"labels": 1, "call": lambda model, batch: (model(batch[0]),)}, "model"),
        ({"labels": 1, "call": lambda model, batch: batch[0][:, :3]}, "data"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], argument: str) -> None:
    with pytest.raises(tm.TensorMoEError) as error:
        ablate_model(chain("torch")[0], batches_of("torch"), **{"progress": False, **options})
    assert error.value.argument == argument


@pytest.mark.skipif("torch" not in BACKENDS, reason="it needs PyTorch")
def test_a_model_without_layers_and_data_without_batches_are_refused() -> None:
    for model, data, argument in (
        (torch.nn.Linear(3, 3), [], "model"),
        (3, [], "model"),
        (chain("torch")[0], [], "data"),
        (chain("torch")[0], torch.ones(2, 4), "data"),
    ):
        with pytest.raises(tm.TensorMoEError) as error:
            ablate_model(model, data, labels=1, progress=False)
        assert error.value.argument == argument
