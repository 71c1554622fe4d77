"""What the experiment on bias says."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from tensormoe.intervals import Interval, interval

from . import figures
from .experiment import Finding, Picture, Report
from .mitigation import MEASURES
from .results import Results
from .verdicts import decide, judge

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SOURCE = "Oldfield et al., 2024"
# What is better: more of it or less; and what the axes of the figure say.
BETTER = {"accuracy": 1, "opportunity gap": -1, "deviation": -1, "worst group": 1}
_TITLES = {
    "accuracy": "accuracy (more is better)",
    "opportunity gap": "opportunity gap (less is better)",
    "deviation": "standard deviation bias (less is better)",
    "worst group": "accuracy of the worst group (more is better)",
}
_UNITS = {"accuracy": "%", "opportunity gap": "points", "deviation": "points", "worst group": "%"}
_RESEMBLE = "even digits with the same border may have similar coefficients, and are then shifted, too."
_FEW = (
    "re-writing changes one vector of a trained head. An adversary trains a head anew, and is told the "
    "attribute of each image; and where groups differ by the attribute only, one constant may do as much."
)
_BASELINES = ("blind threshold", "oversampling", "adversary")
_SHORT = ("blind\nthreshold", "over-\nsampling", "adversary")
_COLOURS = ("tab:orange", "tab:blue", "tab:green", "tab:red")


class Settings(Protocol):
    """What the report reads of the configuration."""

    @property
    def data(self) -> str: ...
    @property
    def experts(self) -> tuple[int, ...]: ...
    @property
    def skew(self) -> float: ...
    @property
    def strengths(self) -> tuple[float, ...]: ...


def report(configuration: Settings, results: Results) -> Report:
    """Two claims, a figure over λ, and a table of all methods."""
    experts = configuration.experts
    name = f"bias-{configuration.data}"
    caption = (
        "The four published measures on test data: re-writing over λ, where dotted lines are λ = 0, and the "
        "other methods at the strength that validation chose. Means over "
        f"{results.seeds} seeds, with 95 % intervals."
    )
    picture = Picture(name, caption, lambda: _draw(configuration, results))
    findings = (_mitigates(configuration, results), _beats(configuration, results), *_faces(configuration))
    return Report(findings, (picture,), _table(experts, results))


def _mitigates(configuration: Settings, results: Results) -> Finding:
    said, fairer, worse = [], [], False
    for experts in configuration.experts:
        gains = {measure: _gain(results, experts, measure, "none") for measure in MEASURES}
        said.append(
            f"{experts} experts: worst group {_points(gains['worst group'])}, opportunity gap "
            f"{_points(gains['opportunity gap'])}, deviation {_points(gains['deviation'])}, accuracy "
            f"{_points(gains['accuracy'])}"
        )
        fairer += [
            gains[measure] if BETTER[measure] > 0 else gains[measure].negated for measure in MEASURES[1:]
        ]
        worse |= gains["accuracy"].high < 0
    verdict = decide(False, True) if worse else judge(fairer)
    return Finding(
        "Re-writing experts by hand mitigates bias",
        SOURCE,
        _what(configuration),
        "; ".join(said),
        verdict,
        _RESEMBLE,
    )


def _beats(configuration: Settings, results: Results) -> Finding:
    said: list[str] = []
    better: list[Interval] = []
    for experts in configuration.experts:
        gains = {method: _gain(results, experts, "worst group", method) for method in _BASELINES}
        said.append(
            f"{experts} experts: "
            + ", ".join(f"{_points(gain)} on {method}" for method, gain in gains.items())
        )
        better += gains.values()
    verdict = judge(better)
    return Finding(
        "It serves the worst group better than a blind threshold, oversampling and an adversary",
        SOURCE,
        "the same; the strength of each method is chosen on validation data, by the worst group",
        "; ".join(said),
        verdict,
        _FEW,
    )


def _faces(configuration: Settings) -> Sequence[Finding]:
    if configuration.data == "celeba":
        return ()
    ran = "nothing: the preset `full` reads CelebA's files and CLIP's weights"
    claim = "Re-writing corrects demographic bias in CelebA's attributes"
    return (Finding(claim, SOURCE, ran, "needs CelebA", "not testable here"),)


def _what(configuration: Settings) -> str:
    if configuration.data == "celeba":
        return "CelebA, heads on features of CLIP"
    return (
        f"odd digits among digits with borders, {100 * configuration.skew:.0f} % of the odd with stripes; "
        "a small CNN with a CP head; differences to the same network without mitigation, on test data where "
        "borders are balanced"
    )


def _gain(results: Results, experts: int, measure: str, other: str) -> Interval:
    return results.difference(
        measure, {"experts": experts, "method": "re-writing"}, {"experts": experts, "method": other}
    )


def _points(gain: Interval) -> str:
    return gain.shown(1, 100, "points", sign=True)


def _table(experts: Sequence[int], results: Results) -> str:
    rows = [
        "| experts | method | accuracy % | opportunity gap | deviation | worst group % |",
        "|--:|---|--:|--:|--:|--:|",
    ]
    for count in experts:
        for method in ("none", "re-writing", *_BASELINES):
            values = (results.interval(each, experts=count, method=method).shown(1, 100) for each in MEASURES)
            rows.append(f"| {count} | {method} | {' | '.join(values)} |")
    return "\n".join(rows)


def _curve(results: Results, experts: int, measure: str) -> list[Interval]:
    """The measure at each λ."""
    lines = results.of(experts=experts, method="re-writing").lines
    curves = [cast("dict[str, list[float]]", line["measures"]["curves"])[measure] for line in lines]
    return [interval(values) for values in zip(*curves, strict=True)]


def _draw(configuration: Settings, results: Results) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7), layout="constrained")
    for axes, measure in zip(figure.subplots(2, 2).flat, MEASURES, strict=True):
        _draw_measure(axes, configuration, results, measure)
    figures.say_seeds(figure, results.seeds)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def _draw_measure(axes: "Axes", configuration: Settings, results: Results, measure: str) -> None:
    """Re-writing over λ on the left, the other methods on the right."""
    strengths = configuration.strengths
    over, others = np.arange(len(strengths)), len(strengths) + 1.2 + 2.4 * np.arange(len(_BASELINES))
    for number, experts in enumerate(configuration.experts):
        shift = 0.15 * (number - (len(configuration.experts) - 1) / 2)
        curve = _curve(results, experts, measure)
        rest = [results.interval(measure, experts=experts, method=method) for method in _BASELINES]
        colour = _COLOURS[number % len(_COLOURS)]
        for where, values, line, label in (
            (over, curve, "-", f"{experts} experts"),
            (others, rest, "none", ""),
        ):
            means, halves = (
                100 * np.array([getattr(each, name) for each in values]) for name in ("mean", "half")
            )
            axes.errorbar(
                where + shift, means, halves, color=colour, linestyle=line, label=label, marker="o", capsize=3
            )
        axes.axhline(100 * curve[0].mean, color=colour, linestyle=":", linewidth=1)
    axes.axvline(len(strengths) - 0.2, color="grey", linewidth=0.8)
    axes.set_xlim(-0.7, others[-1] + 1.2)
    axes.set_xticks([*over, *others], [*(f"{each:g}" for each in strengths), *_SHORT])
    axes.tick_params(axis="x", labelsize="small")
    axes.set_xlabel("λ of re-writing, and other methods")
    axes.set_title(_TITLES[measure], fontsize="medium")
    axes.set_ylabel(_UNITS[measure])
