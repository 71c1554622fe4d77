"""Every mutant; run as a script, a table of the methods of verification that catch each."""

from collections.abc import Iterable

from mutants import backends, gates, instructions, layers, program, structure
from mutants.harness import Mutant, reasons

from tensormoe.tables import table
from tensormoe.verification import METHODS

AREAS = (structure, instructions, program, gates, layers, backends)
MUTANTS: list[Mutant] = [mutant for area in AREAS for mutant in area.MUTANTS]


def outcomes(mutants: Iterable[Mutant]) -> str:
    """A table of mutants with the methods that catch them."""
    rows = []
    for mutant in mutants:
        actual = reasons(mutant)
        shown = ["✓" if method in actual else "–" for method in METHODS]
        rows.append((mutant.name, mutant.where, *shown))
    caught = sum("✓" in row for row in rows)
    text = table(("mutant", "where", *METHODS), rows, text_columns=2)
    return f"{text}\n{caught} of {len(rows)} caught by a method of verification"


if __name__ == "__main__":
    print(outcomes(MUTANTS))
