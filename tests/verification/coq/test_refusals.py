"""Coq refuses wrong programs, whoever vouches for them, and files that only look like certificates."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from support.coq import certificate, lemma_of, one_size, refusal
from support.coqc import needs_coq

import tensormoe as tm
from tensormoe.programs.instructions import Add, Affine, AppendOne, Instruction, Matmul, Multiply, Transpose
from tensormoe.programs.program import Program, released
from tensormoe.verification.coq.check import check_certificate
from tensormoe.verification.coq.export import export
from tensormoe.verification.coq.forms import Term, UnsayableError
from tensormoe.verification.proof.symbolic_ops import SymbolicOps

pytestmark = needs_coq

BY_ROWS = tm.TensorNetwork("n r, i r, o r", r=4)
BIASED = tm.MuMoESpec(4, 4, 4, BY_ROWS)
PLAIN = tm.MuMoESpec(4, 4, 4, BY_ROWS, bias=False)
X, A, EXPERT, INPUT, OUTPUT = range(5)


def program_of(*instructions: Instruction, operands: int = 5) -> Program:
    return Program(operands, instructions, released(operands, instructions))


@dataclass(frozen=True)
class Rows(Instruction):
    """A range of the first axis."""

    start: int
    stop: int

    def run(self, ops: Any, registers: Any, batch: int) -> Any:
        return registers[self.source][self.start : self.stop, :]


REST = Matmul(A, EXPERT), Multiply(5, 6), Transpose(OUTPUT, (1, 0)), Matmul(7, 8)
LAST = Transpose(OUTPUT, (1, 0))
LOST = Rows(INPUT, 0, 4), Matmul(X, 5), Matmul(A, EXPERT), Multiply(6, 7), LAST, Matmul(8, 9)
TWICE = Affine(X, INPUT), Rows(INPUT, 4, 5), Add(5, 6), Matmul(A, EXPERT), Multiply(7, 8), LAST, Matmul(9, 10)
WRONG_PROGRAMS: dict[str, Sequence[Instruction]] = {
    "the bias row is lost": LOST,
    "the bias row is counted twice": TWICE,
    "a step is dropped": [Affine(X, INPUT), Transpose(OUTPUT, (1, 0)), Matmul(5, 6)],
    "a factor is multiplied in twice": [Affine(X, INPUT), *REST[:2], Multiply(7, 6), REST[2], Matmul(8, 9)],
}


def test_the_same_program_without_the_fault_is_accepted() -> None:
    steps = [AppendOne(X), Matmul(5, INPUT), Matmul(A, EXPERT), Multiply(6, 7), Transpose(OUTPUT, (1, 0))]
    program = program_of(*steps, Matmul(8, 9))
    assert refusal(export(BIASED.contraction, program, gradients=False)) == ""


def test_rows_and_biases_that_a_program_adds_itself_are_accepted() -> None:
    """The search found that programs with biases of two kinds were refused."""
    spec = tm.MuMoESpec(4, 4, 4, tm.TensorNetwork("n r, i r, o r + n o", r=4))
    rows = Rows(INPUT, 0, 4), Matmul(X, 6), Rows(INPUT, 4, 5), Add(7, 8)
    rest = Matmul(A, EXPERT), Multiply(9, 10), LAST, Matmul(11, 12), Matmul(A, 5), Add(13, 14)
    text = export(spec.contraction, program_of(*rows, *rest, operands=6), gradients=False)
    assert refusal(text) == ""


@pytest.mark.parametrize("name", WRONG_PROGRAMS)
def test_a_wrong_program_is_refused_at_the_theorem(name: str) -> None:
    text = export(BIASED.contraction, program_of(*WRONG_PROGRAMS[name]), gradients=False)
    assert lemma_of(text, refusal(text)) == "program_is_soft_moe"


# An edit of one definition, and the lemma at which Coq stops.
EDITS = {
    "axes of equal size are swapped": ("transpose [1; 0] core3'", "transpose [0; 1] core3'", "t4_is"),
    "operands of equal size are exchanged": ("matmul a1' core1'", "matmul core1' a1'", "t2_is"),
    "a step is dropped": ("t3 := multiply t1 t2", "t3 := t1", "t3_is"),
    "a bond is summed early": (
        "t5 := matmul t3 t4",
        "t5 := multiply (reshape [N_N; 1] (total 1 t3)) (reshape [1; N_N] (total 0 t4))",
        "t5_is",
    ),
}
SQUARE = one_size(certificate(PLAIN, gradients=False))


def test_the_file_with_one_size_is_accepted() -> None:
    assert refusal(SQUARE) == ""


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_that_no_shape_tells_is_refused(name: str) -> None:
    before, after, lemma = EDITS[name]
    assert SQUARE.count(f"{before}.\n") == 1
    text = SQUARE.replace(f"{before}.\n", f"{after}.\n")
    stopped = lemma_of(text, refusal(text))
    assert stopped in (lemma, lemma.replace("_is", "_shape"))


def test_a_wrong_factor_in_reverse_mode_is_refused() -> None:
    text = one_size(certificate(PLAIN))
    (step,) = [line for line in text.splitlines() if line.endswith(":= multiply t7 t2.")]
    wrong = text.replace(step, step.replace("t2.", "t1."))
    assert lemma_of(wrong, refusal(wrong)) == f"{step.split()[1]}_is"


def test_what_a_faulty_prover_proves_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prover that takes a matrix for its transpose where that helps accepts a program without a step."""
    right = SymbolicOps.matmul

    def matmul(self: SymbolicOps, a: Any, b: Any) -> Any:
        if a.axes[-1] != b.axes[-2]:
            b = self.transpose(b, (1, 0))
        return right(self, a, b)

    program = program_of(Matmul(X, INPUT), Matmul(A, EXPERT), Multiply(5, 6), Matmul(7, OUTPUT))
    monkeypatch.setattr(SymbolicOps, "matmul", matmul)
    monkeypatch.setattr("tensormoe.verification.proof.prove._backward", lambda *_: None)
    proof = tm.prove(PLAIN.contraction, program)
    with pytest.raises(UnsayableError, match="axes of different sizes meet"):
        proof.to_coq()


