"""What cases are made of: settings, sides that are timed in turns, and what was measured."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

import tensormoe as tm
from tensormoe.arrays.instruments import wall_clock
from tensormoe.benching.timing import Call, interleave

# A weight or an intermediate with more elements than this is not materialized: 0.5 GiB in float32.
LARGEST = 2**27


@dataclass(frozen=True)
class Measurement:
    """A quantity of several sides.

    Args:
        name: what was measured, such as "forward".
        unit: "s" for seconds, "B" for bytes, "" for a count.
        values: lower quartile, median and upper quartile for each side; thrice the same where one value is
            exact.
        detail: how it was measured, as text.
    """

    name: str
    unit: str
    values: Mapping[str, tuple[float, float, float]]
    detail: str = ""

    def median(self, side: str) -> float | None:
        """The side's median; None if it did not take part."""
        return self.values[side][1] if side in self.values else None


# A case yields what it measured, and lines of text on what it left out and why.
Case = Callable[["Settings"], Iterator[Measurement | str]]


@dataclass(frozen=True)
class Settings:
    """How to measure, from the command line."""

    threads: int = 2
    rounds: int = 15
    seconds: float = 5.0
    device: str = "cpu"
    seed: int = 0
    mumoe: Path | None = None

    @cached_property
    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    def normal(self, *shape: int) -> torch.Tensor:
        """Standard normal values, the next from one seeded generator."""
        return torch.randn(*shape, generator=self._generator).to(self.device)

    def times(
        self,
        name: str,
        sides: Mapping[str, Call],
        *,
        same: Sequence[str] = (),
        grad: bool = False,
        threads: int | None = None,
        seconds: float | None = None,
        wait: Callable[[Any], object] | None = None,
    ) -> Measurement:
        """Time sides in turns.

        Args:
            name: of what is measured.
            sides: functions of no argument, by name.
            same: the names of sides whose results must agree before anything is timed.
            grad: whether PyTorch records for a backward pass.
            threads: of PyTorch, if not the command line's.
            seconds: to measure for, if not the command line's.
            wait: see `tensormoe.benching.timing.interleave`.
        """
        threads = threads or self.threads
        ops = tm.get_backend("torch")
        clock = ops.clock(self.device) if wait is None else wall_clock
        with torch.set_grad_enabled(grad), ops.threads(threads):
            results = {side: sides[side]() for side in same}
            for side in same[1:]:
                agree(side, results[side], results[same[0]])
            del results
            timings = interleave(sides, self.rounds, seconds or self.seconds, wait, clock)
        rounds = next(iter(timings.values())).rounds
        detail = f"{rounds} rounds" + (f", {threads} thread{'s'[: threads != 1]}" if wait is None else "")
        return Measurement(name, "s", {side: timing.quartiles for side, timing in timings.items()}, detail)


def exactly(name: str, unit: str, values: Mapping[str, float], detail: str = "") -> Measurement:
    """A measurement of values without spread."""
    return Measurement(name, unit, {side: (value, value, value) for side, value in values.items()}, detail)


def agree(side: str, actual: Any, expected: Any) -> None:
    """Raise unless two results are equal to within float32's rounding of sums of this size."""
    size = float(expected.detach().abs().max())
    torch.testing.assert_close(
        actual.detach(), expected.detach(), rtol=1e-4, atol=2e-5 * size, msg=lambda text: f"{side}: {text}"
    )
