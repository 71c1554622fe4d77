"""Programs of a user's own instructions, right and corrupted: what is proved is right in integers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensormoe as tm
from tensormoe.programs.contraction import Contraction, Operand
from tensormoe.programs.instructions import Binary, Instruction, Multiply, Pointwise
from tensormoe.programs.program import Program
from tensormoe.verification.arithmetic.residues import PRIME, ResidueOps
from tensormoe.verification.proof.prove import prove_program

# One step: what it is, the registers that it reads, and what else it takes.
Step = tuple[str, tuple[int, ...], Any]
Code = tuple[Step, ...]


def insert_axis(ops: Any, array: Any, axis: int) -> Any:
    shape = list(array.shape)
    shape.insert(axis % (len(shape) + 1), 1)
    return ops.reshape(array, tuple(shape))


def swap(ops: Any, array: Any) -> Any:
    *first, before, last = range(len(array.shape))
    return ops.transpose(array, (*first, last, before))


STEPS: dict[str, Callable[..., Any]] = {
    "rows": lambda ops, rows, a: a[..., slice(*rows), :],
    "columns": lambda ops, columns, a: a[..., slice(*columns)],
    "add": lambda ops, _, a, b: a + b,
    "multiply": lambda ops, _, a, b: a * b,
    "matmul": lambda ops, _, a, b: ops.matmul(a, b),
    "sum": lambda ops, axis, a: ops.sum(a, axis=axis % len(a.shape)),
    "zeros": lambda ops, _, a: ops.zeros_like(a),
    "ones": lambda ops, _, a: ops.zeros_like(a) + 1,
    "join": lambda ops, axis, a, b: ops.concatenate([a, b], axis=axis),
    "axis": lambda ops, axis, a: insert_axis(ops, a, axis),
    "swap": lambda ops, _, a: swap(ops, a),
}

INPUTS, BIAS = (None, -1), (-1, None)
OPTIONS: dict[str, tuple[Any, ...]] = {
    "rows": (INPUTS, BIAS, (None, 1), (1, None)),
    "columns": (INPUTS, BIAS, (None, 1)),
    "sum": (0, 1, -1),
    "join": (0, -1),
    "axis": (0, 1, -1),
}
ARITY = {"add": 2, "multiply": 2, "matmul": 2, "join": 2}


def compute(ops: Any, registers: Sequence[Any], code: Code) -> Any:
    known = list(registers)
    for name, sources, option in code:
        known.append(STEPS[name](ops, option, *(known[source] for source in sources)))
    return known[-1]


@dataclass(frozen=True)
class Unfused(Binary):
    """(x, 1) m as a user may write it: x is register 0, m register 1, and in reverse mode the gradient 2."""

    forward: Code
    backward: tuple[Code, Code]

    def run(self, ops: Any, registers: Any, batch: int) -> Any:
        return compute(ops, [registers[source] for source in self.sources], self.forward)

    def vjp(self, ops: Any, registers: Any, gradient: Any, position: int) -> Any:
        return compute(
            ops, [*(registers[source] for source in self.sources), gradient], self.backward[position]
        )


def step(name: str, *sources: int, option: Any = None) -> Step:
    return name, sources, option


PRODUCTS = step("axis", 0, option=-1), step("rows", 1, option=INPUTS), step("multiply", 2, 3)
FORWARD: dict[str, Code] = {
    "a product and a row": (
        step("rows", 1, option=INPUTS),
        step("matmul", 0, 2),
        step("rows", 1, option=BIAS),
        step("add", 3, 4),
    ),
    "products, a sum, a row": (
        *PRODUCTS,
        step("sum", 4, option=1),
        step("rows", 1, option=BIAS),
        step("add", 5, 6),
    ),
    "a 1 appended": (
        step("zeros", 0),
        step("columns", 2, option=(None, 1)),
        step("ones", 3),
        step("join", 0, 4, option=-1),
        step("matmul", 5, 1),
    ),
}
# Wrong: the bias is repeated at every input and counts I times.
WRONG: dict[str, Code] = {
    "the bias at every product": (
        *PRODUCTS,
        step("rows", 1, option=BIAS),
        step("zeros", 4),
        step("add", 5, 6),
        step("add", 4, 7),
        step("sum", 8, option=1),
    ),
    "the bias at every row": (
        *PRODUCTS,
        step("zeros", 1),
        step("rows", 1, option=BIAS),
        step("add", 5, 6),
        step("rows", 7, option=INPUTS),
        step("add", 4, 8),
        step("sum", 9, option=1),
    ),
}
OF_X: tuple[Code, ...] = (
    (step("rows", 1, option=INPUTS), step("swap", 3), step("matmul", 2, 4)),
    (step("swap", 1), step("matmul", 2, 3), step("columns", 4, option=INPUTS)),
)
ROW = step("swap", 0), step("matmul", 3, 2), step("sum", 2, option=0), step("axis", 5, option=0)
OF_M: tuple[Code, ...] = (
    (*ROW, step("join", 4, 6, option=0)),
    (
        *ROW,
        step("zeros", 1),
        step("rows", 7, option=BIAS),
        step("join", 4, 8, option=0),
        step("rows", 7, option=INPUTS),
        step("join", 10, 6, option=0),
        step("add", 9, 11),
    ),
)
REPEATED: Code = (
    *ROW,
    step("zeros", 1),
    step("rows", 7, option=BIAS),
    step("join", 4, 8, option=0),
    step("add", 6, 7),
    step("add", 9, 10),
)


def affine(inputs: int, outputs: int) -> Contraction:
    operands = Operand("x", ("…", "i")), Operand("m", ("i", "r"))
    return Contraction(operands, ("…", "r"), (("i", inputs + 1), ("r", outputs)), affine=True)


def program_of(*instructions: Instruction) -> Program:
    return Program(2, instructions, ((),) * len(instructions))


def is_right(program: Program, inputs: int, outputs: int, seed: int) -> bool:
    """Whether output and gradients are those of (x, 1) m, at random integers modulo a prime."""
    generator = np.random.default_rng(seed)
    shapes = (5, inputs), (inputs + 1, outputs), (5, outputs)
    x, m, g = (generator.integers(PRIME, size=shape).astype(object) for shape in shapes)
    z = np.concatenate([x, np.ones((5, 1), object)], axis=1)
    ops = ResidueOps()
    operands = [ops.from_numpy(x), ops.from_numpy(m)]
    actual = [program.run(ops, operands), *program.vjp(ops, operands, ops.from_numpy(g))]
    return all(
        a.shape == e.shape and not np.any((np.asarray(a) - e) % PRIME)
        for a, e in zip(actual, (z.dot(m), g.dot(m[:-1].T), z.T.dot(g)), strict=True)
    )


@pytest.mark.parametrize("name", FORWARD)
def test_an_unfused_product_is_proved(name: str) -> None:
    for backward in ((of_x, of_m) for of_x in OF_X for of_m in OF_M):
        program = program_of(Unfused(0, 1, FORWARD[name], backward))
        assert len(prove_program(affine(3, 2), program).steps) == 1
        assert is_right(program, 3, 2, 0)


@pytest.mark.parametrize("name", WRONG)
def test_a_bias_that_counts_more_than_once_is_refused(name: str) -> None:
    program = program_of(Unfused(0, 1, WRONG[name], (OF_X[0], OF_M[0])))
    assert not is_right(program, 3, 2, 0)
    with pytest.raises(tm.ProofError, match=r"step 1: .*repeats the bias row of i at other rows of i"):
        prove_program(affine(3, 2), program)


def test_a_biass_gradient_at_every_row_is_refused() -> None:
    program = program_of(Unfused(0, 1, FORWARD["a product and a row"], (OF_X[0], REPEATED)))
    assert not is_right(program, 3, 2, 0)
    with pytest.raises(tm.ProofError, match=r"the gradient of m|backwards it"):
        prove_program(affine(3, 2), program)


@st.composite
def corrupt(draw: st.DrawFn, code: Code, registers: int) -> Code:
    """The code with up to two steps changed, or followed by another."""
    steps = list(code)
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.integers(0, len(steps)))
        name = draw(st.sampled_from([*STEPS] if place == len(steps) else [steps[place][0], *STEPS]))
        known = st.integers(0, registers + place - 1)
        sources = draw(st.tuples(*[known] * ARITY.get(name, 1)))
        steps[place : place + 1] = [(name, sources, draw(st.sampled_from(OPTIONS.get(name, (None,)))))]
    return tuple(steps)


@st.composite
def unfused(draw: st.DrawFn) -> Unfused:
    """One of the three parts is corrupted."""
    forward = draw(st.sampled_from([*FORWARD.values(), *WRONG.values()]))
    of_x, of_m = draw(st.sampled_from(OF_X)), draw(st.sampled_from([*OF_M, REPEATED]))
    part = draw(st.integers(0, 3))
    return Unfused(
        0,
        1,
        draw(corrupt(forward, 2)) if part == 1 else forward,
        (
            draw(corrupt(of_x, 3)) if part == 2 else of_x,
            draw(corrupt(of_m, 3)) if part == 3 else of_m,
        ),
    )


@given(unfused(), st.sampled_from([(1, 2), (2, 3), (2, 2), (3, 4), (2, 1), (1, 1)]), st.integers(0, 2**32))
def test_what_is_proved_is_right(instruction: Unfused, sizes: tuple[int, int], seed: int) -> None:
    program = program_of(instruction)
    try:
        prove_program(affine(*sizes), program)
    except tm.ProofError:
        return
    assert is_right(program, *sizes, seed)


class Doubled(Instruction):
    """Writes to its source's memory."""

    def run(self, ops: Any, registers: Any, batch: int) -> Any:
        array = registers[self.source]
        array *= ops.zeros_like(array) + 1
        return array


