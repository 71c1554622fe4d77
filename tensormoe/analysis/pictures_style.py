"""How all pictures look, set on each figure alone: Matplotlib's settings and its pyplot stay as they are."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..arrays.checks import check_kind
from ..arrays.registry import backend_of
from ..errors import TensorMoEError, as_tuple, is_listed
from ..fitting.target import read_values
from ..typing import Array, NumPyArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.text import Text

# Names of classes, or the numbers of experts.
Labels = Sequence[str | int]

# Colours of Paul Tol that the colour-blind tell apart; from white to blue grows darker in grey, too.
INK, QUIET, FAINT = "#222222", "#777777", "#e6e6e6"
BLUE, RED, MISSING = "#4477aa", "#cc3311", "#d9d9d9"
CURVES = (BLUE, RED, "#228833", "#aa3377", "#b8a000", "#33aacc", "#555555")
SEQUENTIAL, DIVERGING = "Blues", "RdBu"
SMALL, TINY = 8.0, 6.0
# Above this many, numbers along an axis cannot be read.
NUMBERED = 64
# Of a heat map: an expert would be narrower than a pixel, so neighbours share a column.
COLUMNS = 900
# Text that would leave no room for the picture is cut.
_LONGEST = 28


def new_figure(width: float, height: float, title: str) -> "Figure":
    """A figure of its own, in inches, which no window and no pyplot knows of.

    Raises:
        TensorMoEError: Matplotlib is not installed, or the title is not text.
    """
    heading = check_text("title", title)
    try:
        import matplotlib.figure  # noqa: F401

        from .picture import Picture
    except ImportError as error:
        remedy = f'pictures need it ({error}): pip install "tensormoe[pictures]"'
        raise TensorMoEError("matplotlib", None, remedy) from error
    figure = Picture(figsize=(width, height), dpi=150, facecolor="white", layout="constrained")
    if heading:
        write(figure.suptitle(heading, fontsize=SMALL + 1.5, color=INK, x=0.01, ha="left"))
    return figure


def fit_width(experts: int) -> float:
    """The inches that columns of so many experts take."""
    return float(np.clip(2.6 + 0.3 * experts, 4.2, 7.5))


def fit_height(rows: int) -> float:
    """The inches that a heat map of so many rows takes."""
    return float(np.clip(0.17 * rows + 1.1, 2.2, 8))


def fit_names(names: Sequence[str]) -> float:
    """The inches that names of rows take beside them."""
    return 0.055 * max(len(shorten(name)) for name in names)


def write(text: "Text") -> None:
    """Show text as it is: a dollar is not the beginning of mathematics."""
    text.set_parse_math(False)
    text.set_usetex(False)


def tidy(axis: "Axes", *, x: str = "", y: str = "", title: str = "", frame: bool = False) -> None:
    """Small labels, thin lines, and nothing around the plot but what measures it."""
    axis.set_facecolor("white")
    axis.grid(False)
    axis.tick_params(which="both", labelsize=SMALL, colors=QUIET, labelcolor=INK, length=2.5, width=0.6)
    for side, spine in axis.spines.items():
        spine.set(visible=frame or side in ("left", "bottom"), color=QUIET, linewidth=0.6)
    axis.set_xlabel(x, fontsize=SMALL, color=INK)
    axis.set_ylabel(y, fontsize=SMALL, color=INK)
    axis.set_title(title, fontsize=SMALL, color=INK, loc="left")


def add_scale(figure: "Figure", image: "AxesImage", axis: "Axes", label: str) -> "Colorbar":
    """A slim colour bar beside an image."""
    # At most three inches high, and a ninth of an inch wide, whatever the figure's size.
    height = figure.get_figheight()
    shrink = min(0.7, 3 / height)
    bar = figure.colorbar(image, ax=axis, shrink=shrink, aspect=7 * shrink * height, pad=0.02)
    bar.outline.set(visible=False)
    bar.ax.tick_params(labelsize=SMALL - 1, colors=QUIET, labelcolor=INK, length=2, width=0.6)
    bar.set_label(label, fontsize=SMALL, color=INK)
    return bar


def number_experts(axis: "Axes", order: NumPyArray, what: str, *, along_y: bool = False) -> None:
    """Name the experts along an axis in their order; where they are too many to read, count them."""
    ticks = axis.yaxis if along_y else axis.xaxis
    readable = len(order) <= NUMBERED
    ticks.set_ticks(range(len(order)) if readable else [], [str(n) for n in order] if readable else [])
    if readable and len(order) > 20:
        axis.tick_params(
            axis="y" if along_y else "x", labelsize=TINY, rotation=0 if along_y else 90, length=0
        )
    label = f"expert, {what}" if readable else f"{len(order):,} experts, {what}"
    (axis.set_ylabel if along_y else axis.set_xlabel)(label, fontsize=SMALL, color=INK)


def name_rows(axis: "Axes", names: Sequence[str]) -> None:
    """Names of rows, of which every second or third stays where there are too many to read."""
    step = -(-len(names) // 48)
    axis.set_yticks(range(0, len(names), step), [shorten(name) for name in names[::step]])
    for label in axis.get_yticklabels():
        write(label)
    if len(names) > 16:
        axis.tick_params(axis="y", labelsize=TINY)


def shorten(name: str) -> str:
    """The end of a long name, which tells more of a layer than its beginning."""
    return name if len(name) <= _LONGEST else "…" + name[1 - _LONGEST :].lstrip(".")


def group_columns(table: NumPyArray) -> NumPyArray:
    """An order of columns: by the row that is largest in each, then by how large; those of zeros last."""
    best = table.max(axis=0)
    order: NumPyArray = np.lexsort((-best, np.where(best > 0, table.argmax(axis=0), len(table))))
    return order


def draw_heat(axis: "Axes", table: NumPyArray, colors: str, least: float, most: float) -> "AxesImage":
    """A heat map, in which what is NaN is grey, and experts that are too narrow share columns."""
    rows, count = table.shape
    shown = merge_columns(table, COLUMNS) if count > COLUMNS else table
    axis.set_facecolor(MISSING)
    return axis.imshow(
        np.ma.masked_invalid(shown),
        cmap=colors,
        vmin=least,
        vmax=most,
        aspect="auto",
        extent=(-0.5, count - 0.5, rows - 0.5, -0.5),
        interpolation="nearest",
    )


def draw_bars(axis: "Axes", values: NumPyArray, color: str = BLUE) -> None:
    """A bar for each value at 0, 1, …, with gaps where there is room for them; one shape, however many."""
    places = np.arange(len(values))
    if len(values) > NUMBERED:
        axis.stairs(values, np.append(places - 0.5, len(values) - 0.5), fill=True, color=color, linewidth=0)
        return
    edges = np.stack([places - 0.4, places + 0.4], axis=1).ravel()
    heights = np.stack([values, np.zeros(len(values))], axis=1).ravel()[:-1]
    axis.stairs(heights, edges, fill=True, color=color, linewidth=0)


def mark_end(axes: tuple["Axes", ...], count: int, end: int, text: str, color: str) -> None:
    """Shade the last experts along the axes, and say above the first of them how many they are."""
    if end:
        for axis in axes:
            axis.axvspan(count - end - 0.5, count - 0.5, color=color, alpha=0.12, linewidth=0)
    axes[0].text(
        1,
        1.04,
        text.format(end=end, count=count),
        transform=axes[0].transAxes,
        ha="right",
        va="bottom",
        fontsize=SMALL - 0.5,
        color=color if end else QUIET,
    )


def merge_columns(table: NumPyArray, columns: int) -> NumPyArray:
    """The rows over so many columns of equal width: means of the values that a column has parts of."""
    count = table.shape[1]
    edges = np.linspace(0, count, columns + 1)
    total = np.cumsum(np.pad(table, ((0, 0), (1, 0))), axis=1)
    rows = [np.diff(np.interp(edges, np.arange(count + 1), row)) for row in total]
    merged: NumPyArray = np.array(rows) * columns / count
    return merged


def read_table(argument: str, values: Array, remedy: str, axes: int) -> NumPyArray:
    """Finite values with this many axes, none of them empty.

    Raises:
        TensorMoEError: anything else.
    """
    table = read_values(argument, values)
    if table.ndim != axes or table.size == 0:
        raise TensorMoEError(argument, table.shape, remedy)
    return table


def read_rows(argument: str, values: Array, remedy: str) -> NumPyArray:
    """A table of finite rows; but a row that is NaN throughout may stand for one without a value.

    Raises:
        TensorMoEError: anything else.
    """
    try:
        ops = backend_of(values)
        check_kind(ops, argument, values)
        table = np.array(ops.to_numpy(values))
    except Exception:  # read_values says what is wrong with it
        return read_table(argument, values, remedy, 2)
    if table.ndim != 2 or table.dtype.kind != "f" or table.size == 0:
        return read_table(argument, values, remedy, 2)
    empty = np.isnan(table).all(axis=1)
    rows = read_table(argument, np.where(empty[:, None], 0, table), remedy, 2)
    if empty.all():
        raise TensorMoEError(argument, "NaN throughout", remedy)
    rows[empty] = np.nan
    return rows


def read_names(argument: str, names: Labels | None, count: int) -> list[str]:
    """A name for each of so many things; None for their numbers.

    Raises:
        TensorMoEError: another number of them, or what is neither text nor an integer.
    """
    if names is None:
        return [str(number) for number in range(count)]
    remedy = f"pass a name or a number for each of the {count:,}"
    if not is_listed(names):
        raise TensorMoEError(argument, names, remedy)
    listed = as_tuple(names)
    if len(listed) != count:
        raise TensorMoEError(argument, f"{len(listed):,} of them", remedy)
    return [_read_name(argument, name) for name in listed]


def _read_name(argument: str, name: object) -> str:
    if isinstance(name, str):
        return check_text(argument, name)
    if isinstance(name, bool | np.bool_) or not isinstance(name, int | np.integer):
        raise TensorMoEError(argument, name, "pass names as text, or integers")
    if abs(int(name)) >= 2**63:
        raise TensorMoEError(argument, name, "pass an integer below 2**63")
    return str(int(name))


def check_text(argument: str, text: object) -> str:
    """Text in one line, with a sign in place of characters that no font and no file has.

    Raises:
        TensorMoEError: anything but text, or too much of it.
    """
    if not isinstance(text, str) or len(text) > 1_000:
        raise TensorMoEError(argument, text, "pass text of at most 1,000 characters")
    return clean(" ".join(text.split()))


def clean(text: str) -> str:
    """Text with a sign in place of control characters and of halves of surrogate pairs."""
    return "".join(
        "\ufffd" if c < " " or "\x7f" <= c < "\xa0" or "\ud800" <= c < "\ue000" else c for c in text
    )
