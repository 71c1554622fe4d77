"""Which memory an instruction may compute in: that of values which nothing else can see."""

from collections import Counter
from collections.abc import Iterator, Sequence

from .gathering import Gather, Take
from .instructions import (
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

# Types are compared exactly: what a class of the user's own returns may be a view of anything.
_PRODUCTS = (Matmul, Affine)
# Reverse mode of these returns new memory; of those, possibly a view of the gradient that it is given.
_COMPUTING = (*_PRODUCTS, Multiply, PointwiseProduct, Sum, Take, Gather, Cut)
_PASSING = (Transpose, Reshape, AppendOne, Pad, Pointwise)
# Reverse mode of these only reads the gradient.
_READING = (*_COMPUTING, Transpose, Reshape, AppendOne, Pad, Add)


def find_overwrites(num_operands: int, instructions: Sequence[Instruction]) -> tuple[bool, ...]:
    """For each instruction, whether its source is a product that no other instruction reads.

    What another one reads earlier may live on in a view.
    """
    readers = Counter(source for each in instructions for source in each.sources)
    products = {n for n, each in enumerate(instructions, start=num_operands) if type(each) in _PRODUCTS}
    return tuple(each.source in products and readers[each.source] == 1 for each in instructions)


def find_borrowers(num_operands: int, instructions: Sequence[Instruction]) -> frozenset[int]:
    """The instructions whose reverse mode might write to a gradient that others see: to a copy, then.

    Others are the caller, whose cotangent comes first, and instructions that pass one gradient on to several.
    """
    own: set[int] = set()
    for register in reversed(range(num_operands, num_operands + len(instructions))):
        shares = [*_find_readers(num_operands, instructions, register)]
        if shares and all(
            type(each) in _COMPUTING or (type(each) in _PASSING and n in own) for n, each in shares
        ):
            own.add(register)
    numbered = enumerate(instructions)
    return frozenset(n for n, each in numbered if type(each) not in _READING and num_operands + n not in own)


def _find_readers(
    num_operands: int, instructions: Sequence[Instruction], register: int
) -> Iterator[tuple[int, Instruction]]:
    """The instructions that read a register, each with the register that it writes."""
    numbered = enumerate(instructions, start=num_operands)
    return ((n, each) for n, each in numbered if register in each.sources)
