"""The figures of the experiment on cost."""

from functools import partial
from typing import TYPE_CHECKING

from tensormoe.intervals import Interval

from . import figures
from .cost_results import MODES, Costs
from .cost_sides import SIDES
from .experiment import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SECONDS, _BYTES = ("time of a call [ms]", 1e3), ("memory of a call [MB]", 1e-6)


def pictures(costs: Costs, seeds: int) -> list[Picture]:
    """Time and memory over experts, and predictions beside measurements."""
    width, batch = costs.settings.middle
    block = f"Blocks {width} → {4 * width} → {width} on {batch} vectors"
    said = (
        f"{block}: {{}} over experts; means of {seeds} seeds, bands: 95 % intervals. Sides that are too "
        "large are left out."
    )
    return [
        Picture("cost-time", said.format("time"), partial(_draw_sweep, costs, "time", seeds)),
        Picture(
            "cost-memory",
            said.format("memory, parameters included,"),
            partial(_draw_sweep, costs, "memory", seeds),
        ),
        Picture(
            "cost-model",
            "What the model of time predicts, and what was measured. Pale: sizes that it was fitted to; "
            f"full: the largest width, {costs.settings.widths[-1]}, held out; stars: published sizes. "
            f"Medians of {seeds} seeds, bars: 95 % intervals of the means.",
            partial(_draw_model, costs),
        ),
    ]


def _draw_sweep(costs: Costs, what: str, seeds: int) -> "Figure":
    label, scale = _SECONDS if what == "time" else _BYTES
    figure, axes = figures.panels([*MODES.values()], "experts", label, seeds)
    for axis, training in zip(axes, MODES, strict=True):
        for number, side in enumerate(SIDES):
            points: dict[float, Interval] = {
                size.experts: costs.interval(side, training, size, what).scaled(scale)
                for size in costs.measured(side, training, costs.swept(what), what)
            }
            figures.line(axis, points, side, number)
        axis.set_yscale("log")
        figures.powers(axis, [size.experts for size in costs.swept(what)])
        figures.decimals(axis)
    _add_legend(figure)
    return figure


def _draw_model(costs: Costs) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.4, 4.6), layout="constrained")
    for place, (training, mode) in enumerate(MODES.items(), start=1):
        axis = figure.add_subplot(1, 2, place)
        for number, side in enumerate(SIDES):
            _draw_side(axis, costs, side, training, number)
        low, high = axis.get_xlim()
        axis.plot([low, high], [low, high], color="#888888", linewidth=1, zorder=0)
        axis.set(xscale="log", yscale="log", title=mode, xlabel="measured [ms]", ylabel="predicted [ms]")
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        figures.decimals(axis, both=True)
    _add_legend(figure)
    return figure


def _draw_side(axis: "Axes", costs: Costs, side: str, training: bool, number: int) -> None:
    from .cost_model import predict

    rates = costs.model(side, training).rates
    styles = (("o", 0.3, 4, ""), ("o", 1.0, 5, side), ("*", 1.0, 11, ""))
    for sizes, (marker, alpha, size, label) in zip(costs.split(), styles, strict=True):
        known = costs.measured(side, training, sizes)
        means = [costs.interval(side, training, each).scaled(1e3) for each in known]
        axis.errorbar(
            [mean.mean for mean in means],
            [1e3 * predict(rates, costs.count(side, each), training) for each in known],
            xerr=[min(mean.half, 0.9 * mean.mean) for mean in means],
            fmt=marker,
            markersize=size,
            alpha=alpha,
            color=figures.COLOURS[number],
            linewidth=0.8,
            label=label,
        )


def _add_legend(figure: "Figure") -> None:
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
