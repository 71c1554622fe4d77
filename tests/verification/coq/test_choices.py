"""Certificates of programs that read some experts alone: for any choice, and of none that reads others."""

import os
from dataclasses import replace
from typing import Any

import pytest
from support.coq import lemma_of, refusal, theorems
from support.coq_session import objection
from support.coqc import needs_coq

import tensormoe as tm
from tensormoe.programs.gathering import Choose, Gather, Take
from tensormoe.programs.instructions import Instruction
from tensormoe.programs.plan import Plan
from tensormoe.programs.program import Program
from tensormoe.verification.coq.export import export
from tensormoe.verification.coq.forms import UnsayableError

DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
SUM = tm.TensorNetwork("n o + n r, i r, o r", r=2)
LEVELS = tm.MuMoESpec(3, 4, (4, 4), tm.TensorNetwork("n1 i n2 o"))
PLANS: dict[str, Plan] = {
    "a core of two levels": LEVELS.stage.plan(3, active=(2, 2)),
    "one expert": tm.MuMoESpec(8, 6, 16, tm.CP(5)).stage.plan(3, active=1),
    "some of each of two levels": tm.MuMoESpec(8, 6, (4, 5), tm.CP(3)).stage.plan(3, active=(2, 3)),
    "all of one level": tm.MuMoESpec(8, 6, (4, 5), tm.CP(3), bias=False).stage.plan(3, active=(2, 5)),
    "a sum with biases": tm.MuMoESpec(8, 6, 5, SUM, bias=False).stage.plan(3, active=2),
}
PLAN = PLANS["a core of two levels"]


@needs_coq
@pytest.mark.parametrize("name", PLANS if DEEP else [*PLANS][:1])
def test_the_certificate_of_chosen_experts_holds(name: str) -> None:
    text = export(PLANS[name].contraction, PLANS[name].program)
    assert objection(text) == ""
    assert theorems(text)[:2] == ["program_is_mixture_of_chosen", "program_is_soft_moe"]


def changed(kind: type[Instruction], **changes: Any) -> Program:
    """The right program with other fields of its first instruction of a kind."""
    steps = [*PLAN.program.instructions]
    place = next(number for number, each in enumerate(steps) if type(each) is kind)
    steps[place] = replace(steps[place], **changes)
    return replace(PLAN.program, instructions=tuple(steps))


PLACES = (PLAN.program.num_operands, PLAN.program.num_operands + 1)
WRONG = {
    "more places are chosen than there are": changed(Choose, k=3),
    "places are chosen by x": changed(Choose, source=0),
    "coefficients are taken at the other level's places": changed(Take, other=PLACES[1]),
    "slices are read at the other level's places": changed(Gather, indices=PLACES[::-1]),
    "slices of outputs are read": changed(Gather, axes=(0, 3)),
    "a core is read in place of places": changed(Take, other=3),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_program_that_reads_elsewhere_has_no_certificate(name: str) -> None:
    with pytest.raises(UnsayableError):
        export(PLAN.contraction, WRONG[name], gradients=False)


# What a generator that vouches for a wrong program would write, and the lemma at which Coq stops.
EDITS = {
    "coefficients at the other level's places": ("take_at J_n1 K_n1 a1'", "take_at J_n2 K_n1 a1'", "_fits"),
    "slices at the other level's places": ("gather [0; 2] [J_n1; J_n2]", "gather [0; 2] [J_n2; J_n1]", "_is"),
    "slices of other axes": ("gather [0; 2] [J_n1; J_n2]", "gather [0; 1] [J_n1; J_n2]", "_shape"),
}


@needs_coq
@pytest.mark.parametrize("name", EDITS if DEEP else [*EDITS][1:2])
def test_coq_refuses_slices_of_other_experts(name: str) -> None:
    before, after, lemma = EDITS[name]
    text = export(PLAN.contraction, PLAN.program, gradients=False)
    (line,) = [line for line in text.splitlines() if f":= {before}" in line]
    wrong = text.replace(line, line.replace(before, after))
    if lemma == "_fits":
        wrong = wrong.replace(
            before.replace("take_at", "take_at_fits"), after.replace("take_at", "take_at_fits")
        )
    assert lemma_of(wrong, refusal(wrong)) == f"{line.split()[1]}{lemma}"


@needs_coq
def test_the_choice_must_hold_all_that_is_not_0() -> None:
    text = export(PLAN.contraction, PLAN.program, gradients=False)
    premise = "(forall j, j < K_n1 -> J_n1 [b; j] <> n1) -> a1 [b; n1] = zero"
    assert premise in text
    wrong = text.replace(premise, "(forall j, j < K_n1 -> J_n1 [b; j] = n1) -> a1 [b; n1] = zero")
    assert lemma_of(wrong, refusal(wrong)) == "program_is_soft_moe"


def test_the_heading_says_which_experts_are_read() -> None:
    heading = " ".join(export(PLAN.contraction, PLAN.program, gradients=False).split("From Coq")[0].split())
    assert "the result is y_chosen, the mixture of these experts" in heading
    assert "if the places of one input differ and its a1 is 0 at all others" in heading
