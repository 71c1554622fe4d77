"""A whole model at a glance, from a recording: a row for each level of each layer."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import TensorMoEError
from ..typing import NumPyArray
from . import pictures_style as style
from .recordings import Recording

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Columns of the strip of loads; one that several experts share has their mean.
COLUMNS = 512
# The load, in equal loads, from which on the strip does not grow darker.
_DARKEST = 4.0
# Rows that a page has room for.
_MOST = 400


class _Row(NamedTuple):
    """One level of one layer: shares from 0 to 1, or NaN where nothing was recorded."""

    name: str
    experts: int
    load: NumPyArray
    effective: float
    entropy: float
    unused: float


def draw_model(recording: Recording, *, title: str = "") -> "Figure":
    """The experts of all layers of a model: how even their loads are, how certain gates are, what is unused.

    Use it first, to see which layers to look at.

    Args:
        recording: what `record` returned.
        title: of the figure.

    Returns:
        A `matplotlib.figure.Figure` with a row for each level of each layer. Left, the loads from the largest
        down, in units of the equal load 1/N, over all experts of the level; right, three shares: the
        effective experts of all N, the mean entropy of a token of the largest possible, ln N, and the experts
        that no token used at the recording's threshold.

    Raises:
        TensorMoEError: no recording, one without a token or of too many layers, or Matplotlib is missing.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> with tm.analysis.recording() as recording:
        ...     recording.add("head", [np.array([[0.75, 0.25, 0.0, 0.0], [0.25, 0.75, 0.0, 0.0]])])
        >>> figure = tm.analysis.draw_model(recording)
        >>> figure.axes[1].lines[0].get_xdata().round(6)  # two of four experts are effective
        array([0.5])
    """
    if not isinstance(recording, Recording):
        raise TensorMoEError("recording", type(recording), "pass what tm.analysis.record returned")
    rows = [row for name in recording for row in _read(recording, name)]
    if not 1 <= len(rows) <= _MOST or all(np.isnan(row.effective) for row in rows):
        remedy = f"record a model with 1 to {_MOST} levels of experts, and at least one token"
        raise TensorMoEError("recording", recording, remedy)
    figure = style.new_figure(8.6, 0.24 * len(rows) + 1.3, title)
    spaces = {"wspace": 0.1}
    axes = figure.subplots(1, 4, sharey=True, width_ratios=[3, 1, 1, 1], gridspec_kw=spaces)
    strip = np.ma.masked_invalid([stretch(row.load) for row in rows])
    first = axes[0]
    style.tidy(first, x="% of its experts, most used first", y="layer · experts", title="load of experts")
    image = first.imshow(
        strip,
        cmap=style.SEQUENTIAL,
        vmin=0,
        vmax=_DARKEST,
        aspect="auto",
        extent=(0, 100, len(rows) - 0.5, -0.5),
        interpolation="nearest",
    )
    first.set_facecolor(style.MISSING)
    first.set_yticks(range(len(rows)), [f"{row.name} · {row.experts:,}" for row in rows])
    first.spines[:].set_visible(False)
    for edge in np.arange(1, len(rows)) - 0.5:
        first.axhline(edge, color="white", linewidth=1.5)
    least = next(iter(recording.values())).threshold
    _dots(axes[1], [row.effective for row in rows], "effective\nexperts", "share of all")
    _dots(axes[2], [row.entropy for row in rows], "entropy\nof a token", "share of ln N")
    _dots(axes[3], [row.unused for row in rows], f"experts never\n≥ {least:g}", "share of all")
    for label in first.get_yticklabels():
        style.write(label)
    first.tick_params(axis="y", length=0, labelsize=style.SMALL)
    style.add_scale(figure, image, first, "load × N").set_ticks([0, 1, 2, 3, 4], labels=[*"0123", "≥ 4"])
    return figure


def stretch(load: NumPyArray) -> NumPyArray:
    """Loads from the largest down, in equal loads, over COLUMNS columns."""
    if np.isnan(load).any():
        return np.full(COLUMNS, np.nan)
    columns: NumPyArray = style.merge_columns(np.sort(load)[None, ::-1] * len(load), COLUMNS)[0]
    return columns


def _read(recording: Recording, name: str) -> list[_Row]:
    layer = recording[name]
    several = len(layer.experts) > 1
    rows = []
    for level, count in enumerate(layer.experts):
        heading = style.shorten(style.clean(name)) or "(the model)"
        heading += f", level {level + 1}" if several else ""
        if not (layer.tokens and layer.is_used):
            rows.append(_Row(heading, count, np.full(count, np.nan), np.nan, np.nan, np.nan))
            continue
        most = np.log(count) if count > 1 else 1.0
        effective = float(layer.effective_experts()[level]) / count
        unused = float(np.mean(layer.usage()[level] == 0))
        entropy = float(layer.token_entropy()[level] / most)
        rows.append(_Row(heading, count, layer.load()[level], effective, entropy, unused))
    return rows


def _dots(axis: "Axes", values: list[float], title: str, unit: str) -> None:
    style.tidy(axis, x=unit, title=title)
    places = np.arange(len(values))
    axis.hlines(places, 0, 1, color=style.FAINT, linewidth=0.8, zorder=0)
    axis.plot(values, places, "o", color=style.BLUE, markersize=4.5, clip_on=False)
    axis.set_xlim(0, 1)
    axis.set_xticks([0, 0.5, 1], ["0", "½", "1"])
    axis.spines[["left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
