"""Networks with named cores: used more than once, fixed, or both."""

from collections import Counter
from collections.abc import Iterator, Mapping
from math import prod
from string import ascii_uppercase

import numpy as np
from hypothesis import strategies as st

from ..networks.factorization import Factorization, Sum
from ..networks.notation import Indices, Notation, sum_of_named
from ..networks.tensor_network import TensorNetwork
from ..typing import NumPyArray, Shape

# More uses of one core take the prover long, which tries which is which.
_USES = 3
# A core without a name, with one of its own, or with one that cores of its shape share.
_KINDS = ("", "own", "shared", "shared")

_Fixed = dict[str, NumPyArray | str]


def with_equal_sizes(family: Factorization, size: int) -> Factorization:
    """The notations among a factorization's terms with this size of all bonds that join cores."""
    if isinstance(family, Sum):
        return Sum([with_equal_sizes(term, size) for term in family.terms])
    if not isinstance(family, TensorNetwork):
        return family
    cores = Notation.parse(family.text).cores
    joining = {name for name, _ in family.ranks if sum(name in core for core in cores) > 1}
    bonds = {name: size if name in joining else 1 for name, _ in family.ranks}
    return TensorNetwork.with_sizes(family.text, bonds, parts=dict(family.parts), pad=family.pad)


@st.composite
def name_cores(
    draw: st.DrawFn, family: Factorization, sizes: Mapping[str, int], shared: bool, fixed: bool
) -> Factorization:
    """The factorization with names for cores of its notations, some of which are one core, or fixed.

    Args:
        draw: passed by hypothesis.
        family: without names.
        sizes: of the modes, in a network of this family.
        shared: whether cores of equal shapes may be one.
        fixed: whether cores may be fixed.
    """
    terms = family.terms if isinstance(family, Sum) else (family,)
    joined = _join(terms)
    if joined is not None:
        return draw(_name(joined, sizes, shared, fixed))
    named = [
        draw(_name(term, sizes, shared, fixed)) if isinstance(term, TensorNetwork) else term for term in terms
    ]
    return Sum(named) if len(named) > 1 else named[0]


def _join(terms: tuple[Factorization, ...]) -> TensorNetwork | None:
    """One notation of all terms, whose cores may then be shared between them; None if there is none."""
    texts: list[str] = []
    bonds: dict[str, int] = {}
    for number, term in enumerate(terms):
        if not isinstance(term, TensorNetwork) or (term.parts and len(terms) > 1):
            return None
        own = {name: f"{name}{number or ''}" for name, _ in term.ranks}
        bonds |= {own[name]: size for name, size in term.ranks}
        texts += [
            ", ".join(" ".join(own.get(index, index) for index in core) for core in cores)
            for cores in Notation.parse(term.text).terms
        ]
    (first, *_) = terms
    assert isinstance(first, TensorNetwork)
    return TensorNetwork.with_sizes(" + ".join(texts), bonds, parts=dict(first.parts), pad=first.pad)


@st.composite
def _name(
    draw: st.DrawFn, network: TensorNetwork, modes: Mapping[str, int], shared: bool, fixed: bool
) -> TensorNetwork:
    notation = Notation.parse(network.text)
    sizes = {**modes, **dict(network.ranks)}
    for split in network.splits():
        sizes |= zip(split.parts, split.sizes, strict=True)
    terms = [[*term] for term in notation.terms]
    if shared:
        # Chance alone hardly ever gives two cores one shape.
        for _ in range(draw(st.integers(0, 2))):
            term = draw(st.sampled_from(terms))
            term.append(_use_again(draw, draw(st.sampled_from(term)), term, sizes))
    letters: dict[Shape, str] = {}
    shapes: dict[str, Shape] = {}
    uses: Counter[str] = Counter()

    def name(core: Indices) -> str:
        """A name for a core, or none."""
        shape = tuple(sizes[index] for index in core)
        letter = letters.setdefault(shape, ascii_uppercase[len(letters)])
        kind = draw(st.sampled_from(_KINDS if shared else _KINDS[:2]))
        if not kind:
            return ""
        chosen = letter if kind == "shared" and uses[letter] < _USES else f"{letter}{len(uses) + 1}"
        uses[chosen] += 1
        shapes[chosen] = shape
        return chosen

    named = [[(name(core), core) for core in term] for term in terms]
    values: _Fixed = {}
    for each in shapes if fixed else ():
        if draw(st.booleans()):
            values[each] = draw(st.sampled_from([*_values_of(shapes[each])]))
    text = str(sum_of_named(named))
    return TensorNetwork.with_sizes(text, dict(network.ranks), values, dict(network.parts), network.pad)


def _use_again(draw: st.DrawFn, core: Indices, term: list[Indices], sizes: Mapping[str, int]) -> Indices:
    """Other indices of a term, of the sizes of a core's own."""
    every = sorted({index for other in term for index in other})
    chosen: list[str] = []
    for own in core:
        fitting = [each for each in every if sizes[each] == sizes[own] and each not in chosen]
        chosen.append(draw(st.sampled_from(fitting)))
    return tuple(chosen)


def _values_of(shape: Shape) -> Iterator[NumPyArray | str]:
    """What a fixed core of a shape may be."""
    yield "signs 1"
    yield np.reshape(np.arange(prod(shape)) % 5 - 2.0, shape)
    yield "gaussian 2"
    if len(shape) == 2:
        yield from ("hash 3", f"blocks {min(shape)}")
    if len(shape) > 1 and len({*shape}) == 1:
        # Most often, since much depends on where it is.
        yield from ["identity"] * 4
        if len(shape) == 2:
            yield from ("dct", "dft", *["hadamard"] * (shape[0] & (shape[0] - 1) == 0))
