"""Split modes: a mode whose values are numbered by those of several parts, the first of which varies slowest.

With `i=(24, 32)`, the input i = 32 i1 + i2 has the parts i1 and i2. Cores carry the parts; the weight tensor
has the mode itself. Parts may make up more values than the mode has, if padding is asked for: then the mode
is the first of them, and data are 0 at the others.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod

from ..errors import TensorMoEError, as_tuple, is_listed, positive_integer

Indices = tuple[str, ...]

# In a sum, the number of its term is at the end of a part's name.
_PART = re.compile(r"[io]\d+(_\d+)*|n\d+(_\d+)+")

# Modes that can be split: the input, the output, the experts of the only level or of one of several.
_SPLIT_MODE = re.compile(r"[ion]|n\d+")


@dataclass(frozen=True)
class Split:
    """A mode in parts: i of 768 values as i1 of 24 and i2 of 32.

    Args:
        mode: the mode's name.
        parts: the names of its parts; the first varies slowest.
        sizes: the size of each part.
        pad: whether the parts may make up more values than the mode has.

    Examples:
        >>> from tensormoe.networks.splits import Split
        >>> split = Split.of("i", (24, 32))
        >>> split.parts, split.size, str(split)
        (('i1', 'i2'), 768, 'i=(24, 32)')
    """

    mode: str
    parts: Indices
    sizes: tuple[int, ...]
    pad: bool = False

    @staticmethod
    def of(mode: str, sizes: object, pad: bool = False) -> "Split":
        """The split of a mode, with the names of parts that a notation uses: i1, i2, …; n1_1, n1_2, … of n1.

        Raises:
            TensorMoEError: fewer than two sizes, or one that is not a positive integer.
        """
        values, stem = as_tuple(sizes), mode if mode.isalpha() else f"{mode}_"
        if not is_listed(sizes) or len(values) < 2:
            remedy = (
                f"{mode!r} is a mode, whose size comes from the layer: leave it out, or pass the sizes of "
                f"two or more parts, which the notation calls {stem}1, {stem}2, …"
            )
            raise TensorMoEError(mode, sizes, remedy)
        checked = tuple(positive_integer(mode, size) for size in values)
        return Split(mode, tuple(f"{stem}{number}" for number in range(1, len(values) + 1)), checked, pad)

    @property
    def size(self) -> int:
        """The number of values that the parts have together."""
        return prod(self.sizes)

    @property
    def fewest(self) -> int:
        """The fewest values that the mode may have; with padding, so many that no value of a part is idle."""
        first, rest = self.sizes[0], self.size // self.sizes[0]
        return min(rest * max(first - 1, 1) + 1, self.size) if self.pad else self.size

    def name_parts(self, end: str) -> "Split":
        """The same with this at the end of each part's name."""
        return replace(self, parts=tuple(part + end for part in self.parts))

    def __str__(self) -> str:
        return f"{self.mode}={self.sizes}"


def is_split_mode(name: object) -> bool:
    """Whether `name` is that of a mode that can be split."""
    return isinstance(name, str) and _SPLIT_MODE.fullmatch(name) is not None


def is_part(name: str) -> bool:
    """Whether `name` can only be that of a part of a split mode; n1 is also that of a level of experts."""
    return _PART.fullmatch(name) is not None


def whole_names(splits: Iterable[Split]) -> dict[str, str]:
    """The mode of each part, by the part's name."""
    return {part: split.mode for split in splits for part in split.parts}


def part_sizes(splits: Iterable[Split]) -> dict[str, int]:
    """The size of each part, by its name."""
    return {part: size for split in splits for part, size in zip(split.parts, split.sizes, strict=True)}


def use_parts(indices: Indices, splits: Iterable[Split]) -> Indices:
    """Indices with the parts of a mode in its place."""
    parts = {split.mode: split.parts for split in splits}
    return tuple(part for index in indices for part in parts.get(index, (index,)))


def find_carried(splits: Iterable[Split], cores: Iterable[Indices]) -> tuple[Split, ...]:
    """The splits whose parts some of these cores carry."""
    carried = {index for core in cores for index in core}
    return tuple(split for split in splits if carried & {*split.parts})


