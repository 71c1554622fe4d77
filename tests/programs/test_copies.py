"""Copies that a notation makes necessary are in its plan, with the notation that spares them."""

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import close

import tensormoe as tm
from tensormoe.networks.notation import Notation
from tensormoe.programs.instructions import Reshape, Transpose
from tensormoe.testing import factorizations, inputs_for, specs

TENSORLYS = tm.TensorNetwork("r1 n r2, r2 i r3, r3 o r1", r1=4, r2=4, r3=149)


def test_a_plan_lists_copies_and_the_notation_that_spares_them() -> None:
    plan = tm.MuMoESpec(768, 3072, 256, TENSORLYS).plan()
    assert [(copy.core, copy.order) for copy in plan.copies] == [
        ("core1", ("n", "r1", "r2")),
        ("core2", ("i", "r2", "r3")),
        ("core3", ("r1", "r3", "o")),
    ]
    shown = str(plan)
    assert shown.splitlines()[-1] == (
        "core 'core3' is copied at each call: write 'r1 r3 o' instead of 'r3 o r1'"
    )
    row = next(line for line in shown.splitlines() if "core3[r3 o r1] → core3[r1 r3 o]" in line)
    assert row.split()[-3:] == ["copy", "0", f"{149 * 3072 * 4:,}"]


@pytest.mark.parametrize(
    "factorization",
    [tm.CP(64), tm.TensorRing((4, 4, 149)), tm.TensorTrain((4, 64)), tm.Tucker((8, 64, 64))],
    ids=str,
)
def test_a_plan_without_copies_says_nothing_of_them(factorization: tm.Factorization) -> None:
    plan = tm.MuMoESpec(768, 3072, 256, factorization).plan()
    assert plan.copies == ()
    assert "copied" not in str(plan)


@pytest.mark.parametrize(
    ("experts", "factorization"),
    [(256, tm.Dense()), ((16, 16), tm.Tucker((4, 4, 64, 64))), ((16, 8, 4), tm.TensorTrain((2, 3, 4, 4)))],
    ids=str,
)
def test_a_multiplication_takes_the_order_of_the_core_that_reads_it(
    experts: int | tuple[int, ...], factorization: tm.Factorization
) -> None:
    plan = tm.MuMoESpec(768, 3072, experts, factorization).plan()
    assert "multiply" in [step.kind for step in plan.steps]
    assert not any(isinstance(each, Transpose) for each in plan.program.instructions)
    assert plan.copies == ()


def test_a_matrix_read_column_by_column_is_not_copied() -> None:
    plan = tm.MuMoESpec(768, 3072, 256, tm.TensorNetwork("n r, i r, o r", r=64)).plan()
    assert any(isinstance(each, Transpose) for each in plan.program.instructions)
    assert plan.copies == ()


def copied_by_numpy(spec: tm.MuMoESpec) -> set[str]:
    """The cores for which a reshape needs new memory when the program runs."""
    ops, program, network = tm.get_backend("numpy"), spec.default_plan.program, spec.network
    data = [(2, spec.in_features), *((2, count) for count in spec.experts)]
    registers = [np.ones(shape) for shape in (*data, *network.shapes.values())]
    origin = {len(data) + number: name for number, name in enumerate(network.shapes)}
    names = set()
    for number, instruction in enumerate(program.instructions, start=program.num_operands):
        registers.append(instruction.run(ops, registers, 2))
        if isinstance(instruction, Transpose | Reshape) and instruction.source in origin:
            origin[number] = origin[instruction.source]
            if not np.shares_memory(registers[number], registers[instruction.source]):
                names.add(origin[number])
    return names


@given(specs())
def test_what_a_reshape_copies_is_listed(spec: tm.MuMoESpec) -> None:
    listed = {copy.core: copy for copy in spec.default_plan.copies}
    assert copied_by_numpy(spec) <= listed.keys()
    for name, copy in listed.items():
        assert copy.size == prod(spec.network.shapes[name])
        assert sorted(copy.order) == sorted(copy.indices)


@given(specs(factorizations, max_levels=3).flatmap(lambda spec: st.tuples(st.just(spec), inputs_for(spec))))
def test_following_the_advice_spares_the_copy_and_keeps_the_values(layer) -> None:
    spec, values = layer
    names = list(spec.network.shapes)
    for copy in spec.default_plan.copies:
        number = names.index(copy.core)
        orders = [core.indices for core in spec.network.cores]
        orders[number] = copy.order
        notation = str(Notation(tuple(orders), spec.network.counts))
        advised = spec.replace(factorization=tm.TensorNetwork(notation, **dict(spec.network.bonds)))
        assert f"core{number + 1}" not in [each.core for each in advised.default_plan.copies]
        cores = list(values.cores)
        cores[number] = cores[number].transpose([copy.indices.index(index) for index in copy.order])
        close(
            tm.contract(advised, cores, values.coefficients, values.x),
            tm.contract(spec, values.cores, values.coefficients, values.x),
        )
