"""Proofs of programs that read one core in several places."""

from dataclasses import replace

import pytest

import tensormoe as tm
from tensormoe.programs.contraction import Contraction, Operand
from tensormoe.programs.instructions import Matmul, Multiply, Transpose
from tensormoe.programs.program import Program, released

SIZES = (("a", 3), ("b", 3), ("c", 3))


def square(*uses: str) -> Contraction:
    """A product of a matrix with itself."""
    return Contraction(tuple(Operand("A", tuple(use)) for use in uses), ("a", "c"), SIZES)


def program(count: int, *steps: object) -> Program:
    return Program(count, steps, released(count, steps))  # type: ignore[arg-type]


def test_a_square_is_proved_and_other_products_of_the_matrix_are_not() -> None:
    assert tm.prove(square("ab", "bc"), program(1, Matmul(0, 0)))
    assert tm.prove(square("ab", "cb"), program(1, Transpose(0, (1, 0)), Matmul(0, 1)))
    wrong = [
        (square("ab", "bc"), program(1, Transpose(0, (1, 0)), Matmul(0, 1))),
        (square("ab", "bc"), program(1, Transpose(0, (1, 0)), Matmul(1, 0))),
        (square("ab", "cb"), program(1, Matmul(0, 0))),
        (square("ba", "bc"), program(1, Transpose(0, (1, 0)), Matmul(0, 1))),
        (square("ab", "bc"), program(1, Multiply(0, 0))),
        (square("ab", "bc"), program(1, Matmul(0, 0), Transpose(1, (1, 0)))),
    ]
    for contraction, other in wrong:
        with pytest.raises(tm.ProofError):
            tm.prove(contraction, other)


def test_a_use_too_many_or_too_few_is_named() -> None:
    cube = program(1, Matmul(0, 0), Matmul(1, 0))
    with pytest.raises(tm.ProofError, match="uses A 2 times, and it 3 times"):
        tm.prove(square("ab", "bc"), cube)
    with pytest.raises(tm.ProofError, match="uses A 2 times, and it 1 times"):
        tm.prove(square("ab", "bc"), program(1, Transpose(0, (0, 1))))
    # As many readers as there are atoms: counted, not tried.
    towers = [Matmul(n, n) for n in range(200)]
    with pytest.raises(tm.ProofError, match="uses A 2 times"):
        tm.prove(square("ab", "bc"), program(1, *towers))


def test_what_was_released_is_not_read_again() -> None:
    steps = (Transpose(0, (1, 0)), Transpose(1, (1, 0)), Matmul(1, 2))
    lawful = program(1, *steps)
    contraction = Contraction((Operand("A", ("b", "a")), Operand("A", ("b", "c"))), ("a", "c"), SIZES)
    assert tm.prove(contraction, lawful)
    with pytest.raises(tm.ProofError, match=r"step 3: .*register 1, which was released"):
        tm.prove(contraction, replace(lawful, releases=((), (1,), (2,))))


def test_the_theorem_says_what_is_one_array() -> None:
    spec = tm.MuMoESpec(6, 6, 5, tm.TensorNetwork("n r, A: i r, A: o r", r=4), bias=False)
    text = " ".join(str(tm.prove(spec)).split())
    assert "W[n, i, o] = Σ(r) core1[n, r] A[i, r] A(2)[o, r]" in text
    assert "One array is used more than once: A(2) is A." in text
    assert "the gradient of the array is the sum of the gradients of its uses" in text


@pytest.mark.parametrize("gated", [False, True])
def test_blocks_of_layers_with_shared_cores_are_proved(gated: bool) -> None:
    family = tm.TensorNetwork(
        "n r t, i r, A: r s, A: s t, t o + i u, B: u v, B: w v, w o", r=3, s=3, t=3, u=2, v=2, w=2
    )
    block = tm.MuMoEBlockSpec(4, 5, 3, 3, family, gated=gated)
    report = tm.verify(block, ("numpy",))
    assert report.passed, str(report)
