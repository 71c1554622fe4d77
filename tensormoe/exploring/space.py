"""The space of a search: networks of a layer as points, each a choice for every coordinate.

A point says, for each term of a sum, which cores a bond joins and how large it is, which further cores carry
a mode, what is fixed or shared, and how modes are split. Each part of a mode has a core of its own to begin
with; further cores carry bonds alone. So a move is another choice for one coordinate: a bond is added, grown
or dropped, a hyperedge reaches another core, a term comes or goes. At the first choice of every coordinate
stands the smallest network: one vector for each mode.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from math import prod

from ..codec import Data
from ..errors import (
    TensorMoEError,
    as_tuple,
    is_listed,
    mapping,
    non_negative_integer,
    positive_integer,
    true_or_false,
)
from ..layers.layer_spec import MuMoESpec
from ..networks.notation import INPUT, modes
from ..networks.recipes import read_recipe
from ..networks.splits import Split

Point = tuple[int, ...]
Choice = int | str | None
# Vertices and edges are bits of one integer.
_MOST_CORES, _MOST_INDICES = 12, 60
# More sizes of a bond are a slip.
_MOST_RANKS = 4096


@dataclass(frozen=True)
class Coordinate:
    """One thing that a point chooses.

    Args:
        kind: "split", "term", "experts", "bond", "hyperedge", "member", "carrier", "fixed" or "shared".
        term: of which term, from 0.
        subject: the cores, the mode or the hyperedge by number.
        choices: what there is to choose, the smallest first.
    """

    kind: str
    term: int
    subject: tuple[int, ...]
    choices: tuple[Choice, ...]

    @property
    def name(self) -> str:
        """A text that tells it from the others, as a storage names it."""
        return " ".join(map(str, (self.kind, self.term + 1, *(each + 1 for each in self.subject))))

    @property
    def ordered(self) -> bool:
        """Whether its choices are sizes, of which neighbours are near."""
        return self.kind in ("bond", "hyperedge")


@dataclass(frozen=True)
class Slot:
    """A mode of the weight, or one of its parts where some splits have so many."""

    mode: str
    part: int
    size: int


@dataclass(frozen=True)
class Space:
    """All networks that a search may try; which of them is a matter of these limits.

    Args:
        layer: whose sizes, gate and bias all candidates have. Its own factorization is not used.
        max_cores: the most cores in all terms together.
        ranks: the sizes of bonds that are tried, without 1, which is no bond; an integer for all up to it.
        bonds: whether two cores may be joined by a bond.
        hyperedges: the most bonds in each term that join any number of cores, as that of CP.
        latent: the most cores in each term that carry bonds alone, as that of Tucker.
        carriers: whether more than one core may carry a mode, as in "n o, i o"; or the modes of which that is
            true. With ("n",), experts may have matrices of their own, and `fit_to` is fast for large weights.
        splits: for each mode that may be split, the sizes of the parts, as in {"i": [(24, 32), (4, 192)]}.
        shared: whether one core may be used twice.
        fixed: what a core may be fixed to, such as "hadamard"; see `tm.TensorNetwork`.
        sums: the most terms.

    Raises:
        TensorMoEError: a limit that leaves nothing but vectors, one that is not a number of its kind, parts
            that don't make up their mode, or more cores and bonds than a search can hold.

    Source: Li and Sun, "Evolutionary Topology Search for Tensor Network Decomposition", 2020, for a genome of
    the bonds between all pairs of cores; Potapczynski, Qiu et al., "Searching for Efficient Linear Layers
    over a Continuous Space of Structured Matrices", 2024, for splits and modes that several cores carry.

    Examples:
        >>> import tensormoe as tm
        >>> layer = tm.MuMoESpec(6, 6, experts=4, factorization=tm.Dense(), bias=False)
        >>> space = tm.explore.Space(layer, max_cores=3, ranks=4)
        >>> f"{len(space.coordinates)} choices, {space.size:.0e} points"
        '20 choices, 1e+08 points'
    """

    layer: MuMoESpec
    max_cores: int = 6
    ranks: int | Sequence[int] = (2, 3, 4, 6, 8)
    bonds: bool = True
    hyperedges: int = 1
    latent: int = 1
    carriers: bool | Sequence[str] = True
    splits: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    shared: bool = False
    fixed: tuple[str, ...] = ()
    sums: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.layer, MuMoESpec):
            raise TensorMoEError("layer", self.layer, "pass a tm.MuMoESpec, whose sizes candidates have")
        for name in ("max_cores", "sums"):
            positive_integer(name, getattr(self, name))
        for name in ("hyperedges", "latent"):
            non_negative_integer(name, getattr(self, name))
        limits = {"hyperedges": _MOST_INDICES, "latent": _MOST_CORES, "sums": _MOST_INDICES}
        for name, most in limits.items():
            if getattr(self, name) > most:
                raise TensorMoEError(name, getattr(self, name), f"pass at most {most}")
        for name in ("bonds", "shared"):
            true_or_false(name, getattr(self, name))
        object.__setattr__(self, "carriers", self._read_carriers())
        object.__setattr__(self, "ranks", tuple(self._read_ranks()))
        object.__setattr__(self, "fixed", as_tuple(self.fixed))
        for recipe in self.fixed:
            if not isinstance(recipe, str):
                raise TensorMoEError("fixed", recipe, 'pass names, such as "hadamard"')
            read_recipe("fixed", recipe)
        object.__setattr__(self, "splits", self._read_splits())
        self._check_size()

    def _read_ranks(self) -> list[int]:
        """The sizes of bonds, without 1."""
        if isinstance(self.ranks, Sequence):
            return sorted({positive_integer("ranks", rank) for rank in self.ranks} - {1})
        if (largest := positive_integer("ranks", self.ranks)) > _MOST_RANKS:
            raise TensorMoEError("ranks", self.ranks, f"pass at most {_MOST_RANKS:,}, or a list of sizes")
        return [*range(2, largest + 1)]

    def _read_carriers(self) -> bool | tuple[str, ...]:
        """Whether all modes may be carried by several cores, or which."""
        if not is_listed(self.carriers):
            return true_or_false("carriers", self.carriers)
        named = as_tuple(self.carriers)
        for mode in named:
            if not isinstance(mode, str) or mode not in self.whole:
                raise TensorMoEError("carriers", mode, f"the modes are {', '.join(self.whole)}")
        return tuple(mode for mode in self.whole if mode in named)

    @cached_property
    def carried(self) -> tuple[str, ...]:
        """The modes that several cores may carry."""
        return self.carriers if isinstance(self.carriers, tuple) else tuple(self.whole) * bool(self.carriers)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """What a bond can be, the first of which is none."""
        return (1, *self._read_ranks())

    def _read_splits(self) -> dict[str, tuple[tuple[int, ...], ...]]:
        splits: dict[str, tuple[tuple[int, ...], ...]] = {}
        for mode, given in mapping("splits", self.splits).items():
            if mode not in self.whole:
                raise TensorMoEError("splits", mode, f"the modes are {', '.join(self.whole)}")
            if self.layer.bias and mode == INPUT:
                raise TensorMoEError("splits", mode, "a bias adds a row to i: use a layer with bias=False")
            splits[mode] = tuple(Split.of(mode, as_tuple(parts)).sizes for parts in as_tuple(given))
            for parts in splits[mode]:
                if prod(parts) != self.whole[mode]:
                    remedy = f"{mode} has {self.whole[mode]} values: pass parts with this product"
                    raise TensorMoEError("splits", parts, remedy)
        return splits

    def _check_size(self) -> None:
        if self.max_cores < len(self.whole):
            remedy = f"the smallest network has a vector for each of {', '.join(self.whole)}: pass at least "
            raise TensorMoEError("max_cores", self.max_cores, f"{remedy}{len(self.whole)}")
        if not any(each.kind in ("bond", "hyperedge", "carrier") for each in self.coordinates):
            remedy = "it has vectors alone: allow bonds of some rank, hyperedges, or modes in several cores"
            raise TensorMoEError("space", self._limits, remedy)
        if self.num_slots > _MOST_CORES or self.num_indices > _MOST_INDICES:
            remedy = f"a term has at most {_MOST_CORES} cores: pass fewer latent ones or fewer splits"
            raise TensorMoEError("space", self._limits, remedy)

    @cached_property
    def whole(self) -> dict[str, int]:
        """The modes of the weight and their sizes, in its order."""
        stage = self.layer.stage
        sizes = (*self.layer.experts, stage.rows, self.layer.out_features)
        return dict(zip(modes(len(self.layer.experts)), sizes, strict=True))

    @cached_property
    def _limits(self) -> dict[str, Data]:
        fields = ("max_cores", "bonds", "hyperedges", "latent", "shared", "sums")
        lists: dict[str, Data] = {"ranks": [*self._read_ranks()], "fixed": [*self.fixed]}
        lists["carriers"] = [*self.carried]
        splits: dict[str, Data] = {
            mode: [[*parts] for parts in several] for mode, several in self.splits.items()
        }
        return {name: getattr(self, name) for name in fields} | lists | {"splits": splits}

    def to_dict(self) -> dict[str, Data]:
        """What tells this space from others, as plain data."""
        return {"layer": self.layer.to_dict(), **self._limits}

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The modes and the most parts that they may have, in the weight's order."""
        return tuple(
            Slot(mode, part, size)
            for mode, size in self.whole.items()
            for part in range(max(map(len, self.splits.get(mode, ())), default=1))
        )

    @property
    def num_slots(self) -> int:
        """The cores that a term may have: one for each slot, and the latent ones."""
        return len(self.slots) + self.latent

    @property
    def num_indices(self) -> int:
        """The bonds and modes that a term may have."""
        return len(self.pairs) * self.bonds + self.hyperedges + len(self.slots)

    @cached_property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Each two cores of a term."""
        return tuple(combinations(range(self.num_slots), 2))

    @cached_property
    def coordinates(self) -> tuple[Coordinate, ...]:
        """What a point chooses, in order."""
        splits = [
            Coordinate("split", 0, (place,), (None, *range(len(self.splits[mode]))))
            for place, mode in enumerate(self.whole)
            if self.splits.get(mode)
        ]
        return (*splits, *(each for term in range(self.sums) for each in self._of_term(term)))

    def _of_term(self, term: int) -> Iterator[Coordinate]:
        if term:
            yield Coordinate("term", term, (), (0, 1))
        if self.sums > 1 and self.layer.experts:
            yield Coordinate("experts", term, (), (1, 0))
        sizes = self.sizes
        if self.bonds and len(sizes) > 1:
            yield from (Coordinate("bond", term, pair, sizes) for pair in self.pairs)
        for number in range(self.hyperedges if len(sizes) > 1 else 0):
            yield Coordinate("hyperedge", term, (number,), sizes)
            yield from (
                Coordinate(
                    "member",
                    term,
                    (number, core),
                    (int(core < len(self.slots)), int(core >= len(self.slots))),
                )
                for core in range(self.num_slots)
            )
        yield from (
            Coordinate("carrier", term, (number, core), (0, 1))
            for number, slot in enumerate(self.slots)
            for core in range(self.num_slots)
            if core != number and slot.mode in self.carried
        )
        if self.fixed:
            yield from (
                Coordinate("fixed", term, (core,), (None, *self.fixed)) for core in range(self.num_slots)
            )
        if self.shared:
            yield Coordinate("shared", term, (), (None, *range(len(self.pairs))))

    @property
    def size(self) -> int:
        """The number of points; several of them may be one network, and some none."""
        return prod(len(each.choices) for each in self.coordinates)

    @property
    def smallest(self) -> Point:
        """One vector for each mode."""
        return (0,) * len(self.coordinates)
