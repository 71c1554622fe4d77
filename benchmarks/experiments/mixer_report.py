"""What the experiment on mixers says."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

from tensormoe.intervals import Interval, interval

from . import figures
from .experiment import Finding, Picture, Report
from .results import Results
from .trial import Cell, Scalar
from .verdicts import judge

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SOURCE = "Oldfield et al., 2024 (arXiv 2402.12550)"
DENSE: dict[str, Scalar] = {"mlp": "dense", "experts": 0}
TITLES = {"digits": "digits, 10 classes", "signals": "MNIST-1D, 10 classes", "images": "images"}
# Accuracies match if the interval of their difference lies above this; chosen before anything was run.
MARGIN = -0.01
# Experts are for a class if it has at least so many times the share of their coefficients that chance gives.
SPECIALIZED = 1.5

_LEGEND = """\
{data} Mixers have {layers} layers of width {width}; MLPs over tokens are {tokens} wide and those over
channels {channels}. Blocks take the place of all of them, with 1.5-entmax after a batch norm. {ranks}
AdamW, {steps} steps of {batch}, a linear warm-up and fall, decay {decay:g}, gradients of norm {clip:g} at
most. *rate*: of {rates}, which the loss on validation data chooses for each contender after a share of
{tuning:g} of the steps. *step*: processor time of forward, backward and AdamW. *share*: what of all
coefficients falls on inputs of each expert's main class, over tokens and over channels; in brackets the same
with the classes shuffled. *in use*: experts, as the exponential of the mean load's entropy."""
_DATA = {
    "digits": "**digits** are scikit-learn's, in patches of {patch} × {patch} pixels.",
    "signals": "**signals** are MNIST-1D as its package generates it, 5,000 signals of 40 numbers in patches "
    "of {patch}: 1,000 to judge by, and 800 of the others to choose by.",
    "images": "**images** are in patches of {patch} × {patch} pixels.",
}
_RANKS = (
    "As published, ranks are one share of the length of what is mixed, here the largest with which a layer "
    "has at most the parameters of dense MLPs, gates included; what is left goes to the block over channels."
)


