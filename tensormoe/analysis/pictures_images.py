"""The images that an expert's coefficient is largest for, in a grid."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..arrays.checks import check_kind
from ..arrays.registry import backend_of
from ..errors import TensorMoEError, as_tuple, is_listed, non_negative_integer, positive_integer
from ..fitting.target import read_values
from ..typing import Array, NumPyArray
from . import pictures_style as style
from .reading import Coefficients, read_experts
from .usage import top_inputs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Experts that are shown where none are named, and the most that a page has room for.
SHOWN, _MOST = 8, 64
# Sides of an image, and the gap to the next, in widths of an image.
_SIDE, _STEP = 1.0, 1.12
_LINE = 0.3


def draw_images(
    images: Array,
    coefficients: Coefficients,
    *,
    experts: Sequence[int] | None = None,
    k: int = 8,
    title: str = "",
) -> "Figure":
    """A row of images for each of several experts: those with its largest coefficients, and the coefficients.

    Use it to see what an expert is for.

    Args:
        images: one for each input: (T, H, W), or in colour (T, H, W, 3), of floats from 0 to 1 or of integers
            from 0 to 255. Grey ones may have any range; they share one scale.
        coefficients: of the T inputs, as for `joint`.
        experts: which, by number; None for the 8 with the largest load.
        k: how many images at most. Those with coefficient 0 are left out.
        title: of the figure.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        TensorMoEError: images of another shape or number, an expert that there is not, more than 64, an
            invalid k, or Matplotlib is missing.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> coefficients = np.array([[0.9, 0.1], [0.2, 0.8], [1.0, 0.0]])
        >>> figure = tm.analysis.draw_images(np.ones((3, 4, 4)), coefficients, experts=[0], k=2)
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['1.00', '0.90']
    """
    heading = style.check_text("title", title)
    joint = read_experts(coefficients)
    joint = joint.reshape(-1, joint.shape[-1])
    pictures = _read_images(images, len(joint))
    chosen = choose_experts(experts, joint)
    columns = positive_integer("k", k)
    if columns > 64:
        raise TensorMoEError("k", k, "a row has room for 64 images")
    top = top_inputs(joint[:, chosen], columns)
    height = pictures.shape[1] / pictures.shape[2]
    step = height + _LINE
    inches = min(0.72, 9 / columns)
    width, margin = inches * _STEP * columns + 1.1, 0.5 if heading else 0.25
    figure = style.new_figure(width, inches * step * len(chosen) + margin, heading)
    axis = figure.add_subplot()
    limits = None if pictures.ndim == 4 else (float(pictures.min()), float(pictures.max()))
    for row, (inputs, values) in enumerate(zip(top.inputs, top.coefficients, strict=True)):
        if values[0] == 0:
            place = 0, row * step + height / 2
            axis.text(*place, "no input uses it", va="center", fontsize=style.SMALL, color=style.QUIET)
        for column, (number, value) in enumerate(zip(inputs, values, strict=True)):
            if value > 0:
                _place(axis, pictures[number], limits, (column * _STEP, row * step), height, value)
    axis.set(xlim=(-0.06, columns * _STEP), ylim=(len(chosen) * step, -0.06), aspect="equal")
    axis.set_xticks([])
    axis.set_yticks(np.arange(len(chosen)) * step + height / 2, [f"expert {n}" for n in chosen])
    axis.tick_params(axis="y", labelsize=style.SMALL, labelcolor=style.INK, length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)
    return figure


def choose_experts(experts: Sequence[int] | None, joint: NumPyArray) -> list[int]:
    """The numbers of those that are shown; None for those with the largest load.

    Raises:
        TensorMoEError: none, more than a page has room for, or a number that is not an expert's.
    """
    count = joint.shape[-1]
    if experts is None:
        return [int(n) for n in np.argsort(-joint.sum(axis=0), kind="stable")[:SHOWN]]
    if not is_listed(experts) or not 1 <= len(as_tuple(experts)) <= _MOST:
        raise TensorMoEError("experts", experts, f"pass a list of 1 to {_MOST} experts' numbers")
    numbers = [non_negative_integer("experts", number) for number in as_tuple(experts)]
    if max(numbers) >= count:
        raise TensorMoEError("experts", max(numbers), f"there are {count:,} experts, numbered from 0 on")
    return numbers


def _read_images(images: Array, count: int) -> NumPyArray:
    """(T, H, W), or (T, H, W, 3) from 0 to 1."""
    remedy = f"pass an image for each of the {count:,} inputs: (T, H, W), or (T, H, W, 3) in colour"
    values, whole = _read_pixels(images)
    if values.ndim == 4 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim not in (3, 4) or len(values) != count or values.size == 0:
        raise TensorMoEError("images", values.shape, remedy)
    if values.ndim == 3:
        return values
    if values.shape[-1] != 3:
        raise TensorMoEError("images", values.shape, f"{remedy}; the colours are the last axis")
    values = values / 255 if whole else values
    if values.min() < 0 or values.max() > 1:
        raise TensorMoEError("images", float(values.max()), "colours are from 0 to 1, or integers to 255")
    return values


def _read_pixels(images: Array) -> tuple[NumPyArray, bool]:
    """The values in float64, and whether they are integers."""
    try:
        ops = backend_of(images)
        check_kind(ops, "images", images)
        whole = np.asarray(ops.to_numpy(images))
    except Exception:  # read_values says what is wrong with it
        return read_values("images", images), False
    if whole.dtype.kind in "bui":
        return whole.astype("float64") * (255 if whole.dtype.kind == "b" else 1), True
    return read_values("images", images), False


def _place(
    axis: "Axes",
    picture: NumPyArray,
    limits: tuple[float, float] | None,
    corner: tuple[float, float],
    height: float,
    value: float,
) -> None:
    """An image with its coefficient below it."""
    left, top = corner
    low, high = limits or (0, 1)
    # Ink on paper: zeros are white.
    axis.imshow(
        picture,
        cmap="gray_r",
        vmin=low,
        vmax=high,
        extent=(left, left + _SIDE, top + height, top),
        interpolation="nearest",
    )
    place = left + _SIDE / 2, top + height + 0.03
    text = f"{value:.2f}" if value >= 0.01 else f"{value:.0e}"
    axis.text(*place, text, ha="center", va="top", fontsize=style.TINY, color=style.QUIET)