def check_terms(notation: str, terms: Sequence[Sequence[Indices]], splits: Sequence[Split]) -> None:
    """Reject a term that carries some of a mode's parts, or the mode and its parts, and a split of no use."""
    for split in splits:
        for number, term in enumerate(terms, start=1):
            carried = {index for core in term for index in core}
            missing = [part for part in split.parts if part not in carried]
            where = f"term {number}" if len(terms) > 1 else "the notation"
            if missing and len(missing) < len(split.parts):
                remedy = f"{where} lacks {missing[0]!r}, and a term carries all parts of {split} or none"
                raise TensorMoEError("notation", notation, remedy)
            others = {split.mode, *(p for other in splits if other != split for p in _same(other, split))}
            if not missing and carried & others:
                remedy = (
                    f"{where} carries {min(carried & others)!r} beside the parts of {split}: use only these"
                )
                raise TensorMoEError("notation", notation, remedy)
        if not find_carried([split], [core for term in terms for core in term]):
            parts = " and ".join(map(repr, split.parts[:2]))
            remedy = (
                f"{notation!r} does not carry {parts}, the parts of {split.mode!r}: use them, or leave it out"
            )
            raise TensorMoEError(split.mode, split.sizes, remedy)
    known = whole_names(splits)
    for name in sorted({index for term in terms for core in term for index in core} - {*known}):
        if is_part(name):
            mode = name.partition("_")[0] if name.startswith("n") else name[0]
            remedy = f"{name!r} is a part of {mode!r}: pass {mode}=(…), the size of each of its parts"
            raise TensorMoEError("notation", notation, remedy)


def check_level(splits: Sequence[Split], experts: Sequence[int]) -> None:
    """Reject a split of the experts of the only level where there are several, and of a missing level."""
    for split in splits:
        if split.mode == "n" and len(experts) != 1:
            remedy = (
                f"{split} splits the experts of one level, and experts={tuple(experts)} has {len(experts)}: "
                f"pass experts={split.size}, or leave out n where n1, n2, … are levels, each with parts of "
                "its own as in n1=(…, …)"
            )
            raise TensorMoEError("n", split.sizes, remedy)
        if split.mode[1:] and (len(experts) == 1 or int(split.mode[1:]) not in range(1, len(experts) + 1)):
            remedy = f"experts={tuple(experts)} has {len(experts)} level(s), and none is called {split.mode}"
            remedy += ": the parts of the only level are those of n" if len(experts) == 1 else ""
            raise TensorMoEError(split.mode, split.sizes, remedy)


def check_sizes(splits: Sequence[Split], sizes: Mapping[str, int]) -> None:
    """Reject parts that do not make up their mode, and splits of one mode that share no finer one."""
    for split in splits:
        _check_size(split, sizes[split.mode])
        for other in splits:
            if other.mode == split.mode:
                refine(split, other)


def _check_size(split: Split, whole: int) -> None:
    """Reject parts that make up too few values, too many without padding, or some that are all padding."""
    if split.fewest <= whole <= split.size:
        return
    what = {"i": "inputs", "o": "outputs"}.get(split.mode, "experts")
    made = f"these parts make {split.size:,} of {whole:,} {what}: "
    if split.size < whole or not split.pad:
        also = f", or {whole:,} or more with pad=True, which pads with zeros"
        raise TensorMoEError(split.mode, split.sizes, f"{made}pass sizes whose product is {whole:,}{also}")
    enough = -(-whole // (split.size // split.sizes[0]))
    remedy = f"with {enough} in place of {split.sizes[0]} they make enough"
    if enough == 1:
        remedy = f"{split.parts[0]} would always be 0; pass smaller sizes of the other parts"
    raise TensorMoEError(split.mode, split.sizes, made + remedy)


def refine(split: Split, other: Split) -> tuple[int, ...]:
    """The sizes of the finest parts of two splits of one mode, the slowest first.

    Raises:
        TensorMoEError: a part of one of them ends within a part of the other.

    Examples:
        >>> from tensormoe.networks.splits import Split, refine
        >>> refine(Split.of("i", (24, 32)), Split.of("i", (4, 192)))
        (4, 6, 32)
    """
    steps = sorted({step for each in (split, other) for step in _steps(each.sizes)})
    if split.size != other.size:
        remedy = (
            f"{split} of another term makes {split.size:,} values, and this {other.size:,}: make them equal"
        )
        raise TensorMoEError(split.mode, other.sizes, remedy)
    for inner, outer in pairwise(steps):
        if outer % inner:
            remedy = (
                f"beside {split.sizes}, its parts end within parts of the other term: nest one in the other"
            )
            raise TensorMoEError(split.mode, other.sizes, remedy)
    return tuple(outer // inner for inner, outer in reversed([*pairwise(steps)]))


def _steps(sizes: Sequence[int]) -> list[int]:
    """How many values lie between neighbours of each part, and those of all."""
    return [prod(sizes[place:]) for place in range(len(sizes) + 1)]


def _same(other: Split, split: Split) -> Indices:
    """The parts of another split of the same mode."""
    return other.parts if other.mode == split.mode else ()
