"""A search guided by lower bounds: most candidates are known to be too small before any of them is tried.

It goes from the smallest network by the moves that lower the bounds most for what they cost, then drops and
exchanges what is not needed. All that it sees on the way is ranked by the score that it can have at best.
Candidates are tried in that order, until the best score that was reached is one that no other can beat.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

import numpy as np

from ..typing import NumPyArray
from .moves import jumps, pairs, steps
from .space import Point, Space

# Gains below this are rounding.
_TINY = 1e-9


@dataclass(frozen=True, eq=False)
class Outlook:
    """What is known of points before they are tried.

    Args:
        scores: (P,) the best score that each can have; infinite beyond the budget.
        tails: (P,) how far their cuts are from enough, on average.
        costs: (P,) their parameters.
        rows: (P, …) equal for points of equal networks.
    """

    scores: NumPyArray
    tails: NumPyArray
    costs: NumPyArray
    rows: NumPyArray


@dataclass
class Guide:
    """The points that were seen, and their order.

    Args:
        space: of the points.
        look: what is known of points.
    """

    space: Space
    look: Callable[[Sequence[Point]], Outlook]
    _seen: set[bytes] = field(default_factory=set)
    _queue: list[tuple[float, float, Point]] = field(default_factory=list)

    def see(self, points: Sequence[Point]) -> Outlook:
        """Look at points, and queue those that were not seen before."""
        outlook = self.look(points)
        for place in np.flatnonzero(np.isfinite(outlook.scores)):
            row = outlook.rows[place].tobytes()
            if row not in self._seen:
                self._seen.add(row)
                heappush(self._queue, (outlook.scores[place], outlook.costs[place], points[int(place)]))
        return outlook

    def next(self, below: float) -> Point | None:
        """The point with the best outlook; None if none can be below a score."""
        if not self._queue or self._queue[0][0] >= below:
            return None
        return heappop(self._queue)[2]

    def climb(self, start: Point, generator: np.random.Generator | None = None) -> Point:
        """From a point, by what lowers the tails most for its cost, until nothing does.

        With a generator, each move's worth is what it is times a random number, so that climbs differ.
        """
        point, here = start, self.see([start])
        while True:
            moved = [*steps(self.space, point), *jumps(self.space, point)]
            outlook = self.see(moved)
            gains = np.where(np.isfinite(outlook.scores), here.tails[0] - outlook.tails, 0)
            rates = gains / np.maximum(outlook.costs - here.costs[0], 1)
            if generator is not None:
                rates = rates * generator.exponential(size=len(rates))
            best = int(np.argmax(rates)) if moved else 0
            if not moved or gains[best] <= _TINY:
                return point
            point, here = moved[best], _at(outlook, best)

    def polish(self, start: Point) -> Point:
        """From a point, to better outlooks, one or two moves at a time, until there are none."""
        point, score = start, float(self.see([start]).scores[0])
        while True:
            for moves in (steps, pairs):
                moved = moves(self.space, point)
                scores = self.see(moved).scores
                best = int(np.argmin(scores)) if moved else 0
                if moved and scores[best] < score - _TINY:
                    point, score = moved[best], float(scores[best])
                    break
            else:
                return point


def _at(outlook: Outlook, place: int) -> Outlook:
    part = slice(place, place + 1)
    return Outlook(outlook.scores[part], outlook.tails[part], outlook.costs[part], outlook.rows[part])
