"""Our prover and Coq agree on programs that are changed in one place: what one accepts, the other does."""

import os
from dataclasses import replace

from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from support.coq import refusal
from support.coqc import needs_coq

import tensormoe as tm
from tensormoe.programs.contraction import Contraction
from tensormoe.programs.instructions import Binary, Instruction
from tensormoe.programs.program import Program, released
from tensormoe.testing import specs
from tensormoe.verification.coq.export import export

DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"


@st.composite
def changed(draw: st.DrawFn) -> tuple[Contraction, Program]:
    """A layer's program with an instruction dropped, turned round, or reading another register."""
    spec = draw(specs(max_levels=2, max_size=3))
    contraction, program = spec.contraction, spec.default_plan.program
    assume(program.instructions and spec.in_features > 1)
    number = draw(st.integers(0, len(program.instructions) - 1))
    actual, count = program.instructions[number], program.num_operands
    way = draw(st.sampled_from(["source", "order", "dropped"]))
    if way == "dropped":
        places = [
            *range(count + number),
            actual.source,
            *range(count + number, count + len(program.instructions)),
        ]
        later = [each.rewire(places) for each in program.instructions[number + 1 :]]
        instructions: list[Instruction] = [*program.instructions[:number], *later]
    else:
        other: Instruction = replace(actual, source=draw(st.integers(0, count + number - 1)))
        axes = getattr(actual, "axes", None)
        if way == "order" and axes is not None:
            other = replace(actual, axes=tuple(draw(st.permutations(axes))))  # type: ignore[call-arg]
        elif way == "order" and isinstance(actual, Binary):
            other = replace(actual, source=actual.other, other=actual.source)
        instructions = [*program.instructions]
        instructions[number] = other
    assume(tuple(instructions) != program.instructions)
    return contraction, Program(count, tuple(instructions), released(count, instructions))


def is_proved(contraction: Contraction, program: Program) -> bool:
    try:
        tm.prove(contraction, program)
    except tm.ProofError:
        return False
    return True


def is_certified(contraction: Contraction, program: Program) -> bool:
    """Whether a certificate is written and holds; forwards, which is where programs are changed."""
    try:
        text = export(contraction, program, gradients=False)
    except tm.TensorMoEError:
        return False
    return refusal(text) == ""


@needs_coq
def test_coq_accepts_what_the_prover_does_and_nothing_else() -> None:
    verdicts = set()

    @settings(
        max_examples=200 if DEEP else 6,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(changed())
    def check(pair: tuple[Contraction, Program]) -> None:
        proved = is_proved(*pair)
        verdicts.add(proved)
        assert is_certified(*pair) == proved

    check()
    assert False in verdicts
