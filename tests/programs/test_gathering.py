"""Gathered programs: only the slices of the experts that a token's coefficients choose are read."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.frameworks import BACKENDS
from support.strategies import EVERY, close, truth, values_for

import tensormoe as tm
from tensormoe.programs.gathering import Choose, Gather, Take
from tensormoe.testing import Inputs, specs

TWO = tm.Gate(tm.Activation("top_k", k=2))
ZEROS = tm.TensorNetwork("n i r, n r o + n o", r=3)


def thin(values: Inputs, active: tuple[int, ...], seed: int = 0) -> Inputs:
    """The values with as many coefficients of each token and level, those of the first token being 0."""
    generator = np.random.default_rng(seed)
    kept = []
    for a, k in zip(values.coefficients, active, strict=True):
        places = generator.random(a.shape).argsort(1)[:, :k]
        mask = np.zeros_like(a)
        np.put_along_axis(mask, places, 1.0, axis=1)
        mask[:1] = 0
        kept.append(a * mask)
    return replace(values, coefficients=kept)


def run(plan: tm.Plan, values: Inputs, backend: str) -> tuple[Any, list[Any]]:
    """The output and the gradients of a plan's program, in float64."""
    ops = tm.get_backend(backend)
    with ops.double_precision():
        operands = [ops.from_float64(each, "float64") for each in values.operands]
        cotangent = ops.from_float64(values.cotangent, "float64")
        gradients = plan.program.vjp(ops, operands, cotangent)
        by_framework = ops.gradients(lambda *leaves: plan.program.run(ops, leaves), operands, cotangent)
        for own, other in zip(gradients, by_framework or (), strict=bool(by_framework)):
            close(ops.to_float64(own), ops.to_float64(other))
        return ops.to_float64(plan.program.run(ops, operands)), [ops.to_float64(each) for each in gradients]


def compare(spec: tm.MuMoESpec, values: Inputs, plan: tm.Plan, backend: str = "numpy") -> None:
    """Assert that a plan gives the soft MoE's output and gradients, those at coefficients of 0 aside."""
    expected = truth(spec, values)
    y, gradients = run(plan, values, backend)
    close(y, expected.y)
    levels = range(1, 1 + spec.levels)
    for number, (gradient, other) in enumerate(zip(gradients, expected.gradients, strict=True)):
        kept = values.operands[number] != 0 if number in levels else 1
        close(gradient * kept, other * kept)


@given(specs(max_levels=3), st.data())
def test_slices_of_any_network_give_the_soft_moe(spec: tm.MuMoESpec, data: st.DataObject) -> None:
    active = tuple(data.draw(st.integers(1, n)) for n in spec.experts)
    size = data.draw(st.integers(1, 4))
    compare(spec, thin(values_for(spec, 0, size), active), spec.stage.plan(size, active=active))


