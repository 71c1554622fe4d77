"""A study as a page that needs no server and no network: its front, its table, and its candidates."""

from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files

from ..analysis import pictures_style as style
from ..analysis.pages import Page
from ..displays import draw_inline, draw_table, encode, fold_away, write_line, write_text
from ..errors import TensorMoEError
from ..layers.layer_spec import MuMoESpec
from ..tables import versions
from ..verification.proof.trace import ProofError
from ..verification.prove import prove
from .objectives import describe
from .outcome import Outcome, show_number
from .report_front import plot_front
from .trial import Trial

# A page with more would take a browser long to open.
_MOST_ROWS, _MOST_SHOWN, _MOST_CURVES = 2_000, 60, 8


def write_report(
    outcomes: Sequence[Outcome], lost: Sequence[Trial], objectives: Sequence[str], title: str
) -> Page:
    """The whole report.

    Args:
        outcomes: of complete trials, best first.
        lost: the trials that are not complete.
        objectives: what is made small.
        title: of the page.

    Raises:
        TensorMoEError: Plotly is not installed.
    """
    # Those on the front first: they are what one looks for.
    ordered = sorted(outcomes, key=lambda outcome: not outcome.is_best)
    parts = [
        f"<style>{_read('report.css')}</style>",
        f"<h1>{escape(title)}</h1>",
        f'<p class="quiet">{escape(_count(outcomes, lost))}</p>',
        '<div class="pointed"><div>',
        plot_front(ordered, objectives) if ordered else "",
        '</div><div id="pointed" aria-live="polite"></div></div>',
        *(_list(ordered, objectives) if ordered else ()),
        *_list_lost(lost),
        f'<p class="quiet">{escape(_sign())}</p>',
        f"<script>{_read('report.js')}</script>",
    ]
    return Page(title, f'<div class="study">{"".join(parts)}</div>')


def _list(outcomes: Sequence[Outcome], objectives: Sequence[str]) -> Iterator[str]:
    yield "<h2>Candidates</h2>"
    yield '<p class="quiet">A click on a heading sorts, one on a name or a point shows the candidate.</p>'
    yield _table(outcomes[:_MOST_ROWS], objectives)
    yield _leave_out(len(outcomes), _MOST_ROWS, "rows")
    yield "<h2>One by one</h2>"
    yield from (_describe(place, each, objectives) for place, each in enumerate(outcomes[:_MOST_SHOWN]))
    yield _leave_out(len(outcomes), _MOST_SHOWN, "candidates")


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _count(outcomes: Sequence[Outcome], lost: Sequence[Trial]) -> str:
    trials = sum(len(each.trials) for each in outcomes)
    best = sum(each.is_best for each in outcomes)
    states = [trial.state for trial in lost]
    counts = [f"{states.count(state):,} {state}" for state in dict.fromkeys(states)]
    seeds = "" if trials == len(outcomes) else f" of {len(outcomes):,} candidates"
    complete = f"{trials:,} complete trial{'s' * (trials != 1)}{seeds}"
    return ", ".join([complete, *counts, f"{best:,} on the Pareto front"])


def _leave_out(count: int, most: int, what: str) -> str:
    return f'<p class="quiet">the first {most:,} of {count:,} {what}</p>' if count > most else ""


def _table(outcomes: Sequence[Outcome], objectives: Sequence[str]) -> str:
    """A row for each candidate, which sorts by the values that its cells keep."""
    budgets = any(each.mean.budget is not None for each in outcomes)
    names = [
        "trial",
        "factorization",
        *(["budget"] if budgets else []),
        "front",
        "proved",
        "verified",
        *map(describe, objectives),
        "took",
    ]
    head = "".join(f'<th scope="col"><button type="button">{escape(name)}</button></th>' for name in names)
    rows = "".join(_row(place, each, objectives, budgets) for place, each in enumerate(outcomes))
    table = f'<table id="table"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return f'<div class="wide">{table}</div>'


def _row(place: int, outcome: Outcome, objectives: Sequence[str], budgets: bool) -> str:
    trial = outcome.mean
    name = escape(outcome.name)
    link = f'<a href="#candidate{place}">{name}</a>' if place < _MOST_SHOWN else name
    seconds = sum(each.seconds for each in outcome.trials)
    cells = [
        _cell(f"{trial.number}", trial.number),
        f'<td class="text name">{link}</td>',
        *([f'<td class="text">{escape(str(trial.budget or ""))}</td>'] if budgets else []),
        _cell("●" if outcome.is_best else "", not outcome.is_best),
        *(_cell("✓" if done else "–", not done) for done in (trial.proved, trial.verified)),
        *(_cell(outcome.show(objective), trial.values[objective]) for objective in objectives),
        _cell(f"{seconds:.2f} s", seconds),
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _cell(text: str, value: float) -> str:
    return f'<td data-value="{float(value)!r}">{escape(text)}</td>'


def _describe(place: int, outcome: Outcome, objectives: Sequence[str]) -> str:
    """A candidate with its network, plan, proof and curves."""
    trial, spec = outcome.mean, outcome.mean.spec
    plan = spec.plan()
    head = f"{trial.number} · {outcome.name}{' · on the front' if outcome.is_best else ''}"
    values = [(describe(name), outcome.show(name)) for name in objectives]
    facts = [
        draw_inline(spec),
        draw_table(("", ""), [*values, ("parameters, with the gate", show_number(spec.num_parameters))]),
        _draw_curves(outcome, objectives[0]),
    ]
    folded = [
        fold_away(f"plan for {plan.batch_size:,} vectors", plan._repr_html_()),
        fold_away("proof", _prove(trial)),
        fold_away("JSON", _write(spec)),
    ]
    parts = [f'<div class="facts">{"".join(facts)}</div>', *folded]
    return f'<section id="candidate{place}"><h3>{escape(head)}</h3>{"".join(parts)}</section>'


def _write(spec: MuMoESpec) -> str:
    try:
        return write_text(spec.to_json())
    except TensorMoEError as error:  # a gate that is a function of the user's own
        return write_line(str(error))


def _prove(trial: Trial) -> str:
    try:
        return prove(trial.spec)._repr_html_()
    except ProofError as error:
        return write_line(f"not proved: {error}")


def _draw_curves(outcome: Outcome, objective: str) -> str:
    """How the task's objective went on, for each seed; nothing for a task without curves."""
    curves = [trial for trial in outcome.trials if len(trial.curve) > 1][:_MOST_CURVES]
    if not curves:
        return ""
    figure = style.new_figure(4.2, 2.2, "")
    axis = figure.add_subplot()
    style.tidy(axis, x="step of the task", y=objective)
    for trial in curves:
        axis.plot(trial.curve, color=style.BLUE, linewidth=1.1, alpha=0.7)
    return f'<img class="curve" src="{encode(figure)}" alt="the curve of each seed"/>'


def _list_lost(lost: Sequence[Trial]) -> Iterator[str]:
    if lost:
        rows = [
            (f"{trial.number}", str(trial.spec.factorization), trial.state, trial.reason)
            for trial in lost[:_MOST_ROWS]
        ]
        yield "<h2>Not complete</h2>"
        table = draw_table(("trial", "factorization", "state", "reason"), rows, text_columns=4)
        yield f'<div class="lost">{table}</div>'
        yield _leave_out(len(lost), _MOST_ROWS, "rows")


def _sign() -> str:
    known = versions()
    return ", ".join(f"{name} {known[name]}" for name in ("tensormoe", "numpy") if name in known)
