"""What a plan says of training's memory is what PyTorch's tape and our own reverse mode hold."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.frameworks import optional
from support.strategies import EVERY

import tensormoe as tm
from tensormoe.testing import specs

torch = optional("torch")

BATCH = 24


def held(plan: tm.Plan | tm.BlockPlan, shapes: Any, recompute: bool = False) -> int:
    """The elements of the pieces of memory that a training step keeps, operands left out."""
    operands = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    own = {operand.untyped_storage().data_ptr() for operand in operands}
    pieces: dict[int, int] = {}

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        pieces[storage.data_ptr()] = storage.nbytes() // tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        # The result holds the graph and so all pieces: none is freed and counted again at its address.
        result = tm.get_backend("torch").compute(plan.program, operands, (), recompute)
    held_by_result = {result.untyped_storage().data_ptr()}
    return sum(size for place, size in pieces.items() if place not in own | held_by_result)


def layer_of(family: tm.Factorization, bias: bool = True) -> tm.MuMoESpec:
    return tm.MuMoESpec(10, 12, 4, family, bias=bias)


@pytest.mark.parametrize("family", EVERY, ids=str)
@pytest.mark.parametrize("bias", [False, True])
def test_pytorchs_tape_holds_what_a_plan_says(family: tm.Factorization, bias: bool) -> None:
    plan = layer_of(family, bias).plan(BATCH)
    assert held(plan, plan.shapes) == plan.saved


@given(specs(max_levels=3), st.booleans())
@settings(max_examples=40)
def test_our_reverse_mode_holds_what_a_plan_says(spec: tm.MuMoESpec, recompute: bool) -> None:
    plan = spec.plan(BATCH)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tensormoe_torch._programs._LARGE", 0)
        assert held(plan, plan.shapes, recompute) == (plan.saved_recomputing if recompute else plan.saved)


@pytest.mark.parametrize("family", EVERY, ids=str)
def test_a_block_holds_what_its_plan_says(family: tm.Factorization) -> None:
    plan = tm.MuMoEBlockSpec(10, 14, 12, 4, family).plan(BATCH)
    shapes = (*plan.layers["first"].shapes, *plan.layers["second"].shapes[2:])
    assert held(plan, shapes) == plan.saved
    assert held(plan, shapes, recompute=True) == plan.saved_recomputing
    assert plan.saved_recomputing <= plan.saved
    assert f"saved for backward: {plan.saved:,} elements, {plan.saved_recomputing:,} recomputing" in str(plan)


def test_what_is_saved_by_hand() -> None:
    plan = tm.MuMoESpec(10, 12, 4, tm.CP(8)).plan(BATCH)
    # Both factors of the elementwise product, and the product itself, which the last core reads.
    assert plan.saved == 3 * BATCH * 8
    assert plan.saved_recomputing == 2 * BATCH * 8
    rows = [line.split() for line in str(plan).splitlines()]
    assert ["saved", "for", "backward", f"{plan.saved:,}"] in [row[:4] for row in rows]


def test_a_plan_that_saves_nothing_has_no_ratio() -> None:
    plan = tm.MuMoESpec(10, 12, 4, tm.TensorNetwork("n i, o")).plan(BATCH)
    assert plan.saved >= 0
    assert str(tm.MuMoESpec(4, 3, 1, tm.Dense()).plan(1))
