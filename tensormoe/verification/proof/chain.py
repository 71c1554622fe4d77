"""Proofs of a block's own program: two layers with a nonlinearity between them, chained to one program.

The nonlinearity f is an opaque symbol. It may be applied to u, the first layer's result, once that is
complete; the result is a new operand f(u), about which nothing is known except its indices. In reverse mode,
the complete gradient of f(u) becomes a new operand ∂u, which stands for that gradient times f′(u). So the
derivation holds for any elementwise f.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...errors import TensorMoEError
from ...networks.notation import BATCH, Indices
from ...programs.contraction import Contraction, Operand
from ...programs.program import Program
from .claims import check_array, difference, gradient_term, product_of, whole_axes
from .derivation import ProofStep
from .prove import COTANGENT, Proof, check_program, derive
from .symbolic import LawError, Symbolic, Term, World
from .symbolic_ops import SymbolicOps
from .theorem import chain_theorem
from .trace import ProofError, differentiate

# The cotangent of the first layer's result.
_HIDDEN_COTANGENT = "∂u"
# What distinguishes the second layer's names from the first one's.
_PRIME = "′"


@dataclass(frozen=True)
class ChainProof:
    """The derivation of a block's own program; prints as a theorem with its proof.

    Args:
        first, second: what the layers compute, in the names of the theorem.
        nonlinearity: the name of f.
        steps: of the whole program.
    """

    first: Contraction
    second: Contraction
    nonlinearity: str
    steps: tuple[ProofStep, ...]

    def __str__(self) -> str:
        return chain_theorem(self.first, self.second, self.nonlinearity, self.steps)

    def __repr__(self) -> str:
        return f"<ChainProof: {len(self.steps)} steps>"


@dataclass(frozen=True)
class BlockProof:
    """The proofs of a block: of its two layers alone, and of the program that it runs; printed in turn.

    Examples:
        >>> import tensormoe as tm
        >>> proof = tm.prove(tm.MuMoEBlockSpec(8, 16, 6, experts=4, factorization=tm.CP(rank=5)))
        >>> len(proof.first.steps), len(proof.second.steps), len(proof.chain.steps)
        (4, 4, 9)
    """

    first: Proof
    second: Proof
    chain: ChainProof

    def __str__(self) -> str:
        return f"First layer\n\n{self.first}\n\nSecond layer\n\n{self.second}\n\nThe block\n\n{self.chain}"

    def __repr__(self) -> str:
        return f"<BlockProof: {len(self.chain.steps)} steps>"


def prove_chain(first: Contraction, second: Contraction, nonlinearity: str, program: Program) -> ChainProof:
    """Prove that a program computes two contractions with a nonlinearity between them.

    Args:
        first, second: the contractions of the layers, which share the coefficients.
        nonlinearity: the name of the function of each element that is applied to the first one's result.
        program: of x, the coefficients, the first layer's cores and the second one's.

    Raises:
        ProofError: names the first step that breaks, and why.
        TensorMoEError: contractions that do not fit each other, or a program for other operands.
    """
    block = _Block.of(first, second, nonlinearity)
    check_program(block.operands, program)
    try:
        steps = _forward(block, program)
        _backward(block, program)
    except LawError as reason:
        raise ProofError("the program", f"it {reason}") from None
    return ChainProof(block.first, block.second, nonlinearity, steps)


@dataclass(frozen=True)
class _Block:
    """What should be computed; the second contraction has its own names, except for the coefficients."""

    first: Contraction
    second: Contraction
    nonlinearity: str

    @staticmethod
    def of(first: Contraction, second: Contraction, nonlinearity: str) -> "_Block":
        """Two contractions with their names made different."""
        shared = _coefficients(first)
        hidden = dict(first.sizes)[first.output[-1]]
        inputs = dict(second.sizes)[second.operands[0].indices[-1]] - second.affine
        if _coefficients(second) != shared or hidden != inputs:
            remedy = "the second takes what the first gives, and the same coefficients"
            raise TensorMoEError("contractions", (hidden, inputs), remedy)
        return _Block(first, _prime(second, f"{nonlinearity}(u)"), nonlinearity)

    @property
    def operands(self) -> tuple[Operand, ...]:
        """What the program takes."""
        return *self.first.operands, *(op for op in self.second.operands[1:] if BATCH not in op.indices)

    @property
    def hidden(self) -> Operand:
        """f(u)."""
        return self.second.operands[0]


class _ChainOps(SymbolicOps):
    """Symbolic operations with one nonlinearity, of a block's hidden values alone."""

    def __init__(self, block: _Block, world: World) -> None:
        self._block, self._world = block, world

    def nonlinear(self, name: str, x: Symbolic, /) -> Symbolic:
        self._check(name, x)
        return self._world.operand(self._block.hidden.name, self._block.hidden.indices)

    def nonlinear_vjp(self, name: str, x: Symbolic, gradient: Symbolic, /) -> Symbolic:
        self._check(name, x)
        hidden = self._block.hidden
        factors = {COTANGENT, *(op.name for op in self._block.second.operands)}
        axes = self._world.operand(hidden.name, hidden.indices).axes
        reason = difference(gradient, axes, [gradient_term(self._world, factors, hidden)])
        if reason is not None:
            raise LawError(f"carries back what is not the gradient of {hidden.name}: {reason}")
        return self._world.operand(_HIDDEN_COTANGENT, self._block.first.output)

    def _check(self, name: str, x: Symbolic) -> None:
        """Raise the error of another function, or of an array that is not u."""
        if name != self._block.nonlinearity:
            raise LawError(f"applies {name} where {self._block.nonlinearity} is asked for")
        output = self._block.first.output
        expected = product_of(self._world, [op.name for op in self._block.first.operands], output)
        reason = difference(x, whole_axes(self._world, output), [expected])
        if reason is not None:
            raise LawError(f"applies {name} to what is not u, the first layer's result: {reason}")


