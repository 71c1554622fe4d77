"""Tables for people, as text."""

from collections.abc import Iterable, Sequence
from io import StringIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .planning import Plan


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    footer: Iterable[Sequence[str]] = (),
    title: str = "",
) -> str:
    """A table as plain text; every column but the first is aligned to the right."""
    # rich is imported where text is made, so that importing tensormoe stays quick.
    from rich import box
    from rich.console import Console
    from rich.table import Table

    grid = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for number, column in enumerate(columns):
        grid.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        grid.add_row(*row)
    grid.add_section()
    for row in footer:
        grid.add_row(*row)
    text = StringIO()
    Console(file=text, width=240, color_system=None, markup=False).print(grid)
    return "\n".join(line.rstrip() for line in text.getvalue().rstrip().splitlines())


def plan_table(plan: "Plan") -> str:
    """A plan's steps, totals, and the soft MoE's figures beside them."""
    steps = [
        (f"{number}  {step.expression}", step.kind, f"{step.macs:,}", f"{step.size:,}")
        for number, step in enumerate(plan.steps, start=1)
    ]
    text = table(("step", "kind", "MACs", "elements"), steps)
    soft = plan.soft_moe
    figures = [
        ("MACs", plan.macs, soft.macs),
        ("peak live elements", plan.peak, soft.peak),
        ("parameters", plan.parameters, soft.parameters),
    ]
    totals = [(name, f"{ours:,}", f"{theirs:,}", f"{theirs / ours:,.1f} ×") for name, ours, theirs in figures]
    heading = f"total at batch size {plan.batch_size:,}"
    return text + "\n\n" + table((heading, "this plan", "soft MoE", "ratio"), totals)
