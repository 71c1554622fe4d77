"""Split experts: what the layers compute, in every framework, what is certified, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from editing.oracle import edit_tensor, saved, weight_of
from hypothesis import given, settings
from hypothesis import strategies as st
from support.frameworks import optional
from support.strategies import BACKENDS, EVERY_GATE, close

import tensormoe as tm
from tensormoe.editing import Ablate, Add, AddBias, Edit, Scale, Split, Steer, certify, edit
from tensormoe.testing import gates, specs

torch = optional("torch")

SPEC = tm.MuMoESpec(5, 3, 4, tm.CP(2), tm.Gate("entmax15", "batch"))
BLOCK = tm.MuMoEBlockSpec(5, 6, 3, 4, tm.CP(2), tm.Gate("sparsemax"), gated=True)
X = np.random.default_rng(1).normal(size=(7, 5))
COLUMNS = np.random.default_rng(2).normal(size=(5, 2))

# Of the others, weights have a row for each of a few features.
SPLITTING = [gate for gate in EVERY_GATE if getattr(gate.router, "rank", None) is None]


def compute(layer: tm.SavedLayer, x: np.ndarray = X, **options: Any) -> Any:
    return tm.apply(layer.spec, layer.parameters, x, state=layer.state, **options)


def share(levels: list[np.ndarray], edits: list[Split], x: np.ndarray) -> list[np.ndarray]:
    """The definition: the copies of an expert share its coefficient, those that are new come last."""
    levels = [a.copy() for a in levels]
    for each in edits:
        a, shape = levels[each.level], (x.shape[1], each.copies - 1)
        columns = np.zeros(shape) if each.columns is None else each.columns
        sizes = np.hstack([np.ones((len(x), 1)), np.exp(x @ columns)])
        shares = a[:, each.expert, None] * sizes / sizes.sum(axis=1, keepdims=True)
        a[:, each.expert] = shares[:, 0]
        levels[each.level] = np.hstack([a, shares[:, 1:]])
    return levels


@st.composite
def splits_for(draw: st.DrawFn, spec: tm.Spec) -> list[Split]:
    generator = np.random.default_rng(draw(st.integers(0, 99)))
    counts, edits = list(spec.experts), []
    for _ in range(draw(st.integers(1, 2))):
        level, copies = draw(st.integers(0, spec.levels - 1)), draw(st.integers(2, 3))
        columns = generator.normal(size=(spec.in_features, copies - 1)) if draw(st.booleans()) else None
        edits.append(Split(draw(st.integers(0, counts[level] - 1)), copies, level, columns))
        counts[level] += copies - 1
    return edits


def takes_more_experts(spec: tm.MuMoESpec) -> bool:
    """Whether the number of experts is free: parts make up theirs, shared and fixed cores may have sizes."""
    network = spec.network
    held = (core for core in network.cores if core.name in network.held)
    modes = {*tm.expert_modes(spec.levels)}
    return {each.mode for each in network.splits} <= {"i", "o"} and not any(
        modes & {*core.indices} for core in held
    )


@pytest.mark.parametrize("size", [6, 5])
def test_experts_in_parts_have_no_place_for_a_copy(size: int) -> None:
    """Not even where padding leaves room for one more."""
    family = tm.TensorNetwork("n1 i r, n1 n2 r o", n=(2, 3), r=2, pad=True)
    layer = saved(tm.MuMoESpec(5, 4, size, family))
    with pytest.raises(tm.TensorMoEError, match="a copy with values of its own has no number there"):
        edit(layer, Split(1))
    levels = tm.TensorNetwork("n1_1 i r, n1_2 n2 r o", n1=(2, 3), r=2)
    layer = saved(tm.MuMoESpec(5, 4, (6, 2), levels))
    assert edit(layer, Split(1, level=1)).layer.spec.experts == (6, 3)


@settings(max_examples=20)
@given(st.data())
def test_outputs_stay_and_copies_share_the_coefficient(data: st.DataObject) -> None:
    # Only these routers have a column for each expert.
    linear = gates(st.builds(tm.LinearRouter, st.booleans()))
    spec = data.draw(specs(gate=linear, max_levels=3).filter(takes_more_experts))
    layer, edits = saved(spec), data.draw(splits_for(spec))
    x = np.random.default_rng(0).normal(size=(3, spec.in_features))
    edited = edit(layer, edits)
    before, after = compute(layer, x), compute(edited.layer, x)
    close(after.y, before.y, 1e-12)
    for ours, theirs in zip(after.coefficients, share(before.coefficients, edits, x), strict=True):
        close(ours, theirs, 1e-12)
    weight = weight_of(layer)
    for each in edits:
        copy = np.repeat(np.take(weight, [each.expert], each.level), each.copies - 1, each.level)
        weight = np.concatenate([weight, copy], axis=each.level)
    close(weight_of(edited.layer), weight, 1e-12)
    assert edited.certificate().unchanged_outputs == {"cores": spec.out_features}
    assert edited.undo(len(edits)).spec == spec


@pytest.mark.parametrize("gate", SPLITTING, ids=str)
def test_outputs_stay_for_every_gate_in_training(gate: tm.Gate) -> None:
    noise = 0.0 if gate.adds_noise else 0.5
    gate = tm.Gate(gate.activation, gate.norm, gate.router, gate.temperature, noise)
    if isinstance(gate.router, tm.AdaptiveClustering):
        gate = tm.Gate(gate.activation, gate.norm, tm.AdaptiveClustering(clusters=4), noise=0.5)
    layer = saved(SPEC.replace(gate=gate))
    previous = [np.random.default_rng(3).dirichlet(np.ones(4), 7)]
    before, after = (
        compute(each, training=True, generator=np.random.default_rng(0), previous=previous)
        for each in (layer, edit(layer, Split(1, 3, columns=COLUMNS)).layer)
    )
    close(after.y, before.y, 1e-12)
    assert after.coefficients[0].shape == (7, 6)
    for name, statistic in before.state.items():
        np.testing.assert_array_equal(after.state[name], statistic)


@pytest.mark.parametrize("backend", BACKENDS)
def test_split_layers_are_read_and_undone_in_every_framework(backend: str, tmp_path: Path) -> None:
    spec = SPEC if backend == "jax" else BLOCK
    names = tuple(spec.layers)
    edits: list[Edit] = [Split(1, 3, columns=COLUMNS), Steer(5, add=0.25)]
    edits += [Add(4, np.ones((5, 3 if backend == "jax" else 6)), layer=names[0])]
    layer = saved(spec, dtype="float32")
    edited = edit(layer, edits)
    tm.save(edited, tmp_path / "layer.safetensors")
    again = tm.editing.load(tmp_path / "layer.safetensors", backend)
    if hasattr(again.layer, "eval"):
        again.layer.eval()
    ops = tm.get_backend(backend)
    y = again.layer(ops.from_float64(X, "float32"))
    close(ops.to_float64(y), compute(edited.layer, X.astype("float32")).y, 1e-4)
    assert again.edits == tuple(edits)
    back = again.undo(3).layer
    assert back.spec == spec
    for name, array in layer.arrays().items():
        np.testing.assert_array_equal(ops.to_float64(back.arrays()[name]), array)
    assert again.certificate().unchanged == edited.certificate().unchanged


@pytest.mark.skipif("torch" not in BACKENDS, reason="needs PyTorch")
def test_copies_part_in_training_where_columns_differ() -> None:
    layer = edit(saved(SPEC), [Split(1, 3), Split(0, columns=COLUMNS[:, :1])]).layer.build("torch")
    x = torch.tensor(X)
    target = torch.randn(7, 3, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    ((layer(x) - target) ** 2).sum().backward()
    rows, columns = layer.cores["expert1"].grad, layer.gate_weights[0].grad
    # Equal copies that have equal shares move alike.
    torch.testing.assert_close(rows[4], rows[1])
    assert not torch.allclose(rows[6], rows[0], rtol=0.1)
    # Shares of equal weights move no output.
    assert columns[:, 4:].abs().max() < 1e-9 * columns.abs().max()


@pytest.mark.parametrize("activation", ["entmax15", "softmax"])
def test_a_split_layer_is_verified_against_its_definition(activation: str) -> None:
    gate = tm.Gate(activation, "batch", noise=0.1)
    edits = [Split(1, 3), Steer(4, add=0.5, renormalize=True), Split(4)]
    spec = edit(saved(SPEC.replace(gate=gate)), edits).spec
    assert tm.verify(spec, "numpy", methods=("proof", "float", "frameworks")).passed
    assert "a1[1] in 3 shares → a1[4] += 0.5, renormalized → a1[4] in 2 shares" in spec.gate.steps
    assert tm.Spec.from_json(spec.to_json()) == spec


def test_a_gate_with_a_split_takes_the_scaled_input_for_its_router_alone() -> None:
    gate = tm.Gate(
        "softmax", router=tm.AdaptiveClustering(statistics="batch", evaluation="batch", clusters=4)
    )
    spec = edit(saved(SPEC.replace(gate=gate)), Split(1)).spec
    assert tm.verify(spec, "numpy", methods=("frameworks",)).passed


def test_the_certificate_says_which_experts_are_copies() -> None:
    layer = saved(SPEC)
    alone = edit(layer, Split(2, 3)).certificate()
    assert "y′ = y\n" in str(alone)
    assert "a[2] is shared by a[2], a[4], a[5]: its shares sum to 1" in str(alone)
    assert "The output is unchanged for every input." in str(alone)
    assert alone.experts == {"cores": ()}
    assert alone.unchanged == {"cores": 6}
    further = edit(layer, [Scale(2, 2), Split(2), Add(4, np.ones((5, 3))), Steer(0, add=1)]).certificate()
    assert "y′ = y + δ[0] W[0]ᵀ z + Σ a[n] (W′[n] − W[n])ᵀ z,  n = 2, 4" in str(further)
    assert further.unchanged == {"cores": 3}


def test_the_theorem_holds_of_what_the_layer_computes() -> None:
    layer, matrix = saved(SPEC), np.ones((5, 3))
    edited = edit(layer, [Split(2, 3, columns=COLUMNS), Add(4, matrix)])
    a, y = compute(edited.layer).coefficients[0], compute(layer).y
    close(compute(edited.layer).y, y + a[:, 4:5] * (X @ matrix), 1e-12)
    # A number that is set before is shared; the order is in the theorem.
    steered = edit(layer, [Steer(2, set=0.5), Split(2), Steer(1, add=1)])
    close(compute(steered.layer).coefficients[0][:, [2, 4]], np.full((7, 2), 0.25), 1e-12)
    text = str(steered.certificate())
    assert "a1[2] becomes 0.5\n    a1[2] is shared by a1[2], a1[4]: its shares sum to 1\n    a1[1]" in text
    assert steered.certificate().experts == {"cores": ((1,), (2,), (4,))}


def add_to(name: str, place: Any, value: float = 0.5) -> Callable[[dict[str, Any]], None]:
    def change(arrays: dict[str, Any]) -> None:
        arrays[name][place] += value

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (add_to("cores.expert1", (4, 0), 1e-13), "expert 4"),
        (add_to("cores.expert1", (2, 0)), "expert 2"),
        (add_to("cores.expert1", (0, 1)), "expert 0"),
        (add_to("cores.output", (0, 1)), "expert 0"),
        (add_to("gate_weights.0", (0, 2), 1e-13), "gate_weights.0"),
        (add_to("gate_mean.0", 2), "gate_mean.0"),
    ],
)
def test_a_split_that_leaks_is_refused(change: Callable[[dict[str, Any]], None], named: str) -> None:
    layer = saved(SPEC)
    after = edit(layer, Split(2)).layer
    add_to("gate_weights.0", (0, 4))(after.parameters)  # may be any
    assert certify(layer, after, []).unchanged == {"cores": 5}
    change({**after.parameters, **after.state})
    with pytest.raises(tm.TensorMoEError) as error:
        certify(layer, after, [])
    assert error.value.argument == named


def test_other_splits_than_the_first_layers_are_refused() -> None:
    layer = saved(SPEC)
    once, twice = edit(layer, Split(2)).layer, edit(layer, [Split(2), Split(1)]).layer
    assert certify(once, twice, []).unchanged == {"cores": 6}
    with pytest.raises(tm.TensorMoEError, match="experts after"):
        certify(twice, once, [])
    with pytest.raises(tm.TensorMoEError, match="gate after"):
        certify(edit(layer, Split(1)).layer, once, [])
    with pytest.raises(tm.TensorMoEError, match="experts after"):
        certify(layer, saved(SPEC.replace(experts=5)), [])
    with pytest.raises(tm.TensorMoEError, match="expert 4: received 'another coefficient'"):
        certify(layer, edit(layer, [Steer(2, set=1), Split(2)]).layer, [2])


def test_edits_of_a_copy_are_those_of_its_weight() -> None:
    layer = saved(SPEC.replace(experts=(3, 2)))
    edits: list[Edit] = [Add((1, 0), np.eye(5, 3)), Split(1, level=0), Split(0, 3, level=1)]
    further: list[Edit] = [Ablate((3, 2)), AddBias((3, 0), 1, 0.5), Scale((1, 3), 2)]
    start = weight_of(edit(layer, edits).layer)
    edited = edit(layer, [*edits, *further])
    close(weight_of(edited.layer), edit_tensor(start, further), 1e-12)
    changed = {(1, 0), (1, 2), (1, 3), (3, 0), (3, 2), (3, 3)}
    assert {*edited.certificate().experts["cores"]} == changed


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: Split(0, 1), "copies"),
        (lambda: Split(0, 2.5), "copies"),
        (lambda: Split((0, 1)), "expert"),
        (lambda: Split(0, level=-1), "level"),
        (lambda: Split(0, columns=np.ones(5)), "columns"),
        (lambda: Split(0, columns=np.full((5, 1), np.inf)), "columns"),
        (lambda: edit(saved(SPEC), Split(4)), "steering of edit 1"),
        (lambda: edit(saved(SPEC), Split(0, level=1)), "steering of edit 1"),
        (lambda: edit(saved(SPEC), Split(0, 3, columns=np.ones((5, 1)))), "columns of edit 1"),
        (
            lambda: edit(saved(SPEC.replace(gate=tm.Gate(router=tm.AdaptiveClustering()))), Split(0)),
            "router of edit 1",
        ),
    ],
)
def test_a_split_of_what_cannot_be_is_refused(make: Callable[[], object], argument: str) -> None:
    with pytest.raises(tm.TensorMoEError) as error:
        make()
    assert error.value.argument == argument


@pytest.mark.parametrize(
    ("text", "outputs"),
    [("A: n r, A: i r, o r", 3), ("n r, A: i r, A: o r", 5)],
    ids=["the experts' core is the inputs', too", "the experts have a core of their own"],
)
def test_experts_that_share_a_core_with_inputs_are_not_split(text: str, outputs: int) -> None:
    family = tm.TensorNetwork(text, r=3)
    layer = saved(tm.MuMoESpec(5, outputs, 5, family, bias=False))
    if text.startswith("A"):
        with pytest.raises(tm.TensorMoEError, match="is one array"):
            edit(layer, Split(1))
    else:
        close(compute(edit(layer, Split(1)).layer).y, compute(layer).y, 1e-12)


def test_a_file_whose_splits_leave_no_experts_is_refused() -> None:
    data = edit(saved(SPEC), Split(3, 3)).spec.to_dict()
    assert "steering" not in SPEC.to_dict()["gate"]  # type: ignore[operator]
    data["experts"] = [2]
    with pytest.raises(tm.TensorMoEError, match="at least one besides"):
        tm.Spec.from_dict(data)
