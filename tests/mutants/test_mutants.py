"""Each fault, injected alone, is caught by the level of verification that should catch it."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from mutants.catalogue import MUTANTS, outcomes
from mutants.harness import Mutant, reasons, refused

import tensormoe as tm
from tensormoe.verification import LEVELS

ROOT = Path(__file__).parents[2]


@cache
def _sound(spec: Callable[[], tm.Spec], backends: tuple[str, ...], level: str) -> str | None:
    """Why a level refuses the library without a fault: None, if it is sound."""
    return refused(spec, backends, level)


@pytest.mark.parametrize(
    "mutant", [m for m in MUTANTS if m.caught_by in LEVELS], ids=lambda mutant: mutant.name
)
def test_a_fault_is_caught(mutant: Mutant) -> None:
    level = mutant.caught_by
    assert _sound(mutant.spec, mutant.backends, level) is None
    assert reasons(mutant, (level,)), f"{mutant.name}, in {mutant.where}, passes the level {level!r}"


@pytest.mark.parametrize(
    "mutant", [m for m in MUTANTS if m.caught_by not in LEVELS], ids=lambda mutant: mutant.name
)
def test_what_no_level_catches_is_known(mutant: Mutant) -> None:
    """These are for other tests; as soon as one is caught, it says here by which level."""
    assert (ROOT / "tests" / mutant.caught_by).is_file()
    assert [*reasons(mutant)] == []


def test_names_are_one_each_and_all_levels_are_needed() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert {mutant.caught_by for mutant in MUTANTS} > set(LEVELS)


def test_a_table_shows_which_levels_catch_a_fault() -> None:
    heading, _, row, last = outcomes([MUTANTS[0]]).strip().splitlines()
    assert heading.split() == ["mutant", "where", *LEVELS]
    assert row.split()[-len(LEVELS) :] == ["–", "✓", "–", "–"]
    assert last == "1 of 1 caught by a level of verification"


def test_the_page_shows_every_mutant() -> None:
    page = (ROOT / "docs" / "mutants.md").read_text(encoding="utf-8")
    assert [mutant.name for mutant in MUTANTS if f" {mutant.name} " not in page] == []
