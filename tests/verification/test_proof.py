"""Proofs: every program of the library has one, and no wrong program does."""

import operator
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import tensormoe as tm
from tensormoe.arrays.backend import Backend
from tensormoe.programs.contraction import Contraction, Operand
from tensormoe.programs.instructions import (
    Affine,
    AppendOne,
    Binary,
    Instruction,
    Matmul,
    Multiply,
    Reshape,
    Sum,
    Transpose,
)
from tensormoe.programs.program import Program, released
from tensormoe.testing import specs
from tensormoe.verification.arithmetic.residues import PRIME, ResidueOps
from tensormoe.verification.reference.contraction import IndexedArray, contract


@dataclass(frozen=True)
class Rows(Instruction):
    """A user's own instruction: a range of one axis."""

    axis: int
    start: int
    stop: int

    @property
    def reads(self) -> tuple[int, ...]:
        return (self.source,)

    def cuts(self, start: int, stop: int) -> tuple[slice, ...]:
        return (slice(None),) * self.axis + (slice(start, stop),)

    def run(self, ops: Any, registers: Any, batch: int) -> Any:
        return registers[self.source][self.cuts(self.start, self.stop)]

    def vjp(self, ops: Any, registers: Any, gradient: Any, position: int) -> Any:
        none = ops.zeros_like(registers[self.source])
        before, after = self.cuts(0, self.start), self.cuts(self.stop, none.shape[self.axis])
        return ops.concatenate([none[before], gradient, none[after]], axis=self.axis)


@dataclass(frozen=True)
class Add(Binary):
    """A user's own instruction: the sum, the second operand stretching along leading axes."""

    def run(self, ops: Any, registers: Any, batch: int) -> Any:
        return registers[self.source] + registers[self.other]

    def vjp(self, ops: Any, registers: Any, gradient: Any, position: int) -> Any:
        missing = len(gradient.shape) - len(registers[self.sources[position]].shape)
        for _ in range(missing):
            gradient = ops.sum(gradient, axis=0)
        return gradient


def program_of(count: int, *instructions: Instruction) -> Program:
    return Program(count, instructions, released(count, instructions))


# Every size is equal, so that only the indices tell axes apart.
BY_ROWS = tm.TensorNetwork("n r, i r, o r", r=4)
SQUARE = tm.MuMoESpec(4, 4, 4, BY_ROWS, bias=False)
X, A, EXPERT, INPUT, OUTPUT = range(5)
RIGHT = [Matmul(X, INPUT), Matmul(A, EXPERT), Multiply(5, 6), Transpose(OUTPUT, (1, 0)), Matmul(7, 8)]


@given(specs(shared=False), st.integers(1, 5000))
def test_every_plan_is_proved(spec: tm.MuMoESpec, batch_size: int) -> None:
    for plan in (spec.plan(batch_size), spec.materialization_plan, spec.default_plan.soft_moe):
        proof = tm.prove(plan)
        assert len(proof.steps) == len(plan.program.instructions)
        assert str(proof).startswith("Theorem.")


def test_a_hand_made_program_is_proved() -> None:
    assert (
        tm.prove(SQUARE.contraction, program_of(5, *RIGHT)).steps[2].statement
        == "t3[…, r] = t1[…, r] t2[…, r]"
    )
    # The same with a matrix product written as products and a sum, and with the bias as a further input.
    spec = tm.MuMoESpec(4, 4, 4, BY_ROWS)
    program = program_of(
        5,
        AppendOne(X),
        Matmul(5, INPUT),
        Reshape(A, (-1, 4, 1)),
        Multiply(7, EXPERT),
        Sum(8, 1),
        Multiply(6, 9),
        Transpose(OUTPUT, (1, 0)),
        Matmul(10, 11),
    )
    steps = tm.prove(spec.contraction, program).steps
    assert [steps[0].law, steps[2].law] == ["definition of z", "an axis of size 1"]


