"""Derivations as text: what each step of a program is, by which law, and the theorem that they prove."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...networks.notation import BATCH, INPUT, Indices
from ...programs.contraction import Contraction, Operand
from ...programs.instructions import Affine, AppendOne, Instruction, Matmul, Multiply, Reshape, Sum, Transpose
from .symbolic import Axis, Symbolic

_INDENT = "    "


@dataclass(frozen=True)
class ProofStep:
    """A line of a derivation.

    Args:
        number: of the instruction, counted from 1.
        statement: what the instruction's result is, such as "t3[…, r] = t1[…, r] t2[…, r]".
        law: what allows it.
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
            return sign + " ".join(names), _distributive(first, inner)
        case Affine():
            inner = sources[1].axes[-2]
            product = f"({names[0]}, 1) {names[1]}"
            return f"Σ({_indices(inner)}) {product}", f"{_distributive(first, inner)}; definition of z"
        case Sum(axis=axis):
            summed = first.axes[axis]
            sign = f"Σ({_indices(summed)}) " if summed else ""
            return sign + names[0], _distributive(first, summed)
        case Multiply():
            return " ".join(names), "commutative and associative laws"
        case AppendOne():
            return f"({names[0]}, 1)", "definition of z"
        case Transpose():
            return names[0], "order of axes"
        case Reshape():
            return names[0], _explain_reshape(first.axes, result.axes)
    return f"{type(instruction).__name__}({', '.join(names)})", "by its own operations"


def _distributive(array: Symbolic, axis: Axis) -> str:
    carriers = [f"{part.index}: {', '.join(sorted(array.world.carriers[part.index]))}" for part in axis]
    return f"distributive law [{'; '.join(carriers)}]" if carriers else "a product without a sum"


def _explain_reshape(before: Sequence[Axis], after: Sequence[Axis]) -> str:
    if [axis for axis in before if axis] == [axis for axis in after if axis]:
        return "an axis of size 1"
    merged = max(map(len, after), default=0) > max(map(len, before), default=0)
    return "axes merged in this order" if merged else "axes split in this order"


def theorem(contraction: Contraction, steps: Sequence[ProofStep]) -> str:
    """The theorem with its proof, as text."""
    return "\n".join([*_claim(contraction), "", *_proof(steps), "", *_conclusion(contraction, steps)])


def _claim(contraction: Contraction) -> Iterator[str]:
    sizes = dict(contraction.sizes)
    data = [op for op in contraction.operands if BATCH in op.indices]
    cores = [op for op in contraction.operands if BATCH not in op.indices]
    # With a bias, one input's sum has one term.
    single = contraction.affine and sizes[INPUT] == 2
    general = ", ".join(i for i, size in sizes.items() if size > 1 and not (single and i == INPUT))
    yield "Theorem. For all values" + (", every batch" if data else "") + f" and all sizes of {general},"
    yield "the program computes"
    yield ""
    open_ = _open(contraction)
    bonds = [index for index in sizes if index not in open_]
    weight = "W" + _bracket(open_)
    if data:
        kept = [index for index in open_ if index not in contraction.output]
        product = [weight, *(_array_of(op, contraction) for op in (*data[1:], data[0]))]
        yield f"{_INDENT}y{_bracket(contraction.output)} = {_sum(kept)}{' '.join(product)},"
    factors = [_array_of(op, contraction) for op in cores] or ["1"]
    factors[-1] += "," if contraction.affine else "."
    yield from _wrap(f"{_INDENT}{weight} = {_sum(bonds)}", factors)
    if contraction.affine:
        yield f"{_INDENT}z = (x, 1), so that the last row of {INPUT} holds the biases."
    fixed = ", ".join(index for index, size in sizes.items() if size == 1)
    if single:
        yield ""
        yield f"There is one input beside the bias: {INPUT} has size 2."
    if fixed:
        yield ""
        yield f"Of size 1, and left out of the sums below: {fixed}."


def _proof(steps: Sequence[ProofStep]) -> Iterator[str]:
    yield "Proof. In any commutative semiring; where an index is summed, all that carry it are named:"
    yield ""
    width = max((len(step.statement) for step in steps), default=0)
    for step in steps:
        yield f"{step.number:4}  {step.statement:<{width}}    {step.law}"
    if not steps:
        yield f"{_INDENT}The program returns its only operand."


def _conclusion(contraction: Contraction, steps: Sequence[ProofStep]) -> Iterator[str]:
    summed = [index for index, size in contraction.sizes if index not in contraction.output and size > 1]
    factors = [_array_of(op, contraction) for op in contraction.operands]
    last = f"t{steps[-1].number}" if steps else contraction.operands[0].name
    if steps:
        yield f"Unfolded, {last} is a sum of products in which each factor stands once, and each index"
        yield "that is summed over is summed once, after all factors that carry it:"
        yield ""
        yield from _wrap(f"{_INDENT}{last}{_bracket(contraction.output)} = {_sum(summed)}", factors)
        yield ""
    if BATCH in contraction.output:
        yield "By the distributive law the sums over bonds stand next to the cores and make them W:"
        yield f"{last} is y."
    yield "The reverse mode, run likewise, gives each operand the sum of the products of all others: its"
    yield "gradient. ∎"


def _open(contraction: Contraction) -> Indices:
    """The weight tensor's indices: those of cores that the output or the data carry, in W's order."""
    data = [op for op in contraction.operands if BATCH in op.indices]
    order = [index for op in (*data[1:], *data[:1]) for index in op.indices] + [*contraction.output]
    held = {index for op in contraction.operands if BATCH not in op.indices for index in op.indices}
    return tuple(index for index in dict.fromkeys(order) if index in held)


def _array_of(op: Operand, contraction: Contraction) -> str:
    name = "z" if contraction.affine and op is contraction.operands[0] else op.name
    return name + _bracket(op.indices)


def _array(name: str, axes: Sequence[Axis]) -> str:
    shown = [_indices(axis) or "1" for axis in axes]
    return f"{name}[{', '.join(f'({text})' if ' ' in text else text for text in shown)}]"


def _bracket(indices: Sequence[str]) -> str:
    return f"[{', '.join(indices)}]"


def _indices(axis: Axis) -> str:
    return " ".join(part.index for part in axis)


def _sum(indices: Sequence[str]) -> str:
    return f"Σ({' '.join(indices)}) " if indices else ""


def _wrap(start: str, factors: Sequence[str], width: int = 108) -> Iterator[str]:
    """A product over as many lines as it takes, its factors below each other."""
    text = start
    for factor in factors:
        if len(text) + len(factor) >= width and text.strip():
            yield text.rstrip()
            text = " " * min(len(start), width // 2)
        text += factor + " "
    yield text.rstrip()
