"""What replacing modules of a model changed: a table, and the way back. For any framework."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from ..errors import TensorMoEError, one_of
from ..tables import table
from .each import spread
from .freezing import describe_added
from .spec import Spec

M = TypeVar("M")
MATCHES = ("parameters", "macs", None)


class Swap(Protocol):
    """A module that has taken another's place."""

    def undo(self) -> None:
        """Put the old module back."""


@dataclass(frozen=True)
class Row:
    """A replaced module and its costs.

    Args:
        names: of the module; several if it is shared.
        before, after: what was there, and what is there now.
        parameters_before, parameters_after: elements.
        macs_before, macs_after: multiply-accumulates a token, the router's included; None if they are not
            known.
        fixed: elements that are there now and are not trained, such as frozen weights.

    Examples:
        >>> from tensormoe.layers.replacement import Row
        >>> row = Row(("mlp",), "Linear", "4 experts, CP(rank=8)", 2080, 1064, 2048, 1064)
        >>> row.parameters_after < row.parameters_before
        True
    """

    names: tuple[str, ...]
    before: str
    after: str
    parameters_before: int
    parameters_after: int
    macs_before: int | None
    macs_after: int | None
    fixed: int = 0


@dataclass(frozen=True)
class Replacement(Generic[M]):
    """What `replace` changed or, with `dry_run=True`, would change. Print it for a table.

    It keeps the old modules for `undo`: drop it to free their memory.

    Args:
        rows: one for each replaced module.
        pairs: (name, old module, new module) for each of them, as `tensormoe_torch.distill` takes them; none
            with `dry_run=True`.

    Examples:
        >>> from tensormoe.layers.replacement import Replacement, Row
        >>> row = Row(("mlp",), "Linear", "4 experts, CP(rank=8)", 2080, 1064, 2048, 1064)
        >>> print(str(Replacement((row,))).splitlines()[-1].split())
        ['total', '2,080', '1,064', '2,048', '1,064']
    """

    rows: tuple[Row, ...]
    pairs: tuple[tuple[str, M, M], ...] = field(default=(), repr=False)
    _swaps: Sequence[Swap] = field(default=(), repr=False)
    _note: Callable[[], None] = field(default=lambda: None, repr=False)

    def undo(self) -> None:
        """Put the old modules back, with the values that they had."""
        for swap in reversed(self._swaps):
            swap.undo()
        self._note()

    def __str__(self) -> str:
        fixed = sum(row.fixed for row in self.rows)
        also = ("fixed",) if fixed else ()
        columns = ("module", "before", "after", "parameters", "→", *also, "MACs a token", "→")
        rows = [_cells(row, bool(fixed)) for row in self.rows]
        total = (
            sum(row.parameters_before for row in self.rows),
            sum(row.parameters_after for row in self.rows),
            *([fixed] if fixed else []),
            _total([row.macs_before for row in self.rows]),
            _total([row.macs_after for row in self.rows]),
        )
        return table(columns, [*rows, ("total", "", "", *map(_figure, total))], text_columns=3)


def check_recipe(experts: object, factorization: object, match: object, build: object) -> None:
    """Raise an error for arguments of `replace` that are wrong for any module."""
    one_of("match", match, MATCHES)
    if build is None:
        for argument, value in (("experts", experts), ("factorization", factorization)):
            if value is None:
                raise TensorMoEError(argument, None, "pass experts= and factorization=, or build=")
    elif not callable(build):
        raise TensorMoEError("build", build, "pass a function from a module to a specification")


def describe_spec(spec: Spec) -> str:
    """A specification in the table's words."""
    counts = " × ".join(map(str, spec.experts))
    each = dict.fromkeys(map(describe_added, spread(spec.factorization, len(spec.layers))))
    told = next(iter(each)) if len(each) == 1 else f"({', '.join(each)})"
    return f"{counts} experts, {told}" if counts else told


def match_costs(spec: Spec, match: str | None, parameters: int, macs: int | None, name: str) -> Spec:
    """The specification at the largest rank that costs no more than what it replaces.

    Args:
        spec: what is to stand there, with any rank.
        match: "parameters", "macs", or None for the rank it has.
        parameters, macs: of what stands there now.
        name: the module's, for errors.
    """
    if match is None:
        return spec
    if match == "macs" and macs is None:
        remedy = f"what {name} computes is not known: match parameters, or None"
        raise TensorMoEError("match", match, remedy)
    try:
        return spec.matched(macs=macs) if match == "macs" else spec.matched(parameters=parameters)
    except TensorMoEError as error:
        raise TensorMoEError(f"{error.argument} of {name}", error.received, error.remedy) from error


def _cells(row: Row, fixed: bool) -> tuple[str, ...]:
    shared = f" (and {len(row.names) - 1} more)" if len(row.names) > 1 else ""
    parameters = row.parameters_before, row.parameters_after, *([row.fixed] if fixed else [])
    figures = *parameters, row.macs_before, row.macs_after
    return (row.names[0] + shared, row.before, row.after, *map(_figure, figures))


def _total(figures: list[int | None]) -> int | None:
    known = [figure for figure in figures if figure is not None]
    return sum(known) if len(known) == len(figures) else None


def _figure(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,}"
