"""What a search has to beat: CP and low-rank experts, each with the largest rank that the budget allows.

A list of ranks leaves gaps, and a network of one bond that falls into one of them wastes its budget. So the
ranks of these two are in the space of every search that has a budget.
"""

from collections.abc import Iterator
from dataclasses import replace

from ..networks.factorization import Factorization
from ..networks.families import CP
from ..networks.notation import INPUT, OUTPUT, expert_modes
from ..networks.tensor_network import TensorNetwork
from .budget import Budget, BudgetError
from .moves import change
from .space import Point, Space


def offer(space: Space, budget: Budget) -> Space:
    """The space with the ranks of its rivals; that of measured seconds would differ each time."""
    if budget.seconds is not None:
        return space
    ranks = {rank for _, rank in _fill(space, budget) if rank > 1}
    return replace(space, ranks=(*space.sizes[1:], *ranks))


def rivals(space: Space, budget: Budget) -> list[Point]:
    """Those that the space has, as points."""
    if budget.seconds is not None:
        return []
    return [point for family, rank in _fill(space, budget) if (point := _place(space, family, rank))]


def _fill(space: Space, budget: Budget) -> Iterator[tuple[Factorization, int]]:
    """Each with its largest rank."""
    levels = " ".join(expert_modes(len(space.layer.experts)))
    families: list[Factorization] = [CP(1)] if space.hyperedges else []
    if space.bonds and {*expert_modes(len(space.layer.experts))} <= {*space.carried}:
        families.append(TensorNetwork(f"{levels} {INPUT} r, {levels} r {OUTPUT}", r=1))
    for family in families:
        try:
            matched = budget.match(space.layer.replace(factorization=family, optimize="auto"))
        except BudgetError:
            continue
        yield family, matched.factorization.bonds(len(space.layer.experts))["r"]


def _place(space: Space, family: Factorization, rank: int) -> Point | None:
    """The point of a rival; None if the space has no bond of this size."""
    if rank not in space.sizes[1:]:
        return None
    places = {(each.kind, each.term, each.subject): place for place, each in enumerate(space.coordinates)}
    size = space.sizes.index(rank)
    if isinstance(family, CP):
        return change(space.smallest, places["hyperedge", 0, (0,)], size)
    first = {slot.mode: number for number, slot in enumerate(space.slots) if not slot.part}
    ends = first.pop(INPUT), first.pop(OUTPUT)
    point = change(space.smallest, places["bond", 0, ends], size)
    for expert in first.values():
        for end in ends:
            point = change(point, places["carrier", 0, (expert, end)], 1)
    return point
