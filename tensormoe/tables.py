"""Text tables, and the package versions that reports record."""

import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from io import StringIO

_PACKAGES = ("tensormoe", "numpy", "torch", "jax", "tensorly", "opt_einsum")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> str:
    """A table as plain text: the first `text_columns` columns left-aligned, the others right-aligned."""
    # Imported here to keep `import tensormoe` fast.
    from rich import box
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        grid.add_column(column, justify="left" if number < text_columns else "right", no_wrap=True)
    for row in rows:
        grid.add_row(*row)
    text = StringIO()
    Console(file=text, width=240, color_system=None, markup=False).print(grid)
    return "\n".join(line.rstrip() for line in text.getvalue().rstrip().splitlines())


def versions() -> dict[str, str]:
    """The versions of Python and of the installed packages that figures depend on."""
    installed = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return installed