@pytest.mark.parametrize("family", [*EVERY, ZEROS], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_family_is_gathered_by_every_framework(backend: str, family: tm.Factorization) -> None:
    if backend == "jax" and family != ZEROS:
        pytest.skip("each family is compiled")
    spec = tm.MuMoESpec(5, 4, 7, family)
    compare(spec, thin(values_for(spec, 1, 3), (2,)), spec.stage.plan(3, active=2), backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "notation", ["n1 i o n2", "i n2 o n1", "n1 i r, r n2 o", "A: n1 r, A: n1 s, n2 i r s o"]
)
def test_experts_of_several_levels_are_chosen_by_each(notation: str, backend: str) -> None:
    if backend == "jax" and notation != "n1 i o n2":
        pytest.skip("each network is compiled")
    sizes = {bond: 3 for bond in "rs" if f" {bond}" in notation}
    spec = tm.MuMoESpec(4, 3, (5, 6), tm.TensorNetwork(notation, **sizes))
    for active in ((2, 3), (1, 6), (5, 1))[: 1 if backend == "jax" else 3]:
        compare(spec, thin(values_for(spec, 2, 3), active), spec.stage.plan(3, active=active), backend)


def test_256_experts_of_which_two_are_active_take_a_128th_of_the_products() -> None:
    stage = tm.MuMoESpec(64, 32, 256, tm.Dense(), bias=False).stage
    dense, gathered = stage.plan(4), stage.plan(4, active=2)
    assert gathered.macs == 4 * 2 * 64 * 32
    assert dense.macs // gathered.macs == 128
    assert gathered.peak < dense.parameters / 16
    assert [each.kind for each in gathered.steps].count("gather") == 2
    assert gathered.steps[1].expression == "core1[n i o] at a1[… n] → core1*[… n i o]"
    assert "elements read or written" in str(gathered)
    assert "elements read or written" not in str(dense)


def test_what_is_read_is_counted_by_hand() -> None:
    plan = tm.MuMoESpec(8, 6, 16, tm.Dense(), bias=False).stage.plan(3, active=2)
    kinds = [type(each) for each in plan.program.instructions]
    assert kinds[:3] == [Choose, Take, Gather]
    slices, outer, result = 3 * 2 * 8 * 6, 3 * 2 * 8, 3 * 6
    # Places are found among all coefficients; slices are copied and multiplied with x times the coefficients,
    # whose axes are first put in the slices' order.
    by_hand = (3 * 16 + 6) + 2 * 6 + 2 * slices + (6 + 3 * 8 + outer) + 2 * outer + (slices + outer + result)
    assert plan.traffic == by_hand
    assert plan.macs == slices


def test_a_core_that_is_used_twice_is_gathered_once() -> None:
    spec = tm.MuMoESpec(4, 3, 9, tm.TensorNetwork("A: n r, i r, r o + A: n s, i s, s o", r=2, s=2))
    instructions = spec.stage.plan(2, active=2).program.instructions
    assert sum(isinstance(each, Choose) for each in instructions) == 1
    assert sum(isinstance(each, Gather) for each in instructions) == 1
    compare(spec, thin(values_for(spec, 3, 4), (2,)), spec.stage.plan(2, active=2))


def test_layers_of_a_block_choose_once() -> None:
    block = tm.MuMoEBlockSpec(4, 5, 3, 9, tm.CP(3), TWO, gated=True)
    instructions = block.plan(2, active=2).program.instructions
    assert sum(isinstance(each, Choose) for each in instructions) == 1
    assert sum(isinstance(each, Take) for each in instructions) == 1
    assert sum(isinstance(each, Gather) for each in instructions) == 3
    assert block.plan(2, active=2).traffic == sum(
        each.traffic for each in block.plan(2, active=2).layers.values()
    )


def test_slices_are_chosen_for_few_vectors_of_large_cores_alone() -> None:
    spec = tm.MuMoESpec(96, 96, 128, tm.Dense(), TWO)
    leasts = [(least, bool(plan.contraction.active)) for least, plan in spec.plans]
    assert leasts[-1] == (0, True)
    assert leasts[0][1] is False
    crossover = leasts[-2][0]
    assert 4 < crossover < 128
    assert spec.plan(crossover - 1).contraction.active
    assert not spec.plan(crossover).contraction.active
    # A GPU waits longer for a call, and reads more meanwhile.
    assert not any(plan.contraction.active for _, (plan,) in spec.plans_for(spec.active, accelerated=True))
    assert not any(plan.contraction.active for _, plan in spec.replace(experts=8).plans)
    assert not any(plan.contraction.active for _, plan in spec.replace(factorization=tm.CP(8)).plans)
    assert spec.replace(gate=tm.Gate("softmax")).programs_for(None) is not None


def test_the_memory_limit_holds_for_slices() -> None:
    spec = tm.MuMoESpec(20_000, 4, 64, tm.TensorNetwork("n i r, r o", r=1), TWO)
    assert spec.plan(1).largest == 2 * 20_001
    few = spec.replace(memory_limit=100_000)
    assert few.plan(2).contraction.active
    assert not few.plan(3).contraction.active
    assert spec.plan(3).contraction.active


def test_recomputing_gives_the_same_gradients() -> None:
    spec = tm.MuMoESpec(5, 4, 7, ZEROS)
    values, program = thin(values_for(spec, 5, 3), (2,)), spec.stage.plan(3, active=2).program
    ops = tm.get_backend("numpy")
    kept = program.vjp(ops, values.operands, values.cotangent)
    _, registers = program.forward(ops, values.operands, recompute=True)
    again = program.backward(ops, registers, values.cotangent, range(program.num_operands))
    for one, other in zip(kept, again, strict=True):
        assert np.array_equal(one, other)


@settings(max_examples=20)
@given(specs(max_levels=2), st.integers(1, 3))
def test_plans_count_what_they_take_per_vector(spec: tm.MuMoESpec, k: int) -> None:
    active = tuple(min(k, n) for n in spec.experts)
    plan = spec.stage.plan(4, active=active)
    assert plan.at(9).macs - plan.at(7).macs == plan.at(8).macs - plan.at(6).macs
    assert plan.at(9).traffic - plan.at(7).traffic == plan.at(8).traffic - plan.at(6).traffic


@pytest.mark.parametrize(
    ("active", "remedy"),
    [
        (17, "only 16 experts"),
        (0, "positive integer"),
        ((2, 2), "one count for each of 1 expert level"),
        (2.5, "positive integer"),
        (1, "the gate may give"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(active: Any, remedy: str) -> None:
    spec = tm.MuMoESpec(4, 3, 16, tm.CP(3), TWO)
    with pytest.raises(tm.TensorMoEError, match=remedy):
        spec.plan(2, active=active)


def test_a_gate_that_may_give_all_experts_a_coefficient_is_refused() -> None:
    for gate in (tm.Gate(), tm.Gate("softmax"), tm.Gate("relu"), tm.Gate(tm.Activation("soft_top_k", k=2))):
        spec = tm.MuMoESpec(4, 3, 16, tm.CP(3), gate)
        assert spec.active is None
        with pytest.raises(tm.TensorMoEError, match=r"tm.contract\(…, active=…\)"):
            spec.plan(2, active=2)
        # Of your own coefficients you know more.
        assert spec.stage.plan(2, active=2).contraction.active == (("n", 2),)
    assert tm.MuMoESpec(4, 3, 16, tm.CP(3), tm.Gate()).plan(2, active=16).contraction.active == ()