def _forward(block: _Block, program: Program) -> tuple[ProofStep, ...]:
    world = World.of([block.first, block.second])
    operands = [world.operand(op.name, op.indices) for op in block.operands]
    names = [op.name for op in block.operands]
    result, steps = derive(program, _ChainOps(block, world), names, operands)
    output = block.second.output
    expected = product_of(world, [op.name for op in block.second.operands], output)
    check_array("the result", result, whole_axes(world, output), [expected])
    return steps


def _backward(block: _Block, program: Program) -> None:
    """Check each gradient: from ∂y in the second layer, from ∂u in the first, both for the coefficients."""
    world = World.of(
        [block.first, block.second],
        (COTANGENT, block.second.output),
        (_HIDDEN_COTANGENT, block.first.output),
    )
    operands = [world.operand(op.name, op.indices) for op in block.operands]
    cotangent = world.operand(COTANGENT, block.second.output)
    for gradients in differentiate(program, _ChainOps(block, world), operands, cotangent):
        for op, operand, gradient in zip(block.operands, operands, gradients, strict=True):
            check_array(f"the gradient of {op.name}", gradient, operand.axes, _gradient(block, world, op))


def _gradient(block: _Block, world: World, operand: Operand) -> list[Term]:
    """The gradient with respect to an operand: one product for each layer that it is in."""
    layers = {_HIDDEN_COTANGENT: block.first, COTANGENT: block.second}
    return [
        gradient_term(world, {cotangent, *(op.name for op in layer.operands)}, operand)
        for cotangent, layer in layers.items()
        if operand in layer.operands
    ]


def _coefficients(contraction: Contraction) -> Sequence[Operand]:
    return [op for op in contraction.operands[1:] if BATCH in op.indices]


def _prime(contraction: Contraction, data: str) -> Contraction:
    """The contraction with its first operand named `data`, and a prime at all names but the coefficients'."""
    shared = {BATCH, *(index for op in _coefficients(contraction) for index in op.indices)}

    def prime(indices: Indices) -> Indices:
        return tuple(index if index in shared else index + _PRIME for index in indices)

    first, *further = contraction.operands
    operands = [Operand(data, prime(first.indices))]
    for op in further:
        operands.append(op if BATCH in op.indices else Operand(op.name + _PRIME, prime(op.indices)))
    sizes = tuple(
        zip(
            prime(tuple(index for index, _ in contraction.sizes)),
            dict(contraction.sizes).values(),
            strict=True,
        )
    )
    return replace(contraction, operands=tuple(operands), output=prime(contraction.output), sizes=sizes)
