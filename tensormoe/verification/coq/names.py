"""What a certificate calls indices, sizes and operands: as the notation does, where Coq allows it."""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.resources import files
from math import prod

from ...networks.notation import BATCH, Indices
from ...networks.splits import Split
from ...programs.contraction import Contraction, Operand
from ..proof.world import find_digits
from .forms import Index, Place, UnsayableError, short_of

# Stands for any number of tokens: a prime that is no product of other sizes.
ANY_BATCH = 2**521 - 1
# What Coq, the parts of its library that are read, and the file itself call something.
_WORDS = """
as at by cofix else end exists exists2 fix for forall fun if in let match mod return then using where with
Prop Set Type SProp O S W V y d dy i0 seq map nth last combine firstn skipn removelast repeat length app
concat nat list bool true false eq le lt ge gt not and or I ex pair fst snd cons nil Some None option unit tt
id R zero one add mul laws semiring Certificate Program certificate program_is_soft_moe program_fits
"""
_DEFINED = re.compile(r"(?:Definition|Fixpoint|Lemma|Ltac|Record) (\w+)")


@cache
def read_prelude() -> str:
    """The definitions and lemmas that every certificate begins with."""
    return files(__package__).joinpath("prelude.v").read_text(encoding="utf-8")


@cache
def _find_taken() -> frozenset[str]:
    """The names that an index or an operand cannot have."""
    defined = " ".join(_DEFINED.findall(read_prelude()))
    return frozenset(re.findall(r"[A-Za-z_]\w*", f"{_WORDS} {defined} entry Array"))


class Names:
    """Names for the indices and arrays of contractions.

    Args:
        contractions: of one layer, or of those of a block, whose indices have names of their own.
        equal: pairs of indices that have one size without a bias.
        reserved: names that the certificate gives to something else.
        further: parts of indices that no core carries, but of others of their size.

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
    ) -> None:
        self._taken = {*_find_taken(), *reserved}
        sizes = {BATCH: ANY_BATCH} | {index: size for each in contractions for index, size in each.sizes}
        splits = [split for each in contractions for split in each.splits] + [*further]
        _check_splits(splits, sizes)
        self._digits, finest = find_digits(splits)
        sizes |= finest
        operands = [operand for each in contractions for operand in each.operands]
        output = [index for each in contractions for index in each.output]
        used = [index for operand in operands for index in operand.indices]
        held = {digit for index in (*used, *output) for digit in self._spread(index)}
        # The batch first, then as the contraction lists them.
        self.order = [index for index in sizes if index in held]
        self.extended = {each.operands[0].indices[-1] for each in contractions if each.affine}
        arrays = dict.fromkeys(operand.name for operand in operands)
        self.arrays = {name: self.fresh(name) for name in arrays}
        merged = _join_sizes(operands, equal, self.order, self._spread)
        variables = {index: self.fresh("b" if index == BATCH else index) for index in self.order}
        alike = _join_sizes(operands, (), self.order, self._spread)
        rows = {(alike[index], sizes[index]) for index in self.extended}
        self._with_row = {index for index in self.order if (alike[index], sizes[index]) in rows}
        texts: dict[str, str] = {}
        for index in self.order:
            if merged[index] not in texts and sizes[index] != 1:
                # A single input beside the bias: axes of size 1 have no variable.
                single = index in self._with_row and sizes[index] == 2
                texts[merged[index]] = "1" if single else self.fresh(f"N_{variables[merged[index]]}")
        self.sizes = tuple(text for text in texts.values() if text != "1")
        self._indices = {
            index: self._make(index, variables[index], texts[merged[index]], sizes[index])
            for index in self.order
            if sizes[index] != 1
        }

    def fresh(self, name: str) -> str:
        """A name that Coq can use and that nothing else has."""
        name = name.replace("′", "_2").replace("″", "_up").replace(".", "_")
        text = "".join(c if (c.isascii() and c.isalnum()) or c == "_" else f"u{ord(c):x}" for c in name)
        while text in self._taken or (text[0] == "t" and text[1:].isdigit()) or text.startswith("H"):
            text = f"_{text}" if text.startswith("H") else f"{text}_"
        self._taken.add(text)
        return text

    def place(self, index: str) -> Place:
        """An index along an axis: its parts, if it is split; nothing if its size is 1."""
        return tuple(self._indices[digit] for digit in self._spread(index) if digit in self._indices)

    def places(self, indices: Iterable[str]) -> tuple[Place, ...]:
        """One place for each of some indices."""
        return tuple(map(self.place, indices))

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
        return Index(name, f"S {size}" if index in self._with_row else size, count)


def _check_splits(splits: Iterable[Split], sizes: dict[str, int]) -> None:
    for split in splits:
        if prod(split.sizes) != sizes[split.mode]:
            raise UnsayableError(str(split), "parts have more values than their mode")


def _join_sizes(
    operands: Sequence[Operand],
    equal: Iterable[tuple[str, str]],
    indices: Iterable[str],
    spread: Callable[[str], Indices],
) -> dict[str, str]:
    """For each index the first whose size it shares: where one array is used with several."""
    known: dict[str, str] = {}

    def root(index: str) -> str:
        while known.setdefault(index, index) != index:
            index = known[index]
        return index

    def join(one: str, other: str) -> None:
        kept, joined = spread(one), spread(other)
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
