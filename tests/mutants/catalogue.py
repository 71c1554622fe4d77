"""Every mutant; run as a script, a table of what catches each."""

from collections.abc import Iterable

from mutants import (
    backends,
    biases,
    blocks,
    checkpoints,
    editing,
    fixed,
    gates,
    gathering,
    instructions,
    joint,
    layers,
    modules,
    options,
    program,
    ranks,
    routers,
    sharing,
    splits,
    starts,
    structure,
    torch_modules,
    ungated,
    values,
    verification,
)
from mutants.harness import Mutant, reasons

from tensormoe.tables import table
from tensormoe.verification import METHODS

AREAS = (
    structure,
    biases,
    blocks,
    sharing,
    joint,
    fixed,
    gathering,
    splits,
    instructions,
    program,
    gates,
    editing,
    routers,
    layers,
    options,
    values,
    starts,
    ranks,
    checkpoints,
    verification,
    backends,
    modules,
    torch_modules,
    ungated,
)
MUTANTS: list[Mutant] = [mutant for area in AREAS for mutant in area.MUTANTS]


def outcomes(mutants: Iterable[Mutant]) -> str:
    """A table of mutants with the methods that catch them, or the test that does where none of them looks."""
    rows = []
    for mutant in mutants:
        actual = reasons(mutant)
        shown = ["✓" if method in actual else "–" for method in METHODS]
        test = "–" if mutant.caught_by in METHODS else mutant.caught_by.partition("::")[2]
        rows.append((mutant.name, mutant.where, *shown, test))
    caught = sum("✓" in row for row in rows)
    text = table(("mutant", "where", *METHODS, "test"), rows, text_columns=2)
    summary = f"{caught} of {len(rows)} caught by a method of verification, {len(rows) - caught} by a test"
    return f"{text}\n{summary}"


if __name__ == "__main__":
    print(outcomes(MUTANTS))
