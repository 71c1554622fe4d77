"""Wall times of functions to compare: interleaved rounds, and quartiles over them.

A clock is a function that starts a measurement and returns the function that ends it and returns the seconds,
so that a device may measure its own work. Nothing here knows a framework.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any, TypeAlias

import numpy as np

from ..arrays.instruments import wall_clock
from ..errors import TensorMoEError, positive_integer, positive_number
from ..typing import Clock

Call: TypeAlias = Callable[[], object]

# With fewer rounds, quartiles say little; these are run even if they take longer than requested.
_FEWEST_ROUNDS = 5


@dataclass(frozen=True)
class Timing:
    """Seconds of a call, over rounds.

    Args:
        quartiles: the lower quartile, the median and the upper quartile of the rounds, in seconds a call.
        rounds: how many rounds there were.
        calls: how many calls one round took the mean of.
    """

    quartiles: tuple[float, float, float]
    rounds: int
    calls: int

    @property
    def median(self) -> float:
        """The median of the rounds, in seconds a call."""
        return self.quartiles[1]


def interleave(
    sides: Mapping[str, Call],
    rounds: int = 15,
    seconds: float = 3.0,
    wait: Callable[[Any], object] | None = None,
    clock: Clock = wall_clock,
    least: float = 0.01,
) -> dict[str, Timing]:
    """Time functions side by side, so that anything that slows the machine down slows all of them.

    Every function is called twice before it is timed, which compiles it if the framework compiles. Each runs
    once in every round, and the order changes from round to round.

    Args:
        sides: functions of no argument, by name.
        rounds: the largest number of rounds.
        seconds: about how long to measure for all together; five rounds are taken even if they take longer.
        wait: blocks until the result it is given is computed, for frameworks that return before, such as
            `jax.block_until_ready`; called with the last result of a round, before the clock is stopped. Not
            needed where the clock waits by itself.
        clock: starts a measurement and returns the function that ends it, which gives seconds.
        least: a function is called as often in one round as it takes to fill these seconds.

    Returns:
        The timing of each function, by name.

    Raises:
        TensorMoEError: no functions, or a number that is not positive.

    Examples:
        >>> from tensormoe.benching.timing import interleave
        >>> sides = {"sum": lambda: sum(range(100)), "max": lambda: max(range(100))}
        >>> timings = interleave(sides, rounds=3, least=1e-4)
        >>> list(timings), timings["sum"].rounds
        (['sum', 'max'], 3)
    """
    if not sides:
        raise TensorMoEError("sides", sides, "pass a mapping from names to functions, with at least one")
    most = positive_integer("rounds", rounds)
    budget, least = positive_number("seconds", seconds), positive_number("least", least)

    def measure(side: Call, calls: int) -> float:
        stop = clock()
        for _ in range(calls):
            result = side()
        if wait is not None:
            wait(result)
        return stop()

    for side in sides.values():
        measure(side, 2)
    calls, once = {}, 0.0
    for name, side in sides.items():
        calls[name], spent = _calls(partial(measure, side), least)
        once += spent
    count = min(most, max(_FEWEST_ROUNDS, int(budget / once)))
    times: dict[str, list[float]] = {name: [] for name in sides}
    for order in _orders(tuple(sides), count):
        for name in order:
            times[name].append(measure(sides[name], calls[name]) / calls[name])
    return {name: Timing(_quartiles(values), count, calls[name]) for name, values in times.items()}


def _calls(measure: Callable[[int], float], least: float) -> tuple[int, float]:
    """How many calls fill the least time of a round, and the seconds that they took."""
    calls = 1
    # A clock may be too coarse for one call: at least double the number.
    while (spent := measure(calls)) < least:
        calls = max(2 * calls, ceil(calls * least / spent) if spent > 0 else 0)
    return calls, spent


def _orders(names: tuple[str, ...], rounds: int) -> Iterator[tuple[str, ...]]:
    """An order for each round: every other one is reversed, and after two the next name is the first."""
    for number in range(rounds):
        first = number // 2 % len(names)
        order = names[first:] + names[:first]
        yield order[::-1] if number % 2 else order


def _quartiles(values: list[float]) -> tuple[float, float, float]:
    low, median, high = (float(value) for value in np.quantile(values, (0.25, 0.5, 0.75)))
    return low, median, high
