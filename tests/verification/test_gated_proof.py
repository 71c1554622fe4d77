"""Proofs of gated blocks' own programs: no wrong way to join the branches has one."""

from collections.abc import Callable
from typing import Any

import pytest

import tensormoe as tm
from tensormoe.programs.instructions import Instruction, Multiply, Pointwise, PointwiseProduct
from tensormoe.programs.program import Program, released
from tensormoe.verification.proof.chain import prove_chain

# Every size is equal, the inputs with their bias row among them, so that only the indices tell axes apart.
SQUARE = tm.MuMoEBlockSpec(3, 3, 3, (4, 4), tm.CP(4), gated=True)
LAYERS = [stage.contraction for stage in SQUARE.layers.values()]
RIGHT = SQUARE.program_for(None)
COUNT, CORES = RIGHT.num_operands, len(SQUARE.layers["up"].network.cores)
MIDDLE = next(n for n, each in enumerate(RIGHT.instructions) if isinstance(each, PointwiseProduct))
JOINED = RIGHT.instructions[MIDDLE]
assert isinstance(JOINED, PointwiseProduct)
U, V = JOINED.sources


def joined_by(*steps: Instruction) -> list[Instruction]:
    """The program with other steps in place of the one that joins the branches."""
    further = len(steps) - 1
    registers = [n + further * (n >= COUNT + MIDDLE) for n in range(100)]
    after = (each.rewire(registers) for each in RIGHT.instructions[MIDDLE + 1 :])
    return [*RIGHT.instructions[:MIDDLE], *steps, *after]


def rewired(change: Callable[[int], int], begin: int, end: int) -> list[Instruction]:
    steps = [*RIGHT.instructions]
    steps[begin:end] = [each.rewire([change(n) for n in range(100)]) for each in steps[begin:end]]
    return steps


