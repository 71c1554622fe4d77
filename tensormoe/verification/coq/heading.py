"""What a certificate says of itself, in words."""

from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap

from .forms import enclose, write_size
from .script import Script
from .statement import Statement

# What the certificate of an edit says.
EDIT = """
Two layers, before an edit and after it: y_before and y are their results, of_expert_before and of_expert
what one expert makes of an input.

edit_changes_these_experts: let edited say of each expert whether it was edited. If all others make the
same of an input as before, then the results differ by what the edited experts' shares differ by: y plus
their shares before is y_before plus their shares after. That the others are the same is a premise, which
is about numbers: tensormoe.editing.certify compares them in exact arithmetic.

edit_changes_nothing_else: if, besides, the coefficients of the edited experts are 0, the results are
equal.

program_is_soft_moe, before_is_soft_moe: the results of both programs are y and y_before, defined below
from the weight tensors. Each step is a definition t1, t2, …; what each gives is a lemma, t1_is, …
"""


def write_heading(
    script: Script, statements: Sequence[Statement], gradients: bool, edit: bool = False
) -> str:
    """The comment that a certificate begins with."""
    what = "AN EDIT CHANGES SOME EXPERTS ALONE" if edit else "A LAYER COMPUTES THE MIXTURE OF ALL ITS EXPERTS"
    paragraphs = [*_describe(script, statements, gradients, edit)]
    return "\n\n".join([f"(* A CERTIFICATE THAT {what}.", *paragraphs]) + " *)"


def _describe(script: Script, statements: Sequence[Statement], gradients: bool, edit: bool) -> Iterator[str]:
    names, block = statements[0].names, len(statements) > 1 and not edit
    arrays = dict.fromkeys(array for statement in statements for array in statement.arrays if array != "h")
    sizes = ", ".join(names.sizes)
    yield _fold(
        "For every commutative semiring (such as the integers, the reals, or integers modulo a number), for "
        f"all sizes {sizes} and for all values of {', '.join(arrays)}:"
    )
    if block:
        up = " times v, the result of up" * (len(statements) > 2)
        yield _fold(
            f"A block: the last layer's input h is f(u){up}, where u is the first layer's result. f is any "
            "function of each element, and so is f', which stands for its derivative. du is the gradient of "
            "h times "
            + "v and " * (len(statements) > 2)
            + "f'(u)"
            + ", and dv that gradient times f(u)" * (len(statements) > 2)
            + ", by definition; the theorems on gradients of the layers before the last speak of these."
        )
    if edit:
        yield from map(_fold, EDIT.strip().split("\n\n"))
    else:
        yield _fold(
            "program_is_soft_moe: the program's result is y, defined below under THE LAYER from the weight "
            "tensor W. Each step of the program is a definition t1, t2, …; what each gives is a lemma, "
            "t1_is, …"
        )
    if gradients:
        yield _fold(
            "gradient_of_…: the reverse mode gives each operand its gradient g. For every d, y at (operand + "
            "d) paired with dy is y at the operand paired with dy, plus g paired with d: no remainder, so g "
            "is the derivative. An array that is used several times moves in one use after the other."
        )
    yield _fold("program_fits: every operation is defined for the shapes that it gets.")
    if script.sums:
        yield _fold(
            "What an entry is, where it is a long sum, has a name: sum1, sum2, …, by the step's number."
        )
    if script.positive:
        yield _fold(
            f"Sizes may be 0, but for {_join(script.positive)}: the program takes the first of so many "
            "entries."
        )
    yield "\n".join(["   The operands:", *(line for each in statements for line in _list_arrays(each))])
    for remark in dict.fromkeys(remark for statement in statements for remark in _remark(statement)):
        yield _fold(remark)
    yield _fold(
        "Not covered: rounding in floating point, gates, and whether the framework's operations are those of "
        "part I. To check the file: tensormoe check FILE, or coqc FILE (Coq 8.16). Coq must say "
        '"Closed under the global context": the theorems rest on nothing that is not proved here.'
    )


def _list_arrays(statement: Statement) -> Iterator[str]:
    for use in statement.uses:
        again = "" if use.name == use.array else f" (the same array as {use.array}, used again)"
        row = ", followed by a 1 as z" if use.array == statement.extended else ""
        indices = " ".join(
            enclose(index.name) for place in statement.names.places(use.operand.indices) for index in place
        )
        yield f"     {use.name} [{indices}]{row}{again}"


def _remark(statement: Statement) -> Iterator[str]:
    contraction = statement.contraction
    if statement.extended:
        row = statement.names.place(contraction.operands[0].indices[-1])[0]
        yield f"The last row of {row.name}, number {row.size[2:]}, is the bias: it multiplies the 1 of z."
    for split in contraction.splits:
        parts = ", ".join(split.parts)
        yield f"{split.mode} is numbered by its parts {parts}, of which the first varies slowest."
        limit = statement.names.limits.get(split.mode)
        if limit is not None:
            yield (
                f"The parts of {split.mode} make up {limit.size} values or more: {limit.size} <= "
                f"{write_size(limit.digits)} is assumed. Beyond {limit.size}, data are 0 and nothing is "
                f"claimed of results: inside {limit.size} k is 1 if k < {limit.size}, and 0 otherwise."
            )
    for choice in statement.choices:
        chosen = f"{choice.name} [b; j], for j < {choice.size}"
        yield (
            f"Of {choice.whole.name}, the program reads some values alone, for each input b its own: "
            f"{chosen}, which may be any. program_is_mixture_of_chosen: the result is {statement.result}, "
            "the mixture of these experts. program_is_soft_moe: it is that of all experts, if the places of "
            f"one input differ and its {choice.array} is 0 at all others. The theorems on gradients are "
            f"about {statement.result}: the places are constants in them."
        )
    last = statement.names.row
    if contraction.bias and last is not None:
        yield (
            f"The last row of {last.name}, number {last.size[2:]}, is the bias: there stand terms without "
            "the input mode, which are 0 in all others. same j k is 1 if j = k, and 0 otherwise."
        )
    units = [index for index, size in contraction.sizes if size == 1]
    if units:
        yield f"Of size 1, and so not written: {_join(units)}. The place along such an axis is 0."
    if contraction.fixed:
        yield f"Not trained, and here as arbitrary as the others: {_join(contraction.fixed)}."


def _join(names: Iterable[str]) -> str:
    return ", ".join(names)


def _fold(text: str) -> str:
    return "\n".join(wrap(text, 108, initial_indent="   ", subsequent_indent="   ", break_long_words=False))