def test_a_generator_that_claims_wrong_lemmas_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It forgets the second factor of each product, in what it claims as in all that it makes of it."""
    monkeypatch.setattr(Term, "__mul__", lambda self, other: self)
    text = certificate(BIASED, gradients=False)
    assert lemma_of(text, refusal(text)) == "t1_is"


def test_admitted_proofs_are_refused_though_the_file_compiles() -> None:
    text = certificate(PLAIN, gradients=False)
    pattern = r"((?:Lemma t1_is|Theorem program_fits).*?)\nProof\..*? Qed\."
    forged, count = re.subn(pattern, r"\1\nProof. Admitted.", text, flags=re.DOTALL)
    assert count == 2
    verdict = check_certificate(forged)
    assert not verdict.passed
    assert "t1_is" in verdict.assumptions
    assert "program_fits" in verdict.assumptions


def test_axioms_and_words_that_the_file_prints_itself_are_refused() -> None:
    text = (
        "Axiom magic : False.\nTheorem program_is_soft_moe : 1 = 2.\nProof. destruct magic. Qed.\n"
        'Goal True. idtac "Closed under the global context". exact I. Qed.\n'
        "Definition certificate := (program_is_soft_moe).\n"
    )
    verdict = check_certificate(text)
    assert not verdict.passed
    assert not verdict.has_prelude
    assert "magic : False" in str(verdict)


def test_a_file_without_the_theorem_is_refused() -> None:
    claim = "Definition certificate := (program_is_soft_moe)."
    for text in ("", "Theorem other : True.\nProof. exact I. Qed.\nDefinition certificate := (other).\n"):
        assert "does not claim program_is_soft_moe" in str(check_certificate(text))
        assert not check_certificate(text).passed
    # A claim that stands in a comment is asked for, and is not there.
    for text in (f"{claim}\n", f"(*\n{claim}\n*)\n", certificate(PLAIN)[:-900] + f"\n{claim}\n"):
        assert "Coq refuses the file" in str(check_certificate(text))
