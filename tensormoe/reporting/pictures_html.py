"""Figures as HTML: a picture for a desk and a narrower one for a phone, in the page itself."""

from base64 import b64encode
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from ..analysis.pictures_style import write
from .pictures import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Inches: narrower figures serve both.
_NARROW = 4.1
# Twice the 96 of a browser's inch, for sharp screens.
_DOTS = 192
_BROWSER = 96
# Of a label's size along its axis, so that neighbours do not touch.
_ROOM = 1.15


def embed(picture: Picture) -> str:
    """The `<figure>` of a picture."""
    figure = picture.draw()
    width, height = figure.get_size_inches()
    size = f'width="{round(_BROWSER * width)}" height="{round(_BROWSER * height)}"'
    wide, source = _save(figure), ""
    if width > 1.1 * _NARROW:
        if picture.narrow is not None:
            figure = picture.narrow()
            width, height = figure.get_size_inches()
        figure.set_size_inches(_NARROW, height * _NARROW / width if picture.keeps_shape else height)
        _thin(figure)
        source = f'<source media="(max-width:600px)" srcset="{_save(figure)}">'
    shown = f'<picture>{source}<img src="{wide}" alt="{escape(picture.alt)}" {size}></picture>'
    words = f"<figcaption>{escape(picture.caption)}</figcaption>"
    return f"<figure><h3>{escape(picture.title)}</h3>{shown}{words}</figure>"


def _save(figure: "Figure") -> str:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(_DOTS)
    with BytesIO() as file:
        # Once; savefig would lay it out another time.
        FigureCanvasAgg(figure).print_png(file)  # type: ignore[no-untyped-call]
        return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"


def _thin(figure: "Figure") -> None:
    """Leave out labels of ticks that would lie on each other."""
    figure.draw_without_rendering()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            _thin_axis(axes, axis)


def _thin_axis(axes: "Axes", axis: "Axis") -> None:
    labels = [label for label in axis.get_ticklabels() if label.get_visible() and label.get_text()]
    places = axis.get_majorticklocs()
    # An axis of numbers chooses its own.
    if len(labels) < 8 or len(labels) != len(places):
        return
    boxes = [label.get_window_extent() for label in labels]
    sizes = [box.width if axis is axes.xaxis else box.height for box in boxes]
    length = axes.bbox.width if axis is axes.xaxis else axes.bbox.height
    step = int(np.ceil(_ROOM * max(sizes) * len(labels) / length))
    if step > 1:
        axis.set_ticks(places[::step], [label.get_text() for label in labels[::step]])
        for label in axis.get_ticklabels():
            write(label)
