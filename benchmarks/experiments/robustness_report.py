"""What the experiment on routers says."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

import numpy as np

from tensormoe.intervals import Interval, interval

from . import figures
from .data.corruptions import SEVERITIES
from .experiment import Finding, Picture, Report
from .results import Line, Results
from .verdicts import judge

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SOURCE = "Nielsen et al., 2025"
# The published rule, where it may be used: in a causal model, batch statistics tell of later tokens.
_JUDGED = {"digits": "hard, batch", "pictures": "hard, batch", "text": "hard, running"}
_STYLES = (("black", "-"), ("tab:red", "--"), ("tab:orange", "-"), ("tab:blue", "--"), ("tab:cyan", "-"))
_WHY = (
    "at this size differences between routers are no larger than those between seeds. Layers are few, so "
    "that few routers have clusters of a layer before, and training is short, so that these hardly settle."
)

_LEGEND = """\
The published router is *hard, batch*; the others weigh clusters by the coefficients, or have statistics
of earlier batches. *rate*: AdamW's, which validation chooses from {rates}. *steps*: to the loss on
validation data that the linear router has after half of the steps, on average. *corrupted*: the mean
accuracy in % (images), or what is added to the loss (text); *less linear*: its difference to the linear
router's, seed by seed. *in use*: experts, as the exponential of the mean load's entropy. *later*: tokens
whose first expert after three quarters of the training is that at its end. *noisy*: those whose first
expert stays with noise (images), or with a twentieth of the other tokens replaced (text), severity 3.
The first layer, whose router is always linear, counts in neither."""


class Settings(Protocol):
    """What the report reads of the configuration."""

    @property
    def tasks(self) -> tuple[str, ...]: ...
    @property
    def steps(self) -> tuple[int, ...]: ...
    @property
    def layers(self) -> int: ...
    @property
    def experts(self) -> int: ...
    @property
    def chosen(self) -> int: ...
    @property
    def rates(self) -> tuple[float, ...]: ...
    @property
    def root(self) -> str: ...


class Measure(NamedTuple):
    """A number of each run.

    Args:
        of: the line of a run, its task, and all results, for what it is compared with.
        more: whether more of it is better, for images and for a text.
        units: of either, with the factor that makes them.
    """

    of: Callable[[Line, str, Results], float]
    more: dict[str, bool]
    units: dict[str, tuple[str, float]]


def final(line: Line, task: str, results: Results) -> float:
    """The accuracy on clean digits, or the loss on a clean text."""
    return cast("float", line["measures"]["accuracy" if task != "text" else "loss"])


def corrupted(line: Line, task: str, results: Results) -> float:
    """The mean accuracy under corruption, or how much the mean loss rises."""
    return float(np.mean(by_severity(line, task)))


def by_severity(line: Line, task: str) -> list[float]:
    """The mean over kinds of corruption at each severity: accuracy, or the loss less the clean text's."""
    name = "accuracy" if task != "text" else "loss"
    kinds = cast("dict[str, list[dict[str, float]]]", line["measures"]["corrupted"])
    values = np.array([[each[name] for each in severities] for severities in kinds.values()])
    clean = 0.0 if task != "text" else cast("float", line["measures"]["loss"])
    means: list[float] = (values.mean(axis=0) - clean).tolist()
    return means


