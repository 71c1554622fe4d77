"""What a certificate says of itself, in words."""

from collections.abc import Iterable, Iterator
from textwrap import wrap

from .statement import Statement


def write_heading(statement: Statement, gradients: bool) -> str:
    """The comment that a certificate begins with."""
    paragraphs = [*_describe(statement, gradients)]
    return (
        "\n\n".join(["(* A CERTIFICATE THAT A LAYER COMPUTES THE MIXTURE OF ALL ITS EXPERTS.", *paragraphs])
        + " *)"
    )


def _describe(statement: Statement, gradients: bool) -> Iterator[str]:
    names = statement.names
    sizes = ", ".join(names.sizes)
    yield _fold(
        "For every commutative semiring (such as the integers, the reals, or integers modulo a number), for "
        f"all sizes {sizes} and for all values of {', '.join(statement.arrays)}:"
    )
    yield _fold(
        "program_is_soft_moe: the program's result is y, defined below under THE LAYER from the weight "
        "tensor W. Each step of the program is a definition t1, t2, …; what each gives is a lemma, t1_is, …"
    )
    if gradients:
        yield _fold(
            "gradient_of_…: the reverse mode gives each operand its gradient g. For every d, y at (operand + "
            "d) paired with dy is y at the operand paired with dy, plus g paired with d: no remainder, so g "
            "is the derivative. An array that is used several times moves in one use after the other."
        )
    yield _fold("program_fits: every operation is defined for the shapes that it gets.")
    yield "\n".join(_list_arrays(statement))
    for remark in _remark(statement):
        yield _fold(remark)
    yield _fold(
        "Not covered: rounding in floating point, gates, and whether the framework's operations are those of "
        "part I. To check the file: tensormoe check FILE, or coqc FILE (Coq 8.16). Coq must say "
        '"Closed under the global context": the theorems rest on nothing that is not proved here.'
    )


def _list_arrays(statement: Statement) -> Iterator[str]:
    yield "   The operands:"
    for use in statement.uses:
        again = "" if use.name == use.array else f" (the same array as {use.array}, used again)"
        row = ", followed by a 1 as z" if use.array == statement.extended else ""
        indices = " ".join(
            index.name for place in statement.names.places(use.operand.indices) for index in place
        )
        yield f"     {use.name} [{indices}]{row}{again}"


def _remark(statement: Statement) -> Iterator[str]:
    contraction = statement.contraction
    if statement.extended:
        yield "The last row of the input mode, number N_i, is the bias: it multiplies the 1 of z."
    for split in contraction.splits:
        parts = ", ".join(split.parts)
        yield f"{split.mode} is numbered by its parts {parts}, of which the first varies slowest."
    units = [index for index, size in contraction.sizes if size == 1]
    if units:
        yield f"Of size 1, and so not written: {_join(units)}. The place along such an axis is 0."
    if contraction.fixed:
        yield f"Not trained, and here as arbitrary as the others: {_join(contraction.fixed)}."


def _join(names: Iterable[str]) -> str:
    return ", ".join(names)


def _fold(text: str) -> str:
    return "\n".join(wrap(text, 108, initial_indent="   ", subsequent_indent="   ", break_long_words=False))
