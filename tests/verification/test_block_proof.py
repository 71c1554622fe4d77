"""Proofs of a block's own program: every one that is run has one, and no wrong chain does."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensormoe as tm
from tensormoe.layers.stage import Stage
from tensormoe.programs.instructions import Instruction, Multiply, Pointwise
from tensormoe.programs.program import Program, chain, released
from tensormoe.testing import blocks, specs
from tensormoe.verification.proof.chain import prove_chain

# Every size is equal, the inputs with their bias row among them, so that only the indices tell axes apart.
SQUARE = tm.MuMoEBlockSpec(3, 3, 3, (4, 4), tm.CP(4))
FIRST, SECOND = SQUARE.layers.values()
# In the chained program: x, two coefficients, the cores of the first layer and those of the second.
X, A1, A2 = 0, 1, 2


@given(blocks(specs(max_levels=3)))
def test_every_program_of_every_block_is_proved(block: tm.MuMoEBlockSpec) -> None:
    proof = tm.prove(block)
    # A step of two layers that read x or the coefficients in parts of their own is told twice.
    assert len(proof.chain.steps) >= len(block.programs[0][1].instructions)
    assert str(proof.chain).startswith("Theorem.")


@given(blocks(specs(max_levels=3)), st.integers(1, 5000))
def test_every_plan_of_a_block_is_proved(block: tm.MuMoEBlockSpec, batch_size: int) -> None:
    plan = block.plan(batch_size)
    assert len(tm.prove(plan).chain.steps) >= len(plan.program.instructions)


def test_each_batch_size_has_its_program_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    block = tm.MuMoEBlockSpec(5, 1, 6, (4, 3), tm.TensorRing((2, 3, 2, 2)))
    assert len(block.programs) > 1
    least, small = block.programs[-1]
    wrong = replace(small, instructions=(*small.instructions[:-1], replace(small.instructions[-1], source=0)))
    programs = (*block.programs[:-1], (least, wrong))
    monkeypatch.setitem(vars(block), "programs", programs)
    with pytest.raises(tm.ProofError):
        tm.prove(block)
    report = tm.verify(block, methods="proof")
    assert [check.quantity for check in report.checks if not check.passed] == [
        f"block, output and gradients from batch size {least}"
    ]


def test_a_theorem_reads() -> None:
    proof = tm.prove(tm.MuMoEBlockSpec(4, 5, 3, 2, tm.CP(3)))
    shown = str(proof)
    assert repr(proof) == f"<BlockProof: {len(proof.chain.steps)} steps>"
    assert repr(proof.layers["first"]) == f"<Proof: {len(proof.layers['first'].steps)} steps>"
    first, second = proof.layers.values()
    assert shown == f"First layer\n\n{first}\n\nSecond layer\n\n{second}\n\nThe block\n\n{proof.chain}"
    for words in (
        "all sizes of n, i, o, r, i′, o′, r′,",
        "and any elementwise function gelu",
        "y[…, o′] = Σ(n i′) W′[n, i′, o′] a1[…, n] z′[…, i′],",
        "distributive law [i′: gelu(u), input′]; definition of z′\n",
        "z′ = (gelu(u), 1), so that the last row of i′ holds the biases.",
        "u[…, o] = Σ(n i) W[n, i, o] a1[…, n] z[…, i],",
        "t5[…, i′] = gelu(t4[…, o])",
        "distributive law [n: a1, expert1′]",
    ):
        assert words in str(proof.chain)
    one = str(tm.prove(tm.MuMoEBlockSpec(4, 1, 3, 2, tm.CP(3))).chain)
    assert "all sizes of n, i, r, o′, r′,\n" in one
    assert "There is one input besides the bias: i′ has size 2." in one


def chain_stages(first: Stage = FIRST, second: Stage = SECOND, name: str = "gelu") -> list[Instruction]:
    programs = [each.default_plan.program for each in (first, second)]
    return [*chain(programs, [first.levels, second.levels], name).instructions]


def rewire(change: Callable[[int], int], start: int = 0) -> list[Instruction]:
    """The chained program in which instructions from `start` on read other registers."""
    instructions = chain_stages()
    registers = [change(n) for n in range(100)]
    return [*instructions[:start], *(each.rewire(registers) for each in instructions[start:])]


CORES = len(FIRST.network.cores)
COUNT = 3 + 2 * CORES
MIDDLE = next(n for n, each in enumerate(chain_stages()) if isinstance(each, Pointwise))
WITHOUT_BIAS = replace(SECOND, in_features=4, bias=False)


def with_instruction(number: int, **changes: Any) -> list[Instruction]:
    instructions = chain_stages()
    instructions[number] = replace(instructions[number], **changes)
    return instructions


WRONG = {
    "the second layer's coefficients are exchanged": (
        rewire(lambda n: {A1: A2, A2: A1}.get(n, n), MIDDLE),
        r"lacks the factor|meets \(n1\) with \(n2\)|sums over \(n",
    ),
    "the second layer has the first one's cores": (
        rewire(lambda n: n - CORES if 3 + CORES <= n < COUNT else n, MIDDLE),
        r"on the left, \(i\) on the right|sums over",
    ),
    "the first layer has the second one's cores": (
        rewire(lambda n: n + CORES if 3 <= n < 3 + CORES else n)[:MIDDLE] + chain_stages()[MIDDLE:],
        "i′",
    ),
    "there is no nonlinearity": (
        rewire(lambda n: COUNT + MIDDLE - 1 if n == COUNT + MIDDLE else n, MIDDLE + 1),
        r"sums over \(o\) on the left, \(i′\)|\(o\)",
    ),
    "the nonlinearity is the input's": (
        with_instruction(MIDDLE, source=X),
        "applies gelu to what is not u, the first layer's result: it lacks the factor a1",
    ),
    "the nonlinearity is of what is not yet complete": (
        with_instruction(MIDDLE, source=COUNT + MIDDLE - 2),
        "applies gelu to what is not u, the first layer's result: it lacks the factor output",
    ),
    "the nonlinearity is another": (chain_stages(name="relu"), "applies relu where gelu is asked for"),
    "the nonlinearity comes twice": (
        [*chain_stages()[: MIDDLE + 1], Pointwise(COUNT + MIDDLE, "gelu")],
        "applies gelu to what is not u, the first layer's result: it lacks the factor",
    ),
    "the second layer has no bias": (chain_stages(FIRST, WITHOUT_BIAS), r"\(i′\)"),
    "the second layer is missing": (
        chain_stages()[: MIDDLE + 1],
        "every step is lawful, but it lacks the factor",
    ),
    "the first layer is missing": ([Pointwise(X, "gelu")], "applies gelu to what is not u"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_chain_is_refused(name: str) -> None:
    instructions, reason = WRONG[name]
    program = Program(COUNT, tuple(instructions), released(COUNT, instructions))
    with pytest.raises(tm.ProofError, match=reason):
        prove_chain([FIRST.contraction, SECOND.contraction], "gelu", program)


def test_a_layer_of_a_block_is_proved_alone() -> None:
    assert tm.prove(SECOND) == tm.prove(SQUARE).layers["second"]


def test_the_right_chain_is_proved() -> None:
    program = Program(COUNT, tuple(chain_stages()), released(COUNT, chain_stages()))
    prove_chain([FIRST.contraction, SECOND.contraction], "gelu", program)


def test_a_wrong_reverse_mode_of_the_nonlinearity_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pointwise, "vjp", lambda self, ops, registers, gradient, position: gradient)
    with pytest.raises(tm.ProofError):
        tm.prove(SQUARE)


def test_a_wrong_reverse_mode_of_the_second_layer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Multiply.vjp

    def vjp(self: Multiply, ops: Any, registers: Any, gradient: Any, position: int) -> Any:
        share = right(self, ops, registers, gradient, position)
        return ops.zeros_like(share) if self.source > COUNT + MIDDLE and position == 0 else share

    monkeypatch.setattr(Multiply, "vjp", vjp)
    program = Program(COUNT, tuple(chain_stages()), released(COUNT, chain_stages()))
    with pytest.raises(tm.ProofError, match=r"gradient"):
        prove_chain([FIRST.contraction, SECOND.contraction], "gelu", program)


def test_a_nonlinearity_in_a_layer_is_refused() -> None:
    program = SECOND.default_plan.program
    instructions = (
        *program.instructions,
        Pointwise(program.num_operands + len(program.instructions) - 1, "relu"),
    )
    wrong = Program(program.num_operands, instructions, released(program.num_operands, instructions))
    with pytest.raises(tm.ProofError, match="applies relu, which is not part of what is to be computed"):
        tm.prove(SECOND.contraction, wrong)


def test_layers_that_do_not_fit_are_refused() -> None:
    other = replace(SECOND, in_features=5)
    program = Program(COUNT, tuple(chain_stages()), released(COUNT, chain_stages()))
    with pytest.raises(tm.TensorMoEError, match="the second takes what the first gives"):
        prove_chain([FIRST.contraction, other.contraction], "gelu", program)
    renamed = [
        replace(op, name=f"b{op.name}") if "…" in op.indices else op for op in SECOND.contraction.operands
    ]
    with pytest.raises(tm.TensorMoEError, match="and the same coefficients"):
        prove_chain([FIRST.contraction, replace(SECOND.contraction, operands=renamed)], "gelu", program)
    with pytest.raises(tm.TensorMoEError, match=r"4 operands; the contraction has 11|the contraction has"):
        prove_chain([FIRST.contraction, SECOND.contraction], "gelu", replace(program, num_operands=4))
