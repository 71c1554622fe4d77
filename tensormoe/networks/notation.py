"""Index notation: one line that lists the cores of a tensor network by their indices.

    "n r, i r, r o"        three cores: (n, r), (i, r) and (r, o)
    "i o + n r, i r, r o"  a sum of two terms: what all experts share, and what each adds
    "n i r, n r o + n o"   low-rank experts, each with its own bias
    "n r, A: i r, A: o r"  a core named A, which is used twice
    "n i1 o1, n i2 o2"     the parts of a split input and output

The order of a core's indices is the order of its axes, in memory too. `i` and `o` are the input and output
modes, `n` (or `n1`, `n2`, … with several expert levels) the expert modes. Every other name is a bond. A bond
that occurs in more than two cores is a hyperedge. `i1`, `i2`, … and `o1`, `o2`, … are the parts of a split
mode (`splits.py`); so are `n1`, `n2`, … of the only level of experts, `n1_1`, `n1_2`, … of one of several.

The terms of a sum are separated by "+". Each carries the output mode. One without an expert mode is the same
for all of these experts; one without the input mode is a bias, which multiplies the constant 1. A bond
belongs to one term.

A name before a colon names a core. The same name again, in any term, is the same core: one parameter, whose
axes take the indices of each use.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import TypeVar

from ..errors import TensorMoEError, as_tuple, non_negative_integer, positive_integer
from .habits import suggest
from .splits import Indices as Indices
from .splits import Split, check_terms, is_part, whole_names

INPUT, OUTPUT = "i", "o"
# Not a valid index name, so no bond can share it.
BATCH = "…"
# With more levels, a weight tensor or its cores would exceed the limits of arrays: 32 axes in older versions
# of NumPy, and 52 letters in einsum, which a train of this many levels uses up.
MAX_LEVELS = 24

Item = TypeVar("Item")

_NAME = re.compile(r"[A-Za-z]\w*")
# A capital letter tells names of cores from x, a1, core1 and whatever else stands beside them.
_CORE = re.compile(r"[A-Z]\w*", re.ASCII)
_EXPERT = re.compile(r"n\d*")


def expert_modes(levels: int) -> Indices:
    """Names of the expert modes: `("n",)` for one level, otherwise `("n1", …, "nE")`; none without experts.

    Raises:
        TensorMoEError: a number of levels that is not from 0 to 24.

    Examples:
        >>> from tensormoe import expert_modes
        >>> expert_modes(1), expert_modes(3)
        (('n',), ('n1', 'n2', 'n3'))
    """
    count = _check_levels(levels)
    return ("n",) if count == 1 else tuple(f"n{level + 1}" for level in range(count))


def modes(levels: int) -> Indices:
    """The open indices of a network in the order of the weight tensor: experts, input, output."""
    return (*expert_modes(levels), INPUT, OUTPUT)


def is_mode(name: str) -> bool:
    """Whether `name` denotes an expert, input or output mode, or a part of one, rather than a bond."""
    return name in (INPUT, OUTPUT) or _EXPERT.fullmatch(name) is not None or is_part(name)


@dataclass(frozen=True)
class Notation:
    """Parsed index notation: the indices of each core, in order.

    Args:
        cores: the indices of each core.
        counts: how many of the cores each term of a sum has, in order; () if there is only one term.
        names: the name of each core, "" for one without; () if none has a name.

    Raises:
        TensorMoEError: an empty core, a malformed name, an index twice in one core, a bond in two terms, or
            one name for cores with different numbers of indices.

    Examples:
        >>> from tensormoe.networks.notation import Notation
        >>> notation = Notation.parse("n r, i r, r o")
        >>> notation.cores
        (('n', 'r'), ('i', 'r'), ('r', 'o'))
        >>> print(notation.at_levels(2))
        n1 r, n2 r, i r, r o
    """

    cores: tuple[Indices, ...]
    counts: tuple[int, ...] = ()
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for number, core in enumerate(self.cores, start=1):
            if not core:
                remedy = f"core {number} is empty; name its indices, separated by spaces"
                raise TensorMoEError("notation", str(self), remedy)
            for name in core:
                self._check_name(number, name)
        self._check_terms()
        self._check_names()

    @staticmethod
    def parse(text: "str | Notation") -> "Notation":
        """Parse a text such as "n r, i r, r o"; a `Notation` is returned unchanged.

        Raises:
            TensorMoEError: not a string, or malformed notation.
        """
        if isinstance(text, Notation):
            return text
        if not isinstance(text, str):
            raise TensorMoEError("notation", text, 'pass a string such as "n r, i r, r o"')
        return _read(text)

    def __str__(self) -> str:
        named = zip(self.names or [""] * len(self.cores), self.cores, strict=False)
        shown = [f"{name}: {' '.join(core)}" if name else " ".join(core) for name, core in named]
        return " + ".join(map(", ".join, split(shown, self.counts)))

    @property
    def terms(self) -> tuple[tuple[Indices, ...], ...]:
        """The cores of each term."""
        return split(self.cores, self.counts)

    @property
    def indices(self) -> Indices:
        """All indices in order of first appearance."""
        return tuple(dict.fromkeys(name for core in self.cores for name in core))

    @property
    def bonds(self) -> Indices:
        """The bonds in order of first appearance."""
        return tuple(name for name in self.indices if not is_mode(name))

    @property
    def has_experts(self) -> bool:
        """Whether a core carries an expert mode, or a part of one."""
        return any(is_mode(name) and name[0] == "n" for name in self.indices)

    @property
    def core_numbers(self) -> tuple[str, ...]:
        """The names core1, core2, …, and the notation's own."""
        return self.name_cores([f"core{number}" for number in range(1, len(self.cores) + 1)])

    def name_cores(self, others: Sequence[str]) -> tuple[str, ...]:
        """The name of each core: its own in the notation, otherwise one of these."""
        return tuple(own or other for own, other in zip(self.names or others, others, strict=True))

    def at_levels(self, levels: int) -> "Notation":
        """The notation for several expert levels: every core that carries `n` is repeated for each."""
        if _check_levels(levels) < 2 or any(name != "n" and _EXPERT.fullmatch(name) for name in self.indices):
            return self
        repeated = [
            [
                (own, tuple(mode if name == "n" else name for name in core))
                for own, core in term
                for mode in (expert_modes(levels) if "n" in core else ("n",))
            ]
            for term in self.named_terms
        ]
        return sum_of_named(repeated)

    def check_modes(self, levels: int, splits: Sequence[Split] = ()) -> "Notation":
        """Check that the cores carry the modes of a layer with `levels` expert levels, or their parts.

        Returns the notation, with `n1` renamed to `n` if there is only one level that is not split.

        Raises:
            TensorMoEError: a mode is in no core, has two names, or belongs to no level; a term carries some
                parts of a mode alone.
        """
        renamed, whole = self.for_levels(levels), whole_names(splits)
        check_terms(str(self), renamed.terms, splits)
        carried = [name for name in renamed.indices if is_mode(name)]
        names = {"n1": "n"} | whole if levels == 1 else whole
        present = {names.get(name, name) for name in carried}
        faults = [f"mode {name!r} belongs to no expert level" for name in sorted(present - {*modes(levels)})]
        faults += [f"mode {name!r} is in no core" for name in modes(levels) if name not in present]
        faults += [
            f"mode {OUTPUT!r} is not in term {number}, which would add one number to all outputs"
            for number, term in enumerate(renamed.terms, start=1)
            if not any(whole.get(name, name) == OUTPUT for core in term for name in core)
        ]
        if faults:
            known = f"with {levels} level(s) of experts the modes are {', '.join(modes(levels))}"
            if levels == 1 and "n2" in present:
                known += "; pass experts=(…, …) for two levels, or n=(…, …) for the parts of one"
            raise TensorMoEError("notation", str(self), f"{faults[0]}: {known}")
        return renamed

    def for_levels(self, levels: int) -> "Notation":
        """The same with the names that a layer of so many levels uses: `n` for the only one, not `n1`."""
        # Beside n2, n1 may be a part of the only level.
        if _check_levels(levels) != 1 or "n2" in self.indices:
            return self
        if {"n", "n1"} <= {*self.indices}:
            raise TensorMoEError("notation", str(self), "n and n1 are the same mode: use one of them")
        cores = tuple(tuple("n" if name == "n1" else name for name in core) for core in self.cores)
        return Notation(cores, self.counts, self.names)

    def find_tied(self, index: str, square: Collection[str] = ()) -> set[str]:
        """The indices whose sizes shared and square cores make equal to that of this one, itself included."""
        named = [(name, core) for name, core in zip(self.names, self.cores, strict=False) if name]
        uses = {name: [core for other, core in named if other == name] for name, _ in named}
        axes = [{*axis} for cores in uses.values() for axis in zip(*cores, strict=True)]
        axes += [{*core} for name, core in named if name in square]
        tied: set[str] = set()
        grown = {index}
        while grown != tied:
            tied = grown
            grown = tied.union(*(axis for axis in axes if axis & tied))
        return tied

    @property
    def named_terms(self) -> tuple[tuple[tuple[str, Indices], ...], ...]:
        """The cores of each term, each with its name."""
        return split([*zip(self.name_cores([""] * len(self.cores)), self.cores, strict=True)], self.counts)

    def _check_names(self) -> None:
        """Reject names that are not those of cores, and one name for cores of different orders."""
        if self.names and len(self.names) != len(self.cores):
            raise TensorMoEError(
                "names", self.names, f"pass one for each of {len(self.cores)} cores, or none"
            )
        first: dict[str, Indices] = {}
        for name, core in zip(self.names, self.cores, strict=False):
            if name and not _CORE.fullmatch(name):
                remedy = (
                    f"{name!r} before ':' is to name a core: use letters and digits, a capital first, as in A"
                )
                raise TensorMoEError("notation", str(self), remedy)
            if name and len(first.setdefault(name, core)) != len(core):
                remedy = (
                    f"core {name!r} is one array, and has {len(first[name])} indices in one place and "
                    f"{len(core)} in another"
                )
                raise TensorMoEError("notation", str(self), remedy)

    def _check_terms(self) -> None:
        """Reject counts of other cores, and a bond that two terms carry: each sums over its own."""
        if self.counts and (min(self.counts) < 1 or sum(self.counts) != len(self.cores)):
            remedy = f"pass how many of the {len(self.cores)} cores each term has"
            raise TensorMoEError("counts", self.counts, remedy)
        held = [{name for core in term for name in core if not is_mode(name)} for term in self.terms]
        for number, bonds in enumerate(held):
            for name in sorted(bonds.intersection(set().union(*held[:number]))):
                remedy = (
                    f"bond {name!r} is in two terms, and each sums over its own: "
                    f"call it {name}{number + 1} in term {number + 1}"
                )
                raise TensorMoEError("notation", str(self), remedy)

    def _check_name(self, number: int, name: str) -> None:
        if not _NAME.fullmatch(name):
            remedy = (
                f"{name!r} in core {number} is not a valid index name; use letters, digits and '_', "
                "spaces between indices and commas between cores"
            )
            raise TensorMoEError("notation", str(self), remedy)
        if self.cores[number - 1].count(name) > 1:
            remedy = f"{name!r} occurs twice in core {number}; a core may carry an index only once"
            raise TensorMoEError("notation", str(self), remedy)


