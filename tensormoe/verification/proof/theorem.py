"""Theorems with their proofs, as text."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ...networks.notation import BATCH, INPUT, Indices
from ...networks.splits import whole_names
from ...programs.contraction import Contraction, Operand
from ...terminal import substitute
from .derivation import ProofStep

_INDENT = "    "


@dataclass(frozen=True)
class _Letters:
    """What a contraction's result, its weight tensor and its input, followed by 1, are called."""

    result: str = "y"
    weight: str = "W"
    data: str = "z"


def theorem(contraction: Contraction, steps: Sequence[ProofStep]) -> str:
    """The theorem that a program computes a contraction, with its proof."""
    uses, contraction = contraction.operands, contraction.unshare()
    data = bool(contraction.data)
    lines = [
        f"Theorem. For all values{', every batch' * data} and all sizes of {_general([contraction])},",
        "the program computes",
        "",
        *_equations(contraction, _Letters()),
        *_remark_on_sharing(
            (own.name, use.name) for own, use in zip(contraction.operands, uses, strict=True)
        ),
        *_remark_on_choices(contraction),
        *_remark_on_sizes([contraction]),
        "",
        *_proof(steps),
        "",
        *_conclusion(contraction, steps),
    ]
    return substitute("\n".join(lines))


def chain_theorem(
    layers: Sequence[Contraction],
    nonlinearity: str,
    steps: Sequence[ProofStep],
    equal: Iterable[tuple[str, str]] = (),
) -> str:
    """The theorem that a program computes layers with a nonlinearity before the last, with its proof."""
    first, *up, last = layers
    f, result = nonlinearity, f"t{steps[-1].number}"
    lines = [
        f"Theorem. For all values, every batch, all sizes of {_general(layers)},",
        f"and any elementwise function {f}, the program computes",
        "",
        *_equations(last, _Letters("y", "W′", "z′")),
        "",
        f"where {f} is applied to each element of",
        "",
        *_equations(first, _Letters("u", "W", "z")),
        *_second_branch(up),
        *_remark_on_sharing(equal),
        *_remark_on_choices(first),
        *_remark_on_sizes(layers),
        "",
        *_proof(steps),
        "",
        *(_conclusion_of_gated if up else _conclusion_of_plain)(f, result, _on_coefficients(layers)),
    ]
    return substitute("\n".join(lines))


def _second_branch(layers: Sequence[Contraction]) -> Iterator[str]:
    for layer in layers:
        yield from ("", "and the result is multiplied, element by element, by", "")
        yield from _equations(layer, _Letters("v", "W″", "z"))


def _conclusion_of_plain(f: str, result: str, coefficients: str) -> Iterator[str]:
    yield f"By the distributive law, as in each layer alone, {f} is applied to u, and {result} is y."
    yield f"Nothing is known about {f}(u) except its indices."
    yield ""
    yield f"Run in the same way, the reverse mode gives {f}(u) and each of the second layer's operands"
    yield "the sum of the products of all others. In the first layer, ∂y is replaced by the gradient of"
    yield f"{f}(u) times {f}′(u). A coefficient's gradient is {coefficients}. ∎"


def _conclusion_of_gated(f: str, result: str, coefficients: str) -> Iterator[str]:
    yield f"By the distributive law, as in each layer alone, {f} is applied to u, the result is multiplied"
    yield f"by v, and {result} is y. Nothing is known about {f}(u) v except its indices."
    yield ""
    yield f"Run in the same way, the reverse mode gives {f}(u) v and each of the second layer's operands"
    yield f"the sum of the products of all others. Let g be the gradient of {f}(u) v. In the first layer, ∂y"
    yield f"is replaced by g {f}′(u) v, and in up by g {f}(u). The gradient of x is the sum of its gradients"
    yield f"in these two layers; a coefficient's is {coefficients}. ∎"


def _on_coefficients(layers: Sequence[Contraction]) -> str:
    """What the gradient of a coefficient is."""
    names = ("the first layer", *("up",) * (len(layers) - 2), "the second layer")
    taking = [name for name, layer in zip(names, layers, strict=True) if len(layer.data) > 1]
    if len(taking) == len(layers):
        return f"the sum of its gradients in {'both layers' if len(layers) == 2 else 'all three'}"
    return f"the sum of its gradients in {' and '.join(taking)}" if taking[1:] else f"that in {taking[0]}"


