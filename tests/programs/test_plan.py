from dataclasses import FrozenInstanceError
from itertools import pairwise
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensormoe as tm
from tensormoe.programs import plan as planning
from tensormoe.programs.instructions import Affine, Transpose
from tensormoe.testing import specs

N, I, O, B = 16, 40, 24, 50  # noqa: E741


def layer(factorization: tm.Factorization, experts=N, bias: bool = False) -> tm.MuMoESpec:
    return tm.MuMoESpec(I, O, experts, factorization, bias=bias)


@pytest.mark.parametrize(
    ("factorization", "macs"),
    [
        (tm.CP(8), 8 * (N + I + O)),
        (tm.Tucker((2, 8, 6)), 2 * 8 * 6 + 2 * N + 8 * I + 6 * O + 8 * 6),
        (tm.TensorRing((2, 3, 4)), 2 * N * 3 + 3 * I * 4 + 4 * O * 2 + 2 * 3 * 4),
        (tm.TensorTrain((3, 4)), N * 3 + 3 * I * 4 + 4 * O + 3 * 4),
        (tm.Dense(), N * I * O),
    ],
    ids=str,
)
def test_costs_are_the_formulas_of_the_literature(factorization: tm.Factorization, macs: int) -> None:
    actual = layer(factorization).plan(B).macs
    # Tucker's formula is for one order of contraction; a cheaper one may exist.
    assert actual <= macs * B if isinstance(factorization, tm.Tucker) else actual == macs * B


def test_macs_of_the_gpt2_block_by_hand() -> None:
    spec = tm.MuMoESpec(768, 3072, 256, tm.CP(556))
    assert spec.plan(1024).macs == 1024 * 556 * (256 + 769 + 3072)
    assert spec.plan(1024).soft_moe.macs == 1024 * 256 * 769 * 3072


def test_the_figures_add_up_step_by_step() -> None:
    plan = layer(tm.CP(8)).plan(B)
    rank, output = B * 8, B * O
    assert sorted(step.size for step in plan.steps) == sorted([rank, rank, rank, output])
    assert [step.kind for step in plan.steps].count("multiply") == 1
    # Both factors and their product live at once; then the product and the output.
    assert plan.peak == max(3 * rank, rank + output)
    assert plan.parameters == 8 * (N + I + O)
    assert plan.soft_moe.parameters == N * I * O


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_cp_costs_grow_with_the_sum_of_expert_counts(levels: int) -> None:
    experts = (50,) * levels
    assert layer(tm.CP(8), experts).plan(B).macs == B * 8 * (sum(experts) + I + O)


@given(specs(), st.integers(1, 100))
def test_no_plan_costs_more_than_the_soft_moe_needs_parameters(spec: tm.MuMoESpec, batch: int) -> None:
    plan = spec.plan(batch)
    assert plan.peak >= batch * spec.out_features
    assert plan.parameters == spec.network.num_parameters
    assert all(step.macs % step.size == 0 for step in plan.steps)
    shown = str(plan)
    assert all(step.expression in shown for step in plan.steps)


@given(specs())
def test_programs_are_pairwise(spec: tm.MuMoESpec) -> None:
    program, terms = spec.default_plan.program, spec.network.terms
    pairs = sum(spec.levels + len(term.cores) for term in terms) + len(terms) - 1
    products = sum(step.kind != "pad" for step in spec.default_plan.steps)
    if len(terms) > 1 or spec.network.shared:
        # What terms, or uses of a core, have in common is computed once.
        assert products <= pairs
    else:
        assert products == pairs
    assert all(len(instruction.sources) <= 2 for instruction in program.instructions)
    assert not any("einsum" in type(instruction).__name__.lower() for instruction in program.instructions)


def test_one_program_serves_every_batch_size() -> None:
    spec = layer(tm.TensorRing((2, 3, 4)), bias=True)
    generator = np.random.default_rng(0)
    cores = [generator.normal(size=shape) for shape in spec.network.shapes.values()]
    x, a = generator.normal(size=(9, I)), generator.normal(size=(9, N))
    whole = tm.contract(spec, cores, [a], x)
    for size in (0, 1, 2, 9):
        np.testing.assert_allclose(tm.contract(spec, cores, [a[:size]], x[:size]), whole[:size], rtol=1e-12)


# Its cores are best multiplied with each other first for many vectors, but not for one.
CONDENSED = tm.MuMoESpec(40, 3, 16, tm.TensorRing((2, 3, 32)))


def test_a_small_batch_has_a_path_of_its_own() -> None:
    (many, large), (none, small) = CONDENSED.plans
    assert (many, large.batch_size, none) == (3, 1024, 0)
    assert small.at(1).macs < large.at(1).macs / 3
    assert small.at(1024).macs > large.at(1024).macs
    assert large.at(1024) == large
    assert "input[i r2 r3] output[r1 r3 o]" in large.steps[1].expression
    for plan in (large, small):
        tm.prove(plan)
    generator = np.random.default_rng(0)
    cores = [generator.normal(size=shape) for shape in CONDENSED.network.shapes.values()]
    x, a = generator.normal(size=(30, 40)), generator.normal(size=(30, 16))
    whole = tm.contract(CONDENSED, cores, [a], x)
    for size in (0, 1, 2, 3):
        part = tm.contract(CONDENSED, cores, [a[:size]], x[:size])
        np.testing.assert_allclose(part, whole[:size], rtol=1e-11, atol=1e-11)