class Settings(Protocol):
    """What the report reads of the configuration."""

    @property
    def seeds(self) -> int: ...
    @property
    def tasks(self) -> tuple[str, ...]: ...
    @property
    def patches(self) -> tuple[int, ...]: ...
    @property
    def families(self) -> tuple[str, ...]: ...
    @property
    def experts(self) -> tuple[int, ...]: ...
    @property
    def layers(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def hidden(self) -> tuple[int, ...]: ...
    @property
    def steps(self) -> tuple[int, ...]: ...
    @property
    def batch(self) -> int: ...
    @property
    def rates(self) -> tuple[float, ...]: ...
    @property
    def tuning(self) -> float: ...
    @property
    def decay(self) -> float: ...
    @property
    def clip(self) -> float: ...
    @property
    def shares(self) -> tuple[float, ...]: ...


def report(configuration: Settings, results: Results) -> Report:
    """What holds for each task, two figures, and a table."""
    findings: list[Finding] = []
    for task in configuration.tasks:
        findings += [_equal(configuration, results, task), _special(configuration, results, task)]
    if "images" not in configuration.tasks:
        findings.append(_PUBLISHED)
    text = f"{_table(configuration, results)}\n\n{_legend(configuration)}"
    return Report(findings, _pictures(configuration, results), text)


def _blocks(configuration: Settings, task: str) -> dict[str, Cell]:
    """The contenders of the dense mixer, by name."""
    return {
        f"{family}, {experts} experts": {"task": task, "mlp": family, "experts": experts}
        for family in configuration.families
        for experts in configuration.experts
    }


def _model(configuration: Settings, task: str) -> str:
    return (
        f"{TITLES[task]}: mixers of {configuration.layers} layers of width {configuration.width}, blocks for "
        "all MLPs"
    )


def _equal(configuration: Settings, results: Results, task: str) -> Finding:
    dense: dict[str, Scalar] = {"task": task, **DENSE}
    gains = {
        name: results.difference("accuracy", cell, dense)
        for name, cell in _blocks(configuration, task).items()
    }
    above = sum(gain.low > 0 for gain in gains.values())
    shown = "; ".join(f"{name} {gain.shown(1, 100, sign=True)}" for name, gain in gains.items())
    return Finding(
        f"At equal parameters, a μMoE MLP-Mixer has at least the accuracy of the dense one ({task})",
        SOURCE,
        f"{_model(configuration, task)}, against dense MLPs, seed by seed",
        f"points above dense MLPs' {results.interval('accuracy', **dense).shown(1, 100, '%')}: {shown}. "
        f"{above} of {len(gains)} intervals are above 0",
        judge(gains.values(), MARGIN),
        "it counts as holding if no interval reaches one point below the dense mixer, a limit that was "
        "chosen beforehand. The mixers are tiny: gates take much of what few parameters there are.",
    )


def _special(configuration: Settings, results: Results, task: str) -> Finding:
    """With the most experts, over tokens and over channels."""
    most = configuration.experts[-1]
    ratios: dict[str, Interval] = {}
    for family in configuration.families:
        cell: dict[str, Scalar] = {"task": task, "mlp": family, "experts": most}
        for kind in ("token", "channel"):
            own, chance = (results.by_seed(f"{kind} share{of}", **cell) for of in ("", " by chance"))
            ratios[f"{family} over {kind}s"] = interval([own[seed] / chance[seed] for seed in own])
    shown = "; ".join(f"{name} {ratio.shown(1)}" for name, ratio in ratios.items())
    return Finding(
        f"Experts specialize throughout the network ({task})",
        SOURCE,
        f"{_model(configuration, task)}, {most} experts; the share of their coefficients that inputs of the "
        "main class have, against the same with the classes shuffled",
        f"times what chance gives: {shown}",
        judge(ratios.values(), SPECIALIZED),
        f"it counts as holding if the share is more than {SPECIALIZED:g} times that of chance over tokens "
        "and over channels, on average over layers. Published were examples of what experts respond to, not "
        "this measure: an expert may be for a part that several classes have.",
    )


_PUBLISHED = Finding(
    "The same for MLP-Mixer S/16 on ImageNet",
    SOURCE,
    "nothing, and never by us: it needs ImageNet and large processors. `--preset full --set images=FOLDER`",
    "–",
    "not testable here",
)


def _pictures(configuration: Settings, results: Results) -> list[Picture]:
    seeds = f"Means of {configuration.seeds} seeds, bands: 95 % intervals."
    return [
        Picture(
            "mixer-accuracy",
            f"Accuracy of mixers at equal parameters, over the number of experts of each block. {seeds}",
            partial(_draw_accuracy, configuration, results),
        ),
        Picture(
            "mixer-experts",
            "What of all coefficients falls on inputs of each expert's main class, in CP blocks. Dashed: the "
            f"same with the classes shuffled. {seeds}",
            partial(_draw_shares, configuration, results),
        ),
    ]


def _over(
    configuration: Settings, results: Results, measure: str, task: str, family: str
) -> Mapping[float, Interval]:
    return {
        experts: results.interval(measure, task=task, mlp=family, experts=experts).scaled(100)
        for experts in configuration.experts
    }


def _draw_accuracy(configuration: Settings, results: Results) -> "Figure":
    titles = [TITLES[task] for task in configuration.tasks]
    figure, axes = figures.panels(titles, "experts of each block", "test accuracy [%]", configuration.seeds)
    for axis, task in zip(axes, configuration.tasks, strict=True):
        for number, family in enumerate(configuration.families):
            figures.line(
                axis, _over(configuration, results, "accuracy", task, family), f"{family} blocks", number
            )
        figures.level(axis, results.interval("accuracy", task=task, **DENSE).scaled(100), "dense MLPs")
        figures.powers(axis, configuration.experts)
        axis.legend(frameon=False, fontsize=8)
    return figure


def _draw_shares(configuration: Settings, results: Results) -> "Figure":
    titles = [TITLES[task] for task in configuration.tasks]
    label = "main class's share of coefficients [%]"
    figure, axes = figures.panels(titles, "experts of each block", label, configuration.seeds)
    family = configuration.families[0]
    for axis, task in zip(axes, configuration.tasks, strict=True):
        for number, kind in enumerate(("token", "channel")):
            figures.line(
                axis, _over(configuration, results, f"{kind} share", task, family), f"over {kind}s", number
            )
            chance = _over(configuration, results, f"{kind} share by chance", task, family)
            means = [chance[experts].mean for experts in configuration.experts]
            axis.plot(configuration.experts, means, "--", color=figures.COLOURS[number], linewidth=1)
        figures.powers(axis, configuration.experts)
        axis.legend(frameon=False, fontsize=8)
    return figure


def _table(configuration: Settings, results: Results) -> str:
    columns = (
        *("task", "MLPs", "parameters", "rate", "accuracy %", "loss", "step ms"),
        *("share, tokens %", "share, channels %", "in use, tokens", "in use, channels"),
    )
    rows: list[Sequence[str]] = [columns, ("---", "---", *["--:"] * (len(columns) - 2))]
    for task in configuration.tasks:
        cells: dict[str, Cell] = {"dense": {"task": task, **DENSE}, **_blocks(configuration, task)}
        rows += [(task, name, *_numbers(results, cell)) for name, cell in cells.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _numbers(results: Results, cell: Cell) -> tuple[str, ...]:
    def mean(measure: str, digits: int, scale: float = 1.0) -> str:
        return results.interval(measure, **cell).shown(digits, scale)

    first = results.of(**cell).lines[0]["measures"]
    own = (
        f"{first['parameters']:,}",
        f"{first['rate']:g}",
        mean("accuracy", 1, 100),
        mean("loss", 3),
        mean("step", 1, 1e3),
    )
    if not cell["experts"]:
        return (*own, *["–"] * 4)
    kinds = ("token", "channel")
    chance = {kind: results.interval(f"{kind} share by chance", **cell).mean for kind in kinds}
    shares = (f"{mean(f'{kind} share', 0, 100)} ({100 * chance[kind]:.0f})" for kind in kinds)
    return (*own, *shares, *(mean(f"{kind} in use", 1) for kind in kinds))


def _legend(configuration: Settings) -> str:
    patches = zip(configuration.tasks, configuration.patches, strict=True)
    tokens, channels = configuration.hidden
    return _LEGEND.format(
        data=" ".join(_DATA[task].format(patch=patch) for task, patch in patches),
        layers=configuration.layers,
        width=configuration.width,
        tokens=tokens,
        channels=channels,
        ranks=_RANKS if not configuration.shares else "Ranks are the published shares of what is mixed.",
        steps=" and ".join(f"{steps:,}" for steps in configuration.steps),
        batch=configuration.batch,
        decay=configuration.decay,
        clip=configuration.clip,
        rates=", ".join(f"{rate:g}" for rate in configuration.rates),
        tuning=configuration.tuning,
    )