def _general(contractions: Sequence[Contraction]) -> str:
    """The indices whose sizes may be any."""
    free = {
        index: None
        for each in contractions
        for index, size in each.sizes
        if size > 1 and index != _single(each) and all(index != split.mode for split in each.splits)
    }
    return ", ".join(free)


def _single(contraction: Contraction) -> str | None:
    """The input mode if it holds a single input besides the bias: its sum has one term."""
    index = contraction.operands[0].indices[-1] if contraction.affine else None
    return index if index and dict(contraction.sizes)[index] == 2 else None


def _equations(contraction: Contraction, letters: _Letters) -> Iterator[str]:
    """What is computed, and the weight tensor that stands in it."""
    data = contraction.data
    open_ = _open(contraction)
    weight = letters.weight + _bracket(open_)
    if data:
        kept = [index for index in open_ if index not in contraction.output]
        product = [weight, *(_array_of(op, contraction, letters) for op in _in_order(contraction))]
        yield f"{_INDENT}{letters.result}{_bracket(contraction.output)} = {_sum(kept)}{' '.join(product)},"
    end = "," if _has_bias(contraction) else "."
    cores = [term.cores for term in contraction.terms]
    if _input_of(contraction):
        cores = [(*term, *_only_bias(contraction, term)) for term in cores]
    known = {*open_, *whole_names(contraction.splits)}
    bonds = [[index for index, _ in term.sizes if index not in known] for term in contraction.terms]
    yield from _equal(f"{_INDENT}{weight}", contraction, letters, zip(bonds, cores, strict=True), end)
    if _has_bias(contraction):
        first = contraction.operands[0]
        extended = f"{letters.data} = ({first.name}, 1)"
        yield f"{_INDENT}{extended}, so that the last row of {first.indices[-1]} holds the biases."
    for split in contraction.splits:
        parts = ", ".join(split.parts)
        yield f"{_INDENT}{split.mode} stands for {parts}: {split.parts[0]} varies slowest."
        if split.mode in contraction.padded:
            rest = f"what carries {split.mode} itself is 0 at the others."
            yield f"{_INDENT}It has the first of their values; {rest}"
    if any(_only_bias(contraction, term.cores) for term in contraction.terms):
        index = _input_of(contraction)
        yield f"{_INDENT}δ[{index}] is 1 in the last row of {index} and 0 in all others: its term is a bias."
        if not contraction.affine and contraction.bias != "row":
            yield f"{_INDENT}All other terms are 0 in that row."


def _input_of(contraction: Contraction) -> str:
    """The input mode."""
    return contraction.operands[0].indices[-1] if _reads_x(contraction) else INPUT * bool(contraction.bias)


def _reads_x(contraction: Contraction) -> bool:
    """Whether the first of the data is the input; those of merged weights are coefficients alone."""
    return bool(contraction.data) and not contraction.is_weight


def _in_order(contraction: Contraction) -> Sequence[Operand]:
    """The data in the order of the modes of W: the coefficients, then the input."""
    data = contraction.data
    return (*data[1:], data[0]) if _reads_x(contraction) else data


def _has_bias(contraction: Contraction) -> bool:
    """Whether there is an input, and a bias among the terms or in the last row."""
    biases = (_only_bias(contraction, term.cores) for term in contraction.terms)
    return _reads_x(contraction) and (contraction.affine or any(biases))


def _only_bias(contraction: Contraction, cores: Sequence[Operand]) -> tuple[Operand, ...]:
    """What restricts a term of a sum to the last row; nothing if it is not a bias."""
    index = _input_of(contraction)
    if not contraction.counts or not index or index in _carried(contraction, cores):
        return ()
    return (Operand("δ", (index,)),)


def _remark_on_sizes(contractions: Sequence[Contraction]) -> Iterator[str]:
    """What is said of indices that take no part."""
    for index in filter(None, map(_single, contractions)):
        yield ""
        yield f"There is one input besides the bias: {index} has size 2."
    fixed = dict.fromkeys(index for each in contractions for index, size in each.sizes if size == 1)
    if fixed:
        yield ""
        yield f"These have size 1 and are left out of the sums below: {', '.join(fixed)}."


def _remark_on_sharing(uses: Iterable[tuple[str, str]]) -> Iterator[str]:
    """What is said of a core that is used more than once."""
    again = [f"{separate} is {use}" for separate, use in uses if separate != use]
    if again:
        yield ""
        yield f"One array is used more than once: {', '.join(again)}. What is proved for any values of"
        yield "them holds for equal ones; the gradient of the array is the sum of the gradients of its uses."


