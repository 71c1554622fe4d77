"""The steps of a derivation as text: the result of each instruction, and the law that allows it."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...arrays.nonlinearities import name_of
from ...programs.gathering import Choose, Gather, Take
from ...programs.instructions import (
    Add,
    Affine,
    AppendOne,
    Cut,
    Instruction,
    Matmul,
    Multiply,
    Pad,
    Pointwise,
    PointwiseProduct,
    Reshape,
    Sum,
    Transpose,
)
from .symbolic import Symbolic
from .world import Axis


@dataclass(frozen=True)
class ProofStep:
    """A line of a derivation.

    Args:
        number: the instruction's number, counted from 1.
        statement: what the instruction's result is, such as "t3[…, r] = t1[…, r] t2[…, r]".
        law: what allows it.

    Examples:
        >>> import tensormoe as tm
        >>> tm.prove(tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5))).steps[1].law
        'distributive law [n: a1, expert1]'
    """

    number: int
    statement: str
    law: str


Named = tuple[str, Symbolic]


def line(number: int, instruction: Instruction, sources: Sequence[Named], result: Symbolic) -> ProofStep:
    """One step, from its sources with their names and its result."""
    names = [_array(name, array.axes) for name, array in sources]
    statement, law = _describe(instruction, names, [array for _, array in sources], result)
    return ProofStep(number, f"{_array(f't{number}', result.axes)} = {statement}", law)


def _describe(
    instruction: Instruction, names: list[str], sources: list[Symbolic], result: Symbolic
) -> tuple[str, str]:
    """The right-hand side of a step, and the law."""
    first = sources[0]
    match instruction:
        case Matmul():
            inner = first.axes[-1]
            sign = f"Σ({_indices(inner)}) " if inner else ""
            return sign + " ".join(names), _distributive(result, inner)
        case Affine():
            inner = sources[1].axes[-2]
            product = f"({names[0]}, 1) {names[1]}"
            return f"Σ({_indices(inner)}) {product}", f"{_distributive(result, inner)}; {_definition(inner)}"
        case Sum(axis=axis):
            summed = first.axes[axis]
            sign = f"Σ({_indices(summed)}) " if summed else ""
            return sign + names[0], _distributive(result, summed)
        case Multiply():
            return " ".join(names), "commutative and associative laws"
        case Add():
            return " + ".join(names), "commutative and associative laws"
        case Pointwise(function=function):
            return f"{name_of(function)}({names[0]})", "the first layer's result, complete, is u"
        case PointwiseProduct(function=function):
            law = "the results of the first layer and of up, complete, are u and v"
            return f"{name_of(function)}({names[0]}) {names[1]}", law
        case Choose(k=k):
            return f"{k} places of {names[0]}", "any choice"
        case Take() | Gather():
            return f"{names[0]} at {', '.join(names[1:])}", "a sum with one term, for each place"
        case Pad(axis=axis):
            place = (
                "behind" if first.axes[axis] and result.axes[axis] != first.axes[axis] else "at other rows"
            )
            return f"{names[0]} with zeros {place}", "zeros are neutral"
        case Cut():
            return names[0], "the values before the padding"
        case AppendOne():
            return f"({names[0]}, 1)", _definition(result.axes[-1])
        case Transpose():
            return names[0], "order of axes"
        case Reshape():
            return names[0], _explain_reshape(first.axes, result.axes)
    return f"{type(instruction).__name__}({', '.join(names)})", "by its own operations"


def _distributive(result: Symbolic, axis: Axis) -> str:
    factors = {name for term in result.terms for name in term.factors}
    carriers = [
        f"{part.index}: {', '.join(sorted(result.world.carriers_along(part.index) & factors))}"
        for part in axis
    ]
    return f"distributive law [{'; '.join(carriers)}]" if carriers else "a product without a sum"


def _explain_reshape(before: Sequence[Axis], after: Sequence[Axis]) -> str:
    if [axis for axis in before if axis] == [axis for axis in after if axis]:
        return "an axis of size 1"
    merged = max(map(len, after), default=0) > max(map(len, before), default=0)
    return "axes merged in this order" if merged else "axes split in this order"


def _array(name: str, axes: Sequence[Axis]) -> str:
    shown = [_indices(axis) or "1" for axis in axes]
    return f"{name}[{', '.join(f'({text})' if ' ' in text else text for text in shown)}]"


def _definition(axis: Axis) -> str:
    """Which vector with an appended 1 has this axis: in the second layer of a block it is z′."""
    return "definition of z" + "′" * ("′" in _indices(axis))


def _indices(axis: Axis) -> str:
    return " ".join(part.index for part in axis)
