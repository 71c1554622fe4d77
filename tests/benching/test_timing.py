"""Rounds, calls and quartiles, on a clock that moves only when a function is called."""

import pytest

from tensormoe.benching.timing import Timing, interleave
from tensormoe.errors import TensorMoEError


class Machine:
    """Functions that take a set time each, the clock that measures it, and a record of the calls."""

    def __init__(self, **durations: float) -> None:
        self.now = 0.0
        self.called: list[str] = []
        self.waited: list[object] = []
        self.sides = {name: self._side(name, seconds) for name, seconds in durations.items()}

    def _side(self, name: str, seconds: float):
        def run() -> str:
            self.now += seconds
            self.called.append(name)
            return f"{name} {len(self.called)}"

        return run

    def clock(self):
        start = self.now
        return lambda: self.now - start

    def wait(self, result: object) -> None:
        self.waited.append(result)
        self.now += 0.25


def test_a_call_has_the_time_that_it_takes() -> None:
    machine = Machine(slow=2.0, quick=0.5)
    actual = interleave(machine.sides, clock=machine.clock, least=1.0, seconds=30.0)
    # A round takes 2 s + 2 calls of 0.5 s: ten of these fill 30 s.
    assert actual == {"slow": Timing((2.0, 2.0, 2.0), 10, 1), "quick": Timing((0.5, 0.5, 0.5), 10, 2)}
    assert actual["slow"].median == 2.0


@pytest.mark.parametrize(("rounds", "seconds", "taken"), [(15, 1e9, 15), (15, 1e-9, 5), (3, 1e9, 3)])
def test_the_number_of_rounds_has_bounds(rounds: int, seconds: float, taken: int) -> None:
    machine = Machine(a=1.0, b=1.0)
    actual = interleave(machine.sides, rounds, seconds, clock=machine.clock)
    assert {timing.rounds for timing in actual.values()} == {taken}
    # Two calls to warm up and one to count calls.
    assert machine.called.count("a") == 3 + taken


@pytest.mark.parametrize("names", ["ab", "abc", "abcd"])
def test_no_function_always_follows_the_same_one(names: str) -> None:
    machine = Machine(**dict.fromkeys(names, 1.0))
    interleave(machine.sides, rounds=2 * len(names), seconds=1e9, clock=machine.clock)
    measured = machine.called[3 * len(names) :]
    starts = range(0, len(measured), len(names))
    orders = [measured[start : start + len(names)] for start in starts]
    assert all(sorted(order) == sorted(names) for order in orders)
    for name in names:
        assert len({tuple(order[: order.index(name)][-1:]) for order in orders}) > 1


def test_quartiles_are_those_of_the_rounds() -> None:
    machine = Machine()
    durations = iter([1.0] * 3 + [5.0, 1.0, 4.0, 2.0, 3.0])

    def varying() -> None:
        machine.now += next(durations)

    actual = interleave({"varying": varying}, rounds=5, clock=machine.clock)
    assert actual["varying"].quartiles == (2.0, 3.0, 4.0)


def test_the_last_result_of_every_round_is_waited_for_before_the_clock_stops() -> None:
    machine = Machine(a=0.5)
    actual = interleave(machine.sides, rounds=2, wait=machine.wait, clock=machine.clock, least=1.25)
    # Warm-up of two calls; one call falls short of a round and two do not; then two rounds of two calls.
    assert machine.waited == ["a 2", "a 3", "a 5", "a 7", "a 9"]
    assert actual["a"] == Timing((0.625, 0.625, 0.625), 2, 2)


def test_a_clock_too_coarse_for_a_call_is_met_by_more_calls() -> None:
    machine = Machine(a=0.001)

    def coarse():
        start = machine.now // 0.1
        return lambda: (machine.now // 0.1 - start) * 0.1

    assert interleave(machine.sides, rounds=1, clock=coarse, least=1.0)["a"].calls > 500


@pytest.mark.parametrize(
    ("changes", "argument"),
    [
        ({"sides": {}}, "sides"),
        ({"rounds": 0}, "rounds"),
        ({"seconds": 0.0}, "seconds"),
        ({"least": -1}, "least"),
    ],
)
def test_mistakes_are_named_before_anything_is_called(changes: dict, argument: str) -> None:
    machine = Machine(a=1.0)
    with pytest.raises(TensorMoEError, match=f"^{argument}: received"):
        interleave(**{"sides": machine.sides, **changes})
    assert machine.called == []
