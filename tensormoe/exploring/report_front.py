"""The Pareto front of a study as a plot to point at, by Plotly."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from ..errors import TensorMoEError
from .objectives import describe
from .outcome import Outcome, choose_axes, spans_decades

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_BEST, _OTHER, _GRID = "#4477aa", "#999999", "rgba(128,128,128,.25)"


def check_plotly() -> None:
    """Raise the error of a report that cannot be written since Plotly is missing."""
    try:
        import plotly.io  # noqa: F401
    except ImportError as error:
        remedy = f'reports need it ({error}): pip install "tensormoe[explore]"'
        raise TensorMoEError("plotly", None, remedy) from error


def plot_front(outcomes: Sequence[Outcome], objectives: Sequence[str]) -> str:
    """HTML of the plot, with the script that draws it: nothing is fetched.

    Raises:
        TensorMoEError: Plotly is not installed.
    """
    check_plotly()
    from plotly.io import to_html

    config = {"displayModeBar": False, "responsive": True}
    html: str = to_html(
        _figure(outcomes, objectives), config, include_plotlyjs=True, full_html=False, div_id="front"
    )
    return html


def _figure(outcomes: Sequence[Outcome], objectives: Sequence[str]) -> "Figure":
    from plotly.graph_objects import Figure, Scatter

    x, y = choose_axes(objectives)
    figure = Figure()
    for is_best, color, name in ((False, _OTHER, "others"), (True, _BEST, "Pareto front")):
        places = [place for place, each in enumerate(outcomes) if each.is_best == is_best]
        chosen = [outcomes[place] for place in places]
        halves = [each.half(y) for each in chosen]
        figure.add_trace(
            Scatter(
                x=[_value(each, x) for each in chosen],
                y=[each.mean.values[y] for each in chosen],
                error_y={"array": halves, "thickness": 1, "visible": any(halves)},
                customdata=places,
                text=[_hover(each, objectives) for each in chosen],
                hovertemplate="%{text}<extra></extra>",
                mode="markers",
                marker={"color": color, "size": 10 if is_best else 7},
                name=name,
            )
        )
    for place, objective in (("x", x), ("y", y)):
        values = [_value(each, objective) for each in outcomes]
        scale = "log" if objective is not None and spans_decades(values) else "linear"
        axis = {
            "type": scale,
            "title": {"text": "trial" if objective is None else describe(objective)},
            "gridcolor": _GRID,
            "zeroline": False,
            "exponentformat": "power",
        }
        figure.update_layout({f"{place}axis": axis})
    figure.update_layout(
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": "#808080"},
        hoverlabel={"bgcolor": "white", "font": {"color": "#222222"}, "align": "left"},
        margin={"l": 60, "r": 10, "t": 40, "b": 50},
        height=420,
        legend={"orientation": "h", "y": 1.12},
    )
    if len(objectives) > 2:
        menus = [_menu(outcomes, objectives, place, chosen) for place, chosen in (("x", x), ("y", y))]
        figure.update_layout(updatemenus=menus)
    return figure


def _menu(
    outcomes: Sequence[Outcome], objectives: Sequence[str], place: str, chosen: str | None
) -> dict[str, object]:
    """A list of objectives to show along an axis."""
    buttons = []
    for name in objectives:
        traces = [
            [each.mean.values[name] for each in outcomes if each.is_best == is_best]
            for is_best in (False, True)
        ]
        scale = "log" if spans_decades([*traces[0], *traces[1]]) else "linear"
        changed = {place: traces, **({"error_y.visible": False} if place == "y" else {})}
        axis = {
            f"{place}axis.title.text": describe(name),
            f"{place}axis.type": scale,
            f"{place}axis.autorange": True,
        }
        buttons.append({"label": f"{place}: {name}", "method": "update", "args": [changed, axis]})
    active = [*objectives].index(chosen or objectives[0])
    at = {"x": 1.0 if place == "x" else 0.6, "y": 1.13, "xanchor": "right", "yanchor": "bottom"}
    return {"buttons": buttons, "active": active, **at}


def _value(outcome: Outcome, name: str | None) -> float:
    return outcome.mean.number if name is None else outcome.mean.values[name]


def _hover(outcome: Outcome, objectives: Sequence[str]) -> str:
    budget = outcome.mean.budget
    lines = [outcome.name, *([str(budget)] if budget else [])]
    lines += [f"{name}: {outcome.show(name)}" for name in objectives]
    return "<br>".join(map(escape, lines))
