"""Points of a space as graphs, many at once: which cores every bond and mode joins, as bits of an integer."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..typing import NumPyArray
from .space import Coordinate, Point, Space


@dataclass(frozen=True, eq=False)
class Term:
    """One term of the sum at each point.

    A core whose indices another core has, too, is no core: it can be multiplied into the other. Neither is
    a bond that joins fewer than two cores.

    Args:
        masks: (P, X) the cores that carry an index, as bits; bonds first, then slots.
        sizes: (P, X) the size of each index; 1 for one that is not there.
        count: how many cores a term may have.
        present: (P,) whether the term is there.
        fixed: (P, C) which recipe a core has, from 1; 0 if it is trained.
        shared: (P,) which pair of cores is one, from 1; 0 for none.
    """

    masks: NumPyArray
    sizes: NumPyArray
    count: int
    present: NumPyArray
    fixed: NumPyArray
    shared: NumPyArray

    @cached_property
    def carried(self) -> NumPyArray:
        """(P, C, X) whether a core carries an index."""
        bits = np.arange(self.count)
        joined: NumPyArray = (self.masks[:, None, :] >> bits[None, :, None] & 1).astype(bool)
        return joined

    @cached_property
    def alive(self) -> NumPyArray:
        """(P, C) whether a core is there: it carries something."""
        return np.asarray(self.carried.any(axis=2))

    @cached_property
    def rows(self) -> NumPyArray:
        """(P, …) all of it in a row; equal rows are equal networks."""
        edges = np.sort(self.masks << 32 | self.sizes, axis=1)
        used = np.where(self.alive, self.fixed, -1)
        joined: NumPyArray = np.hstack([edges, used, self.shared[:, None]]) * self.present[:, None]
        return joined


@dataclass(frozen=True, eq=False)
class Layout:
    """Points of a space as graphs.

    Args:
        space: of the points.
        points: (P, G) the choice of every coordinate.
    """

    space: Space
    points: NumPyArray

    @classmethod
    def of(cls, space: Space, points: Sequence[Point]) -> "Layout":
        """The layout of a list of points."""
        return cls(space, np.array(points, np.int64).reshape(len(points), len(space.coordinates)))

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        """The terms, those that are not there included."""
        return tuple(self._read(term) for term in range(self.space.sums))

    @cached_property
    def parameters(self) -> NumPyArray:
        """(P,) the parameters of the layers: of trained cores, and what else the layer has."""
        total = np.full(len(self.points), float(_beside(self.space)))
        for term in self.terms:
            logs = np.where(term.carried, np.log(term.sizes)[:, None, :], 0).sum(axis=2)
            counts = np.where(term.alive & (term.fixed == 0), np.rint(np.exp(logs)), 0)
            for number, (one, other) in enumerate(self.space.pairs, start=1):
                counts[(term.shared == number) & term.alive[:, one], other] = 0
            total += counts.sum(axis=1) * term.present
        return total

    @cached_property
    def rows(self) -> NumPyArray:
        """(P, …) all that matters of the points; equal rows are equal networks."""
        return np.hstack([*(term.rows for term in self.terms), self.splits])

    @cached_property
    def cores(self) -> NumPyArray:
        """(P,) how many cores the points have."""
        counts: NumPyArray = sum(
            (term.alive.sum(axis=1) * term.present for term in self.terms), np.zeros(len(self.points), int)
        )
        return counts

    @cached_property
    def splits(self) -> NumPyArray:
        """(P, M) which split each mode has, from 1; 0 if it is whole."""
        choices = np.zeros((len(self.points), len(self.space.whole)), np.int64)
        for place, each in enumerate(self.space.coordinates):
            if each.kind == "split":
                choices[:, each.subject[0]] = self.points[:, place]
        return choices

    @cached_property
    def slot_sizes(self) -> NumPyArray:
        """(P, S) the size of each slot; 0 where a mode has fewer parts."""
        tables = []
        for slot in self.space.slots:
            others = self.space.splits.get(slot.mode, ())
            sizes = [(slot.size,), *others]
            tables.append([each[slot.part] if slot.part < len(each) else 0 for each in sizes])
        places = {mode: place for place, mode in enumerate(self.space.whole)}
        columns = [
            np.array(table)[self.splits[:, places[slot.mode]]]
            for slot, table in zip(self.space.slots, tables, strict=True)
        ]
        return np.stack(columns, axis=1)

    def _read(self, number: int) -> Term:
        space, count = self.space, len(self.points)
        slots, cores = len(space.slots), space.num_slots
        edges = [*space.pairs, *range(space.hyperedges)] if space.bonds else [*range(space.hyperedges)]
        places = {edge: place for place, edge in enumerate(edges)}
        masks = np.zeros((count, len(edges) + slots), np.int64)
        sizes = np.ones_like(masks)
        masks[:, len(edges) :] = 1 << np.arange(slots)
        present, experts = np.full(count, number == 0), np.full(count, True)
        fixed, shared = np.zeros((count, cores), np.int64), np.zeros(count, np.int64)
        for place, each in enumerate(space.coordinates):
            if each.term != number or each.kind == "split":
                continue
            chosen = self.points[:, place]
            match each:
                case Coordinate("term"):
                    present = chosen == 1
                case Coordinate("experts"):
                    experts = chosen == 0
                case Coordinate("bond", _, pair, choices):
                    edge = places[pair[0], pair[1]]
                    sizes[:, edge] = np.array(choices)[chosen]
                    masks[:, edge] = sum(1 << core for core in pair)
                case Coordinate("hyperedge", _, (edge,), choices):
                    sizes[:, places[edge]] = np.array(choices)[chosen]
                case Coordinate("member", _, (edge, core), choices):
                    masks[:, places[edge]] |= np.array(choices)[chosen] << core
                case Coordinate("carrier", _, (slot, core)):
                    masks[:, len(edges) + slot] |= chosen << core
                case Coordinate("fixed", _, (core,)):
                    fixed[:, core] = chosen
                case Coordinate("shared"):
                    shared = chosen
        held = self.slot_sizes.copy()
        is_expert = np.array([slot.mode[0] == "n" for slot in space.slots])
        held[np.outer(~experts, is_expert)] = 0
        inactive = ((held == 0) << np.arange(slots)).sum(axis=1)
        masks[:, : len(edges)] &= ~inactive[:, None]
        masks[:, len(edges) :][held == 0] = 0
        masks[:, len(edges) :] &= ~inactive[:, None]
        sizes[:, len(edges) :] = np.maximum(held, 1)
        _absorb(masks, sizes, len(edges), cores, (fixed > 0) | _shares(space, shared))
        return Term(masks, sizes, cores, present, fixed, shared)


def _shares(space: Space, shared: NumPyArray) -> NumPyArray:
    """(P, C) whether a core is one of two that are the same."""
    held = np.zeros((len(shared), space.num_slots), bool)
    for number, pair in enumerate(space.pairs, start=1):
        held[np.ix_(shared == number, pair)] = True
    return held


def _absorb(masks: NumPyArray, sizes: NumPyArray, edges: int, cores: int, held: NumPyArray) -> None:
    """Take out bonds that join nothing and cores that another can absorb, until there are none."""
    numbers = np.arange(cores)
    earlier = numbers[:, None] < numbers[None, :]
    while True:
        bonds = masks[:, :edges]
        idle = (sizes[:, :edges] == 1) | ((bonds & (bonds - 1)) == 0)
        bonds[idle] = 0
        sizes[:, :edges][idle] = 1
        carried = masks[:, None, :] >> numbers[None, :, None] & 1
        sets = (carried << np.arange(masks.shape[1])).sum(axis=2)
        # A core goes into another one that has all its indices; of two equal ones the first stays.
        within = (sets[:, :, None] & ~sets[:, None, :]) == 0
        equal = sets[:, :, None] == sets[:, None, :]
        within &= ~equal | earlier.T[None]
        within &= (sets != 0)[:, None, :] & (sets != 0)[:, :, None]
        within &= ~held[:, :, None] & ~held[:, None, :]
        gone = within.any(axis=2)
        if not gone.any():
            return
        masks &= ~(gone << numbers).sum(axis=1)[:, None]


def _beside(space: Space) -> int:
    """The parameters that the layer has beside its cores."""
    return space.layer.num_parameters - space.layer.network.num_parameters
