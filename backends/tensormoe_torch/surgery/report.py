"""What a replacement changed: a table, and the way back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import nn

from tensormoe.layers.spec import Spec
from tensormoe.tables import table

from .design import Design


@dataclass(frozen=True)
class Swap:
    """A module that takes another's place in its parent."""

    parent: nn.Module
    attribute: str
    old: nn.Module
    new: nn.Module

    def do(self) -> None:
        """Put the new module in."""
        setattr(self.parent, self.attribute, self.new)

    def undo(self) -> None:
        """Put the old module back, in the mode that the new one is in."""
        setattr(self.parent, self.attribute, self.old.train(self.new.training))


@dataclass(frozen=True)
class Row:
    """A replaced module and its costs.

    Args:
        names: of the module; several if it is shared.
        before, after: what was there, and what is there now.
        parameters_before, parameters_after: elements.
        macs_before, macs_after: multiply-accumulates a token, the router's included; None if they are not
            known.

    Examples:
        >>> import tensormoe as tm, tensormoe_torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(64, 32))
        >>> report = tensormoe_torch.replace(model, "0", experts=4, factorization=tm.CP(rank=8))
        >>> report.rows[0].parameters_before, report.rows[0].parameters_after
        (2080, 1064)
    """

    names: tuple[str, ...]
    before: str
    after: str
    parameters_before: int
    parameters_after: int
    macs_before: int | None
    macs_after: int | None


@dataclass(frozen=True)
class Replacement:
    """What `replace` changed or, with `dry_run=True`, would change. Print it for a table.

    It keeps the old modules for `undo`: drop it to free their memory.

    Args:
        rows: one for each replaced module.

    Examples:
        >>> import tensormoe as tm, tensormoe_torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(64, 32))
        >>> report = tensormoe_torch.replace(model, "0", experts=4, factorization=tm.CP(rank=8))
        >>> type(model[0]).__name__
        'MuMoE'
        >>> report.undo()
        >>> type(model[0]).__name__
        'Linear'
    """

    rows: tuple[Row, ...]
    _swaps: Sequence[Swap] = field(default=(), repr=False)
    _note: Callable[[], None] = field(default=lambda: None, repr=False)

    def undo(self) -> None:
        """Put the old modules back, with the values that they had."""
        for swap in reversed(self._swaps):
            swap.undo()
        self._note()

    def __str__(self) -> str:
        columns = ("module", "before", "after", "parameters", "→", "MACs a token", "→")
        rows = [_cells(row) for row in self.rows]
        total = (
            sum(row.parameters_before for row in self.rows),
            sum(row.parameters_after for row in self.rows),
            _total([row.macs_before for row in self.rows]),
            _total([row.macs_after for row in self.rows]),
        )
        return table(columns, [*rows, ("total", "", "", *map(_figure, total))], text_columns=3)


def describe(design: Design, new: Spec | nn.Module) -> Row:
    """The row of a replaced module; in a dry run a specification stands for what would be built."""
    spec = getattr(new, "spec", None) if isinstance(new, nn.Module) else new
    if isinstance(spec, Spec):
        experts = " × ".join(map(str, spec.experts))
        after, parameters, macs = f"{experts} experts, {spec.factorization}", spec.num_parameters, spec.macs
    elif isinstance(new, nn.Module):
        after, macs = type(new).__name__, None
        parameters = sum(parameter.numel() for parameter in new.parameters())
    before = type(design.place.module).__name__ + (f", {design.outside}" if design.outside else "")
    return Row(design.place.names, before, after, design.parameters, parameters, design.macs, macs)


def _cells(row: Row) -> tuple[str, ...]:
    shared = f" (and {len(row.names) - 1} more)" if len(row.names) > 1 else ""
    figures = row.parameters_before, row.parameters_after, row.macs_before, row.macs_after
    return (row.names[0] + shared, row.before, row.after, *map(_figure, figures))


def _total(figures: list[int | None]) -> int | None:
    known = [figure for figure in figures if figure is not None]
    return sum(known) if len(known) == len(figures) else None


def _figure(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,}"
