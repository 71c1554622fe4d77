"""What the experiment on cost says."""

from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill
from typing import Protocol

import numpy as np

from tensormoe.intervals import Interval, interval

from . import cost_model
from .cost_figures import pictures
from .cost_results import MODES, Costs, Model, Settings
from .cost_sides import DENSE, FACTORIZED, SIDES, SOFT, SPARSE, Size
from .experiment import Finding, Report
from .results import Results
from .verdicts import Verdict, judge

PAPER = "Oldfield et al., 2024 (arXiv 2402.12550)"
# What a summary of the paper that a machine made asks for: time and memory beside other mixtures and MLPs.
ASKED = "next check of a summary of Oldfield et al., 2024, made by a machine"
# Growth counts as less if it is at most half as much; costs as equal within a tenth.
HALF, EQUAL = 2.0, 1.1
_WEIGHTS = "the soft MoE's parameters alone take {:,.1f} GB, the CP block's {:,.3f} GB"

_TEXT = """\
All blocks are D → 4 D → D. **CP** and **ring** are μMoE with the published gate, and have as many
parameters as the **MLP**, the router's among them. The **soft MoE** runs each of its N experts, every one
as large as the MLP, from weights that exist. **sparse top-2** has N experts with half of the MLP's hidden
size and takes two for each vector, with one product for all vectors of an expert. **low-rank top-2** is a
μMoE with two thin matrices for each expert; those of the two experts that are chosen are gathered where
that is faster, and otherwise all are run. Where only two run, both compute as much as the MLP.

A call is a forward pass or, in training, that with the gradients of all parameters and of the input.
Times are {clock}, medians of rounds in which all sides run in turns. Memory is what a fresh process holds
most, less what it held before the block was made. Sides of more than {macs} multiply-accumulates or
{parameters} parameters are not run.

Time is modelled from counts, those of the plan where there is one: seconds for each operation that is
started, each multiply-accumulate, each byte that is read or written, each byte of a gradient, which is
new memory, and each coefficient of the gate, none below zero; one that the fit leaves out is a dash. It
is fitted for each side to widths {fitted}. *Held out* is by which factor it is off at {held}, and
*published* at the published widths, where a side was small enough to be measured: the median, and the
largest."""


class _Limits(Settings, Protocol):
    @property
    def seeds(self) -> int: ...
    @property
    def most_macs(self) -> float: ...
    @property
    def most_parameters(self) -> float: ...
    @property
    def device(self) -> str: ...


def report(configuration: _Limits, results: Results) -> Report:
    """Five claims, three figures, and tables of times and of the model."""
    costs = Costs(configuration, results)
    findings = [
        _grows_less(costs),
        *(_compare(costs, side, said, least) for side, said, least in _COMPARED),
        _extrapolate(costs),
    ]
    return Report(findings, pictures(costs, configuration.seeds), _tabulate(configuration, costs))


def _grows_less(costs: Costs) -> Finding:
    """From the fewest experts to the most with which the soft MoE was measured."""
    parts, gains = [], []
    for what in ("time", "memory"):
        for training, mode in MODES.items():
            known = costs.measured(SOFT, training, costs.swept(what), what)
            ends = known[0], known[-1]
            growth = {side: costs.growth(side, training, ends, what) for side in (*FACTORIZED, SOFT)}
            shown = ", ".join(f"{side} {_times(interval([*each.values()]))}" for side, each in growth.items())
            parts.append(f"{what} of {mode} from {ends[0].experts} to {ends[1].experts} experts: {shown}")
            for side in FACTORIZED:
                own, soft = growth[side], growth[SOFT]
                gains.append(interval([soft[seed] / own[seed] for seed in own if seed in soft]))
    width, batch = costs.settings.middle
    return Finding(
        "The cost of a μMoE does not grow with its experts as that of a soft MoE does",
        PAPER,
        f"blocks {width} → {4 * width} → {width} on {batch} vectors, CP and ring with the parameters of the "
        "MLP; growth at most half of the soft MoE's counts as less",
        "; ".join(parts),
        judge(gains, HALF),
        "where calls are short, what it takes to start them counts most.",
    )


# The other side, what is claimed, and from which ratio of its cost to ours on the claim holds.
_COMPARED = (
    (SOFT, "A μMoE takes less time and memory than the soft MoE that it stands for", 1.0),
    (SPARSE, "A μMoE takes less than a sparse top-2 MoE whose two experts compute as much", 1.0),
    (DENSE, "A μMoE takes at most a tenth more than an MLP of equal parameters", 1 / EQUAL),
)


def _compare(costs: Costs, other: str, claim: str, least: float) -> Finding:
    parts, failing = [], []
    gains: list[Interval] = []
    for what in ("time", "memory"):
        for training, mode in MODES.items():
            for side in FACTORIZED:
                ratios = costs.ratios(other, side, training, what)
                gains += ratios.values()
                failing += [(what, size, ratio) for size, ratio in ratios.items() if ratio.low <= least]
                parts.append(f"{what} of {mode}, {side}: {_range(ratios)}")
    return Finding(
        claim,
        PAPER if other == SOFT else ASKED,
        f"all sizes; what {other} takes as a multiple of CP's and ring's: the least and the largest mean",
        "; ".join(parts),
        judge(gains, least),
        _explain(gains, failing) + _at_published(costs, other),
    )


def _explain(gains: Sequence[Interval], failing: Sequence[tuple[str, Size, Interval]]) -> str:
    """Where a claim does not hold, or is not shown to."""
    if not failing:
        return ""
    by_what = {what: sum(1 for each, *_ in failing if each == what) for what in ("time", "memory")}
    what, size, ratio = min(failing, key=lambda each: each[2].mean)
    return (
        f"{len(failing)} of {len(gains)} comparisons do not show it, {by_what['time']} of them of time. The "
        f"least is {what} at {size}: {_times(ratio)}. A μMoE starts more and smaller operations, and its "
        "gate's activation comes besides; the smaller the block, the more they count."
    )


