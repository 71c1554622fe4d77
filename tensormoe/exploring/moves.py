"""Moves in a space of networks: another choice for one coordinate, or a few that make sense together."""

from collections.abc import Iterator
from itertools import combinations, product

from ..networks.notation import INPUT, OUTPUT
from .space import Point, Space

# Where each coordinate stands in a point, by kind, term and subject.
Places = dict[tuple[str, int, tuple[int, ...]], int]


def change(point: Point, place: int, choice: int) -> Point:
    """The point with another choice for one coordinate."""
    return (*point[:place], choice, *point[place + 1 :])


def steps(space: Space, point: Point) -> list[Point]:
    """The points one move away: sizes are the next larger or smaller, everything else is any other choice."""
    moved = []
    for place, (coordinate, chosen) in enumerate(zip(space.coordinates, point, strict=True)):
        choices = range(len(coordinate.choices))
        near = (chosen - 1, chosen + 1) if coordinate.ordered else choices
        moved += [change(point, place, each) for each in near if each in choices and each != chosen]
    return moved


def jumps(space: Space, point: Point) -> Iterator[Point]:
    """Points of several moves at once, where one alone changes nothing.

    A hyperedge of size 1 is none, whatever it joins, a core with one bond is absorbed, and a term of vectors
    adds little: it comes as low-rank experts, or as one low-rank matrix for all of them.
    """
    places: Places = {
        (each.kind, each.term, each.subject): place for place, each in enumerate(space.coordinates)
    }
    slots, cores = len(space.slots), range(space.num_slots)
    for term in range(space.sums):
        yield from _low_rank(space, point, places, term)
        for number in range(space.hyperedges):
            size = places.get(("hyperedge", term, (number,)))
            if size is None or point[size]:
                continue
            for members in _subsets(cores, 3):
                moved = change(point, size, 1)
                for core in cores:
                    place = places["member", term, (number, core)]
                    moved = change(moved, place, int((core in members) != (core < slots)))
                yield moved
        for latent in cores[slots:]:
            bonds = {core: places.get(("bond", term, (core, latent))) for core in range(latent)}
            held = {core: place for core, place in bonds.items() if place is not None}
            if len(held) < len(bonds) or any(point[place] for place in held.values()):
                continue
            for members in _subsets(range(latent), 3):
                moved = point
                for core in members:
                    moved = change(moved, held[core], 1)
                yield moved


def _low_rank(space: Space, point: Point, places: Places, term: int) -> Iterator[Point]:
    """With a further term, of one bond between an input and an output; both carry the experts, or neither."""
    present = places.get(("term", term, ()))
    if present is None or point[present] or not space.bonds:
        return
    slots = [*enumerate(slot.mode for slot in space.slots)]
    inputs, outputs = ([number for number, mode in slots if mode == each] for each in (INPUT, OUTPUT))
    experts = [number for number, mode in slots if mode not in (INPUT, OUTPUT)]
    for ends, size in product(product(inputs, outputs), range(1, len(space.sizes))):
        added = change(change(point, present, 1), places["bond", term, ends], size)
        if (apart := places.get(("experts", term, ()))) is not None:
            yield change(added, apart, 1)
        if all(slots[expert][1] in space.carried for expert in experts):
            for expert, end in product(experts, ends):
                added = change(added, places["carrier", term, (expert, end)], 1)
            yield added


def split(space: Space) -> Iterator[Point]:
    """The smallest network with each choice of how modes are split, first the one whose modes are whole."""
    chosen = (range(len(each.choices)) if each.kind == "split" else (0,) for each in space.coordinates)
    return product(*chosen)


def pairs(space: Space, point: Point) -> list[Point]:
    """The points two moves away, of which the first drops or lowers what is there."""
    moved = []
    for place, chosen in enumerate(point):
        if chosen:
            lower = chosen - 1 if space.coordinates[place].ordered else 0
            moved += [each for each in steps(space, change(point, place, lower)) if each[place] == lower]
    return moved


def _subsets(items: range, least: int) -> Iterator[tuple[int, ...]]:
    for size in range(least, len(items) + 1):
        yield from combinations(items, size)
