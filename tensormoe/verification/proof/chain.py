"""Proofs of a block's own program: layers with a nonlinearity before the last, chained to one program.

The nonlinearity f is an opaque symbol. It may be applied to u, the first layer's result, once that is
complete; the result is a new operand f(u), about which nothing is known except its indices. In reverse mode,
the complete gradient of f(u) becomes a new operand ∂u, which stands for that gradient times f′(u). So the
derivation holds for any elementwise f.

In a gated block f(u) is multiplied, element by element, with v, the result of up. That product is the new
operand, once u and v are complete; its complete gradient becomes ∂u, which stands for that gradient times
f′(u) v, or ∂v, which stands for that gradient times f(u).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ...arrays.nonlinearities import name_of
from ...arrays.protocols import Nonlinearity
from ...displays import draw_table, fold_away, write_text
from ...programs.contraction import Contraction, Operand, identify_core
from ...programs.program import Program
from ..coq.chain import export_chain
from .apart import read_apart
from .block import RESULTS, Block, program_data
from .claims import check_array, difference, gradients_of, products_of, whole_axes
from .derivation import ProofStep
from .prove import COTANGENT, Proof, check_program, derive
from .sharing import group_uses, prove_separately
from .symbolic import Symbolic, read_operand
from .symbolic_ops import SymbolicOps
from .theorem import chain_theorem
from .trace import ProofError, differentiate, renumber
from .world import LawError, Term, World


@dataclass(frozen=True)
class ChainProof:
    """The derivation of a block's own program; prints as a theorem with its proof.

    Args:
        layers: what the layers compute, in the names of the theorem.
        nonlinearity: the name of f.
        steps: of the whole program.
        equal: for each further use of a core, what it is called, and what the first use is.
        claim: what is proved: the layers in their own names, the nonlinearity and the program.
    """

    layers: tuple[Contraction, ...]
    nonlinearity: str
    steps: tuple[ProofStep, ...]
    equal: tuple[tuple[str, str], ...]
    claim: tuple[tuple[Contraction, ...], Nonlinearity, Program] = field(repr=False)

    def __str__(self) -> str:
        return chain_theorem(self.layers, self.nonlinearity, self.steps, self.equal)

    def __repr__(self) -> str:
        return f"<ChainProof: {len(self.steps)} steps>"


@dataclass(frozen=True)
class BlockProof:
    """The proofs of a block: of its layers alone, and of the program that it runs; printed in turn.

    Examples:
        >>> import tensormoe as tm
        >>> proof = tm.prove(tm.MuMoEBlockSpec(8, 16, 6, experts=4, factorization=tm.CP(rank=5)))
        >>> len(proof.layers["first"].steps), len(proof.layers["second"].steps), len(proof.chain.steps)
        (4, 4, 9)
    """

    layers: Mapping[str, Proof]
    chain: ChainProof

    def __str__(self) -> str:
        alone = [f"{name.capitalize()} layer\n\n{proof}" for name, proof in self.layers.items()]
        return "\n\n".join([*alone, f"The block\n\n{self.chain}"])

    def to_coq(self) -> str:
        """The block's own program as a file for the proof assistant Coq: a certificate.

        The nonlinearity is any function of each element. For each layer alone see `layers`. What a file says
        and how it is checked is as for `Proof.to_coq`.

        Raises:
            TensorMoEError: something that certificates cannot speak about yet.

        Examples:
            >>> import tensormoe as tm
            >>> block = tm.MuMoEBlockSpec(8, 16, 6, experts=4, factorization=tm.CP(rank=5))
            >>> text = tm.prove(block).to_coq()
            >>> print(*[line for line in text.splitlines() if "Definition h " in line])
            Definition h (i0 : list nat) : R :=
        """
        return export_chain(*self.chain.claim)

    def __repr__(self) -> str:
        return f"<BlockProof: {len(self.chain.steps)} steps>"

    def _repr_html_(self) -> str:
        rows = [(f"{step.number}", step.statement, step.law) for step in self.chain.steps]
        steps = draw_table(("", "step of the block", "law"), rows, text_columns=3)
        return steps + fold_away("the theorems with their proofs", write_text(str(self)))


def prove_chain(layers: Sequence[Contraction], nonlinearity: Nonlinearity, program: Program) -> ChainProof:
    """Prove that a program computes contractions with a nonlinearity before the last.

    Args:
        layers: the contractions of the layers, which share the coefficients: the first and the last one, or
            those of a gated block: the first, up and the last. Those without experts take no coefficients.
            Their joint cores are one array for all.
        nonlinearity: the function of each element that is applied to the first one's result.
        program: of x, the coefficients, and the cores of each layer.

    Raises:
        ProofError: names the first step that breaks, and why.
        TensorMoEError: contractions that do not fit each other, or a program for other operands.
    """
    block = Block.of(layers, nonlinearity)
    uses = group_uses(_name_uses(block, layers))
    arrays = [block.operands[each[0]] for each in uses]
    cores = arrays[len(block.data) :]
    check_program((*program_data(block.stated), *cores), program)
    apart, origins = read_apart(program, block.find_places(len(cores)))
    try:
        separate, steps = prove_separately(
            apart, uses, [array.name for array in arrays], lambda each: _forward(block, each)
        )
        _backward(block, separate)
    except LawError as reason:
        raise ProofError("the program", f"it {reason}") from None
    except ProofError as error:
        raise renumber(error, program, origins) from None
    equal = [(block.operands[n].name, block.operands[each[0]].name) for each in uses for n in each[1:]]
    return ChainProof(block.stated, block.name, steps, tuple(equal), (tuple(layers), nonlinearity, program))


class _ChainOps(SymbolicOps):
    """Symbolic operations with one nonlinearity, of a block's hidden values alone."""

    def __init__(self, block: Block, world: World) -> None:
        self._block, self._world = block, world

    def nonlinear(self, function: Nonlinearity, x: Symbolic, /) -> Symbolic:
        return self._join(function, x)

    def nonlinear_vjp(self, function: Nonlinearity, x: Symbolic, gradient: Symbolic, /) -> Symbolic:
        return self._part(function, (x,), gradient, 0)

    def nonlinear_product(self, function: Nonlinearity, x: Symbolic, factor: Symbolic, /) -> Symbolic:
        return self._join(function, x, factor)

    def nonlinear_product_overwrite(
        self, function: Nonlinearity, x: Symbolic, factor: Symbolic, /
    ) -> Symbolic:
        return self._join(function, x, factor)

    def nonlinear_product_vjp(
        self,
        function: Nonlinearity,
        x: Symbolic,
        factor: Symbolic,
        gradient: Symbolic,
        position: int,
        /,
    ) -> Symbolic:
        return self._part(function, (x, factor), gradient, position)

    def _join(self, function: Nonlinearity, *results: Symbolic) -> Symbolic:
        """The hidden values, from the results of the layers before the last."""
        if function != self._block.nonlinearity:
            raise LawError(f"applies {name_of(function)} where {self._block.name} is asked for")
        if len(results) != len(self._block.before):
            raise LawError(f"gives something else than {self._block.hidden.name}")
        for (name, whose), layer, result in zip(RESULTS, self._block.before, results, strict=False):
            expected = products_of(self._world, layer)
            reason = difference(result, whole_axes(self._world, layer.output), expected)
            if reason is not None:
                verb = f"applies {self._block.name} to" if name == "u" else "multiplies by"
                raise LawError(f"{verb} what is not {name}, {whose}'s result: {reason}")
        return read_operand(self._world, self._block.hidden.name, self._block.hidden.indices)

    def _part(
        self, function: Nonlinearity, results: Sequence[Symbolic], gradient: Symbolic, position: int
    ) -> Symbolic:
        """The gradient of the hidden values carried back to one of the results."""
        axes = self._join(function, *results).axes
        hidden = self._block.hidden
        expected = gradients_of(self._world, self._block.last, COTANGENT, hidden)
        reason = difference(gradient, axes, expected)
        if reason is not None:
            raise LawError(f"carries back what is not the gradient of {hidden.name}: {reason}")
        return read_operand(self._world, f"∂{RESULTS[position][0]}", self._block.before[position].output)


