"""What the experiment on language says."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, cast

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
# A loss is comparable if it is at most so many nats more, 5 % in perplexity; chosen before anything was run.
MARGIN = 0.05
# An expert is specialized if it is for less than so much of the tokens that it would be for by chance.
SPECIALIZED = 0.5

_LEGEND = """\
All models are GPT-2 of transformers with {layers} layers of width {width} and contexts of {context}
tokens; a block takes the place of the MLP in every layer, with the largest rank that its parameters
allow. Gates are the published ones, 1.5-entmax after a layer norm. GPT-2's initial scale is that of its
own width, 768, and grows as widths shrink: dense MLPs so small would start too near to zero, and would be
a poor baseline. Each model learns from {tokens:,} tokens a seed, the same ones for all, with a tokenizer
of {vocabulary:,} tokens that is {tokenizer}. The text: {text}. AdamW; *rate*: of {rates}, which
validation chooses for each contender after a share of {tuning:g} of the steps. *loss*: on test data, of
documents that neither training nor validation has. *step*: processor time of forward, backward and AdamW
on {at_once} contexts. *tokens*: how many an expert is for, as the exponential of the entropy of their
shares of its coefficients, on average over the experts with at least a quarter of an equal load; *by
chance*: the same with the text's tokens shuffled. *in use*: experts, as the exponential of the mean
load's entropy."""


