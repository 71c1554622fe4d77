"""A report as a page of HTML, for a desk and for a phone."""

import os
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from math import prod

import numpy as np

from ..analysis.pages import Page
from ..tables import versions
from ..typing import Shape
from .evaluation import BestInputs
from .pictures import Picture, hierarchy_pictures, level_pictures, weight_pictures
from .pictures_html import embed
from .report import Report

# Rows of a table of classes, and experts whose best inputs are listed.
_MOST_CLASSES, _MOST_LISTED = 50, 8
_STYLE = """
.experts{font:15px/1.5 system-ui,sans-serif;max-width:50em;margin:auto;overflow-wrap:anywhere}
.experts h1{font-size:1.5em;line-height:1.25;margin:0 0 .3em}
.experts h2{font-size:1.2em;margin:2em 0 .6em;padding-top:.8em;border-top:1px solid #ddd}
.experts h3{font-size:1em;margin:0 0 .5em}
.experts .quiet,.experts figcaption{color:#666;font-size:.88em}
.experts figure{margin:1.6em 0}
.experts img{max-width:100%;height:auto;display:block;margin-bottom:.4em}
.experts .wide{overflow-x:auto;margin:.8em 0}
.experts table{border-collapse:collapse;font-size:.9em;font-variant-numeric:tabular-nums;overflow-wrap:normal}
.experts th{font-weight:600;vertical-align:bottom;text-align:right}
.experts th,.experts td{padding:.25em .8em .25em 0;border-bottom:1px solid #eee}
.experts td{text-align:right}
.experts .text th,.experts .text td{text-align:left}
.experts th:first-child,.experts td:first-child{text-align:left}
.experts dl{font-size:.88em}.experts dt{font-weight:600}.experts dd{margin:0 0 .5em;color:#444}
@media (max-width:600px){body{margin:1em auto}.experts img{width:100%}}
"""
_WORDS = {
    "effective": "how many equally loaded experts would be as even: the exponential of the load's entropy",
    "largest load": "the share of all coefficients that the busiest expert has",
    "dead": "experts with the coefficient 0 for every input",
    "used": "experts for which some input has a coefficient of at least the threshold",
    "entropy of an input": "the mean over inputs, in nats: 0 if each has one expert",
    "entropy of the load": "in nats; the logarithm of the number of experts if all do as much",
    "information on classes": "the mutual information of an input's class and its expert, in nats",
    "polysemanticity": "the mean over experts; 0 if a single class depends on each, altogether",
    "norm": "the Frobenius norm of an expert's weights, with the biases",
    "cosine": "between the weights of two experts: 1 for the same direction, 0 for nothing in common",
}


def write_page(report: Report) -> Page:
    """The whole report with all pictures, in one file that needs no other."""
    parts = [
        f"<style>{_STYLE}</style>",
        f"<h1>{escape(report.title)}</h1>",
        f'<div class="quiet">{escape(report.facts)}</div>',
        _table(*_turn(report.level_heads(), report.level_rows())),
        *_accuracy(report),
    ]
    several = len(report.spec.experts) > 1
    for level in range(len(report.spec.experts)):
        parts.append(f"<h2>{f'Experts of level {level + 1}' if several else 'Experts'}</h2>")
        parts += map(embed, level_pictures(report, level))
        parts.append(_list_best(report, level))
    parts += _section("From level to level", hierarchy_pictures(report))
    note = _explain_numbers(report.spec.experts) if several else ""
    for name, weights in report.weights.items():
        heading = "Weights" if len(report.weights) == 1 else f"Weights of the layer “{name}”"
        parts += _section(heading, weight_pictures(weights), note)
    parts.append(_table(*_turn(report.weight_heads(), report.weight_rows())))
    parts += [_explain(report), _sign(report)]
    return Page(f"Experts: {report.title}"[:1000], f'<div class="experts">{"".join(parts)}</div>')


def _explain_numbers(experts: Shape) -> str:
    """How experts of all levels are counted, with an example."""
    number = prod(experts) // 2
    places = ", ".join(str(int(place)) for place in np.unravel_index(number, experts))
    counted = "Weights have an expert for each combination of levels; the last level counts fastest"
    return f'<div class="quiet">{counted}: expert {number:,} is ({places}).</div>'


def _section(heading: str, pictures: Iterable[Picture], note: str = "") -> list[str]:
    shown = [embed(picture) for picture in pictures]
    return [f"<h2>{escape(heading)}</h2>", note, *shown] if shown else []


def _turn(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """A table with a column for each row: levels and layers are few, and a phone is narrow."""
    first, *others = ([head.replace("\n", " "), *cells] for head, *cells in zip(heads, *rows, strict=True))
    return first, others


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    named = f' class="{kind}"' if kind else ""
    table = f"<table{named}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide">{table}</div>'


def _accuracy(report: Report) -> Iterator[str]:
    labels, groups = report.data.labels, report.data.groups
    by_class, by_group = report.accuracy_by(labels), report.accuracy_by(groups)
    if by_class is None or labels is None:
        return
    yield "<h2>Accuracy</h2>"
    sizes = np.bincount(labels, minlength=len(by_class))
    # The classes that are recognized worst come first; those without an input have no accuracy.
    order = [int(n) for n in np.argsort(by_class, kind="stable") if sizes[n]]
    rows = [[report.data.names[n], f"{sizes[n]:,}", _percent(by_class[n])] for n in order[:_MOST_CLASSES]]
    yield _table(["class", "inputs", "accuracy"], rows)
    if len(order) > _MOST_CLASSES:
        yield f'<div class="quiet">the {_MOST_CLASSES} worst of {len(order):,} classes</div>'
    if by_group is not None and groups is not None:
        sizes = np.bincount(groups)
        rows = [
            [f"{n}", f"{sizes[n]:,}", _percent(by_group[n])] for n in np.flatnonzero(sizes)[:_MOST_CLASSES]
        ]
        yield _table(["group", "inputs", "accuracy"], rows)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _list_best(report: Report, level: int) -> str:
    """The names of the best inputs of the experts with the largest load, where they have names."""
    if report.data.ids is None:
        return ""
    best: BestInputs = report.evaluation.best[level]
    order = np.argsort(-report.evaluation.recording.load()[level], kind="stable")[:_MOST_LISTED]
    rows = [[f"{expert}", "; ".join(_name_best(report, best, int(expert)))] for expert in order]
    return _table(["expert", "inputs with its largest coefficients"], rows, "text")


def _name_best(report: Report, best: BestInputs, expert: int) -> Iterator[str]:
    for row, value in zip(best.rows[expert, :4], best.coefficients[expert, :4], strict=True):
        if value > 0:
            yield f"{report.data.name(int(row))} ({value:.2f})"


def _explain(report: Report) -> str:
    heads = " ".join([*report.level_heads(), *report.weight_heads()]).replace("\n", " ")
    listed = "".join(f"<dt>{word}</dt><dd>{text}</dd>" for word, text in _WORDS.items() if word in heads)
    return f"<h2>Words</h2><dl>{listed}</dl>"


def _sign(report: Report) -> str:
    known = versions()
    named = [f"{name} {known[name]}" for name in ("tensormoe", report.backend) if name in known]
    how = f"{', '.join(named)}, {report.dtype}, in batches of {report.batch_size:,}"
    text = f"{os.path.basename(report.checkpoint)}; {how}"
    return f'<div class="quiet">{escape(text)}</div>'
