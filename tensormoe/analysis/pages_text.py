"""Text in which an expert's coefficients shade the tokens."""

from collections.abc import Sequence
from html import escape

import numpy as np

from ..errors import TensorMoEError, non_negative_integer, positive_integer
from ..typing import NumPyArray, Shape
from . import pictures_style as style
from .pages import Page
from .pictures_images import choose_experts
from .reading import Coefficients, read_experts

# Tokens of one text, or of several of one length.
Tokens = Sequence[str] | Sequence[Sequence[str]]

_SHADE = (68, 119, 170)
# Black text stays readable on the darkest.
_DARKEST = 0.62
_BOX = "font:14px/1.7 system-ui,sans-serif;color:#222;background:#fff;padding:4px 0"
_TEXT = "white-space:pre-wrap;overflow-wrap:anywhere;margin:2px 0 2px 4.2em;text-indent:-3.2em"
# What takes no place on the page.
_SIGNS = {"\n": "⏎", "\r": "␍", "\t": "⇥"}


def shade_text(
    tokens: Tokens,
    coefficients: Coefficients,
    *,
    experts: Sequence[int] | None = None,
    k: int = 5,
    context: int = 12,
    title: str = "",
) -> Page:
    """Snippets of text around the tokens with each expert's largest coefficients, which shade all tokens.

    Use it to see what an expert of a language model is for.

    Args:
        tokens: the text of each token, spaces included: a list of T, or B lists of S, as the leading axes of
            the coefficients are.
        coefficients: of the tokens, as for `joint`.
        experts: which, by number; None for the 8 with the largest load.
        k: how many snippets for each at most. A snippet begins where no other one of the same expert is; one
            around a coefficient of 0 is left out.
        context: how many tokens to show on either side, of the same list.
        title: of the page.

    Returns:
        A `Page`: `page.save("experts.html")`, or the last line of a notebook's cell. Beside each snippet is
        the coefficient of its middle, underlined token; each token tells its own under the mouse.

    Raises:
        TensorMoEError: tokens of another number, or that are not text; an expert that there is not; an
            invalid k or context.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> coefficients = np.array([[0.9, 0.1], [0.2, 0.8]])
        >>> page = tm.analysis.shade_text(["if", " x < y"], coefficients, experts=[1], k=1)
        >>> "expert 1" in page.body, " x &lt; y" in page.body
        (True, True)
    """
    joint = read_experts(coefficients)
    texts = _read_tokens(tokens, joint.shape[:-1])
    chosen = choose_experts(experts, joint.reshape(-1, joint.shape[-1]))
    most, around = positive_integer("k", k), non_negative_integer("context", context)
    heading = style.check_text("title", title)
    # Rows are lists of tokens, which a snippet does not leave.
    rows = joint.reshape(-1, len(texts[0]), joint.shape[-1])
    darkest = float(rows[..., chosen].max()) or 1.0
    parts = [f"<h2>{escape(heading)}</h2>" if heading else "", _draw_scale(darkest)]
    for expert in chosen:
        values = rows[..., expert]
        snippets = [_draw(texts, values, darkest, place, around) for place in _choose(values, most, around)]
        head = f'<div style="font-weight:600;margin-top:10px">expert {expert}</div>'
        parts.append(head + ("".join(snippets) or f'<div style="{_TEXT};color:#777">no token uses it</div>'))
    return Page(heading or "experts", f'<div style="{_BOX}">{"".join(parts)}</div>')


def _read_tokens(tokens: Tokens, leading: Shape) -> list[list[str]]:
    """B lists of S texts."""
    shape = " of ".join(f"{n:,}" for n in leading) or "1"
    remedy = f"pass the text of each token as the coefficients' leading axes are: {shape}"
    listed = tokens.tolist() if isinstance(tokens, np.ndarray) else tokens
    if not isinstance(listed, list | tuple) or len(leading) > 2:
        raise TensorMoEError("tokens", type(tokens), remedy)
    rows = list(listed) if len(leading) == 2 else [listed]
    width = leading[-1] if leading else 1
    if len(rows) != (leading[0] if len(leading) == 2 else 1):
        raise TensorMoEError("tokens", f"{len(rows):,} lists", remedy)
    for row in rows:
        if not isinstance(row, list | tuple) or len(row) != width:
            received = f"{len(row):,} of them" if isinstance(row, list | tuple) else type(row)
            raise TensorMoEError("tokens", received, remedy)
        for token in row:
            if not isinstance(token, str):
                raise TensorMoEError("tokens", token, "pass tokens as text: decode each number first")
    return [list(row) for row in rows]


def _choose(values: NumPyArray, most: int, around: int) -> list[tuple[int, int]]:
    """The places of the largest values whose snippets do not overlap, of each list of tokens."""
    free = np.ones(values.shape, bool)
    chosen: list[tuple[int, int]] = []
    for place in np.argsort(-values, axis=None, kind="stable"):
        row, column = (int(each) for each in np.unravel_index(place, values.shape))
        if values[row, column] == 0 or len(chosen) == most:
            break
        if free[row, column]:
            free[row, max(0, column - 2 * around) : column + 2 * around + 1] = False
            chosen.append((row, column))
    return chosen


def _draw(
    texts: list[list[str]], values: NumPyArray, darkest: float, place: tuple[int, int], around: int
) -> str:
    row, middle = place
    start, stop = max(0, middle - around), min(len(texts[row]), middle + around + 1)
    spans = "".join(
        _shade(texts[row][n], float(values[row, n]), darkest, is_middle=n == middle)
        for n in range(start, stop)
    )
    number = f'<span style="color:#777">{values[place]:.3f}&ensp;</span>'
    before, after = "…" if start else "", "…" if stop < len(texts[row]) else ""
    return f'<div style="{_TEXT}">{number}{before}{spans}{after}</div>'


def _shade(token: str, value: float, darkest: float, *, is_middle: bool) -> str:
    red, green, blue = _SHADE
    color = f"background:rgba({red},{green},{blue},{_DARKEST * value / darkest:.3f})"
    line = ";text-decoration:underline;text-underline-offset:3px" if is_middle else ""
    shown = "".join(_SIGNS.get(c, c) for c in token)
    return f'<span style="{color}{line}" title="{value:.4f}">{escape(style.clean(shown))}</span>'


def _draw_scale(darkest: float) -> str:
    """What the shades stand for."""
    red, green, blue = _SHADE
    ends = (f"rgba({red},{green},{blue},{alpha})" for alpha in (0, _DARKEST))
    shades = f"linear-gradient(90deg,{','.join(ends)})"
    bar = f"display:inline-block;width:8em;height:.8em;margin:0 6px;background:{shades}"
    return (
        f'<div style="font-size:12px;color:#777">coefficient 0<span style="{bar}"></span>{darkest:.3f}</div>'
    )
