"""Each fault, injected alone, is caught by the method of verification or by the test that should catch it."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from mutants.catalogue import MUTANTS, outcomes
from mutants.harness import Mutant, failing_tests, find_refusal, reasons
from support.frameworks import BACKENDS

import tensormoe as tm
from tensormoe.verification import METHODS

TEXT = (Path(__file__).parents[2] / "docs" / "mutants.md").read_text(encoding="utf-8")
TABLE = TEXT[TEXT.index("| mutant |") :]
ROWS = [line.strip("| ").split(" | ") for line in TABLE.splitlines() if line.startswith("| ")][1:]
# What the page says of each mutant: a mark for each method, and the test.
PAGE = {name: rest for name, _, *rest in ROWS}
BY_METHOD = [mutant for mutant in MUTANTS if mutant.caught_by in METHODS]
BY_TEST = [mutant for mutant in MUTANTS if mutant.caught_by not in METHODS]


@cache
def _sound(spec: Callable[[], tm.Spec], backends: tuple[str, ...], method: str) -> str | None:
    """Why a method refuses the library without a fault: None, if it is sound."""
    return find_refusal(spec, backends, method)


@pytest.mark.parametrize("mutant", BY_METHOD, ids=lambda mutant: mutant.name)
def test_a_fault_is_caught(mutant: Mutant) -> None:
    method = mutant.caught_by
    assert _sound(mutant.spec, mutant.backends, method) is None
    assert reasons(mutant, (method,)), f"{mutant.name}, in {mutant.where}, passes the method {method!r}"


@pytest.mark.parametrize("mutant", BY_TEST, ids=lambda mutant: mutant.name)
def test_a_fault_is_caught_by_the_test_that_it_names(mutant: Mutant) -> None:
    if not {*mutant.backends} <= {*BACKENDS}:
        pytest.skip(f"needs {' and '.join(mutant.backends)}")
    assert failing_tests(mutant), f"{mutant.name}, in {mutant.where}, passes {mutant.caught_by}"


@pytest.mark.skipif(os.environ.get("HYPOTHESIS_PROFILE") != "deep", reason="needs HYPOTHESIS_PROFILE=deep")
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_page_shows_which_methods_catch_a_fault(mutant: Mutant) -> None:
    actual = reasons(mutant)
    assert PAGE[mutant.name][:-1] == ["✓" if method in actual else "–" for method in METHODS]


def test_names_are_one_each_and_all_methods_are_needed() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert {mutant.caught_by for mutant in MUTANTS} > set(METHODS)


def test_a_table_shows_what_catches_a_fault() -> None:
    by_test = next(mutant for mutant in BY_TEST if mutant.name == "a NaN passes")
    heading, _, row, other, last = outcomes([MUTANTS[0], by_test]).strip().splitlines()
    assert heading.split() == ["mutant", "where", *METHODS, "test"]
    marks = ["✓" if method == "exact" else "–" for method in METHODS]
    assert row.split()[-len(METHODS) - 1 :] == [*marks, "–"]
    assert other.split()[-1] == by_test.caught_by.partition("::")[2]
    assert last == "1 of 2 caught by a method of verification, 1 by a test"


def test_the_page_shows_every_mutant_and_what_catches_it() -> None:
    assert PAGE.keys() == {mutant.name for mutant in MUTANTS}
    for mutant in BY_METHOD:
        assert PAGE[mutant.name][METHODS.index(mutant.caught_by)] == "✓"
    for mutant in BY_TEST:
        assert PAGE[mutant.name][-1] == f"`{mutant.caught_by}`"
    assert f"{len(MUTANTS)} that a person could make" in TEXT
    assert f"{len(BY_METHOD)} are caught by a method of verification, {len(BY_TEST)} by a test" in TEXT
