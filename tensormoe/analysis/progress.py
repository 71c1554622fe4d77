"""A bar that moves while batches are worked on."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from operator import length_hint
from typing import TypeVar

Item = TypeVar("Item")


def show_progress(text: str, items: Iterable[Item], total: int | None = None) -> Iterator[Item]:
    """The items, and on standard error a bar of how many are done."""
    with open_bar(text, total or length_hint(items) or None) as advance:
        for item in items:
            yield item
            advance()


@contextmanager
def open_bar(text: str, total: int | None, done: int = 0) -> Iterator[Callable[[], None]]:
    """A function that moves a bar on standard error by one."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    # In a notebook, rich draws with ipywidgets; without them it would warn, and show nothing.
    jupyter = None if find_spec("ipywidgets") else False
    with Progress(*columns, console=Console(stderr=True, force_jupyter=jupyter)) as bar:
        task = bar.add_task(text, total=total, completed=done)
        yield lambda: bar.advance(task)
