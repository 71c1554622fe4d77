"""Edits and changes of ranks in blocks whose layers share cores: what one layer gets, the others do not."""

from typing import Any

import numpy as np
import pytest
from editing.oracle import edit_tensor, saved, weight_of
from support.strategies import close

import tensormoe as tm
from tensormoe.editing import Ablate, Edit, Merge, Scale, Split, edit

BLOCKS = {
    "family": tm.MuMoEBlockSpec(5, 6, 4, 5, tm.CP(rank=3), shared="expert1"),
    "labels": tm.MuMoEBlockSpec(
        5,
        6,
        4,
        5,
        (tm.TensorNetwork("A: n r, i r, r s, s o", r=3, s=4), tm.TensorNetwork("A: n r, i r, r o", r=3)),
        shared="A",
    ),
}
every = pytest.mark.parametrize("name", BLOCKS)


def shared_of(layer: Any) -> dict[str, np.ndarray]:
    return {name: value for name, value in layer.arrays().items() if name.startswith("shared.")}


@every
@pytest.mark.parametrize("change", [Ablate, Scale, Merge], ids=lambda kind: kind.__name__.lower())
def test_an_edit_changes_an_expert_of_one_layer_alone(name: str, change: type[Edit]) -> None:
    arguments: dict[type, Any] = {Ablate: (2,), Scale: (1, -2.0), Merge: ((0, 3),)}
    layer = saved(BLOCKS[name])
    own, asked = change(*arguments[change]), change(*arguments[change], layer="first")
    edited = edit(layer, asked)
    first = edit_tensor(weight_of(layer, "first"), [own])
    close(weight_of(edited.layer, "first"), first, 1e-10)
    np.testing.assert_array_equal(weight_of(edited.layer, "second"), weight_of(layer, "second"))
    assert edited.certificate().unchanged["second"] == 5
    # What it adds is a term beside the core, which stays one.
    for core, value in shared_of(layer).items():
        np.testing.assert_array_equal(shared_of(edited.layer)[core], value)


@every
def test_an_expert_is_split_in_all_layers(name: str) -> None:
    layer = saved(BLOCKS[name])
    split = edit(layer, Split(2)).layer
    (core,) = (value for value in shared_of(split).values())
    (before,) = (value for value in shared_of(layer).values())
    np.testing.assert_array_equal(core, np.concatenate([before, before[2:3]]))
    for stage in layer.spec.layers:
        weight = weight_of(layer, stage)
        close(weight_of(split, stage), np.concatenate([weight, weight[2:3]]), 1e-12)


@every
def test_growth_keeps_the_weights_of_all_layers(name: str) -> None:
    layer = saved(BLOCKS[name])
    grown = tm.grow(layer, r=5)
    assert {value.shape for value in shared_of(grown.layer).values()} == {(5, 5)}
    for stage in layer.spec.layers:
        close(weight_of(grown.layer, stage), weight_of(layer, stage), 1e-12)
    assert {step.how for step in grown.steps}.isdisjoint({"zeros in A", "zeros in expert1"})


def test_a_bond_of_a_shared_core_is_not_cut() -> None:
    layer = saved(BLOCKS["labels"])
    with pytest.raises(tm.TensorMoEError, match=r"layers share a core that carries it \(A\): cut another"):
        tm.truncate(layer, r=2)
    cut = tm.truncate(layer, s=3)
    np.testing.assert_array_equal(weight_of(cut.layer, "second"), weight_of(layer, "second"))
    with pytest.raises(tm.TensorMoEError, match="iterations=0"):
        tm.truncate(layer, s=3, iterations=5)


@every
def test_what_is_simplified_leaves_a_shared_core(name: str) -> None:
    layer = saved(BLOCKS[name])
    values = {core: value.copy() for core, value in layer.parameters.items()}
    # Nothing comes of a value of a bond whose other cores are zero there.
    values["first.core3" if name == "labels" else "first.input"][..., 0] = 0
    simple = tm.simplify(tm.SavedLayer(layer.spec, values, layer.state))
    for stage in layer.spec.layers:
        before = weight_of(tm.SavedLayer(layer.spec, values, layer.state), stage)
        close(weight_of(simple.layer, stage), before, 1e-12)
    for core, value in shared_of(layer).items():
        np.testing.assert_array_equal(shared_of(simple.layer)[core], value)


def test_a_canonical_form_leaves_a_shared_core() -> None:
    networks = (
        tm.TensorNetwork("n i r, r s, A: s o", r=3, s=4),
        tm.TensorNetwork("n i r, r s, A: s o", r=3, s=4),
    )
    layer = saved(tm.MuMoEBlockSpec(5, 6, 6, 5, networks, shared="A"))
    with pytest.raises(tm.TensorMoEError, match="its cores make no tree"):
        tm.canonicalize(layer)