class Settings(Protocol):
    """What the report reads of the configuration."""

    @property
    def families(self) -> tuple[str, ...]: ...
    @property
    def experts(self) -> tuple[int, ...]: ...
    @property
    def seeds(self) -> int: ...
    @property
    def layers(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def context(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def at_once(self) -> int: ...
    @property
    def rates(self) -> tuple[float, ...]: ...
    @property
    def tuning(self) -> float: ...
    @property
    def vocabulary(self) -> int: ...
    @property
    def tokenizer(self) -> str: ...
    @property
    def root(self) -> str: ...


def report(configuration: Settings, results: Results) -> Report:
    """Three claims, a figure, a table, and what some experts are for."""
    findings = [_equal(configuration, results), _special(configuration, results), _published(configuration)]
    caption = (
        "Left: the loss on validation data in training. Middle: the same less the dense MLP's, seed by seed. "
        f"Right: processor time of a training step. Means of {configuration.seeds} seeds, 95 % intervals."
    )
    picture = Picture("language", caption, lambda: _draw(configuration, results))
    parts = (_table(results), _legend(configuration), _snippets(results))
    return Report([each for each in findings if each], (picture,), "\n\n".join(filter(None, parts)))


def _blocks(results: Results) -> list[Cell]:
    """The contenders of the dense model."""
    return [cell for cell in _contenders(results) if cell != DENSE]


def _contenders(results: Results) -> list[Cell]:
    cells: list[Cell] = []
    for line in results.lines:
        if line["cell"] not in cells:
            cells.append(line["cell"])
    return cells


def _name(cell: Cell) -> str:
    return f"{cell['mlp']}, {cell['experts']} experts" if cell["experts"] else "dense MLP"


def _model(configuration: Settings) -> str:
    return (
        f"GPT-2 with {configuration.layers} layers of width {configuration.width}, "
        f"{configuration.steps} steps of {configuration.batch * configuration.context:,} tokens"
    )


def _equal(configuration: Settings, results: Results) -> Finding:
    more = {_name(cell): results.difference("loss", cell, DENSE) for cell in _blocks(results)}
    verdict = judge((each.negated for each in more.values()), -MARGIN)
    shown = "; ".join(f"{name} {each.shown(3, sign=True)}" for name, each in more.items())
    why = (
        f"it counts as holding if no interval reaches {MARGIN} nats above the dense model, a limit that was "
        "chosen beforehand. The models are tiny and learn from few tokens."
    )
    return Finding(
        "At equal parameters, blocks at every layer have the loss of dense MLPs",
        SOURCE,
        f"{_model(configuration)}; differences on test data, seed by seed",
        f"nats above the dense model's {results.interval('loss', **DENSE).shown(3)}: {shown}",
        verdict,
        why,
    )


def _special(configuration: Settings, results: Results) -> Finding:
    shares = {_name(cell): results.interval("share of chance", **cell) for cell in _blocks(results)}
    verdict = judge((each.negated for each in shares.values()), -SPECIALIZED)
    shown = "; ".join(f"{name} {each.shown(0, 100)} %" for name, each in shares.items())
    why = (
        f"it counts as holding if an expert is for less than {100 * SPECIALIZED:.0f} % of the tokens that it "
        "would be for by chance, on average. Published were examples of experts, not this measure."
    )
    return Finding(
        "Experts of a language model specialize in tokens",
        SOURCE,
        f"{_model(configuration)}; tokens that an expert is for, against the same with the text shuffled",
        f"of what chance gives: {shown}",
        verdict,
        why,
    )


def _published(configuration: Settings) -> Finding | None:
    """Said where the small preset is shown, on texts at hand."""
    if configuration.root:
        return None
    return Finding(
        "The same for GPT-2 of 124M parameters on OpenWebText",
        SOURCE,
        "nothing, and never by us: it needs the text and large processors. `--preset full`, 491,520 tokens a "
        "step, or `--preset full-983040`, with `--set root=FOLDER tokenizer=FILE`: the published code has "
        "both numbers",
        "–",
        "not testable here",
    )


def _curve(results: Results, cell: Cell) -> dict[int, dict[int, float]]:
    """The losses of a cell by step and seed."""
    by_step: dict[int, dict[int, float]] = {}
    for line in results.of(**cell).lines:
        for step, loss in cast("list[tuple[int, float]]", line["measures"]["curve"]):
            by_step.setdefault(step, {})[line["seed"]] = loss
    return by_step


def _less(
    curve: Mapping[int, Mapping[int, float]], other: Mapping[int, Mapping[int, float]]
) -> dict[float, Interval]:
    """How far one curve is above another, seed by seed."""
    return {
        step: interval([loss - other[step][seed] for seed, loss in losses.items()])
        for step, losses in curve.items()
    }


def _draw(configuration: Settings, results: Results) -> "Figure":
    titles = ("training", "against the dense MLP", "cost")
    figure, (left, middle, right) = figures.panels(
        titles, "step", "validation loss [nats]", configuration.seeds
    )
    cells = _contenders(results)
    dense = _curve(results, DENSE)
    for number, cell in enumerate(cells):
        curve = _curve(results, cell)
        means = {float(step): interval([*losses.values()]) for step, losses in curve.items()}
        figures.line(left, means, _name(cell), number)
        if cell != DENSE:
            figures.line(middle, _less(curve, dense), _name(cell), number)
    left.legend(fontsize=8, frameon=False)
    middle.axhline(0.0, color="#222222", linestyle="--", linewidth=1.2)
    middle.set_ylabel("loss above the dense MLP's [nats]")
    figures.points(right, {_name(cell): results.interval("step", **cell).scaled(1e3) for cell in cells})
    right.set_xlabel("processor time of a training step [ms]")
    return figure


def _table(results: Results) -> str:
    """All contenders."""
    columns = ("MLP", "parameters", "rate", "loss", "step ms", "tokens", "by chance", "in use")
    rows: list[Sequence[str]] = [columns, ("---", *["--:"] * (len(columns) - 1))]
    for cell in _contenders(results):
        of = dict(cell)
        first = results.of(**of).lines[0]["measures"]
        own = (("tokens", 1), ("tokens by chance", 1), ("effective experts", 1))
        rows.append(
            (
                _name(cell),
                f"{first['parameters']:,}",
                f"{first['rate']:g}",
                results.interval("loss", **of).shown(3),
                results.interval("step", **of).shown(1, 1e3),
                *(
                    results.interval(name, **of).shown(digits) if cell["experts"] else "–"
                    for name, digits in own
                ),
            )
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _legend(configuration: Settings) -> str:
    return _LEGEND.format(
        layers=configuration.layers,
        width=configuration.width,
        context=configuration.context,
        tokens=configuration.steps * configuration.batch * configuration.context,
        vocabulary=configuration.vocabulary,
        tokenizer="read from a file" if configuration.tokenizer else "trained on the text",
        text=configuration.root or "Python's manual and the docstrings of NumPy, SciPy and scikit-learn",
        rates=", ".join(f"{rate:g}" for rate in configuration.rates),
        tuning=configuration.tuning,
        at_once=configuration.at_once,
    )


def _snippets(results: Results) -> str:
    """The most specialized expert of each layer, of the first seed and the most experts."""
    most = max(int(cell["experts"]) for cell in _blocks(results))
    lines = []
    for line in results.of(experts=most).lines:
        for each in (
            cast("list[dict[str, object]]", line["measures"]["specialized"]) if not line["seed"] else ()
        ):
            tokens = cast("list[tuple[str, float]]", each["tokens"])
            shares = ", ".join(f"«{token}» {100 * share:.0f} %" for token, share in tokens)
            lines += [f"{line['cell']['mlp']}, {each['layer']}, expert {each['expert']}: {shares}"]
            lines += [f"    {snippet}" for snippet in cast("list[str]", each["snippets"])]
    text = "\n".join(lines)
    return (
        "The expert of each layer that is for the fewest tokens of those that chance gives, with "
        f"{most} experts and the first seed: the tokens with the largest shares of its coefficients, and "
        f"the places in the test data where these are largest.\n\n```text\n{text}\n```"
    )
