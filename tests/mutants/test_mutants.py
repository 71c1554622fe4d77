"""Each fault, injected alone, is caught by the method of verification that should catch it."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from mutants.catalogue import MUTANTS, outcomes
from mutants.harness import Mutant, find_refusal, reasons

import tensormoe as tm
from tensormoe.verification import METHODS

ROOT = Path(__file__).parents[2]


@cache
def _sound(spec: Callable[[], tm.Spec], backends: tuple[str, ...], method: str) -> str | None:
    """Why a method refuses the library without a fault: None, if it is sound."""
    return find_refusal(spec, backends, method)


@pytest.mark.parametrize(
    "mutant", [m for m in MUTANTS if m.caught_by in METHODS], ids=lambda mutant: mutant.name
)
def test_a_fault_is_caught(mutant: Mutant) -> None:
    method = mutant.caught_by
    assert _sound(mutant.spec, mutant.backends, method) is None
    assert reasons(mutant, (method,)), f"{mutant.name}, in {mutant.where}, passes the method {method!r}"


@pytest.mark.parametrize(
    "mutant", [m for m in MUTANTS if m.caught_by not in METHODS], ids=lambda mutant: mutant.name
)
def test_what_no_method_catches_is_known(mutant: Mutant) -> None:
    """These are for other tests; as soon as one is caught, it says here by which method."""
    assert (ROOT / "tests" / mutant.caught_by).is_file()
    assert [*reasons(mutant)] == []


def test_names_are_one_each_and_all_methods_are_needed() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert {mutant.caught_by for mutant in MUTANTS} > set(METHODS)


def test_a_table_shows_which_methods_catch_a_fault() -> None:
    heading, _, row, last = outcomes([MUTANTS[0]]).strip().splitlines()
    assert heading.split() == ["mutant", "where", *METHODS]
    assert row.split()[-len(METHODS) :] == ["–", "✓", "–", "–"]
    assert last == "1 of 1 caught by a method of verification"


def test_the_page_shows_every_mutant() -> None:
    page = (ROOT / "docs" / "mutants.md").read_text(encoding="utf-8")
    assert [mutant.name for mutant in MUTANTS if f" {mutant.name} " not in page] == []
