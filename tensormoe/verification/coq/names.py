"""What a certificate calls indices, sizes and operands: as the notation does, where Coq allows it."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from itertools import compress, product
from math import prod

from ...networks.notation import BATCH, INPUT, Indices
from ...networks.splits import Split
from ...programs.contraction import Contraction, Operand
from ..proof.world import find_digits
from .forms import (
    FIRST,
    Index,
    Place,
    UnsayableError,
    enclose,
    short_of,
    sizes_of,
    variables,
    write_place,
    write_size,
)

# Stands for any number of tokens: a prime that is no product of other sizes.
ANY_BATCH = 2**521 - 1
# What Coq, the parts of its library that are read, and the file itself call something.
_WORDS = """
as at by cofix else end exists exists2 fix for forall fun if in let match mod return then using where with
Prop Set Type SProp O S W V y d dy i0 seq map nth last combine firstn skipn removelast repeat length app
concat nat list bool true false eq le lt ge gt not and or I ex pair fst snd cons nil Some None option unit tt
id R zero one add mul laws semiring Certificate Program certificate program_is_soft_moe program_fits
E linear Zero One Plus Times Sum Atom Moved Move whole rest change parts
"""
# What a step gives.
_NUMBERED = re.compile(r"t\d+|sum\d+(_\d+)?")
# What is read only where it is needed, in this order.
PARTS = ("same", "padding", "choices", "parts")
_DEFINED = re.compile(r"(?:Definition|Fixpoint|Lemma|Ltac|Record|Inductive) (\w+)")
# Where the prelude takes in another file: a certificate is one file.
_LOADED = re.compile(r"^Load (\w+)\.\n", re.MULTILINE)


@cache
def read_prelude(parts: Sequence[str] = ()) -> str:
    """The definitions and lemmas that every certificate begins with, and those that some have besides."""
    text, heading = _LOADED.sub(lambda match: _read(match[1]), _read("prelude")), "(* III. THE LAYER. *)"
    return text.replace(heading, "\n".join([*map(_read, parts), heading]))


def has_prelude(text: str) -> bool:
    """Whether a file begins with these definitions, with some of the further parts or without."""
    choices = product((False, True), repeat=len(PARTS))
    return any(read_prelude(tuple(compress(PARTS, chosen))) in text for chosen in choices)


def _read(name: str) -> str:
    return files(__package__).joinpath(f"{name}.v").read_text(encoding="utf-8")


@cache
def _find_taken() -> frozenset[str]:
    """The names that an index or an operand cannot have."""
    defined = " ".join(_DEFINED.findall(read_prelude(PARTS)))
    return frozenset(re.findall(r"[A-Za-z_]\w*", f"{_WORDS} {defined} entry Array"))


@dataclass(frozen=True)
class Choice:
    """The places that are chosen of a level's experts.

    Args:
        array: the coefficients.
        name: what the places are called.
        whole: the index of all experts.
        place: the index of the chosen ones; () if there is one.
        size: how many are chosen.
        count: the same, in the program at hand.
    """

    array: str
    name: str
    whole: Index
    place: Place
    size: str
    count: int

    def at(self, token: Place) -> Index:
        """The place that an input chooses."""
        digits = (*token, *(self.place or (FIRST,)))
        return Index("", self.whole.size, self.whole.count, digits, stem=self.name).rename({})


class Names:
    """Names for the indices and arrays of contractions.

    Args:
        contractions: of one layer, or of those of a block, whose indices have names of their own.
        equal: pairs of indices that have one size without a bias.
        reserved: names that the certificate gives to something else.
        further: parts of indices that no core carries, but of others of their size.
        products: for indices without parts: another in parts, whose size they have without a bias.

    Attributes:
        order: all indices, each mode that is split in its parts, in the contractions' order.
        extended: the input modes whose last row is the bias.
    """

    def __init__(
        self,
        contractions: Sequence[Contraction],
        equal: Sequence[tuple[str, str]] = (),
        reserved: Iterable[str] = (),
        further: Sequence[Split] = (),
        products: Mapping[str, str] | None = None,
    ) -> None:
        self._taken = {*_find_taken(), *reserved}
        sizes = {BATCH: ANY_BATCH} | {index: size for each in contractions for index, size in each.sizes}
        splits = [split for each in contractions for split in each.splits] + [*further]
        self._digits, finest = find_digits(splits)
        sizes |= finest
        operands = [operand for each in contractions for operand in each.operands]
        output = [index for each in contractions for index in each.output]
        used = [index for operand in operands for index in operand.indices]
        held = {digit for index in (*used, *output) for digit in self._spread(index)}
        # The batch first, then as the contraction lists them.
        self.order = [index for index in sizes if index in held]
        self.extended = {each.operands[0].indices[-1] for each in contractions if each.affine}
        self.extended |= {INPUT for each in contractions if each.bias == "row"}
        arrays = dict.fromkeys(operand.name for operand in operands)
        self.arrays = {name: self.fresh(name) for name in arrays}
        merged = _join_sizes(operands, equal, self.order, self._spread, sizes)
        variables = {index: self.fresh("b" if index == BATCH else index) for index in self.order}
        alike = _join_sizes(operands, (), self.order, self._spread, sizes)
        rows = {(alike[index], sizes[index]) for index in self.extended}
        self._with_row = {index for index in self.order if (alike[index], sizes[index]) in rows}
        texts: dict[str, str] = {}
        for index in self.order:
            if merged[index] not in texts and sizes[index] != 1:
                # A single input beside the bias: axes of size 1 have no variable.
                single = index in self._with_row and sizes[index] == 2
                texts[merged[index]] = "1" if single else self.fresh(f"N_{variables[merged[index]]}")
        self.sizes = tuple(text for text in texts.values() if text != "1")
        self._products = products or {}
        for index, other in self._products.items():
            parts = [texts[merged[digit]] for digit in self._spread(other) if sizes[digit] != 1]
            self.sizes = tuple(text for text in self.sizes if text != texts[merged[index]])
            texts[merged[index]] = enclose(write_size(tuple(Index("", text) for text in parts)))
        self._indices = {
            index: self._make(index, variables[index], texts[merged[index]], sizes[index])
            for index in self.order
            if sizes[index] != 1
        }
        self._wholes: dict[str, Index] = {}
        self.limits: dict[str, Index] = {}
        for split in splits:
            if split.size > sizes[split.mode] and split.mode not in self.limits:
                self.limits[split.mode] = self._limit(split.mode, sizes[split.mode])
        self.choices = [choice for each in contractions for choice in self._choose(each)]
        self.adds_row = False
        self.row = self._find_row({each.bias for each in contractions} - {""})

    def _choose(self, contraction: Contraction) -> list[Choice]:
        """The choices of a contraction, by level."""
        choices = []
        for mode, count in contraction.active:
            (level,) = (each for each in contraction.data if each.indices[-1:] == (mode,))
            (whole,), name = self.place(mode), self.fresh(f"J_{mode}")
            size = "1" if count == 1 else self.fresh(f"K_{mode}")
            self._taken.add(f"{name}_in")
            place = () if count == 1 else (Index(self.fresh(f"j{mode[1:]}"), size, count),)
            self.sizes += (size,) * bool(place)
            choices.append(Choice(self.arrays[level.name], name, whole, place, size, count))
        return choices

    def _limit(self, mode: str, count: int) -> Index:
        """An index whose parts make up more values than it has."""
        digits = variables(index for digit in self._spread(mode) for index in self.place(digit))
        # One size where one array, or a layer's result, is used with several such indices.
        alike = (each for each in self.limits.values() if sizes_of(each.digits) == sizes_of(digits))
        like = next((each for each in alike if each.count == count), None)
        if like is None:
            variable = self.fresh(mode)
            like = Index(variable, self.fresh(f"N_{variable}"), count, proof=f"within_{variable}")
            self._wholes[like.size] = replace(like, proof="")
            self.sizes += (like.size,)
        return replace(like, name=write_place(digits), digits=digits)

    def _find_row(self, kinds: set[str]) -> Index | None:
        """The rows of a weight tensor of which the last is that of terms that are biases."""
        if not kinds:
            return None
        place = self.place(INPUT)
        if kinds == {"row"}:
            return place[0]
        count = prod(index.count for index in place)
        self.adds_row = True
        return Index(self.fresh("row"), f"S {enclose(write_size(place))}", count + 1)

    def fresh(self, name: str) -> str:
        """A name that Coq can use and that nothing else has."""
        name = name.replace("′", "_2").replace("″", "_up").replace(".", "_")
        text = "".join(c if (c.isascii() and c.isalnum()) or c == "_" else f"u{ord(c):x}" for c in name)
        while text in self._taken or _NUMBERED.fullmatch(text) or text.startswith("H"):
            text = f"_{text}" if text.startswith("H") else f"{text}_"
        self._taken.add(text)
        return text

    def place(self, index: str) -> Place:
        """An index along an axis: its parts, if it is split; nothing if its size is 1."""
        if index in self.limits:
            return (self.limits[index],)
        return tuple(self._indices[digit] for digit in self._spread(index) if digit in self._indices)

    def places(self, indices: Iterable[str]) -> tuple[Place, ...]:
        """One place for each of some indices."""
        return tuple(map(self.place, indices))

    def as_one(self, index: Index) -> Index:
        """An index as a variable, if its parts make up more values."""
        return self._wholes[index.size] if index.digits else index

    def output(self, contraction: Contraction) -> tuple[Place, ...]:
        """One place for each index of a result."""
        if not contraction.bias or self.row is None:
            return self.places(contraction.output)
        row = (self.row,)
        return tuple(row if index == INPUT else self.place(index) for index in contraction.output)

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the prelude that not every certificate has."""
        padding = self.limits or self.row
        used = (padding or self.choices, padding, self.choices, self._products)
        return tuple(compress(PARTS, map(bool, used)))

    @property
    def single(self) -> Index | None:
        """An index of a single input and the bias, if there is one."""
        indices = (self._indices[index] for index in self.order if index in self.extended)
        return next((index for index in indices if not short_of(index)), None)

    def whole(self, indices: Iterable[str]) -> list[Index]:
        """The variables of indices, in the contraction's order."""
        wanted = {digit for index in indices for digit in self._spread(index)}
        return [self._indices[index] for index in self.order if index in wanted and index in self._indices]

    def _spread(self, index: str) -> Indices:
        return self._digits.get(index, (index,))

    def _make(self, index: str, name: str, size: str, count: int) -> Index:
        return Index(name, f"S {enclose(size)}" if index in self._with_row else size, count)


def _join_sizes(
    operands: Sequence[Operand],
    equal: Iterable[tuple[str, str]],
    indices: Iterable[str],
    spread: Callable[[str], Indices],
    sizes: Mapping[str, int],
) -> dict[str, str]:
    """For each index the first whose size it shares: where one array is used with several."""
    sized = {index for index, size in sizes.items() if size != 1}
    known: dict[str, str] = {}

    def root(index: str) -> str:
        while known.setdefault(index, index) != index:
            index = known[index]
        return index

    def join(one: str, other: str) -> None:
        kept, joined = spread(one), spread(other)
        if len(kept) != len(joined):
            # Parts of size 1 have no variable.
            kept, joined = (tuple(digit for digit in each if digit in sized) for each in (kept, joined))
        if len(kept) != len(joined):
            raise UnsayableError([one, other], "axes of one array are in different parts")
        for left, right in zip(kept, joined, strict=True):
            known[root(right)] = root(left)

    for one, other in equal:
        join(one, other)
    first = {operand.name: operand.indices for operand in reversed(operands)}
    for operand in operands:
        for one, other in zip(first[operand.name], operand.indices, strict=True):
            join(one, other)
    return {index: root(index) for index in indices}
