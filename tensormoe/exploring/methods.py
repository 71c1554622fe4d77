"""Methods of search that say what to try next: generators that yield points and receive their scores."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import islice, product

import numpy as np

from ..errors import TensorMoEError
from .guided import Guide, Outlook
from .layout import Layout
from .moves import change, jumps, split, steps
from .space import Point, Space

# Points that are tried next, best first; their scores come back, infinite for what failed or is none.
Proposals = Generator[list[Point], list[float], None]
# Spaces up to this size can be listed.
_LISTED = 200_000
# How many random climbs a guided search begins with at each split of the modes, and at how many of these; and
# how often it does so again when nothing that it has seen can be better than what it has.
_CLIMBS, _SPLITS, _MORE = 20, 16, 3
# How far alternating enumeration looks along an ordered coordinate, in choices.
_RADIUS = 2
# The chance that a coordinate of a random point differs from the smallest network's.
_CHANCE = 0.2
_MANY = 1000


@dataclass(frozen=True, eq=False)
class Setting:
    """What a method knows.

    Args:
        space: the points.
        look: the best score that each of several points can have, and what they cost.
        generator: of what is random.
        batch: how many points are tried at a time.
        rivals: points that a guided search tries first.
    """

    space: Space
    look: Callable[[Sequence[Point]], Outlook]
    generator: np.random.Generator
    batch: int = 1
    rivals: Sequence[Point] = ()

    def admit(self, points: Sequence[Point]) -> list[Point]:
        """Those within the limits and the budget, the best outlook first."""
        if not points:
            return []
        outlook = self.look(points)
        order = np.lexsort((outlook.costs, outlook.scores))
        return [points[place] for place in order if np.isfinite(outlook.scores[place])]


def exhaustive(setting: Setting) -> Proposals:
    """Every network of a small space, the smallest first."""
    space = setting.space
    if space.size > _LISTED:
        remedy = f"it has {space.size:.1e} points, too many to list: use another method, or tighter limits"
        raise TensorMoEError("method", "exhaustive", remedy)
    points = [*product(*(range(len(each.choices)) for each in space.coordinates))]
    _, first = np.unique(Layout.of(space, points).rows, axis=0, return_index=True)
    admitted = setting.admit([points[place] for place in first])
    for place in range(0, len(admitted), setting.batch):
        yield admitted[place : place + setting.batch]


def greedy(setting: Setting) -> Proposals:
    """From the smallest network, always the move to the best score, until none is better.

    Source: Hashemizadeh et al., "Adaptive Tensor Learning with Tensor Networks", 2020.
    """
    point = setting.space.smallest
    (score,) = yield [point]
    while True:
        moved = setting.admit([*steps(setting.space, point), *jumps(setting.space, point)])
        scores = yield moved
        best = int(np.argmin(scores)) if moved else 0
        if not moved or scores[best] >= score:
            return
        point, score = moved[best], scores[best]


def alternating(setting: Setting) -> Proposals:
    """One coordinate at a time, there and back through all of them; again from elsewhere when that ends.

    Source: Li et al., "Alternating Local Enumeration (TnALE): Solving Tensor Network Structure Search with
    Fewer Evaluations", 2023.
    """
    point = setting.space.smallest
    while True:
        (score,) = yield [point]
        improved = True
        while improved:
            improved = False
            forth = range(len(point))
            for place in (*forth, *reversed(forth)):
                near = setting.admit(_line(setting.space, point, place))
                scores = yield near
                if near and min(scores) < score:
                    point, score = near[int(np.argmin(scores))], min(scores)
                    improved = True
        drawn = setting.admit([draw(setting) for _ in range(_MANY)])
        if not drawn:
            return
        point = drawn[int(setting.generator.integers(len(drawn)))]


def _line(space: Space, point: Point, place: int) -> list[Point]:
    """The points that differ in one coordinate, by a little where its choices have an order."""
    coordinate, chosen = space.coordinates[place], point[place]
    near = range(len(coordinate.choices))
    if coordinate.ordered:
        near = range(max(chosen - _RADIUS, 0), min(chosen + _RADIUS + 1, len(coordinate.choices)))
    return [change(point, place, each) for each in near if each != chosen]


def draw(setting: Setting) -> Point:
    """A random point, of which most coordinates are those of the smallest network."""
    generator, coordinates = setting.generator, setting.space.coordinates
    return tuple(
        int(generator.integers(len(each.choices))) if generator.random() < _CHANCE else 0
        for each in coordinates
    )


def guided(setting: Setting) -> Proposals:
    """What can be best by the bounds comes first, until nothing can beat the best score; see `guided.py`."""
    guide, starts = Guide(setting.space, setting.look), [*islice(split(setting.space), _SPLITS)]
    for start in starts:
        guide.polish(guide.climb(start))
    climb(guide, starts, setting.generator)
    best, more = np.inf, _MORE
    for rival in setting.admit(setting.rivals):
        best = min(best, *(yield [rival]))
    while True:
        queued = (guide.next(best) for _ in range(setting.batch))
        points = [point for point in queued if point is not None]
        if not points:
            if not more:
                return
            more -= 1
            climb(guide, starts, setting.generator)
            continue
        scores = yield points
        best = min(best, *scores)
        for point in points:
            # What was less than it could be leads to what is a little larger.
            guide.see(steps(setting.space, point))


def climb(guide: Guide, starts: Sequence[Point], generator: np.random.Generator) -> None:
    """Look at what random climbs lead to."""
    for start in starts:
        for _ in range(_CLIMBS):
            guide.polish(guide.climb(start, generator))


def random(setting: Setting) -> Proposals:
    """Random points: what the others should be better than."""
    while True:
        drawn = setting.admit([draw(setting) for _ in range(_MANY)])
        if not drawn:
            return
        order = setting.generator.permutation(len(drawn))
        for place in range(0, len(drawn), setting.batch):
            yield [drawn[each] for each in order[place : place + setting.batch]]


METHODS: dict[str, Callable[[Setting], Proposals]] = {
    "exhaustive": exhaustive,
    "greedy": greedy,
    "alternating": alternating,
    "guided": guided,
    "random": random,
}
