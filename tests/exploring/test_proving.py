"""Programs that share a proof: right or wrong, they are so at all sizes."""

from collections.abc import Mapping
from dataclasses import replace
from math import prod

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.mutated_programs import mutate
from support.strategies import specs, values_for

import tensormoe as tm
from tensormoe.exploring import proving
from tensormoe.networks.notation import BATCH
from tensormoe.programs.contraction import Contraction
from tensormoe.programs.instructions import Reshape
from tensormoe.programs.program import Program

EXAMPLES = settings.default.max_examples


def is_proved(contraction: Contraction, program: Program) -> bool:
    try:
        tm.prove(contraction, program)
    except (tm.ProofError, tm.TensorMoEError):
        return False
    return True


def at_sizes(contraction: Contraction, program: Program, sizes: Mapping[str, int]) -> Program:
    """The program that means the same at other sizes."""
    steps = []
    for step, told in zip(program.instructions, proving.state(contraction, program)[1][2:], strict=True):
        if isinstance(step, Reshape):
            axes = told[1]  # type: ignore[index]
            step = replace(step, shape=tuple(prod(size_of(each, sizes) for each in axis) for axis in axes))
        steps.append(step)
    return replace(program, instructions=tuple(steps))


def size_of(name: str, sizes: Mapping[str, int]) -> int:
    if name == BATCH:
        return -1
    return sizes[name] if name in sizes else sizes[name[:-1]] - 1


@settings(max_examples=max(20, EXAMPLES // 2))
@given(specs(max_levels=2, max_size=3), st.data(), st.integers(0, 2**32))
def test_whether_a_program_is_proved_follows_from_what_it_means(
    spec: tm.MuMoESpec, data: st.DataObject, seed: int
) -> None:
    """A program changed at random, and what means the same at other sizes: both proved, or neither."""
    contraction = spec.contraction
    program = spec.default_plan.program
    if data.draw(st.booleans()):
        program = mutate(data.draw, program, values_for(spec, seed, 3).operands)
    try:
        stated = proving.state(contraction, program)
    except (proving.NoMeaningError, IndexError):
        assume(False)
    least = 3 if contraction.affine else 2
    sizes = {
        name: size if size == 1 else data.draw(st.integers(least, 7), label=name)
        for name, size in contraction.sizes
    }
    assume(not contraction.affine or dict(contraction.sizes)["i"] > 2)
    other = replace(contraction, sizes=tuple(sizes.items()))
    same = at_sizes(contraction, program, sizes)
    assert proving.state(other, same) == stated
    assert is_proved(other, same) == is_proved(contraction, program)


def test_one_proof_serves_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    proved = []
    monkeypatch.setattr(proving, "prove_program", lambda *subject: proved.append(subject))
    proving.prove_once.cache_clear()
    specs = [tm.MuMoESpec(64, 48, 16, tm.CP(rank)) for rank in range(2, 32)]
    assert all(map(proving.prove_shared, specs))
    assert len(proved) < 5
    proving.prove_once.cache_clear()


@pytest.mark.parametrize(
    "family",
    [
        tm.BTT((2, 4), (2, 3), 2),
        tm.TensorNetwork("n r, A: i r, A: o r", r=3),
        tm.TensorNetwork("n o + i r, r o", r=2),
        tm.TensorNetwork("i r, n r o", r=1),
    ],
)
def test_what_has_no_meaning_without_sizes_is_proved_alone(family: tm.Factorization) -> None:
    size = (8, 8) if "A:" in str(family) else (8, 6)
    assert proving.prove_shared(tm.MuMoESpec(*size, 4, family, bias=False))


def test_a_wrong_program_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tm.MuMoESpec(8, 6, 4, tm.CP(5))
    wrong = tm.MuMoESpec(8, 6, 4, tm.CP(5), bias=False).default_plan.program
    monkeypatch.setattr(type(spec.stage), "programs", ((0, wrong),))
    with pytest.raises(tm.ProofError):
        proving.prove_shared(spec)