def _forward(block: Block, program: Program) -> tuple[ProofStep, ...]:
    world = World.of(block.layers)
    operands = [read_operand(world, op.name, op.indices) for op in block.operands]
    result, steps = derive(program, _ChainOps(block, world), block.labels, operands)
    output = block.last.output
    check_array("the result", result, whole_axes(world, output), products_of(world, block.last))
    return steps


def _backward(block: Block, program: Program) -> None:
    """Check each gradient: from ∂y in the last layer, from ∂u and ∂v in the others; their sum, if shared."""
    world = World.of(block.layers, *((name, layer.output) for name, layer in block.cotangents.items()))
    operands = [read_operand(world, op.name, op.indices) for op in block.operands]
    cotangent = read_operand(world, COTANGENT, block.last.output)
    for gradients in differentiate(program, _ChainOps(block, world), operands, cotangent):
        for op, operand, gradient in zip(block.operands, operands, gradients, strict=True):
            expected = [*_gradients(block, world, op)]
            check_array(f"the gradient of {op.name}", gradient, operand.axes, expected)


def _gradients(block: Block, world: World, operand: Operand) -> Iterator[Term]:
    """The gradient with respect to an operand: one product for each layer, and term, that it is in."""
    for cotangent, layer in block.cotangents.items():
        yield from gradients_of(world, layer, cotangent, operand)


def _name_uses(block: Block, layers: Sequence[Contraction]) -> list[tuple[int, str]]:
    """The names of the data and of all cores, each with its layer's number; joint cores have none."""
    data = [(0, operand.name) for operand in block.data]
    cores = [
        identify_core(layer, number, core.name) for number, layer in enumerate(layers) for core in layer.cores
    ]
    return [*data, *cores]
