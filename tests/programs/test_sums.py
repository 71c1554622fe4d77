"""Plans and programs of sums: what is shared, what it costs, and the paths that users give."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from support.strategies import check_programs, close, truth, values_for

import tensormoe as tm
from tensormoe.arrays.registry import get_backend
from tensormoe.programs.contraction import Contraction, Operand
from tensormoe.programs.instructions import Add
from tensormoe.programs.path import find_path
from tensormoe.programs.plan import plan
from tensormoe.programs.program import Program, released
from tensormoe.testing import specs, sums

TERMS = tm.TensorNetwork("n r, i r, r o + n i s, n s o", r=4, s=3)


def spec_of(family: tm.Factorization, **options: object) -> tm.MuMoESpec:
    return tm.MuMoESpec(9, 7, experts=5, factorization=family, **options)  # type: ignore[arg-type]


@given(specs(sums, max_levels=3))
def test_programs_give_the_sum_of_the_definition(spec: tm.MuMoESpec) -> None:
    check_programs(spec, values_for(spec, 0, 3))


def test_a_sum_costs_what_its_terms_cost() -> None:
    first, second = (tm.TensorNetwork("n r, i r, r o", r=4), tm.TensorNetwork("n i s, n s o", s=3))
    whole = spec_of(first + second).plan(64)
    assert whole.macs == spec_of(first).plan(64).macs + spec_of(second).plan(64).macs
    assert [step.kind for step in whole.steps].count("add") == 1
    assert whole.steps[-1].macs == 0
    assert "+" in whole.steps[-1].expression
    assert "add" in str(whole)


def test_steps_that_terms_share_are_taken_once() -> None:
    spec = spec_of(tm.TensorNetwork("i o + n r, i r, r o + i s, s o", r=4, s=3))
    plan = spec.plan(64)
    # The first and the third term both sum the coefficients of all experts.
    sums_of_coefficients = [
        each for each in plan.program.instructions if str(each).startswith("Sum(source=1")
    ]
    assert len(sums_of_coefficients) == 1
    assert len(set(plan.program.instructions)) == len(plan.program.instructions)


def test_a_common_product_is_one_step() -> None:
    operands = (
        Operand("x", ("…", "i")),
        Operand("a1", ("…", "n")),
        Operand("p", ("i", "o")),
        Operand("q", ("i", "o")),
    )
    contraction = Contraction(operands, ("…", "o"), (("n", 3), ("i", 4), ("o", 5)), counts=(1, 1))
    # Both terms begin with the product of the data.
    planned = plan(contraction, 8, ((0, 1), (0, 1), (0, 1), (0, 1)))
    assert [step.kind for step in planned.steps].count("multiply") == 1
    assert len(planned.steps) == 4
    values = [
        np.random.default_rng(n).normal(size=size) for n, size in enumerate([(2, 4), (2, 3), (4, 5), (4, 5)])
    ]
    x, a, p, q = values
    close(planned.program.run(get_backend("numpy"), values), a.sum(1)[:, None] * (x @ (p + q)))


def test_the_peak_counts_results_until_their_last_reader() -> None:
    plan = spec_of(
        tm.TensorNetwork(
            "i o + n i o",
        ),
        bias=False,
    ).plan(1)
    # x · core1 and its product with Σa live while the second term is computed.
    assert plan.peak >= 2 * 7


def test_a_path_of_a_sum_is_that_of_each_term() -> None:
    spec = spec_of(TERMS, bias=False)
    path = spec.plan().path
    assert len(path) == 4 + 3
    assert spec.replace(optimize=path).plan().path == path
    with pytest.raises(tm.TensorMoEError, match=r"7 operands in 2 terms take 7 steps, not 2"):
        spec.replace(optimize=((0, 1), (0, 1)))
    with pytest.raises(
        tm.TensorMoEError, match=r"step 4 is \(0, 9\): pass two different positions from 0 to 3"
    ):
        spec.replace(optimize=(*path[:4], (0, 9), *path[5:]))


def test_an_optimizer_is_asked_for_each_term() -> None:
    asked = []

    def optimizer(
        inputs: list[frozenset[str]], output: frozenset[str], sizes: dict[str, int]
    ) -> list[tuple[int, int]]:
        asked.append(len(inputs))
        return [(0, 1)] * (len(inputs) - 1)

    spec = spec_of(TERMS, optimize=optimizer)
    assert asked == [5, 4]
    values = values_for(spec, 0, 3)
    close(spec.programs[0][1].run(get_backend("numpy"), values.operands), truth(spec, values).y)


def test_a_memory_limit_holds_for_every_term() -> None:
    spec = spec_of(TERMS)
    limited = spec.replace(memory_limit=spec.plan(1024).largest)
    assert limited.plan(1024).largest <= spec.plan(1024).largest
    with pytest.raises(tm.TensorMoEError, match="memory_limit"):
        spec.replace(memory_limit=10)


def test_known_paths_are_tried_term_by_term() -> None:
    contraction = spec_of(TERMS).stage.contraction
    good = find_path(contraction, 8, "auto", None)
    bad = ((0, 1),) * 7
    assert find_path(contraction, 8, "auto", None, [bad]) == good or (
        plan(contraction, 8, find_path(contraction, 8, "auto", None, [bad])).macs
        <= plan(contraction, 8, good).macs
    )


def test_gradients_pass_through_a_sum_to_what_is_stretched() -> None:
    steps = (Add(0, 1),)
    program = Program(2, steps, released(2, steps))
    ones, row = np.ones((3, 4, 2)), np.ones((4, 1))
    ops = get_backend("numpy")
    np.testing.assert_array_equal(program.run(ops, [ones, row]), 2 * ones)
    both = program.vjp(ops, [ones, row], ones)
    np.testing.assert_array_equal(both[0], ones)
    np.testing.assert_array_equal(both[1], np.full((4, 1), 6.0))


def test_the_soft_moe_beside_a_sum_has_one_weight_tensor() -> None:
    plan = spec_of(TERMS, bias=False).plan(4)
    assert plan.soft_moe.parameters == 5 * 9 * 7
    assert replace(plan.soft_moe.contraction).counts == ()