def _at_published(costs: Costs, other: str) -> str:
    """How a side that was small enough to be measured there compares at the published widths."""
    parts = [
        f"{_times(ratio)} at {size.width} → {size.hidden:,} → {size.width} ({side})"
        for side in FACTORIZED
        for size, ratio in costs.ratios(other, side, True, "time", costs.published).items()
    ]
    return f" At published widths, the time of training is {', '.join(parts)}." if parts else ""


def _extrapolate(costs: Costs) -> Finding:
    """Times at published sizes of what is too large here."""
    sides = (*FACTORIZED, SOFT, SPARSE, DENSE)
    models = {side: costs.model(side, training=True) for side in sides}
    parts = []
    for size in costs.published:
        shown = ", ".join(_show_prediction(costs, models[side], side, size) for side in sides)
        gigabytes = (cost_model.FLOAT * costs.count(side, size).parameters / 1e9 for side in (SOFT, "CP"))
        parts.append(f"{size}: {shown}; {_WEIGHTS.format(*gigabytes)}")
    errors = ", ".join(f"{side} {_worst(model.held)}" for side, model in models.items())
    known = ", ".join(
        f"{side} {_worst(model.published)}" for side, model in models.items() if len(model.published)
    )
    return Finding(
        "At published sizes, a μMoE is trained at a small part of the cost of its soft MoE",
        PAPER,
        "milliseconds of a training step, predicted from counts by a model that is fitted to small blocks",
        f"{'. '.join(parts)}. The largest factor by which the model is off at the width that it was not "
        f"fitted to: {errors}; where blocks of published sizes were measured: {known}",
        _tested(costs),
        "soft and sparse mixtures of this size are not run here, and what is predicted is no measurement.",
    )


def _show_prediction(costs: Costs, model: Model, side: str, size: Size) -> str:
    milliseconds = 1e3 * cost_model.predict(model.rates, costs.count(side, size), training=True)
    measured = costs.interval(side, True, size)
    beside = f" (measured {measured.shown(0, 1e3)})" if measured.seeds else ""
    return f"{side} {milliseconds:,.0f}{beside}"


def _tested(costs: Costs) -> Verdict:
    """No more than a prediction, unless the soft MoE could be measured."""
    asked = [(side, training) for side in FACTORIZED for training in MODES]
    gains = [costs.ratios(SOFT, *each, "time", costs.published) for each in asked]
    known = [ratio for each in gains for ratio in each.values()]
    return judge(known, 1.0) if len(known) == len(asked) * len(costs.published) else "not testable here"


def _tabulate(configuration: _Limits, costs: Costs) -> str:
    *fitted, held = configuration.widths
    clock = "those of a processor with one thread" if configuration.device == "cpu" else "those of the GPU"
    paragraphs = _TEXT.format(
        clock=clock,
        macs=f"{configuration.most_macs:,.0f}",
        parameters=f"{configuration.most_parameters:,.0f}",
        fitted=" and ".join(map(str, fitted)),
        held=held,
    ).split("\n\n")
    return "\n\n".join(
        [*(fill(each, 110) for each in paragraphs), _table_of_model(costs), _table_of_times(costs)]
    )


def _table_of_model(costs: Costs) -> str:
    columns = (
        *("side", "call", "µs an operation", "GMAC/s", "GB/s", "gradients GB/s", "ns a coefficient"),
        *("fitted", "held out", "published"),
    )
    rows = [_row(columns), "|---|---|" + "--:|" * (len(columns) - 2)]
    for side in SIDES:
        for training, mode in MODES.items():
            rows.append(_row((side, mode, *_show_model(costs.model(side, training)))))
    return "\n".join(rows)


def _show_model(model: Model) -> Iterable[str]:
    operation, mac, byte, gradient, coefficient = model.rates
    yield f"{1e6 * operation:.1f}"
    yield from (f"{1e-9 / rate:.1f}" if rate else "–" for rate in (mac, byte, gradient))
    yield f"{1e9 * coefficient:.1f}"
    for factors in (model.fitted, model.held, model.published):
        yield f"× {np.median(factors):.2f}, {_worst(factors)}" if len(factors) else "–"


def _table_of_times(costs: Costs) -> str:
    rows = [
        "Milliseconds of a call, inference and training:",
        "",
        _row(("D", "experts", "vectors", *SIDES)),
        "|--:|--:|--:|" + "--:|" * len(SIDES),
    ]
    for size in costs.sizes:
        shown = (_both(costs, side, size) for side in SIDES)
        rows.append(_row((f"{size.width}", f"{size.experts}", f"{size.batch}", *shown)))
    return "\n".join(rows)


def _both(costs: Costs, side: str, size: Size) -> str:
    values = [costs.interval(side, training, size) for training in MODES]
    return ", ".join(f"{1e3 * each.mean:.3g}" for each in values) if values[0].seeds else "–"


def _times(value: Interval) -> str:
    return f"× {value.shown(1 if value.mean >= 1.5 else 2)}"


def _range(ratios: Mapping[Size, Interval]) -> str:
    """The ratios with the smallest and the largest mean."""
    ordered = sorted(ratios.values(), key=lambda each: each.mean)
    return f"{_times(ordered[0])} to {_times(ordered[-1])}"


def _worst(factors: "np.typing.NDArray[np.float64]") -> str:
    return f"× {factors.max():.2f}" if len(factors) else "–"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