def steps_to_loss(line: Line, task: str, results: Results) -> float:
    """The first step at which the validation loss is what the linear router's is after half of its steps.

    Between steps at which it was measured, it is interpolated; a run that does not get there counts with all
    its steps.
    """
    curves = [_curve(each) for each in results.of(task=task, router="linear").lines]
    target = np.mean([curve[(len(curve) - 1) // 2][1] for curve in curves])
    before = None
    for step, loss in _curve(line):
        if loss <= target:
            share = 1.0 if before is None else (before[1] - target) / (before[1] - loss)
            start = 0.0 if before is None else before[0]
            return float(start + share * (step - start))
        before = step, loss
    return float(_curve(line)[-1][0])


_DIGITS = {"steps": 0, "points of accuracy": 1, "nats": 3}
SPEED = Measure(
    steps_to_loss, {"images": False, "text": False}, {"images": ("steps", 1), "text": ("steps", 1)}
)
CORRUPTED = Measure(
    corrupted, {"images": True, "text": False}, {"images": ("points of accuracy", 100), "text": ("nats", 1)}
)
FINAL = Measure(
    final, {"images": True, "text": False}, {"images": ("points of accuracy", 100), "text": ("nats", 1)}
)


def report(configuration: Settings, results: Results) -> Report:
    """Three claims, a figure, and a table of all routers."""
    model = f"{configuration.layers} layers, {configuration.experts} experts, top-{configuration.chosen}"
    tasks = " and ".join(f"{task} ({_JUDGED[task]})" for task in configuration.tasks)
    ran = f"small transformers ({model}) on {tasks}; differences to the linear router, seed by seed"
    claims = (
        (
            "The Adaptive Clustering router converges faster",
            f"{ran}; steps to a loss (see below)",
            SPEED,
        ),
        ("It is more robust to corrupted inputs", f"{ran}; means over kinds and severities", CORRUPTED),
        ("It improves the final quality", f"{ran}; clean test data", FINAL),
    )
    findings = [_judge(*claim, configuration, results) for claim in claims]
    caption = (
        "Left: the loss on validation data in training. Middle: test data with more and more wrong, means "
        "over kinds of corruption; 0 is clean, and of the text it is shown what is added to the clean loss. "
        "Right: the same less that of the linear router, seed by seed. "
        f"Means over {results.seeds} seeds, bands are 95 % intervals."
    )
    picture = Picture("robustness", caption, lambda: _draw(configuration, results))
    return Report(findings, (picture,), _table(configuration, results))


def _judge(claim: str, ran: str, measure: Measure, configuration: Settings, results: Results) -> Finding:
    said, better = [], []
    for task in configuration.tasks:
        gain = difference(measure, results, task, _JUDGED[task])
        kind = "text" if task == "text" else "images"
        unit, scale = measure.units[kind]
        said.append(f"{task}: {gain.shown(_DIGITS[unit], scale, unit, sign=True)}")
        better.append(gain if measure.more[kind] else gain.negated)
    verdict = judge(better)
    return Finding(claim, SOURCE, ran, "; ".join(said), verdict, _WHY)


def values(measure: Measure, results: Results, task: str, router: str) -> dict[int, float]:
    """A measure of a router, by seed."""
    lines = results.of(task=task, router=router).lines
    return {line["seed"]: measure.of(line, task, results) for line in lines}


def difference(measure: Measure, results: Results, task: str, router: str) -> Interval:
    """A measure of a router less that of the linear one, seed by seed."""
    one, other = (values(measure, results, task, name) for name in (router, "linear"))
    return interval([one[seed] - other[seed] for seed in one if seed in other])


def _routers(results: Results) -> list[str]:
    return list(dict.fromkeys(str(line["cell"]["router"]) for line in results.lines))


def _table(configuration: Settings, results: Results) -> str:
    """All routers, and how steady they are."""
    columns = (
        "task",
        "router",
        "rate",
        "loss",
        "accuracy %",
        "steps",
        "corrupted",
        "less linear",
        "in use",
        "later %",
        "noisy %",
    )
    rows = [columns, ("---", "---", *["--:"] * (len(columns) - 2))]
    for task in configuration.tasks:
        rows += [(task, router, *_numbers(results, task, router)) for router in _routers(results)]
    return "\n".join(
        [*(f"| {' | '.join(row)} |" for row in rows), "", _legend(configuration), *_leaks(results)]
    )


def _legend(configuration: Settings) -> str:
    rates = ", ".join(f"{rate:g}" for rate in configuration.rates)
    text = configuration.root or "Python's manual and NumPy's docstrings"
    return f"{_LEGEND.format(rates=rates)} The text: {text}."


def _numbers(results: Results, task: str, router: str) -> tuple[str, ...]:
    def show(name: str, digits: int, scale: float = 1) -> str:
        return results.interval(name, task=task, router=router).shown(digits, scale)

    damage, speed = (
        interval(list(values(measure, results, task, router).values())) for measure in (CORRUPTED, SPEED)
    )
    scale, digits = (100, 1) if task != "text" else (1, 3)
    gain = difference(CORRUPTED, results, task, router).shown(digits, scale, sign=True)
    return (
        f"{results.interval('rate', task=task, router=router).mean:g}",
        show("loss", 3),
        show("accuracy", 1, 100),
        speed.shown(0),
        damage.shown(digits, scale),
        "" if router == "linear" else gain,
        show("effective experts", 1),
        show("same expert later", 1, 100),
        show("same expert corrupted", 1, 100),
    )


def _leaks(results: Results) -> list[str]:
    """What tokens see of later ones."""
    leaks = {name: results.by_seed("sees the future", task="text", router=name) for name in _routers(results)}
    means = ", ".join(f"{np.mean([*seen.values()]):.3f} ({name})" for name, seen in leaks.items() if seen)
    if not means:
        return []
    return [
        "",
        "In a causal model, batch statistics let tokens see later ones. When the last token of each context "
        f"is another, logits before it move by these means of absolute differences: {means}.",
    ]


def _curve(line: Line) -> list[tuple[float, float]]:
    return cast("list[tuple[float, float]]", line["measures"]["curve"])


def _draw(configuration: Settings, results: Results) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.5, 3.6 * len(configuration.tasks)), layout="constrained")
    grid = figure.subplots(len(configuration.tasks), 3, squeeze=False)
    for (left, middle, right), task in zip(grid, configuration.tasks, strict=True):
        scale = 100 if task != "text" else 1
        linear = {
            each["seed"]: _damage(each, task, results)
            for each in results.of(task=task, router="linear").lines
        }
        for router, style in zip(_routers(results), _STYLES, strict=False):
            lines = results.of(task=task, router=router).lines
            steps = [step for step, _ in _curve(lines[0])]
            _band(left, steps, [[loss for _, loss in _curve(line)] for line in lines], 1, router, style)
            damage = {line["seed"]: _damage(line, task, results) for line in lines}
            less = [np.subtract(each, linear[seed]).tolist() for seed, each in damage.items()]
            _band(middle, [0, *SEVERITIES], [*damage.values()], scale, router, style)
            _band(right, [0, *SEVERITIES], less, scale, router, style)
        left.set(title=f"{task}: training", xlabel="step", ylabel="validation loss [nats]")
        said = "accuracy [%]" if task != "text" else "added loss [nats]"
        middle.set(title=f"{task}: corrupted", xlabel="severity", ylabel=said)
        more = "points of accuracy" if task != "text" else "nats"
        right.set(title=f"{task}: less the linear router", xlabel="severity", ylabel=f"difference [{more}]")
    figures.say_seeds(figure, results.seeds)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def _damage(line: Line, task: str, results: Results) -> list[float]:
    """What is clean, and what each severity makes of it."""
    return [final(line, task, results) if task != "text" else 0.0, *by_severity(line, task)]


def _band(
    axes: "Axes", x: list[float], rows: list[list[float]], scale: float, label: str, style: tuple[str, str]
) -> None:
    intervals = [interval(list(each)) for each in zip(*rows, strict=True)]
    mean, low, high = (
        scale * np.array([getattr(each, name) for each in intervals]) for name in ("mean", "low", "high")
    )
    colour, dashes = style
    axes.plot(x, mean, color=colour, linestyle=dashes, label=label, marker=".")
    axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
