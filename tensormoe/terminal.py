"""What standard output can show: its characters and its width."""

import codecs
import os
import shutil
import sys
from unicodedata import combining, east_asian_width

# In place of characters that ASCII, Latin-1 or a Windows code page lacks. What is not listed is escaped.
_SUBSTITUTES = {
    "…": "...",
    "–": "-",
    "−": "-",
    "─": "-",
    "→": "->",
    "×": "x",
    "±": "+-",
    "⊗": "(x)",
    "⊕": "(+)",
    "∗": "*",
    "Σ": "sum",
    "∂": "d",
    "′": "'",
    "″": "''",
    "ᵀ": "^T",
    "∎": "QED",
    "μ": "u",
    "ε": "eps",
    "α": "alpha",
    "δ": "delta",
    "·": "*",
}
ERRORS = "tensormoe.substitute"


def _substitute(error: UnicodeError) -> tuple[str, int]:
    """What Python writes for characters that an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    escaped = (_SUBSTITUTES.get(c) or c.encode("ascii", "backslashreplace").decode() for c in lacking)
    return "".join(escaped), error.end


codecs.register_error(ERRORS, _substitute)


def substitute(text: str) -> str:
    """The text as standard output can show it: without Σ or →, if it has none.

    Texts that are laid out in columns are substituted first, since substitutes may be wider.
    """
    encoding = getattr(sys.stdout, "encoding", None)
    if text.isascii() or not encoding:
        return text
    return text.encode(encoding, ERRORS).decode(encoding)


def find_width() -> int | None:
    """The columns of the terminal that standard output is; None for a pipe or a file, which have no width.

    The environment variable COLUMNS sets it for either.
    """
    try:
        is_terminal = sys.stdout.isatty()
    except (AttributeError, ValueError):  # there is none, or it is closed
        is_terminal = False
    if not is_terminal and not os.environ.get("COLUMNS", "").isdigit():
        return None
    return shutil.get_terminal_size((0, 0)).columns or None


def count_columns(text: str) -> int:
    """The columns of a terminal that a line takes."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(c) else 1 + (east_asian_width(c) in "WF") for c in text)
