"""Do more experts mean more specialized ones? Heads in place of the last layer of pretrained networks."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tensormoe.intervals import Interval

from . import figures, finetuning, heads
from .experiment import Experiment, Finding, Picture, Report
from .results import Results
from .specialization_table import tabulate
from .trial import Cell, Outcome, Trial
from .verdicts import judge

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SOURCE = "Oldfield et al., 2024 (arXiv 2402.12550)"
# Accuracies are called equal if the interval of their difference lies above this.
MARGIN = -0.01
TITLES = {
    "digits": "digits, 10 classes",
    "texts": "docstrings, 20 classes",
    "images": "images, frozen encoder",
    finetuning.TASK: "images, trained encoder",
}


@dataclass(frozen=True)
class Configuration:
    """What varies, and how each head is trained.

    Args:
        seeds: how many.
        tasks: of `tasks.TASKS`, or `finetuning.TASK`.
        experts: numbers of experts, from the smallest to the largest.
        families: of `heads.family`.
        gates: activations; the first is the published one.
        swept: families that are tried with all numbers of experts; the others with `middle`.
        blocks: tasks with blocks of two layers, too, of the first family.
        middle: the number of experts for what is not swept.
        crossed: all families with all gates and all numbers of experts.
        rates: the grid of learning rates, the same for all.
        steps, batch: of AdamW without decay, rates falling by a cosine.
        norm: of the gate.
        k: of soft top-k and top-k.
        budget: parameters, as a multiple of those that are replaced.
        gate_counted: whether the gate is part of the budget.
        images, clip, embedder: where a folder of images, CLIP and the embedding model are.
    """

    seeds: int
    tasks: tuple[str, ...]
    experts: tuple[int, ...]
    families: tuple[str, ...]
    gates: tuple[str, ...]
    swept: tuple[str, ...]
    blocks: tuple[str, ...]
    middle: int
    rates: tuple[float, ...]
    steps: int
    batch: int
    crossed: bool = False
    norm: str = "batch"
    k: int = 4
    budget: float = 4.0
    gate_counted: bool = False
    images: str = ""
    clip: str = ""
    embedder: str = ""


def cells(configuration: Configuration) -> list[Cell]:
    """A linear layer for each task; heads; and blocks."""
    chosen: list[Cell] = []
    for task in configuration.tasks:
        chosen.append({"task": task, **heads.LINEAR})
        for family in configuration.families:
            for gate in configuration.gates:
                chosen += [
                    {"task": task, "layer": "head", "family": family, "gate": gate, "experts": experts}
                    for experts in configuration.experts
                    if _is_tried(configuration, family, gate, experts)
                ]
        family, gate = configuration.families[0], configuration.gates[0]
        if task in configuration.blocks:
            chosen += [
                {"task": task, "layer": "block", "family": family, "gate": gate, "experts": experts}
                for experts in configuration.experts
            ]
    return chosen


def _is_tried(configuration: Configuration, family: str, gate: str, experts: int) -> bool:
    if configuration.crossed:
        return True
    if gate == configuration.gates[0]:
        return experts == configuration.middle or family in configuration.swept
    return experts == configuration.middle and family == configuration.families[0]


def run(configuration: Configuration, trial: Trial) -> Outcome:
    """One head: its accuracy, and how its experts share the classes."""
    if trial.cell["task"] == finetuning.TASK:
        return finetuning.run(configuration, trial)
    return heads.run(configuration, trial)


@dataclass(frozen=True)
class Sweep:
    """A kind of layer on a task, over all numbers of experts."""

    results: Results
    configuration: Configuration
    task: str
    layer: str
    family: str

    @property
    def name(self) -> str:
        return f"{self.family} {self.layer}"

    def cell(self, experts: int) -> Cell:
        return {
            "task": self.task,
            "layer": self.layer,
            "family": self.family,
            "gate": self.configuration.gates[0],
            "experts": experts,
        }

    def over(self, measure: str) -> dict[float, Interval]:
        return {n: self.results.interval(measure, **self.cell(n)) for n in self.configuration.experts}

    def change(self, measure: str) -> Interval:
        """From the smallest to the largest number of experts, seed by seed."""
        few, many = self.configuration.experts[0], self.configuration.experts[-1]
        return self.results.difference(measure, self.cell(many), self.cell(few))


def sweeps(configuration: Configuration, results: Results, task: str) -> list[Sweep]:
    """What was tried with all numbers of experts on a task."""
    layers = [("head", family) for family in configuration.swept]
    layers += [("block", configuration.families[0])] * (task in configuration.blocks)
    return [Sweep(results, configuration, task, layer, family) for layer, family in layers]


def report(configuration: Configuration, results: Results) -> Report:
    """The published claims for each task, a figure for each, and a table of everything."""
    findings = []
    for task in configuration.tasks:
        own = sweeps(configuration, results, task)
        findings += [_specialized(configuration, own, task), _accurate(configuration, results, own, task)]
    return Report(
        [*findings, *_untested(configuration)],
        _pictures(configuration, results),
        tabulate(configuration, results),
    )


def _ran(configuration: Configuration, own: Sequence[Sweep], task: str) -> str:
    few, many = configuration.experts[0], configuration.experts[-1]
    return f"{TITLES[task]}: {', '.join(each.name for each in own)}; {few} … {many} experts"


def _specialized(configuration: Configuration, own: Sequence[Sweep], task: str) -> Finding:
    few, many = configuration.experts[0], configuration.experts[-1]
    changes = {each.name: each.change("polysemanticity") for each in own}
    shown = "; ".join(f"{name} {change.shown(2, sign=True)}" for name, change in changes.items())
    verdict = judge(change.negated for change in changes.values())
    shares = [each.over("class_share") for each in own]
    rises = "; ".join(
        f"{each.name} {over[few].shown(0, 100)} to {over[many].shown(0, 100, '%')}"
        for each, over in zip(own, shares, strict=True)
    )
    largest = [each.over("largest_change") for each in own]
    effect = "; ".join(
        f"{each.name} {over[few].shown(0, 100)} and {over[many].shown(0, 100)}"
        for each, over in zip(own, largest, strict=True)
    )
    trained = "" if task == finetuning.TASK else "; here, only heads are"
    why = (
        f"the measure is how far the accuracies that classes lose without an expert are from one class lost "
        f"altogether: near 1 for every expert that others can stand in for. With more experts, they can: the "
        f"most that a class loses, in points, with {few} and with {many} experts is {effect}. Published were "
        f"1,000 classes, so that there were fewer experts than classes, and a network that is trained as a "
        f"whole{trained}. Which inputs an expert serves does get narrower: of an expert's "
        f"coefficients, its main class has, from {few} to {many} experts, {rises}."
    )
    return Finding(
        f"The more experts, the more each is specialized: class-level polysemanticity falls ({task})",
        SOURCE,
        _ran(configuration, own, task),
        f"change of polysemanticity from {few} to {many} experts: {shown}",
        verdict,
        why,
    )


def _accurate(configuration: Configuration, results: Results, own: Sequence[Sweep], task: str) -> Finding:
    linear: Cell = {"task": task, **heads.LINEAR}
    gains = {
        (each.name, experts): results.difference("accuracy", each.cell(experts), linear)
        for each in own
        for experts in configuration.experts
    }
    (name, experts), worst = min(gains.items(), key=lambda gain: gain[1].low)
    best = max(gains.items(), key=lambda gain: gain[1].mean)
    verdict = judge(gains.values(), MARGIN)
    below = sum(gain.low <= MARGIN for gain in gains.values())
    why = (
        f"{below} of {len(gains)} layers may be more than one point worse, that is, their "
        "intervals reach there. With few test examples, intervals are wide."
    )
    return Finding(
        f"Accuracy is that of the dense layer ({task})",
        SOURCE,
        f"{_ran(configuration, own, task)}, against a linear layer",
        f"points above the linear layer's {results.interval('accuracy', **linear).shown(1, 100, '%')}: from "
        f"{worst.shown(1, 100, sign=True)} ({name}, {experts} experts) to "
        f"{best[1].shown(1, 100, sign=True)} ({best[0][0]}, {best[0][1]} experts)",
        verdict,
        why,
    )


def _untested(configuration: Configuration) -> list[Finding]:
    """What needs data that are not at hand."""
    if {"images", finetuning.TASK} & {*configuration.tasks}:
        return []
    return [
        Finding(
            "The same for CLIP ViT-B/32 on ImageNet, up to 512 experts",
            SOURCE,
            "nothing: ImageNet and CLIP's weights are not at hand. `--preset imagenet-finetuned --set "
            "images=FOLDER` is the published recipe; `--preset imagenet` trains heads only",
            "–",
            "not testable here",
        )
    ]


def _pictures(configuration: Configuration, results: Results) -> list[Picture]:
    seeds = f"Means of {configuration.seeds} seeds, bands: 95 % intervals; published gate."
    measures = {
        "polysemanticity": (
            "class-level polysemanticity",
            1.0,
            "Does polysemanticity fall with more experts?",
        ),
        "accuracy": ("test accuracy [%]", 100.0, "Is accuracy that of the dense layer?"),
        "class_share": (
            "main class's share of coefficients [%]",
            100.0,
            "How much of an expert's work is for one class?",
        ),
    }

    def draw(measure: str) -> "Figure":
        label, scale, _ = measures[measure]
        titles = [TITLES[task] for task in configuration.tasks]
        figure, axes = figures.panels(titles, "experts", label, configuration.seeds)
        for axis, task in zip(axes, configuration.tasks, strict=True):
            for number, sweep in enumerate(sweeps(configuration, results, task)):
                over = {n: value.scaled(scale) for n, value in sweep.over(measure).items()}
                figures.line(axis, over, sweep.name, number)
            if measure == "accuracy":
                linear = results.interval(measure, task=task, **heads.LINEAR)
                figures.level(axis, linear.scaled(scale), "linear layer")
            figures.powers(axis, configuration.experts)
            axis.legend(frameon=False, fontsize=8)
        return figure

    return [
        Picture(f"specialization-{measure.replace('_', '-')}", f"{text} {seeds}", partial(draw, measure))
        for measure, (_, _, text) in measures.items()
    ]


EXPERIMENT = Experiment("specialization", "Specialization of experts", Configuration, cells, run, report)
