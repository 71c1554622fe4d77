"""The gallery's structures are what its page says, and the page is what its program writes."""

import ast

import pytest

import tensormoe as tm
from benchmarks.gallery.measure import match
from benchmarks.gallery.page import PAGE, PICTURES, read_results, text
from benchmarks.gallery.structures import LONGEST, STRUCTURES, Structure


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda each: each.anchor)
def test_a_structure_is_a_few_lines_and_exact(structure: Structure) -> None:
    assert len(structure.lines.strip().splitlines()) <= 6
    assert max(map(len, structure.lines.splitlines())) <= LONGEST
    ast.parse(structure.lines)
    assert tm.verify(match(structure.build()), "numpy", methods="exact").passed


def test_there_are_at_least_forty_and_each_was_measured_and_verified() -> None:
    results = read_results()
    assert len({each.anchor for each in STRUCTURES}) == len(STRUCTURES) >= 40
    assert {*results} == {each.name for each in STRUCTURES}
    assert [name for name, measured in results.items() if not measured["verified"]] == []
    assert all(len(measured["accuracies"]) == 5 for measured in results.values())


def test_the_page_is_what_its_program_writes() -> None:
    assert PAGE.read_text(encoding="utf-8") == text(read_results())


def test_every_structure_has_its_picture() -> None:
    assert {path.name for path in PICTURES.iterdir()} == {f"{each.anchor}.svg" for each in STRUCTURES}
