"""An experiment without a framework: sums of random numbers, with a checkpoint every few steps."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.experiments.experiment import Experiment, Finding, Report
from benchmarks.experiments.results import Results
from benchmarks.experiments.trial import Cell, Outcome, Trial
from benchmarks.experiments.verdicts import judge

EVERY = 10


@dataclass(frozen=True)
class Configuration:
    """How many numbers of which scales, and how long to wait for each."""

    seeds: int
    steps: int
    scales: tuple[float, ...]
    pause: float = 0.0


def cells(configuration: Configuration) -> list[Cell]:
    return [{"scale": scale} for scale in configuration.scales]


def run(configuration: Configuration, trial: Trial) -> Outcome:
    path = trial.own / "state.json"
    first, total = json.loads(path.read_text()) if path.exists() else (0, 0.0)
    for step in range(first, configuration.steps):
        time.sleep(configuration.pause)
        total += float(trial.cell["scale"]) * np.random.default_rng((trial.seed, step)).normal()
        trial.tell("counting", step / configuration.steps)
        if (step + 1) % EVERY == 0:
            keep(path, json.dumps((step + 1, total)))
    return Outcome({"total": total, "nothing": float("nan")}, {"steps": configuration.steps - first})


def keep(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)


def report(configuration: Configuration, results: Results) -> Report:
    rise = results.difference("total", {"scale": 2.0}, {"scale": 1.0})
    finding = Finding("It | rises.", "Nobody, 2026", "sums", rise.shown(2), judge([rise]), "By chance.")
    return Report([finding], text="That is all.")


EXPERIMENT = Experiment("counting", "Counting", Configuration, cells, run, report)
