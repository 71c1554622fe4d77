"""Programs of networks with shared cores: one register for each array, gradients added."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from support.shared import shared_layers
from support.strategies import close, truth, values_for

import tensormoe as tm
from tensormoe.arrays.registry import get_backend


@given(shared_layers())
def test_programs_give_the_definition_and_its_gradients(spec: tm.MuMoESpec) -> None:
    values = values_for(spec, 0, 3)
    expected = truth(spec, values)
    operands = [values.x, *values.coefficients, *values.cores]
    ops = get_backend("numpy")
    for _, program in spec.stage.programs:
        assert program.num_operands == 1 + spec.levels + len(spec.network.shapes)
        close(program.run(ops, operands), expected.y)
        for actual, gradient in zip(
            program.vjp(ops, operands, values.cotangent), expected.gradients, strict=True
        ):
            close(actual, gradient)
    close(tm.materialize(spec, values.cores), expected.weight)


@settings(max_examples=15)
@given(shared_layers())
def test_programs_are_proved_and_exact(spec: tm.MuMoESpec) -> None:
    report = tm.verify(spec, ("numpy",), methods=("proof", "exact", "float"))
    assert report.passed, str(report)


def test_a_step_that_uses_share_is_taken_once() -> None:
    family = tm.TensorNetwork("n r, A: i r, B: r o + n s, A: i s, C: s o", r=4, s=4)
    plan = tm.MuMoESpec(9, 7, 5, family, bias=False).plan(64)
    assert [step.expression for step in plan.steps if "A[" in step.expression] == ["x[… i] A[i r] → t1[… r]"]
    apart = tm.TensorNetwork("n r, i r, r o + n s, i s, s o", r=4, s=4)
    assert plan.macs == tm.MuMoESpec(9, 7, 5, apart, bias=False).plan(64).macs - 64 * 9 * 4
    assert plan.parameters == 9 * 4 + 2 * (4 * 7 + 5 * 4)


def test_a_power_of_one_matrix_is_a_network() -> None:
    bonds = [*"abcdef"]
    chain = ", ".join(f"A: {left} {right}" for left, right in pairwise(bonds))
    family = tm.TensorNetwork(f"n a, i a, {chain}, f o", **dict.fromkeys(bonds, 3))
    spec = tm.MuMoESpec(4, 4, 3, family, bias=False)
    generator = np.random.default_rng(0)
    expert, first, power, last = (generator.normal(size=shape) for shape in spec.network.shapes.values())
    weight = np.einsum("nr,ir,ro->nio", expert, first, np.linalg.matrix_power(power, 5) @ last)
    close(tm.materialize(spec, [expert, first, power, last]), weight)
    assert tm.verify(spec, ("numpy",), methods=("proof", "exact")).passed


def test_a_copy_of_a_shared_core_has_no_advice() -> None:
    # Inputs read the core as it is, outputs transposed.
    plan = tm.MuMoESpec(8, 8, 5, tm.TensorNetwork("n r s, A: r i s, A: s o r", r=8, s=8), bias=False).plan(64)
    assert any(copy.core == "A" for copy in plan.copies)
    assert all(copy.order == copy.indices for copy in plan.copies if copy.core == "A")


def test_a_path_has_a_step_for_each_use() -> None:
    family = tm.TensorNetwork("n r, A: i r, A: o r", r=4)
    path = [(0, 3), (0, 1), (0, 2), (0, 1)]
    with pytest.raises(tm.TensorMoEError, match="5 operands take 4 steps, not 3"):
        tm.MuMoESpec(6, 6, 5, family, bias=False, optimize=path[1:])
    assert tm.prove(tm.MuMoESpec(6, 6, 5, family, bias=False, optimize=path))
