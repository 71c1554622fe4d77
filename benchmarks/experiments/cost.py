"""What experts cost: time and memory of μMoE blocks beside soft and sparse mixtures and an MLP."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

import tensormoe as tm
from tensormoe.benching.timing import interleave
from tensormoe.typing import Clock

from . import cost_memory
from .cost_memory import name_mode
from .cost_report import report
from .cost_sides import SIDES, Size, build, count
from .experiment import Experiment
from .training import choose_device
from .trial import Cell, Outcome, Trial

# Seconds of a round: on a processor, whose own clock other work hardly disturbs, and on a GPU.
_LEAST = (0.004, 0.02)


@dataclass(frozen=True)
class Configuration:
    """Sizes of blocks D → 4 D → D, and what is too large to be measured.

    Args:
        seeds: of values; each is a measurement of its own, of all sides in turns.
        widths: D. The model of time is fitted to all but the last, which is held out.
        experts, batches: numbers of experts, and of input vectors in a call, with each width.
        middle: the width and the batch at which memory is measured, and experts are compared.
        published: widths, experts and batches of published blocks, to which times are extrapolated.
        rounds, seconds: of timing, at most, for all sides together.
        most_macs, most_parameters: sides with more are predicted, not measured.
        device: "cpu", or "cuda" (see `training.choose_device`).
    """

    seeds: int
    widths: tuple[int, ...]
    experts: tuple[int, ...]
    batches: tuple[int, ...]
    middle: tuple[int, ...]
    published: tuple[tuple[int, ...], ...]
    rounds: int
    seconds: float
    most_macs: float
    most_parameters: float
    device: str = "cpu"


def cells(configuration: Configuration) -> list[Cell]:
    """Times over all sizes and at the published ones, and memory over numbers of experts.

    More than 4 D experts have a router that takes half of the MLP's parameters: there, equal parameters
    would say little of cores.
    """
    sizes = [
        Size(width, experts, batch)
        for width in configuration.widths
        for experts in configuration.experts
        for batch in configuration.batches
        if experts <= 4 * width
    ]
    sizes += [Size(*each) for each in configuration.published]
    width, batch = configuration.middle
    held = [Size(width, experts, batch) for experts in configuration.experts if experts <= 4 * width]
    return [
        {"what": what, **size._asdict()}
        for what, listed in (("time", sizes), ("memory", held))
        for size in dict.fromkeys(listed)
    ]


def run(configuration: Configuration, trial: Trial) -> Outcome:
    """Counts of all sides, and seconds or bytes of those that are not too large."""
    choose_device(configuration.device)
    size = Size(*(int(trial.cell[name]) for name in Size._fields))
    counts = {side: count(side, size) for side in SIDES}
    sides = [
        side
        for side, each in counts.items()
        if each.macs <= configuration.most_macs and each.parameters <= configuration.most_parameters
    ]
    measure = _time if trial.cell["what"] == "time" else _hold
    return Outcome(
        {side: each._asdict() for side, each in counts.items()},
        measure(configuration, sides, size, trial.seed),
    )


def _hold(configuration: Configuration, sides: Sequence[str], size: Size, seed: int) -> dict[str, int]:
    return dict(cost_memory.measure(sides, size, seed, configuration.device))


def _time(configuration: Configuration, sides: Sequence[str], size: Size, seed: int) -> dict[str, float]:
    """The median of rounds, in seconds a call."""
    device = configuration.device
    x = torch.randn(size.batch, size.width, generator=torch.Generator().manual_seed(seed)).to(device)
    modules = {side: build(side, size, seed, device) for side in sides}
    gpu = device == "cuda"
    clock: Clock = tm.get_backend("torch").clock(device) if gpu else _processor
    rounds, budget, least = configuration.rounds, configuration.seconds, _LEAST[gpu]
    seconds: dict[str, float] = {}
    for training in (False, True):
        calls = {side: partial(cost_memory.call, module, x, training) for side, module in modules.items()}
        timings = interleave(calls, rounds, budget, clock=clock, least=least)
        seconds |= {name_mode(side, training): timing.median for side, timing in timings.items()}
    return seconds


def _processor() -> Callable[[], float]:
    """Seconds of this process's processor: with one thread, what an idle machine takes."""
    start = time.process_time()
    return lambda: time.process_time() - start


EXPERIMENT = Experiment("cost", "What experts cost", Configuration, cells, run, report)
