"""One run of an experiment: a choice of what varies with one seed, and what it measured."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

Scalar: TypeAlias = str | int | float | bool
# What JSON holds and the results keep.
Value: TypeAlias = Scalar | Sequence["Value"] | Mapping[str, "Value"] | None
# One choice of what varies, such as {"experts": 16, "gate": "softmax"}.
Cell: TypeAlias = Mapping[str, Scalar]


class Configuration(Protocol):
    """What every configuration has: the number of seeds, which are 0, 1, …"""

    @property
    def seeds(self) -> int: ...


C = TypeVar("C", bound=Configuration)


@dataclass(frozen=True)
class Trial:
    """One cell with one seed, and where it may keep files.

    Args:
        cell: what varies between trials.
        seed: of initial values, order of the data and whatever else is random.
        shared: a folder that all trials of a configuration share, for what they have in common, such as a
            pretrained network. Files in it must appear whole (see `checkpoints.prepare`).
        own: a folder for checkpoints of this trial, which outlives a killed process and goes when the trial
            is finished.
        tell: shows a short text and the share of the trial that is done, from 0 to 1.
    """

    cell: Cell
    seed: int
    shared: Path
    own: Path
    tell: Callable[[str, float], None] = lambda text, share: None


@dataclass(frozen=True)
class Outcome:
    """What a trial measured.

    Args:
        measures: what is the same whenever the trial is run with the same versions.
        timings: what is not: seconds and bytes.
    """

    measures: Mapping[str, Value]
    timings: Mapping[str, Value] = field(default_factory=dict)
