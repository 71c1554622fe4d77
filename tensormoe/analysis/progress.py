"""A bar that moves while batches are worked on."""

from collections.abc import Iterable, Iterator
from operator import length_hint
from typing import TypeVar

Item = TypeVar("Item")


def show_progress(text: str, items: Iterable[Item], total: int | None = None) -> Iterator[Item]:
    """The items, and on standard error a bar of how many are done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(text, total=total or length_hint(items) or None)
        for item in items:
            yield item
            bar.advance(task)
