"""Proofs of sums: the theorem, and wrong programs that are refused."""

from dataclasses import replace

import pytest
from hypothesis import given, settings

import tensormoe as tm
from tensormoe.programs.instructions import Add, Multiply
from tensormoe.programs.program import Program, released
from tensormoe.testing import specs, sums
from tensormoe.verification.reference.families import weight_of_family

SPEC = tm.MuMoESpec(4, 3, (5, 2), tm.TensorNetwork("i o") + tm.CP(rank=2) + tm.CP(rank=3))
PLAN = SPEC.plan()


@settings(max_examples=30)
@given(specs(sums, max_levels=3))
def test_every_sum_is_proved(spec: tm.MuMoESpec) -> None:
    assert tm.prove(spec).steps
    assert tm.prove(spec.stage.materialization_plan)


def test_the_theorem_names_every_term() -> None:
    text = str(tm.prove(SPEC))
    assert "W[n1, n2, i, o] = core1[i, o]" in text
    assert "+ Σ(r_2) expert1_2[n1, r_2] expert2_2[n2, r_2] input_2[i, r_2] output_2[r_2, o]" in text
    assert "has a sum of products for each term of W" in text
    assert "all others in its term" in text


def test_a_block_of_sums_is_proved_as_one_program() -> None:
    block = tm.MuMoEBlockSpec(4, 6, 3, 5, tm.TensorNetwork("i o") + tm.CP(rank=2), gated=True)
    proof = tm.prove(block)
    assert len(proof.chain.steps) > len(proof.layers["first"].steps)


def changed(number: int, *instructions: object) -> Program:
    steps = list(PLAN.program.instructions)
    steps[number : number + 1] = instructions  # type: ignore[assignment]
    count = PLAN.program.num_operands
    return Program(count, tuple(steps), released(count, steps))


ADDS = [n for n, each in enumerate(PLAN.program.instructions) if isinstance(each, Add)]


def test_there_is_one_addition_between_terms() -> None:
    assert len(ADDS) == 2


@pytest.mark.parametrize("number", ADDS)
def test_a_term_left_out_is_refused(number: int) -> None:
    add = PLAN.program.instructions[number]
    assert isinstance(add, Add)
    for twice in (replace(add, other=add.source), replace(add, source=add.other)):
        with pytest.raises(tm.ProofError):
            tm.prove(PLAN.contraction, changed(number, twice))


@pytest.mark.parametrize("number", ADDS)
def test_terms_that_are_multiplied_are_refused(number: int) -> None:
    add = PLAN.program.instructions[number]
    assert isinstance(add, Add)
    with pytest.raises(tm.ProofError):
        tm.prove(PLAN.contraction, changed(number, Multiply(add.source, add.other)))


def test_a_program_of_one_term_does_not_prove_the_sum() -> None:
    alone = SPEC.replace(factorization=tm.Dense() + tm.CP(rank=2)).plan()
    with pytest.raises(tm.TensorMoEError):
        tm.prove(PLAN.contraction, alone.program)


def test_a_sum_that_forgets_a_gradient_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Add.vjp

    def wrong(self: Add, ops, registers, gradient, position):  # type: ignore[no-untyped-def]
        share = right(self, ops, registers, gradient, position)
        return ops.zeros_like(share) if position else share

    monkeypatch.setattr(Add, "vjp", wrong)
    with pytest.raises(tm.ProofError, match="gradient of"):
        tm.prove(SPEC)


@pytest.mark.parametrize("methods", [("exact",), ("proof", "exact", "float", "frameworks")])
def test_every_method_holds_for_sums(methods: tuple[str, ...]) -> None:
    report = tm.verify(SPEC, ("numpy",), methods=methods)
    assert report.passed, str(report)


def test_formulas_of_families_add_up_where_a_term_lacks_experts() -> None:
    cores = [core for name, core in tm.initialize(SPEC)[0].items() if name.startswith("cores.")]
    weight = weight_of_family(SPEC.stage, cores)
    assert weight.shape == SPEC.network.weight_shape
