"""Every mutant; run as a script, a table of the levels of verification that catch each."""

from collections.abc import Iterable

import mutants_backends
import mutants_gates
import mutants_instructions
import mutants_layers
import mutants_program
import mutants_structure
from mutants_harness import Mutant, reasons

from tensormoe.report import table
from tensormoe.verification import LEVELS

AREAS = (
    mutants_structure,
    mutants_instructions,
    mutants_program,
    mutants_gates,
    mutants_layers,
    mutants_backends,
)
MUTANTS: list[Mutant] = [mutant for area in AREAS for mutant in area.MUTANTS]


def outcomes(mutants: Iterable[Mutant]) -> str:
    """A table of mutants with the levels that catch them."""
    rows = []
    for mutant in mutants:
        found = reasons(mutant)
        shown = ["✓" if level in found else "–" for level in LEVELS]
        rows.append((mutant.name, mutant.where, *shown))
    caught = sum("✓" in row for row in rows)
    text = table(("mutant", "where", *LEVELS), rows, text_columns=2)
    return f"{text}\n{caught} of {len(rows)} caught by a level of verification"


if __name__ == "__main__":
    print(outcomes(MUTANTS))
