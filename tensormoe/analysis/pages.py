"""A page of HTML that needs nothing else: no server, no script, no font."""

import os
from dataclasses import dataclass
from html import escape

from ..checkpoints.files import check_path, write_file
from ..errors import TensorMoEError
from .pictures_style import check_text

_STYLE = "body{margin:2em auto;max-width:60em;padding:0 1em;background:#fff;color:#222}"


@dataclass(frozen=True)
class Page:
    """HTML that opens in a browser, and that a notebook shows as it is. `shade_text` returns one.

    Args:
        title: as plain text.
        body: as HTML, escaped and styled where it needs to be.

    Raises:
        TensorMoEError: something else than text.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> page = tm.analysis.shade_text(["a", " <b>"], np.array([[0.2, 0.8], [0.9, 0.1]]))
        >>> "&lt;b&gt;" in page.html, page.html.startswith("<!doctype html>")
        (True, True)
    """

    title: str
    body: str

    def __post_init__(self) -> None:
        check_text("title", self.title)
        if not isinstance(self.body, str):
            raise TensorMoEError("body", self.body, "pass HTML as text")

    @property
    def html(self) -> str:
        """The whole document."""
        # A phone would otherwise lay the page out as wide as a desk's.
        screen = '<meta name="viewport" content="width=device-width,initial-scale=1">'
        head = f'<meta charset="utf-8">{screen}<title>{escape(self.title)}</title><style>{_STYLE}</style>'
        return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{self.body}</body></html>\n'

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the document to a file, to open it in a browser.

        Args:
            path: of the file; by custom its name ends in ".html".

        Raises:
            TensorMoEError: the file cannot be written.

        Examples:
            >>> import tempfile
            >>> from pathlib import Path
            >>> import tensormoe as tm
            >>> path = Path(tempfile.mkdtemp()) / "page.html"
            >>> tm.analysis.Page("experts", "<p>Two of them.</p>").save(path)
            >>> path.read_text().count("Two of them.")
            1
        """
        write_file(check_path(path), [self.html.encode("utf-8", "replace")])

    def __str__(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.title!r}, {len(self.body):,} characters)"

    def _repr_html_(self) -> str:
        return self.body
