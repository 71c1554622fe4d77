"""What arrays should be by the definition, and how one differs from that."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from ...networks.notation import INPUT, Indices
from ...programs.contraction import Contraction, Operand
from .choices import add_choices
from .symbolic import Symbolic
from .trace import ProofError
from .world import BIAS, INPUTS, Axis, LawError, Part, Rows, Term, World


def whole_axes(world: World, indices: Indices) -> tuple[Axis, ...]:
    """Axes with all of each index."""
    return tuple(world.axis(Part(index, 0, world.sizes[index])) for index in indices)


def product_of(world: World, factors: Collection[str], kept: Indices) -> Term:
    """All factors, summed over every index that is not kept."""
    names = frozenset(factors)
    carried = {index for index, carriers in world.carriers.items() if carriers & names}
    summed = (each for each in carried - world.expand(kept) if world.is_digit(each))
    return Term(names, frozenset(index for index in summed if world.sizes[index] > 1))


def products_of(world: World, contraction: Contraction) -> list[Term]:
    """The products whose sum a contraction is."""
    products = []
    for term in contraction.terms:
        rows = rows_of(world, contraction, term)
        product = product_of(world, add_choices(world.choices, _names(term)), term.output)
        # Over a single input there is no sum.
        once = {index for index, _ in rows if world.sizes[index] == 2}
        products.append(replace(product, summed=product.summed - once, rows=rows))
    return products


def _names(term: Contraction) -> list[str]:
    return [op.name for op in term.operands]


def rows_of(world: World, contraction: Contraction, term: Contraction) -> frozenset[Rows]:
    """The rows of the input mode that a term is in, if not all: those of inputs, where others have a bias."""
    if not contraction.bias:
        data = contraction.data[:1]
        inputs = {index for op in data if op in term.operands for index in op.indices} & {*world.data}
        return frozenset((index, INPUTS) for index in inputs if not contraction.affine)
    if INPUT not in term.output:
        return frozenset({(INPUT, BIAS)})
    return frozenset({(INPUT, INPUTS)} if contraction.bias == "further row" else ())


def gradients_of(world: World, contraction: Contraction, cotangent: str, operand: Operand) -> list[Term]:
    """The gradient with respect to an operand: one product for each term that it is in."""
    terms = [term for term in contraction.terms if operand in term.operands]
    return [
        gradient_term(world, {cotangent, *_names(term)}, operand, rows_of(world, contraction, term))
        for term in terms
    ]


def gradient_term(world: World, factors: Collection[str], operand: Operand, rows: frozenset[Rows]) -> Term:
    """The gradient of the sum of a product: the product of all factors but the operand."""
    others = product_of(world, add_choices(world.choices, factors) - {operand.name}, operand.indices)
    short = {(index, INPUTS) for index, data in world.data.items() if data == operand.name}
    # In a single row there is no sum: in the bias row, or in that of the only input.
    once = {index for index, kept in rows if kept == BIAS or world.sizes[index] == 2}
    return replace(others, summed=others.summed - world.expand(once), rows=rows | short)


def check_sums(sources: Sequence[Symbolic], result: Symbolic) -> None:
    """Raise `LawError` if an index was summed over while an operand that carries it is still to come."""
    before = {index for source in sources for term in source.terms for index in term.summed}
    for term in result.terms:
        for index in sorted(term.summed - before):
            late = ", ".join(sorted(result.world.missing(term, index)))
            if late:
                raise LawError(f"sums over {index} before {late}, which carries it, has been multiplied in")


def check_array(what: str, array: Symbolic, axes: Sequence[Axis], expected: Sequence[Term]) -> None:
    """Raise an error if a result is not what the definition says."""
    reason = difference(array, axes, expected)
    if reason is not None:
        raise ProofError(what, f"every step is lawful, but {reason}")


def difference(array: Symbolic, axes: Sequence[Axis], expected: Sequence[Term]) -> str | None:
    """How an array differs from a sum of products with these axes; None if it does not."""
    reason = _difference_of_terms(array.terms, expected)
    if reason is None and array.axes != tuple(axes):
        return f"its axes are {_show(array.axes)} where {_show(axes)} is asked for"
    return reason


def _difference_of_terms(terms: Sequence[Term], expected: Sequence[Term]) -> str | None:
    if len(terms) != len(expected):
        count = {1: "one", 2: "two", 3: "three"}.get(len(expected), len(expected))
        return f"it is a sum of {len(terms)} products, and the definition has {count}"
    further = [term for term in terms if term not in expected]
    lacking = [term for term in expected if term not in terms]
    return _difference_of_products(further[0], lacking[0]) if lacking else None


def _difference_of_products(term: Term, expected: Term) -> str:
    if expected.factors - term.factors:
        return f"it lacks the factor {', '.join(sorted(expected.factors - term.factors))}"
    if term.factors - expected.factors:
        return f"it has the further factor {', '.join(sorted(term.factors - expected.factors))}"
    for index, _ in sorted(term.rows ^ expected.rows):
        lost = {INPUTS: "the bias row is left out", BIAS: "only the bias row is used"}
        return lost.get(term.rows_of(index) or "", f"it uses all rows of {index}")
    if expected.summed - term.summed:
        return f"it is not summed over {', '.join(sorted(expected.summed - term.summed))}"
    return f"it is summed over {', '.join(sorted(term.summed - expected.summed))}, which is to be kept"


def _show(axes: Sequence[Axis]) -> str:
    return ", ".join(" ".join(part.index for part in axis) or "1" for axis in axes)