def _remark_on_choices(contraction: Contraction) -> Iterator[str]:
    """What is said of indices of which each token has its own choice."""
    for mode, k in contraction.active:
        (level,) = (op.name for op in contraction.data if mode in op.indices)
        yield ""
        places = "one place" if k == 1 else f"{k} places"
        yield f"Here {mode} runs over {places} of each token's own, which {level} chooses. This is proved for"
        yield f"any choice. Where {level} is 0 at all other places, it is the sum over all of {mode}."


def _proof(steps: Sequence[ProofStep]) -> Iterator[str]:
    yield "Proof, in any commutative semiring. Each sum names the factors that carry its index:"
    yield ""
    statements = [substitute(step.statement) for step in steps]
    width = max(map(len, statements), default=0)
    for step, statement in zip(steps, statements, strict=True):
        yield f"{step.number:4}  {statement:<{width}}    {step.law}"
    if not steps:
        yield f"{_INDENT}The program returns its only operand."


def _conclusion(contraction: Contraction, steps: Sequence[ProofStep]) -> Iterator[str]:
    last = f"t{steps[-1].number}" if steps else contraction.operands[0].name
    if steps:
        what = "has a sum of products for each term of W" if contraction.counts else "is a sum of products"
        yield f"Unfolded, {last} {what}. Each factor appears once, and each index is summed"
        yield "once, after all factors that carry it have been multiplied:"
        yield ""
        products = [(_summed(term), term.operands) for term in contraction.terms]
        result = f"{_INDENT}{last}{_bracket(contraction.output)}"
        yield from _equal(result, contraction, _Letters(), products)
        yield ""
    if BATCH in contraction.output:
        yield "By the distributive law, the sums over bonds can be taken over the cores alone, which gives W:"
        yield f"{last} is y."
    others = "all others in its term" if contraction.counts else "all others"
    yield f"Run in the same way, the reverse mode gives each operand the sum of the products of {others}:"
    yield "its gradient. ∎"


def _open(contraction: Contraction) -> Indices:
    """The weight tensor's indices: those of cores that the output or the data carry, in W's order."""
    order = [index for op in _in_order(contraction) for index in op.indices] + [*contraction.output]
    held = _carried(contraction, contraction.cores)
    return tuple(index for index in dict.fromkeys(order) if index in held)


def _carried(contraction: Contraction, cores: Sequence[Operand]) -> set[str]:
    """The indices that cores carry, and those of which they carry parts."""
    whole = whole_names(contraction.splits)
    return {each for core in cores for index in core.indices for each in (index, whole.get(index, index))}


def _summed(term: Contraction) -> list[str]:
    """What a product is summed over; a sum over an index of size 1 is left out."""
    inner = term.in_parts
    held = {index for op in inner.operands for index in op.indices} - {*inner.output}
    return [index for index, size in term.sizes if index in held and size > 1]


def _equal(
    result: str,
    contraction: Contraction,
    letters: _Letters,
    products: Iterable[tuple[Sequence[str], Sequence[Operand]]],
    end: str = "",
) -> Iterator[str]:
    """A result, and the products whose sum it is, each with the indices that are summed."""
    lines: list[str] = []
    sign = f"{result} ="
    for summed, factors in products:
        shown = [_array_of(op, contraction, letters) for op in factors] or ["1"]
        lines += _wrap(f"{sign} {_sum(summed)}", shown)
        sign = " " * len(result) + " +"
    lines[-1] += end
    yield from lines


def _array_of(op: Operand, contraction: Contraction, letters: _Letters) -> str:
    name = letters.data if _has_bias(contraction) and op is contraction.operands[0] else op.name
    return name + _bracket(op.indices)


def _bracket(indices: Sequence[str]) -> str:
    return f"[{', '.join(indices)}]"


def _sum(indices: Sequence[str]) -> str:
    return f"Σ({' '.join(indices)}) " if indices else ""


def _wrap(start: str, factors: Sequence[str], width: int = 108) -> Iterator[str]:
    """A product over as many lines as it takes, its factors below each other."""
    text = start = substitute(start)
    for factor in map(substitute, factors):
        if len(text) + len(factor) >= width and text.strip():
            yield text.rstrip()
            text = " " * min(len(start), width // 2)
        text += factor + " "
    yield text.rstrip()
