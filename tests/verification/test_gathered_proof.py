"""Proofs of gathered programs: for every choice of places, and of none that reads others."""

from dataclasses import replace
from typing import Any

import pytest

import tensormoe as tm
from tensormoe.programs.contraction import activate
from tensormoe.programs.gathering import Choose, Gather, Take
from tensormoe.programs.instructions import Instruction
from tensormoe.programs.program import Program
from tensormoe.verification.proof.prove import prove_program

TWO = tm.Gate(tm.Activation("top_k", k=2))
# All sizes are equal, the inputs with their bias among them, so that only indices tell axes apart.
LEVELS = tm.MuMoESpec(3, 4, (4, 4), tm.TensorNetwork("n1 i n2 o"), TWO).stage
PLAN = LEVELS.plan(3, active=2)


def changed(kind: type[Instruction], number: int, **changes: Any) -> Program:
    """The right program with other fields of its n-th instruction of a kind."""
    steps = [*PLAN.program.instructions]
    place = [n for n, each in enumerate(steps) if type(each) is kind][number]
    steps[place] = replace(steps[place], **changes)
    return replace(PLAN.program, instructions=tuple(steps))


def test_the_theorem_says_what_is_summed_and_for_which_choices() -> None:
    text = str(tm.prove(tm.MuMoESpec(8, 6, 5, tm.CP(3), TWO).plan(4, active=2)))
    assert "Here n runs over 2 places of each token's own, which a1 chooses." in text
    assert "any choice. Where a1 is 0 at all other places, it is the sum over all of n." in text
    assert "t1[…, n] = 2 places of a1[…, (n of a1)]" in text
    assert "expert1[(n of expert1), r] at t1[…, n]" in text
    assert "Here n" not in str(tm.prove(tm.MuMoESpec(8, 6, 5, tm.CP(3), TWO).stage.plan(4)))


@pytest.mark.parametrize("active", [(1, 1), (1, 3), (2, 4), (3, 2)])
def test_any_numbers_of_places_are_proved(active: tuple[int, int]) -> None:
    for notation in ("n1 i n2 o", "n1 r, n2 i r, o r", "A: n1 r, A: n1 s, n2 i r, o s"):
        sizes = {bond: 4 for bond in "rs" if f" {bond}" in notation}
        stage = tm.MuMoESpec(3, 4, (4, 4), tm.TensorNetwork(notation, **sizes)).stage
        assert tm.prove(stage.plan(2, active=active)).steps


FIRST, SECOND = (each.source for each in PLAN.program.instructions[:2])
PLACES = (PLAN.program.num_operands, PLAN.program.num_operands + 1)
WRONG = {
    "one level chooses by the other's coefficients": changed(Choose, 0, source=SECOND),
    "more places are chosen than there are": changed(Choose, 0, k=3),
    "places are chosen by x": changed(Choose, 0, source=0),
    "coefficients are taken at the other level's places": changed(Take, 0, other=PLACES[1]),
    "slices are read at the other level's places": changed(Gather, 0, indices=PLACES[::-1]),
    "slices of outputs are read": changed(Gather, 0, axes=(0, 3)),
    "axes are read in descending order": changed(Gather, 0, axes=(2, 0), indices=PLACES[::-1]),
    "one axis is not read": changed(Gather, 0, axes=(0,), indices=PLACES[:1]),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_reads_other_slices_has_no_proof(name: str) -> None:
    assert tm.prove(PLAN.contraction, PLAN.program).steps
    with pytest.raises(tm.ProofError):
        tm.prove(PLAN.contraction, WRONG[name])


def test_a_gathered_program_does_not_compute_the_sum_over_all_and_the_other_way_round() -> None:
    with pytest.raises(tm.ProofError):
        prove_program(LEVELS.contraction, PLAN.program)
    with pytest.raises(tm.ProofError):
        prove_program(activate(LEVELS.contraction, (2, 2)), LEVELS.plan(3).program)


@pytest.mark.parametrize("gated", [False, True])
def test_blocks_are_proved_as_a_whole(gated: bool) -> None:
    block = tm.MuMoEBlockSpec(3, 3, 3, (4, 4), tm.CP(4), TWO, gated=gated)
    proof = tm.prove(block.plan(2, active=2))
    assert "Here n1 runs over 2 places" in str(proof.chain)
    assert "a1" in str(proof)


def test_verification_looks_at_gathered_programs_too() -> None:
    spec = tm.MuMoESpec(3, 4, (4, 4), tm.TensorNetwork("n1 i n2 o"), TWO)
    report = tm.verify(spec, ("numpy",), methods=("proof", "exact", "float"))
    assert report.passed
    of = {check.method for check in report.checks if check.quantity.startswith("gathered")}
    assert of == {"proof", "exact", "float"}
    dense = tm.verify(spec.replace(gate=tm.Gate()), ("numpy",), methods=("proof", "exact", "float"))
    assert not any("gathered" in check.quantity for check in dense.checks)
