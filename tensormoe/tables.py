"""Text tables, and the package versions that reports record."""

import platform
import re
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import zip_longest
from textwrap import wrap

from .terminal import count_columns, find_width, substitute

_PACKAGES = ("tensormoe", "numpy", "torch", "jax", "tensorly", "opt_einsum")
# On a narrow terminal, text is folded to no fewer characters than this.
_LEAST = 16
_INDENT = "   "
# Not a space to `wrap`.
_GLUE = "\xa0"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> str:
    """A table as plain text: the first `text_columns` columns left-aligned, the others right-aligned.

    On a terminal, text is folded to its width; where that leaves too little room, each row is a paragraph.
    Nothing is cut.
    """
    head, *cells = [[substitute(cell) for cell in row] for row in (columns, *rows)]
    widths = [max(map(_width, column)) for column in zip(head, *cells, strict=True)]
    limit, gap = find_width(), "   "
    if limit is not None and _total(widths, gap) > limit:
        gap = "  "
        narrow = _narrow(widths, limit - _total([0] * len(widths), gap), text_columns)
        if narrow is None:
            return "\n".join(_paragraphs(head, cells, text_columns, limit))
        widths = narrow
    rule = substitute("─") * (_total(widths, gap) - 1)
    lines = [*_row(head, widths, gap, text_columns), rule]
    lines += [line for row in cells for line in _row(row, widths, gap, text_columns)]
    return "\n".join(["", *(f" {line}".rstrip() for line in lines)])


def fold(*texts: str) -> str:
    """Texts below each other, as the terminal can show them, folded to its width."""
    limit = find_width()
    shown = [line for text in texts for line in substitute(text).splitlines()]
    return "\n".join(shown if limit is None else (part for line in shown for part in _fold(line, limit)))


def _width(cell: str) -> int:
    return max(map(count_columns, cell.split("\n")))


def _total(widths: Sequence[int], gap: str) -> int:
    """The columns that a line takes, with the space that it begins with."""
    return 1 + sum(widths) + len(gap) * (len(widths) - 1)


def _narrow(widths: Sequence[int], room: int, text_columns: int) -> list[int] | None:
    """The widths with text folded so that all of them fit into `room`; None if they do not."""
    narrow = [*widths]
    while sum(narrow) > room:
        widest = max(range(text_columns), key=narrow.__getitem__)
        if narrow[widest] <= _LEAST:
            return None
        narrow[widest] -= 1
    return narrow


def _row(row: Sequence[str], widths: Sequence[int], gap: str, text_columns: int) -> Iterator[str]:
    """The lines of a row: as many as its highest cell has."""
    folded = [
        [part for line in cell.split("\n") for part in _fold(line, width)]
        if number < text_columns
        else cell.split("\n")
        for number, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    for parts in zip_longest(*folded, fillvalue=""):
        padding = [" " * (width - count_columns(part)) for part, width in zip(parts, widths, strict=True)]
        text = [part + space for part, space in zip(parts[:text_columns], padding, strict=False)]
        figures = [
            space + part for part, space in zip(parts[text_columns:], padding[text_columns:], strict=True)
        ]
        yield gap.join([*text, *figures])


def _fold(text: str, width: int, first: str = "", rest: str = _INDENT) -> list[str]:
    """The text in lines, broken between words, and between those in brackets only if they are too long."""
    lines = [first + text]
    if count_columns(first + text) > width:
        text = re.sub(r"\S*\[[^]]*\]\S*", lambda match: _glue(match[0], width - len(rest)), text)
        lines = wrap(text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)
    return [line.replace(_GLUE, " ").rstrip() for line in lines]


def _glue(text: str, room: int) -> str:
    """The text as one word, if it fits on a line."""
    return text.replace(" ", _GLUE) if count_columns(text) <= room else text


def _paragraphs(
    head: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int, width: int
) -> Iterator[str]:
    """The headings of the text columns, then each row: its text, and below it the other cells by name."""
    # Nothing fits beside the indent of a terminal that is narrower than this.
    width = max(width, 3 * len(_INDENT))
    room = width - len(_INDENT) - 1
    yield ""
    if any(head[:text_columns]):
        yield from _fold(_join(head[:text_columns]), width)
    for row in rows:
        figures = [_glue(f"{name} {cell}".strip(), room) for name, cell in zip(head, row, strict=True)]
        yield from _fold(_join(row[:text_columns]), width)
        yield from _fold(_join(figures[text_columns:]), width, _INDENT, _INDENT)


def _join(cells: Iterable[str]) -> str:
    return "; ".join(filter(None, (cell.replace("\n", " ") for cell in cells)))


def versions(packages: Iterable[str] = _PACKAGES) -> dict[str, str]:
    """The versions of Python and of the installed packages that figures depend on."""
    installed = {"python": platform.python_version()}
    for package in packages:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return installed