@given(specs(), st.sampled_from([1, 8, 64, 1024]))
def test_the_path_for_a_batch_is_near_the_cheapest(spec: tm.MuMoESpec, batch: int) -> None:
    plans = spec.plans
    assert [least for least, _ in plans] == sorted({least for least, _ in plans}, reverse=True)
    assert plans[-1][0] == 0
    chosen = next(plan for least, plan in plans if batch >= least)
    assert spec.plan(batch) == chosen.at(batch)
    assert 0.9 * chosen.at(batch).macs <= planning.plan(spec.contraction, batch).macs
    # A further path saves something where it is used.
    for (_, larger), (_, own) in pairwise(plans):
        assert own.macs <= 0.9 * larger.at(own.batch_size).macs


def test_a_block_changes_its_program_where_a_layer_does() -> None:
    block = tm.MuMoEBlockSpec(40, 40, 3, 16, CONDENSED.factorization)
    limits = {least for layer in block.layers.values() for least, _ in layer.plans}
    assert [least for least, _ in block.programs] == sorted(limits, reverse=True)
    assert len(limits) > 1
    assert block.program_for(None) is block.program_for(10**6)
    assert block.program_for(1) is not block.program_for(10**6)


def test_plans_are_cached_and_immutable() -> None:
    chosen = layer(tm.CP(8)).plan(B)
    assert layer(tm.CP(8)).plan(B) is chosen
    assert layer(tm.CP(9)).plan(B) is not chosen
    with pytest.raises(FrozenInstanceError):
        chosen.batch_size = 3
    with pytest.raises(FrozenInstanceError):
        chosen.program.instructions = ()


def test_a_batch_size_is_a_positive_integer() -> None:
    assert layer(tm.CP(8)).plan(1).batch_size == 1
    for unfit in (0, -1, "many", 1.0, True, [3]):
        with pytest.raises(tm.TensorMoEError, match="batch_size"):
            layer(tm.CP(8)).plan(unfit)


def test_the_table_reads() -> None:
    shown = str(tm.MuMoESpec(768, 3072, 256, tm.CP(556)).plan(1024))
    lines = shown.splitlines()
    assert any(line.split() == ["step", "kind", "MACs", "elements"] for line in lines)
    assert any("x[… i] input[i r]" in line and "matmul" in line for line in lines)
    assert any("total at batch size 1,024" in line and "soft MoE" in line for line in lines)
    assert max(len(line) for line in lines) <= 90


def test_a_plan_has_a_short_form() -> None:
    layer, block = tm.MuMoESpec(8, 6, 4, tm.CP(5), bias=False), tm.MuMoEBlockSpec(8, 7, 6, 4, tm.CP(5))
    assert repr(layer.plan(10)) == "<Plan: 4 steps, 900 MACs at batch size 10>"
    plan = block.plan(10)
    assert repr(plan) == f"<BlockPlan: {plan.macs:,} MACs at batch size 10>"


def test_the_bias_row_costs_no_copy_of_the_input() -> None:
    for factorization in (tm.CP(8), tm.Tucker((2, 8, 6)), tm.TensorRing((2, 3, 4)), tm.TensorTrain((3, 4))):
        program = layer(factorization, bias=True).default_plan.program
        names = [type(instruction).__name__ for instruction in program.instructions]
        assert "AppendOne" not in names
        readers = [instruction for instruction in program.instructions if 0 in instruction.sources]
        assert [type(instruction) for instruction in readers] == [Affine]


def test_soft_moe_figures_are_those_of_the_dense_tensor() -> None:
    spec = layer(tm.CP(8), (3, 5), bias=True)
    soft = spec.plan(B).soft_moe
    assert soft.parameters == prod((3, 5, I + 1, O))
    assert soft.macs == tm.MuMoESpec(I, O, (3, 5), tm.Dense()).plan(B).macs


@pytest.mark.parametrize("notation", [False, True])
def test_small_experts_do_not_tempt_the_plan_into_outer_products(notation: bool) -> None:
    """opt_einsum's automatic choice multiplies the expert factors with each other here."""
    named = tm.TensorNetwork("n1 r, n2 r, i r, o r", r=64) if notation else tm.CP(64)
    spec = tm.MuMoESpec(768, 3072, (16, 16), named, bias=False)
    assert spec.plan(1024).macs == 1024 * 64 * (16 + 16 + 768 + 3072)


@pytest.mark.parametrize("family", [tm.CP(4), tm.Tucker((2,) * 11), tm.TensorRing((2,) * 11)], ids=str)
def test_nine_levels_are_planned(family: tm.Factorization) -> None:
    """Exhaustive searches would take minutes."""
    plan = layer(family, (2,) * 9).plan(B)
    assert all(step.kind in ("matmul", "batched matmul", "multiply") for step in plan.steps)


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("family", ["CP", "Tucker", "TensorRing", "TensorTrain"])
@pytest.mark.parametrize("bias", [True, False])
def test_no_activation_is_permuted(family: str, levels: int, bias: bool) -> None:
    """In Tucker's core the order of axes decides: each level's experts are contracted after it, in turn."""
    between = (2,) * levels
    ranks = {
        "CP": 8,
        "Tucker": (*between, 8, 6),
        "TensorRing": (*between, 3, 4),
        "TensorTrain": (*between, 4),
    }
    spec = layer(getattr(tm, family)(ranks[family]), (N,) * levels, bias=bias)
    program = spec.default_plan.program
    carries_batch = set(range(1 + spec.levels))
    for number, instruction in enumerate(program.instructions):
        if carries_batch & set(instruction.sources):
            assert not isinstance(instruction, Transpose)
            carries_batch.add(program.num_operands + number)
