"""What notebooks and pages show of specifications, networks, plans and proofs: HTML that needs nothing else.

Text has the reader's colour, so that it is legible on a light and on a dark ground; pictures bring their own.
"""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING, Protocol

from .errors import TensorMoEError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CELL = "text-align:{align};padding:2px 10px;white-space:nowrap"
_IMAGE = "max-width:100%;height:auto;display:block;background:#fff;border-radius:6px;margin:6px 0"


class Drawing(Protocol):
    """What draws a network or a specification."""

    def __call__(self, what: object, *, title: str | None) -> "Figure": ...


_drawings: list[Drawing] = []


def provide(drawing: Drawing) -> None:
    """Say what draws. The library's face does: pictures know networks, which cannot know pictures."""
    _drawings[:] = [drawing]


def draw(what: object, title: str | None = None) -> "Figure":
    """The picture of a network or a specification; its title is the notation unless there is one."""
    return _drawings[0](what, title=title)


def draw_inline(what: object) -> str:
    """The same as HTML; nothing where the packages for pictures are missing."""
    try:
        figure = draw(what)
    except TensorMoEError:
        return ""
    width, _ = figure.get_size_inches()
    return f'<img src="{encode(figure)}" alt="the tensor network" style="{_IMAGE};width:{96 * width:.0f}px"/>'


def encode(figure: "Figure") -> str:
    """A figure as the address of an image that holds it. In an image, nothing meets the page's own names."""
    with BytesIO() as file:
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        return f"data:image/svg+xml;base64,{b64encode(file.getvalue()).decode()}"


def draw_table(heads: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> str:
    """A table: the first `text_columns` columns left-aligned, the others right-aligned."""
    head = _row("th", heads, text_columns)
    body = "".join(_row("td", row, text_columns) for row in rows)
    table = f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"
    return f'<div style="overflow-x:auto">{table}</div>'


def write_cell(tag: str, content: str, *, is_text: bool) -> str:
    """A cell around HTML."""
    style = _CELL.format(align="left" if is_text else "right")
    return f'<{tag} style="{style}">{content}</{tag}>'


def write_line(text: str) -> str:
    """A line of text."""
    return f"<div>{escape(text)}</div>"


def fold_away(summary: str, content: str) -> str:
    """HTML that shows when its summary is clicked."""
    shown = f'<div style="overflow-x:auto">{content}</div>'
    return f'<details><summary style="cursor:pointer">{escape(summary)}</summary>{shown}</details>'


def write_text(text: str) -> str:
    """Text in columns, as it is."""
    return f'<pre style="font-size:12px;line-height:1.4">{escape(text)}</pre>'


def _row(tag: str, cells: Sequence[str], text_columns: int) -> str:
    shown = (
        write_cell(tag, escape(cell), is_text=number < text_columns) for number, cell in enumerate(cells)
    )
    return f"<tr>{''.join(shown)}</tr>"
