"""A recording as a table for notebooks, with a small picture of the load of each layer's experts."""

from collections.abc import Sequence
from html import escape

import numpy as np

from ..displays import write_cell
from ..typing import NumPyArray

_WIDTH, _HEIGHT = 160, 24
# Bars that would be narrower than a pixel are drawn together, by their mean.
_MOST = _WIDTH


def draw_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], loads: Sequence[NumPyArray | None]
) -> str:
    """HTML that needs nothing else: a row for each level of each layer, and beside it its load.

    Args:
        columns: the headings, that of the layer's name first.
        rows: the cells as text.
        loads: the mean coefficients (N_e) of each row; None where nothing was recorded.
    """
    head = "".join(write_cell("th", escape(text), is_text=not number) for number, text in enumerate(columns))
    body = "".join(
        "<tr>"
        + "".join(write_cell("td", escape(text), is_text=not number) for number, text in enumerate(row))
        + write_cell("td", "" if load is None else _draw(load), is_text=True)
        + "</tr>"
        for row, load in zip(rows, loads, strict=True)
    )
    picture = write_cell("th", "load, sorted", is_text=True)
    return f"<table><thead><tr>{head}{picture}</tr></thead><tbody>{body}</tbody></table>"


def _draw(load: NumPyArray) -> str:
    """Bars of descending height, the highest of the picture's own."""
    groups = np.array_split(np.sort(load)[::-1], min(len(load), _MOST))
    heights = np.array([group.mean() for group in groups])
    heights = heights / max(heights.max(), np.finfo("float64").tiny) * _HEIGHT
    width = _WIDTH / len(heights)
    # Bars that are wide enough for it leave a gap.
    gap = 1.0 if width > 3 else 0.0
    bars = "".join(
        f"M{number * width:.2f} {_HEIGHT}v{-height:.2f}h{width - gap:.2f}v{height:.2f}z"
        for number, height in enumerate(heights)
    )
    text = f"mean coefficients from {load.max():.4f} down to {load.min():.4f}"
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{text}"><title>{text}</title>'
        f'<path d="{bars}" fill="#4c78a8"/></svg>'
    )