class Written(Instruction):
    """Writes to a register that is not its own."""

    def run(self, ops: Any, registers: Any, batch: int) -> Any:
        registers[self.source] = ops.zeros_like(registers[self.source])
        return registers[self.source]


class Attribute(Instruction):
    """Uses what only one framework's arrays have."""

    def run(self, ops: Any, registers: Any, batch: int) -> Any:
        return registers[self.source].T


class Number(Instruction):
    """Returns no array."""

    def run(self, ops: Any, registers: Any, batch: int) -> Any:
        return 1.0


@dataclass(frozen=True)
class Careless(Multiply):
    """Right, except where it may overwrite its source."""

    def overwrite(self, ops: Any, registers: Any, batch: int) -> Any:
        return registers[self.source]


@pytest.mark.parametrize(
    ("instruction", "reason"),
    [
        (Doubled(0), "writes to an array's own memory"),
        (Written(0), "raises TypeError: 'tuple' object does not support item assignment"),
        (Attribute(0), "raises AttributeError: .*'T'"),
        (Number(0), "returns float, which is not an array"),
        (Careless(0, 1), "computes something else where it may overwrite its source"),
        (Pointwise(0, "gelu"), "applies gelu"),
    ],
)
def test_what_proofs_cannot_follow_is_refused_by_the_step_that_does_it(
    instruction: Instruction, reason: str
) -> None:
    operands = Operand("a", ("…", "i")), Operand("b", ("…", "i"))
    contraction = Contraction(operands, ("…", "i"), (("i", 3),))
    prove_program(contraction, program_of(Multiply(0, 1)))
    with pytest.raises(tm.ProofError, match=f"step 1: .*{reason}"):
        prove_program(contraction, program_of(instruction))


def test_reverse_mode_is_proved_with_values_recomputed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tm.MuMoESpec(3, 4, 5, tm.CP(2), bias=False)
    right = Program._restore

    def restore(self: Program, ops: Any, registers: list[Any], register: int, batch: int) -> None:
        computed = not hasattr(registers[register], "terms")
        right(self, ops, registers, register, batch)
        if computed:
            registers[register] = ops.zeros_like(registers[register])

    monkeypatch.setattr(Program, "_restore", restore)
    with pytest.raises(tm.ProofError, match="the gradient of"):
        tm.prove(spec)
