"""Every field of every edit, and of every step after a gate, changes the edited layer and travels as JSON."""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from editing.oracle import saved

import tensormoe as tm
from tensormoe.editing import (
    Ablate,
    Add,
    AddBias,
    Edit,
    Merge,
    Replace,
    RewriteBias,
    Scale,
    Split,
    Steer,
    edit,
)
from tensormoe.gates.steering import Sharing, Steering, Step

X = np.random.default_rng(0).normal(size=(6, 4))
PAIRS = tm.MuMoESpec(4, 3, (5, 6), tm.CP(2), tm.Gate("softmax"))
BLOCK = tm.MuMoEBlockSpec(4, 4, 4, (5, 6), tm.CP(2), tm.Gate("softmax"))
MATRIX, MEANS = np.arange(12.0).reshape(4, 3), (np.arange(5.0), np.arange(6.0))
# Each with another value of every field, which is tried alone.
EDITS: dict[type[Edit], tuple[dict[str, Any], dict[str, Any]]] = {
    Ablate: ({"expert": (1, 2)}, {"expert": (1, 3)}),
    Scale: ({"expert": (1, 2), "factor": 2.0}, {"expert": (1, 3), "factor": 3.0}),
    Merge: ({"experts": ((1, 2), (0, 0))}, {"experts": ((1, 2), (0, 1))}),
    Replace: ({"expert": (1, 2), "matrix": MATRIX}, {"expert": (1, 3), "matrix": MATRIX + 1}),
    Add: ({"expert": (1, 2), "delta": MATRIX}, {"expert": (1, 3), "delta": MATRIX + 1}),
    AddBias: (
        {"expert": (1, 2), "output": 1, "value": 0.5},
        {"expert": (1, 3), "output": 2, "value": 0.25},
    ),
    RewriteBias: (
        {"mean_coefficients": MEANS, "output": 1, "strength": 0.5},
        {"mean_coefficients": (MEANS[0] + 1, MEANS[1]), "output": 2, "strength": 0.25},
    ),
    Split: (
        {"expert": 1, "columns": None},
        {"expert": 2, "copies": 3, "level": 1, "columns": np.ones((4, 1))},
    ),
    Steer: (
        {"expert": 1, "set": 0.5},
        {"expert": 2, "set": 0.25, "add": 0.5, "level": 1, "renormalize": True},
    ),
}
STEPS: dict[type[Step], tuple[dict[str, Any], dict[str, Any]]] = {
    Steering: (
        {"level": 0, "expert": 1, "value": 0.5},
        {"level": 1, "expert": 2, "value": 0.25, "adds": True, "renormalize": True},
    ),
    Sharing: ({"level": 0, "expert": 1, "copies": 2}, {"level": 1, "expert": 2, "copies": 3}),
}
CASES = [(kind, field) for kinds in (EDITS, STEPS) for kind, (_, other) in kinds.items() for field in other]


def outcome(made: Edit | Step, spec: tm.Spec = PAIRS) -> Mapping[str, Any]:
    """The coefficients and the output of a layer with the edit, or with the step, and all arrays' shapes."""
    if isinstance(made, Step):
        experts, gate = made.follow(PAIRS.experts), tm.Gate("softmax", steering=(made,))
        layer = saved(PAIRS.replace(experts=experts, gate=gate))
    else:
        layer = edit(saved(spec), made).layer
    result = tm.apply(layer.spec, layer.parameters, X, state=layer.state)
    shapes = {name: array.shape for name, array in layer.arrays().items()}
    return {"y": result.y, "shapes": shapes, **{str(n): a for n, a in enumerate(result.coefficients)}}


def is_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one["shapes"] == other["shapes"] and all(
        np.array_equal(one[name], other[name]) for name in one if name != "shapes"
    )


def test_every_field_of_every_edit_and_step_is_here() -> None:
    for base, listed in ((Edit, EDITS), (Step, STEPS)):
        kinds = {kind for kind in base._registry.values() if kind.__module__.startswith("tensormoe")}
        assert kinds == {*listed}
        for kind, (_, other) in listed.items():
            assert {field.name for field in fields(kind)} - {"layer"} == {*other}  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "field"), CASES, ids=lambda part: getattr(part, "__name__", part))
def test_a_field_that_is_ignored_is_noticed(kind: Any, field: str) -> None:
    given, other = (EDITS | STEPS)[kind]
    changed = {**given, field: other[field]}
    if field == "add":
        del changed["set"]
    before, after = kind(**given), kind(**changed)
    assert before != after
    assert not is_same(outcome(before), outcome(after))
    base = Edit if isinstance(after, Edit) else Step
    again = base.from_dict(json.loads(json.dumps(after.to_dict(), allow_nan=False)))
    assert again == after
    assert is_same(outcome(again), outcome(after))


def test_the_layer_of_a_block_is_heard() -> None:
    first, second = (outcome(Ablate((1, 2), layer=name), BLOCK) for name in ("first", "second"))
    assert not is_same(first, second)
