"""How to choose experts: soft top-k, entmax, sparsemax, softmax and top-k, at equal settings."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

import tensormoe as tm
from tensormoe.intervals import Interval, interval

from . import figures, heads
from .experiment import Experiment, Finding, Picture, Report
from .results import Results
from .tasks import load
from .trial import Cell, Outcome, Scalar, Trial
from .verdicts import decide, judge

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAPER = "Oldfield et al., 2024 (arXiv 2402.12550)"
# A summary of the paper that a machine made, which puts SoftRank where the paper has 1.5-entmax.
SUMMARY = "a summary of Oldfield et al., 2024, made by a machine"
# A gate is slow if a step takes a tenth more; accuracies are equal within a point.
SLOWER, MARGIN = 1.1, -0.01
# How often a gate is timed, each time over so many vectors.
ROUNDS, VECTORS = 10, 1_024


@dataclass(frozen=True)
class Configuration:
    """What varies, and how each head is trained; see `specialization.Configuration` for the fields.

    Args:
        gates: activations; the first is the published one.
        family: of all heads.
    """

    seeds: int
    tasks: tuple[str, ...]
    experts: tuple[int, ...]
    gates: tuple[str, ...]
    rates: tuple[float, ...]
    steps: int
    batch: int
    family: str = "CP"
    norm: str = "batch"
    k: int = 4
    budget: float = 4.0
    gate_counted: bool = False
    images: str = ""
    clip: str = ""
    embedder: str = ""


def cells(configuration: Configuration) -> list[Cell]:
    """A head for each task, number of experts and gate."""
    return [
        {"task": task, "layer": "head", "family": configuration.family, "gate": gate, "experts": experts}
        for task in configuration.tasks
        for experts in configuration.experts
        for gate in configuration.gates
    ]


def run(configuration: Configuration, trial: Trial) -> Outcome:
    """Quality as in the experiment on specialization, and processor time of a step and of a gate alone."""
    outcome = heads.run(configuration, trial)
    task = load(str(trial.cell["task"]), configuration, trial.shared, trial.tell)
    trial.tell("timing", 0.0)
    model = heads.build(configuration, trial.cell, task, trial.seed)
    batch, labels = (each[: configuration.batch] for each in task.train)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(batch), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    generator = torch.Generator().manual_seed(trial.seed)
    logits = torch.randn(VECTORS, int(trial.cell["experts"]), generator=generator).requires_grad_()
    upstream = torch.rand(logits.shape, generator=generator)
    name = str(trial.cell["gate"])
    weigh = partial(getattr(tm, name), **heads.options(name, configuration))

    def choose() -> None:
        weigh(logits).backward(upstream)

    return Outcome(outcome.measures, {"step": fastest(step, 10), "gate": fastest(choose, 3)})


def fastest(call: Callable[[], None], times: int) -> float:
    """Seconds of processor time of a call, in the fastest of several rounds of so many calls."""
    call()
    seconds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(times):
            call()
        seconds.append((time.process_time() - start) / times)
    return min(seconds)


def report(configuration: Configuration, results: Results) -> Report:
    """What is said of selection, a figure, and a table."""
    findings = [_slow(configuration, results)]
    for task in configuration.tasks:
        findings += [_discrete(configuration, results, task), _replaceable(configuration, results, task)]
    return Report(findings, _pictures(configuration, results), _tabulate(configuration, results))


def _cell(configuration: Configuration, task: str, experts: int, gate: str) -> dict[str, Scalar]:
    own: Mapping[str, Scalar] = {"layer": "head", "family": configuration.family}
    return {"task": task, "experts": experts, "gate": gate, **own}


def _ratio(results: Results, timing: str, one: Cell, other: Cell) -> Interval:
    """How many times as long one cell takes as another, seed by seed."""
    above, below = results.by_seed(timing, **one), results.by_seed(timing, **other)
    return interval([above[seed] / below[seed] for seed in above if seed in below])


def _slow(configuration: Configuration, results: Results) -> Finding:
    published = configuration.gates[0]
    ratios = {}
    for task in configuration.tasks:
        for experts in configuration.experts:
            soft, own = (_cell(configuration, task, experts, gate) for gate in ("soft_top_k", published))
            ratios[task, experts] = _ratio(results, "step", soft, own), _ratio(results, "gate", soft, own)
    verdict = judge((step for step, _ in ratios.values()), SLOWER)
    shown = "; ".join(
        f"{task}, {experts} experts: {step.shown(2)} (alone {alone.shown(2)})"
        for (task, experts), (step, alone) in ratios.items()
    )
    why = (
        "here soft top-k is the projection on the hypersimplex, whose one threshold is found without "
        "sorting, as that of sparsemax is; the summary may mean sorting."
    )
    return Finding(
        "Differentiable selection by SoftRank (here soft top-k) is computationally expensive",
        SUMMARY,
        f"processor time of a training step of {configuration.batch} vectors, and of the gate alone, forward "
        f"and backward, with {VECTORS:,}, against {heads.NAMES[published]}",
        f"times as long: {shown}",
        verdict,
        why,
    )


def _discrete(configuration: Configuration, results: Results, task: str) -> Finding:
    """Against top-k, whose choice is not differentiable."""
    published = configuration.gates[0]
    parts, better, worse = [], [], []
    for experts in configuration.experts:
        soft, hard = (_cell(configuration, task, experts, gate) for gate in (published, "top_k"))
        gain = results.difference("accuracy", soft, hard)
        dead, others = results.interval("dead", **soft), results.interval("dead", **hard)
        fewer = results.difference("dead", soft, hard)
        parts.append(
            f"{experts} experts: {gain.shown(1, 100, sign=True)} points; dead {dead.shown(1)} against "
            f"{others.shown(1)}"
        )
        better.append(gain.low > MARGIN and (gain.low > 0 or fewer.high < 0))
        worse.append(gain.high <= MARGIN or (gain.high <= 0 and fewer.low >= 0))
    verdict = decide(all(better), any(worse))
    why = (
        "it counts as holding if accuracy is at most one point less and experts die less often, or "
        "accuracy is higher, by the whole interval and for all numbers of experts."
    )
    return Finding(
        f"Dense gates do not inherit the training issues of discrete routing ({task})",
        PAPER,
        f"{task}: accuracy and dead experts of {heads.NAMES[published]} against top-{configuration.k}, whose "
        "router has no other loss",
        "; ".join(parts),
        verdict,
        why,
    )


def _replaceable(configuration: Configuration, results: Results, task: str) -> Finding:
    """Whether another differentiable gate does as well as the published one."""
    published, experts = configuration.gates[0], configuration.experts[-1]
    own = _cell(configuration, task, experts, published)
    gains = {
        gate: results.difference("accuracy", _cell(configuration, task, experts, gate), own)
        for gate in configuration.gates[1:]
        if gate != "top_k"
    }
    verdict = decide(
        any(gain.low > MARGIN for gain in gains.values()),
        all(gain.high <= MARGIN for gain in gains.values()),
    )
    shown = "; ".join(f"{heads.NAMES[gate]} {gain.shown(1, 100, sign=True)}" for gate, gain in gains.items())
    return Finding(
        f"Other differentiable selections could replace the published one ({task})",
        f"next check of {SUMMARY}",
        f"{task}, {experts} experts",
        f"points of accuracy above {heads.NAMES[published]}: {shown}",
        verdict,
        "every interval reaches one point below.",
    )


def _pictures(configuration: Configuration, results: Results) -> list[Picture]:
    experts = configuration.experts[-1]
    measures = {
        "accuracy": ("test accuracy [%]", 100.0),
        "class_share": ("main class's share of coefficients [%]", 100.0),
        "step": ("processor time of a training step [ms]", 1e3),
    }

    def draw(task: str) -> "Figure":
        figure, axes = figures.panels(["", "", ""], "", "", configuration.seeds)
        for axis, (measure, (label, scale)) in zip(axes, measures.items(), strict=True):
            values = {
                heads.NAMES[gate]: results.interval(
                    measure, **_cell(configuration, task, experts, gate)
                ).scaled(scale)
                for gate in configuration.gates
            }
            figures.points(axis, values)
            axis.set_xlabel(label)
        return figure

    return [
        Picture(
            f"selection-{task}",
            f"Gates on {task}, {experts} experts, {configuration.family}: means of {configuration.seeds} "
            "seeds and 95 % intervals.",
            partial(draw, task),
        )
        for task in configuration.tasks
    ]


def _tabulate(configuration: Configuration, results: Results) -> str:
    grid = ", ".join(f"{rate:g}" for rate in configuration.rates)
    columns = (
        *("task", "experts", "gate", "rate", "accuracy %", "main class %"),
        *("polysemanticity", "effective", "dead", "step ms"),
    )
    rows = [
        f"Settings are those of the heads above: equal cores, rates from {grid}, {configuration.steps} "
        f"steps. k is {configuration.k} for soft top-k and top-k.",
        "",
        f"| {' | '.join(columns)} |",
        "|---|---:|---|---:" + "|---:" * 6 + "|",
    ]
    for cell in cells(configuration):
        first = results.of(**cell).lines[0]["measures"]
        numbers = (
            ("accuracy", 1, 100.0),
            ("class_share", 0, 100.0),
            ("polysemanticity", 2, 1.0),
            ("effective", 0, 1.0),
            ("dead", 0, 1.0),
            ("step", 2, 1e3),
        )
        shown = [results.interval(name, **cell).shown(digits, scale) for name, digits, scale in numbers]
        start = [
            str(cell["task"]),
            str(cell["experts"]),
            heads.NAMES[str(cell["gate"])],
            f"{first['rate']:g}",
        ]
        rows.append(f"| {' | '.join([*start, *shown])} |")
    return "\n".join(rows)


EXPERIMENT = Experiment("selection", "Differentiable selection", Configuration, cells, run, report)