WRONG = {
    "the output core is not transposed": (
        [*RIGHT[:3], Matmul(7, OUTPUT)],
        4,
        r"sums over \(r\) on the left, \(o\)",
    ),
    "input and output core exchanged": ([Matmul(X, OUTPUT), *RIGHT[1:]], 1, r"sums over \(i\) .* \(o\)"),
    "a bond is summed early": ([*RIGHT[:3], Sum(7, 1), *RIGHT[3:]], 4, "sums over r before core3"),
    "an expert's sum is left out": ([RIGHT[0], Multiply(A, EXPERT)], 2, r"meets \(…\) with \(n\)"),
    "a core is multiplied in twice": ([*RIGHT[:3], Multiply(7, 6)], 4, "multiplies a1, core1 in twice"),
    "a register is read too early": (
        [Matmul(X, 9), *RIGHT[1:]],
        1,
        "register 9, which nothing has written",
    ),
    "axes that do not exist": ([Transpose(X, (0, 2))], 1, "does not permute 2 axes"),
    "an index is split": (
        [Reshape(INPUT, (2, 2, 4))],
        1,
        "is not an axis of size 2",
    ),
    "the batch is forgotten": (
        [RIGHT[0], Reshape(5, (4, 4))],
        2,
        "is not an axis of size 4",
    ),
    "half of the inputs": ([Rows(INPUT, 0, 0, 2)], 1, "takes the range 0 to 2 of i alone"),
    "a stretched sum": ([*RIGHT[:3], Reshape(7, (-1, 4, 1)), Sum(8, 2)], None, "lacks the factor core3"),
    "the sum of what is to be multiplied": (
        [*RIGHT[:2], Add(5, 6), *RIGHT[3:]],
        5,
        "sums over r before core1",
    ),
    "the same product twice": ([*RIGHT[:3], Add(7, 7)], 4, "adds the same product twice"),
    "the output is transposed": ([*RIGHT, Transpose(9, (1, 0))], None, r"its axes are o, …"),
    "a bond's sum is left out": (
        [*RIGHT[:3], Reshape(7, (-1, 1, 4)), Multiply(8, OUTPUT)],
        None,
        r"it is not summed over r$",
    ),
    "the outputs are summed": ([*RIGHT, Sum(9, 1)], None, "it is summed over o, which is to be kept"),
    "nothing but the input": ([], None, "lacks the factor"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_program_is_refused_by_the_step_that_breaks(name: str) -> None:
    instructions, step, reason = WRONG[name]
    with pytest.raises(tm.ProofError, match=reason) as caught:
        tm.prove(SQUARE.contraction, program_of(5, *instructions))
    assert caught.value.step == step
    if step is not None:
        assert f"step {step}: {instructions[step - 1]}" in str(caught.value)


def test_a_register_that_was_released_is_not_read() -> None:
    program = replace(program_of(5, *RIGHT), releases=((), (5,), (), (), ()))
    with pytest.raises(tm.ProofError, match=r"step 3: .*register 5, which was released"):
        tm.prove(SQUARE.contraction, program)


def test_the_bias_is_part_of_the_sum() -> None:
    spec = tm.MuMoESpec(4, 4, 4, BY_ROWS)
    rows = [Rows(INPUT, 0, 0, 4), Matmul(X, 5), Rows(INPUT, 0, 4, 5), Reshape(7, (4,)), Add(6, 8)]
    rest = [Matmul(A, EXPERT), Multiply(9, 10), Transpose(OUTPUT, (1, 0)), Matmul(11, 12)]
    tm.prove(spec.contraction, program_of(5, *rows, *rest))
    product = [Affine(X, INPUT), Matmul(A, EXPERT), Multiply(5, 6), Transpose(OUTPUT, (1, 0)), Matmul(7, 8)]
    law = "distributive law [i: core2, x]; definition of z"
    assert tm.prove(spec.contraction, program_of(5, *product)).steps[0].law == law
    without = [rows[0], rows[1], Matmul(A, EXPERT), Multiply(6, 7), Transpose(OUTPUT, (1, 0)), Matmul(8, 9)]
    with pytest.raises(tm.ProofError, match="the bias row is left out"):
        tm.prove(spec.contraction, program_of(5, *without))
    # Not summed over the inputs, a row of the bias would be added I times.
    stretched = [Rows(INPUT, 0, 0, 4), Rows(INPUT, 0, 4, 5), Add(5, 6)]
    with pytest.raises(tm.ProofError, match=r"step 3: .*repeats the bias row of i at other rows of i"):
        tm.prove(spec.contraction, program_of(5, *stretched))


def test_the_sum_over_inputs_is_taken_once() -> None:
    """With one input and a bias, the inputs' part of z is a number, as is its sum over both rows."""
    x = (Operand("x", ("…", "i")),)
    instructions = AppendOne(0), Sum(1, 1), Reshape(2, (-1, 1)), AppendOne(3)
    contraction = Contraction(x, ("…", "i"), (("i", 2),), affine=True)
    with pytest.raises(tm.ProofError, match=r"step 4: .*after the sum over it"):
        tm.prove(contraction, program_of(1, *instructions))
    contraction = Contraction(x, ("…",), (("i", 2),), affine=True)
    with pytest.raises(tm.ProofError, match=r"step 4: .*after the sum over it"):
        tm.prove(contraction, program_of(1, *instructions, Sum(4, 1)))
    proof = tm.prove(tm.MuMoESpec(1, 4, 4, tm.CP(4)).plan())
    assert "all sizes of n, o, r," in str(proof)
    assert "There is one input besides the bias" in str(proof)


def test_a_product_and_a_sum_over_the_input_are_a_matrix_product() -> None:
    first = Reshape(X, (-1, 4, 1)), Multiply(5, INPUT), Sum(6, 1)
    rest = Matmul(A, EXPERT), Multiply(7, 8), Transpose(OUTPUT, (1, 0)), Matmul(9, 10)
    assert len(tm.prove(SQUARE.contraction, program_of(5, *first, *rest)).steps) == 7


def test_any_contraction_is_proved() -> None:
    operands = Operand("a", ("j", "k")), Operand("b", ("k", "l"))
    contraction = Contraction(operands, ("j", "l"), (("j", 3), ("k", 3), ("l", 3)))
    assert "distributive law [k: a, b]" in str(tm.prove(contraction, program_of(2, Matmul(0, 1))))


class Repeated(Instruction):
    """The sum over r once more, of what no longer depends on it."""

    def run(self, ops: Any, registers: Any, batch: int) -> Any:
        ones = ops.zeros_like(ops.transpose(registers[OUTPUT], (1, 0))) + 1
        return ops.sum(ops.reshape(registers[self.source], (batch, 1, 4)) * ones, 1)


def test_an_index_is_summed_once() -> None:
    with pytest.raises(tm.ProofError, match=r"step 6: .*a product that does not depend on it|over r twice"):
        tm.prove(SQUARE.contraction, program_of(5, *RIGHT, Repeated(9)))


@pytest.mark.parametrize(
    ("releases", "said"),
    [
        ((), "0 releases'; pass one for each of 5 instructions"),
        (((), (), (), (), (9,)), "register 9'; step 5 may release what exists by then, but not the result"),
        (((99,), (), (), (), ()), "register 99'; step 1 may release"),
    ],
)
def test_unfit_releases_are_refused(releases: Any, said: str) -> None:
    with pytest.raises(tm.TensorMoEError, match=said):
        tm.prove(SQUARE.contraction, Program(5, tuple(RIGHT), tuple(releases)))


def test_unfit_instructions_and_operands_are_refused() -> None:
    twice = Contraction((Operand("a", ("j",)), Operand("a", ("j",))), ("j",), (("j", 3),))
    with pytest.raises(tm.TensorMoEError, match="the contraction has 1: a"):
        tm.prove(twice, program_of(2, Multiply(0, 1)))
    diagonal = Contraction((Operand("a", ("j", "j")),), ("j",), (("j", 3),))
    with pytest.raises(tm.ProofError, match="leaves j on two axes"):
        tm.prove(diagonal, program_of(1))


class Squared(Instruction):
    """An instruction of a user's own, with an operation beyond the laws."""

    def run(self, ops: Any, registers: Any, batch: int) -> Any:
        return ops.exp(registers[self.source])


def test_operations_beyond_the_laws_are_refused() -> None:
    with pytest.raises(tm.ProofError, match="calls exp, which no law of a commutative semiring covers"):
        tm.prove(SQUARE.contraction, program_of(5, Squared(X)))


def test_a_wrong_reverse_mode_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Multiply.vjp

    def vjp(self: Multiply, ops: Any, registers: Any, gradient: Any, position: int) -> Any:
        share = right(self, ops, registers, gradient, position)
        return ops.zeros_like(share) if position else share

    monkeypatch.setattr(Multiply, "vjp", vjp)
    with pytest.raises(tm.ProofError, match=r"the gradient of a1.*it is a sum of 0 products"):
        tm.prove(SQUARE.contraction, program_of(5, *RIGHT))


def test_a_program_for_other_operands_is_refused() -> None:
    with pytest.raises(tm.TensorMoEError, match=r"4 operands.*has 5: x, a1, core1, core2, core3"):
        tm.prove(SQUARE.contraction, program_of(4, *RIGHT))


@st.composite
def corrupt(draw: st.DrawFn) -> tuple[Contraction, Program]:
    """A program with one instruction changed in one number, dropped or doubled."""
    spec = draw(specs(max_levels=2, max_size=3, shared=False))
    contraction, program = spec.contraction, spec.default_plan.program
    assume(program.instructions)
    number = draw(st.integers(0, len(program.instructions) - 1))
    actual = program.instructions[number]
    fields = [name for name in vars(actual) if name not in ("shape", "axes")]
    name = draw(st.sampled_from([*fields, "order"]))
    if name == "order":
        key = next((key for key in ("shape", "axes") if key in vars(actual)), None)
        assume(key is not None)
        change = {key: tuple(draw(st.permutations(getattr(actual, key))))}
    else:
        limit = program.num_operands + number - 1 if name in ("source", "other") else 4
        change = {name: draw(st.integers(0, limit))}
    instructions = list(program.instructions)
    instructions[number] = replace(actual, **change)
    return contraction, program_of(program.num_operands, *instructions)


@given(corrupt(), st.integers(0, 2**32))
def test_what_is_proved_is_right(case: tuple[Contraction, Program], seed: int) -> None:
    """A changed program either is refused, or computes with integers what the definition says."""
    contraction, program = case
    try:
        tm.prove(contraction, program)
    except tm.ProofError:
        return
    generator = np.random.default_rng(seed)
    sizes = {**dict(contraction.sizes), "…": 3}
    terms = []
    for op in contraction.operands:
        values = generator.integers(PRIME, size=[sizes[index] for index in op.indices]).astype(object)
        terms.append(IndexedArray(op.indices, values))
    given = [term.value for term in terms]
    if contraction.affine:
        given[0] = given[0][:, :-1]
        terms[0].value[:, -1] = 1
    ops = ResidueOps()
    actual = program.run(ops, [ops.from_numpy(value) for value in given])
    expected = sum_of_products(contraction, terms)
    assert actual.shape == expected.shape
    assert not np.any((np.asarray(actual) - expected) % PRIME)


def sum_of_products(contraction: Contraction, values: list[IndexedArray]) -> Any:
    """What the definition gives, one product for each term."""
    terms = zip(contraction.terms, contraction.positions, strict=True)
    products = (
        [*(values[position] for position in own), *make_up(term, values[0].value.dtype)]
        for term, own in terms
    )
    return reduce(operator.add, (contract(own, contraction.output).value for own in products))


def make_up(term: Contraction, dtype: Any) -> list[IndexedArray]:
    """What is 1 where the parts of a mode number its value."""
    sizes = dict(term.sizes)
    numbers = [np.arange(split.size).reshape(split.sizes) for split in term.splits]
    counts = [np.arange(sizes[split.mode]) for split in term.splits]
    ones = [count.reshape(-1, *[1] * each.ndim) == each for count, each in zip(counts, numbers, strict=True)]
    pairs = zip(term.splits, ones, strict=True)
    return [IndexedArray((split.mode, *split.parts), (1 * each).astype(dtype)) for split, each in pairs]


class Booleans:
    """Truth values: the sum is "or", the product "and"."""

    transpose = staticmethod(np.transpose)
    reshape = staticmethod(np.reshape)
    matmul = staticmethod(np.matmul)
    zeros_like = staticmethod(np.zeros_like)

    def sum(self, array: Any, axis: int) -> Any:
        return np.any(array, axis=axis)

    affine = Backend.affine

    def concatenate(self, arrays: Any, axis: int) -> Any:
        return np.concatenate([array.astype(bool) for array in arrays], axis=axis)


@given(specs(max_levels=3, shared=False), st.integers(0, 2**32))
def test_what_is_proved_holds_in_another_semiring(spec: tm.MuMoESpec, seed: int) -> None:
    generator = np.random.default_rng(seed)
    sizes = {**spec.network.sizes, "…": 3}
    terms = []
    for op in spec.contraction.operands:
        shape = [sizes[index] for index in op.indices]
        terms.append(IndexedArray(op.indices, generator.random(shape) < 0.7))
    given = [term.value for term in terms]
    if spec.contraction.affine:
        given[0] = given[0][:, :-1]
        terms[0].value[:, -1] = True
    tm.prove(spec.default_plan)
    actual = spec.default_plan.program.run(Booleans(), given)
    np.testing.assert_array_equal(actual, sum_of_products(spec.contraction, terms))


RING = """
t1[i, (r2 r3)] = input[i, r2, r3]: axes merged in this order
t2[…, (r2 r3)] = Σ(i) (x[…, i], 1) t1[i, (r2 r3)]: distributive law [i: input, x]; definition of z
t3[…, r2, r3] = t2[…, (r2 r3)]: axes split in this order
t4[n, (r1 r2)] = expert1[n, r1, r2]: axes merged in this order
t5[…, (r1 r2)] = Σ(n) a1[…, n] t4[n, (r1 r2)]: distributive law [n: a1, expert1]
t6[…, r1, r2] = t5[…, (r1 r2)]: axes split in this order
t7[…, r1, r3] = Σ(r2) t6[…, r1, r2] t3[…, r2, r3]: distributive law [r2: expert1, input]
t8[(r1 r3), o] = output[r1, r3, o]: axes merged in this order
t9[…, (r1 r3)] = t7[…, r1, r3]: axes merged in this order
t10[…, o] = Σ(r1 r3) t9[…, (r1 r3)] t8[(r1 r3), o]: distributive law [r1: expert1, output; r3: input, output]
"""


def test_a_derivation_names_indices_and_laws() -> None:
    steps = tm.prove(tm.MuMoESpec(7, 6, 5, tm.TensorRing((2, 3, 4))).plan(1)).steps
    assert [f"{step.statement}: {step.law}" for step in steps] == RING.strip().splitlines()


def test_an_index_of_size_one_takes_no_part() -> None:
    train = tm.MuMoESpec(4, 5, 3, tm.TensorTrain((2, 3)))
    assert "These have size 1 and are left out of the sums below: r1." in str(tm.prove(train.plan()))
    assert "have size 1" not in str(tm.prove(tm.MuMoESpec(4, 5, 3, tm.TensorRing((2, 2, 3))).plan()))
