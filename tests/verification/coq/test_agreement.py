"""Our prover and Coq agree on programs that are changed at random: what one accepts, the other does."""

import os
from dataclasses import replace

import pytest
from support.coq import certificate
from support.coq_mutations import judge
from support.coq_session import Session
from support.coqc import needs_coq

import tensormoe as tm
from tensormoe.verification.coq.export import export
from tensormoe.verification.coq.forms import UnsayableError

DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
SPEC = tm.MuMoESpec(4, 3, 2, tm.CP(2))


@needs_coq
def test_coq_accepts_what_the_prover_does_and_nothing_else() -> None:
    judgements = [*judge(2000 if DEEP else 200)]
    assert [each for each in judgements if not each.agree] == []
    assert {each.prover == "" for each in judgements} == {True, False}


@needs_coq
def test_a_session_judges_each_certificate_by_itself() -> None:
    right = certificate(SPEC, gradients=False)
    wrong = right.replace("multiply t1 t2", "multiply t1 t1")
    assert wrong != right
    with Session() as session:
        assert [session.refusal(text) == "" for text in (right, wrong, right)] == [True, False, True]


@pytest.mark.parametrize("early", [0, 1])
def test_a_program_that_reads_what_it_released_has_no_certificate(early: int) -> None:
    """The steps alone are right: the search found that releases were not looked at."""
    contraction, program = SPEC.contraction, SPEC.default_plan.program
    assert export(contraction, program, gradients=False)
    step = max(n for n, each in enumerate(program.instructions) if each.sources[0] >= program.num_operands)
    register = program.instructions[step].sources[0]
    releases = [tuple(each for each in held if each != register) for held in program.releases]
    releases[(0, step - 1)[early]] += (register,)
    with pytest.raises(UnsayableError):
        export(contraction, replace(program, releases=tuple(releases)), gradients=False)
    with pytest.raises(tm.TensorMoEError):
        tm.prove(contraction, replace(program, releases=tuple(releases)))