UP = 3 + CORES
WRONG = {
    "the nonlinearity is up's": (
        joined_by(PointwiseProduct(V, U, "gelu")),
        "applies gelu to what is not u, the first layer's result",
    ),
    "the first layer is multiplied by itself": (
        joined_by(PointwiseProduct(U, U, "gelu")),
        "multiplies by what is not v, up's result",
    ),
    "nothing is multiplied": (
        joined_by(Pointwise(U, "gelu")),
        r"gives something else than gelu\(u\) v",
    ),
    "the nonlinearity comes after the product": (
        joined_by(Multiply(U, V), Pointwise(COUNT + MIDDLE, "gelu")),
        "meets|twice|carries",
    ),
    "the nonlinearity is another": (
        joined_by(PointwiseProduct(U, V, "relu")),
        "applies relu where gelu is asked for",
    ),
    "what is multiplied is not yet complete": (
        joined_by(PointwiseProduct(U, V - 1, "gelu")),
        "multiplies by what is not v, up's result: it lacks the factor output″",
    ),
    "up has the first one's cores": (
        rewired(lambda n: n - CORES if UP <= n < UP + CORES else n, MIDDLE // 2, MIDDLE),
        "multiplies by what is not v, up's result",
    ),
    "up reads the first layer's result": (
        rewired(lambda n: U if n == 0 else n, MIDDLE // 2, MIDDLE),
        r"sums over \(o\)|on the left|meets|\(o\)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_way_to_join_the_branches_is_refused(name: str) -> None:
    steps, reason = WRONG[name]
    program = Program(COUNT, tuple(steps), released(COUNT, steps))
    with pytest.raises(tm.ProofError, match=reason):
        prove_chain(LAYERS, "gelu", program)


def test_the_right_program_is_proved() -> None:
    proof = prove_chain(LAYERS, "gelu", RIGHT)
    for words in (
        "all sizes of n1, n2, i, o, r, o″, r″, i′, o′, r′,",
        "z′ = (gelu(u) v, 1), so that the last row of i′ holds the biases.",
        "and the result is multiplied, element by element, by",
        "v[…, o″] = Σ(n1 n2 i) W″[n1, n2, i, o″] a1[…, n1] a2[…, n2] z[…, i],",
        "are u and v",
        "The gradient of x is the sum of its gradients",
    ):
        assert words in str(proof)


def _gradients_without_one_branch(position: int) -> Any:
    right = PointwiseProduct.vjp

    def vjp(self: PointwiseProduct, ops: Any, registers: Any, gradient: Any, place: int) -> Any:
        share = right(self, ops, registers, gradient, place)
        return ops.zeros_like(share) if place == position else share

    return vjp


def _exchanged(self: PointwiseProduct, ops: Any, registers: Any, gradient: Any, place: int) -> Any:
    return _RIGHT_VJP(self, ops, registers, gradient, 1 - place)


_RIGHT_VJP = PointwiseProduct.vjp
FAULTS = {
    "the first layer has no gradient": (_gradients_without_one_branch(0), "the gradient of"),
    "up has no gradient": (_gradients_without_one_branch(1), "the gradient of"),
    "the branches exchange their gradients": (_exchanged, r"backwards it sums over \(o\)"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_wrong_reverse_mode_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vjp, reason = FAULTS[name]
    monkeypatch.setattr(PointwiseProduct, "vjp", vjp)
    with pytest.raises(tm.ProofError, match=reason):
        prove_chain(LAYERS, "gelu", RIGHT)


def test_branches_that_do_not_fit_each_other_are_refused() -> None:
    other = SQUARE.replace(hidden_features=5).layers["up"].contraction
    with pytest.raises(tm.TensorMoEError, match="up takes what the first takes, and gives as much"):
        prove_chain([LAYERS[0], other, LAYERS[2]], "gelu", RIGHT)


def test_a_plain_block_has_no_product() -> None:
    plain = SQUARE.replace(gated=False)
    layers = [stage.contraction for stage in plain.layers.values()]
    steps = [*plain.program_for(None).instructions]
    place = next(n for n, each in enumerate(steps) if isinstance(each, Pointwise))
    steps[place] = PointwiseProduct(steps[place].source, steps[place].source, "gelu")
    count = plain.program_for(None).num_operands
    with pytest.raises(tm.ProofError, match=r"gives something else than gelu\(u\)"):
        prove_chain(layers, "gelu", Program(count, tuple(steps), released(count, steps)))


PARTS = [
    tm.TensorNetwork("n i1 r, i2 r, r o", i=(2, 3), r=2),
    tm.TensorNetwork("n i1 i2 o", i=(3, 2)),
    tm.TensorNetwork("n i1 i2 o", i=(1, 6)) + tm.TensorNetwork("i o"),
    tm.CP(2),
]
SPLITS = [(one, other) for one in PARTS for other in PARTS if one != other]


@pytest.mark.parametrize("bias", [(True, True, True), (True, False, True), (False, True, False)])
@pytest.mark.parametrize("families", SPLITS)
def test_each_layer_may_read_the_input_in_parts_of_its_own(families: Any, bias: Any) -> None:
    block = tm.MuMoEBlockSpec(6, 3, 2, 3, (*families, tm.CP(2)), bias=bias, gated=True)
    proof = tm.prove(block)
    assert len(proof.chain.steps) == len(block.programs[0][1].instructions)
    assert "x″[" not in str(proof.chain)


def test_a_single_input_may_be_in_parts_beside_a_bias() -> None:
    families = (tm.TensorNetwork("i1 i2 o, n o", i=(1, 1)), tm.Dense(), tm.CP(2))
    assert tm.prove(tm.MuMoEBlockSpec(1, 3, 2, 3, families, gated=True))


@pytest.mark.parametrize("gated", [False, True])
def test_each_layer_may_have_experts_in_parts_of_its_own(gated: bool) -> None:
    families = [
        tm.TensorNetwork("n1 r, n2 r, i r, o r", n=(2, 3), r=2),
        tm.TensorNetwork("n1 n2 i o", n=(3, 2)),
        tm.CP(2),
    ]
    gate = tm.Gate(tm.Activation("top_k", k=2))
    block = tm.MuMoEBlockSpec(3, 4, 2, 6, tuple(families[: 2 + gated]), gate, gated=gated)
    assert tm.prove(block)
    assert tm.prove(block.plan(2, active=2))


IN_PARTS = tm.MuMoEBlockSpec(6, 6, 6, 3, (PARTS[1], tm.Dense(), tm.CP(2)), gated=True)


def test_an_input_in_the_parts_of_another_layer_is_refused() -> None:
    other = IN_PARTS.replace(factorization=(tm.TensorNetwork("n i1 i2 o", i=(2, 3)), tm.Dense(), tm.CP(2)))
    for proved, program in ((IN_PARTS, other), (other, IN_PARTS)):
        layers = [stage.contraction for stage in proved.layers.values()]
        with pytest.raises(tm.ProofError, match=r"splits an index|on the left"):
            prove_chain(layers, "gelu", program.program_for(None))


def test_steps_that_break_have_the_number_and_the_registers_of_the_given_program() -> None:
    program = IN_PARTS.program_for(None)
    layers = [stage.contraction for stage in IN_PARTS.layers.values()]
    place = next(n for n, each in enumerate(program.instructions) if isinstance(each, PointwiseProduct))
    steps = [*program.instructions]
    steps[place] = PointwiseProduct(*steps[place].sources, "relu")
    wrong = Program(program.num_operands, tuple(steps), released(program.num_operands, steps))
    with pytest.raises(tm.ProofError) as error:
        prove_chain(layers, "gelu", wrong)
    assert error.value.step == place + 1
    assert str(steps[place]) in str(error.value)
    early = ((program.num_operands,), *program.releases[1:])
    with pytest.raises(tm.ProofError, match="which was released"):
        prove_chain(layers, "gelu", Program(program.num_operands, program.instructions, early))