def split(items: Sequence[Item], counts: Sequence[int]) -> tuple[tuple[Item, ...], ...]:
    """Items in groups of these sizes; without sizes, in one group."""
    following = iter(items)
    return tuple(tuple(islice(following, count)) for count in counts or (len(items),))


def sum_of(terms: Sequence[Sequence[Indices]]) -> Notation:
    """The notation of a sum, from the cores of each term."""
    counts = tuple(map(len, terms)) if len(terms) > 1 else ()
    return Notation(tuple(tuple(core) for term in terms for core in term), counts)


def read_experts(value: object) -> tuple[int, ...]:
    """The number of experts of each level, from one count or a sequence of counts; () for no experts."""
    counts = as_tuple(value)
    if len(counts) > MAX_LEVELS:
        raise TensorMoEError("experts", value, f"pass at most {MAX_LEVELS} levels, not {len(counts)}")
    try:
        return tuple(positive_integer("experts", count) for count in counts)
    except TensorMoEError as error:
        raise TensorMoEError(
            "experts", value, "pass a positive integer, or one for each level, such as 64 or (16, 16)"
        ) from error


def _check_levels(levels: object) -> int:
    count = non_negative_integer("levels", levels)
    if count > MAX_LEVELS:
        raise TensorMoEError("levels", levels, f"pass at most {MAX_LEVELS} levels of experts")
    return count


def sum_of_named(terms: Sequence[Sequence[tuple[str, Indices]]]) -> Notation:
    """The notation of a sum, from the names and cores of each term."""
    notation = sum_of([[core for _, core in term] for term in terms])
    names = tuple(name for term in terms for name, _ in term)
    return replace(notation, names=names) if any(names) else notation


@lru_cache(maxsize=1024)
def _read(text: str) -> Notation:
    try:
        return _parse(text)
    except TensorMoEError as error:
        raise TensorMoEError(error.argument, error.received, error.remedy + suggest(text)) from error


def _parse(text: str) -> Notation:
    return sum_of_named([[_read_core(core) for core in term.split(",")] for term in text.split("+")])


def _read_core(text: str) -> tuple[str, Indices]:
    """The name and the indices of a core."""
    name, colon, indices = text.rpartition(":")
    if colon and not name.strip():
        raise TensorMoEError("notation", text.strip(), "put a core's name before ':', as in 'A: i r'")
    return name.strip(), tuple(indices.split())
