"""Certificates of zeros around arrays: of padded parts, and of a bias's row in a weight tensor."""

import os

import pytest
from support.coq import lemma_of, refusal
from support.coq_session import objection
from support.coqc import needs_coq

import tensormoe as tm
from tensormoe.networks.factorization import Factorization
from tensormoe.programs.instructions import Cut, Pad
from tensormoe.programs.plan import Plan
from tensormoe.programs.program import Program
from tensormoe.verification.coq.export import export
from tensormoe.verification.coq.forms import UnsayableError
from tensormoe.verification.coq.names import has_prelude

DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"

ENDS = tm.TensorNetwork("n r, i1 i2 r, o1 o2 r", r=3, i=(2, 3), o=(2, 2), pad=True)
LEVELS = tm.TensorNetwork("n1 r, n2 r, i r, o r", r=3, n=(2, 2), pad=True)
WHOLE = tm.TensorNetwork("n s, i s, o s", s=2)
BIASES = tm.TensorNetwork("n o") + tm.TensorNetwork("n r, i r, o r", r=2)


def stage(network: Factorization, bias: bool = True) -> tm.MuMoESpec:
    size = 8 if isinstance(network, tm.TTMatrix) else 5
    return tm.MuMoESpec(size, 8 if size == 8 else 3, 3 if network == LEVELS else 4, network, bias=bias)


PLANS: dict[str, Plan] = {
    "experts in padded parts": stage(LEVELS, bias=False).plan(),
    "a bias in the last row of a weight tensor": stage(BIASES).stage.materialization_plan,
    "a bias in a further row, for each input": stage(BIASES, bias=False).stage.merging_plan,
    "inputs and outputs in padded parts": stage(ENDS).plan(),
    "a term in padded parts, and one without": stage(ENDS + WHOLE).plan(),
    "a further row behind parts": stage(tm.TTMatrix(i=(2, 4), o=(4, 2), ranks=(2,))).stage.merging_plan,
    "a further row behind padded parts": stage(ENDS).stage.materialization_plan,
}


@needs_coq
@pytest.mark.parametrize("name", PLANS if DEEP else [*PLANS][:2])
def test_the_certificate_with_zeros_holds(name: str) -> None:
    plan = PLANS[name]
    text = export(plan.contraction, plan.program)
    assert objection(text) == ""
    assert has_prelude(text)


def change(program: Program, number: int, step: Pad | Cut) -> Program:
    steps = [*program.instructions]
    assert type(steps[number]) is type(step)
    steps[number] = step
    return Program(program.num_operands, tuple(steps), program.releases)


def number_of(program: Program, kind: type) -> int:
    return next(number for number, step in enumerate(program.instructions) if type(step) is kind)


@pytest.mark.parametrize("kind", [Pad, Cut])
def test_zeros_at_the_wrong_end_and_the_wrong_rows_are_refused(kind: type) -> None:
    plan = PLANS["inputs and outputs in padded parts"]
    number = number_of(plan.program, kind)
    step = plan.program.instructions[number]
    wrong = Pad(step.source, 1, 1, 0) if isinstance(step, Pad) else Cut(step.source, 1, 2)
    with pytest.raises(UnsayableError, match=r"no index has so many values|only the row of the bias"):
        export(plan.contraction, change(plan.program, number, wrong))


def test_a_bias_in_the_first_row_is_refused() -> None:
    plan = PLANS["a bias in the last row of a weight tensor"]
    number = number_of(plan.program, Pad)
    step = plan.program.instructions[number]
    assert isinstance(step, Pad)
    wrong = Pad(step.source, step.axis, step.after, step.before)
    with pytest.raises(UnsayableError, match="no index has so many values"):
        export(plan.contraction, change(plan.program, number, wrong))


# What a generator that vouches for a wrong program would write, and the lemma at which Coq stops.
EDITS = {
    "zeros before the inputs": (
        "inputs and outputs in padded parts",
        "pad_axis 1 0 (N_i1 * N_i2) x'",
        "pad_axis 1 (N_i1 * N_i2 - N_i) (N_i1 * N_i2) x'",
    ),
    "the last outputs": (
        "inputs and outputs in padded parts",
        "slice 1 0 N_o",
        "slice 1 (N_o1 * N_o2 - N_o) N_o",
    ),
    "the bias in the first row": (
        "a bias in the last row of a weight tensor",
        "pad_axis 1 N_i (S N_i)",
        "pad_axis 1 0 (S N_i)",
    ),
}


@needs_coq
@pytest.mark.parametrize("name", EDITS if DEEP else [*EDITS][::2])
def test_coq_refuses_zeros_elsewhere(name: str) -> None:
    plan, before, after = EDITS[name]
    text = export(PLANS[plan].contraction, PLANS[plan].program, gradients=False)
    (line,) = [line for line in text.splitlines() if f":= {before}" in line]
    wrong = text.replace(line, line.replace(before, after))
    stopped = lemma_of(wrong, refusal(wrong))
    assert stopped == f"{line.split()[1]}_is"


def test_the_heading_says_what_is_assumed_of_padded_parts() -> None:
    plan = PLANS["inputs and outputs in padded parts"]
    text = export(plan.contraction, plan.program, gradients=False)
    heading = " ".join(text[: text.index("From Coq")].split())
    assert "N_i <= N_i1 * N_i2 is assumed. Beyond N_i, data are 0" in heading
    assert "Hypothesis within_i : N_i <= N_i1 * N_i2." in text
    assert "x [b; i1 * N_i2 + i2] ⊗ inside N_i (i1 * N_i2 + i2)" in text
