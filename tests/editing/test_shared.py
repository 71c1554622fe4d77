"""Edits of layers with shared cores: rows of a core that is used twice stay as they are."""

import numpy as np
import pytest
from editing.oracle import edit_tensor, saved, weight_of
from support.strategies import close

import tensormoe as tm
from tensormoe.editing import Ablate, Edit, Merge, Scale, edit

FAMILIES = [
    # Experts in a core of their own.
    tm.TensorNetwork("n r, A: i r, A: o r", r=3),
    # What is an expert's row is an input's row, too.
    tm.TensorNetwork("A: n r, A: i r, o r", r=3),
    tm.TensorNetwork("A: i r, A: o r, A: n r + i o", r=3),
]


@pytest.mark.parametrize("family", FAMILIES, ids=str)
@pytest.mark.parametrize(
    "change", [Ablate(2), Scale(1, -2.0), Merge((0, 3))], ids=["ablate", "scale", "merge"]
)
def test_edits_change_their_experts_alone(family: tm.Factorization, change: Edit) -> None:
    layer = saved(tm.MuMoESpec(5, 5, 5, family, bias=False), 0)
    edited = edit(layer, change)
    close(weight_of(edited.layer), edit_tensor(weight_of(layer), [change]), 1e-10)
    assert edited.certificate().unchanged


def test_a_shared_core_itself_stays() -> None:
    layer = saved(tm.MuMoESpec(5, 5, 5, FAMILIES[1], bias=False), 0)
    before, after = (each.arrays()["cores.A"] for each in (layer, edit(layer, Ablate(2)).layer))
    np.testing.assert_array_equal(before, after)
