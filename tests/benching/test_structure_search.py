"""The table of planted networks on the docs' page is what its program counted, and holds what is claimed."""

import json
from pathlib import Path
from statistics import median

import pytest

from benchmarks.structure_search import LOOPS, MOST, PROBLEMS, RESULTS, Problem, Results, show, tell

PAGE = Path(__file__).parents[2] / "docs" / "tutorial-search.md"


@pytest.fixture(scope="module")
def results() -> Results:
    counted: Results = json.loads(RESULTS.read_text())
    return counted


def test_the_page_shows_what_was_counted(results: Results) -> None:
    assert show(results) in PAGE.read_text(encoding="utf-8")
    assert {*results} == {problem.name for problem in PROBLEMS}


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
def test_a_guided_search_finds_it_in_fewer_networks_than_any_other(
    problem: Problem, results: Results
) -> None:
    counts = results[problem.name]
    assert {*counts} == {*LOOPS}
    guided = counts["guided"]
    assert len(guided) == 10
    assert sum(each is not None for each in guided) >= 9
    for name in {*LOOPS} - {"guided"}:
        seeds = range(len(counts[name]))
        ours, theirs = (
            [MOST + 1 if each[seed] is None else each[seed] for seed in seeds]
            for each in (guided, counts[name])
        )
        assert len(seeds) >= 3
        assert median(ours) < median(theirs)


def test_what_is_not_found_counts_as_more_than_was_tried() -> None:
    assert tell([1, None, 3], MOST) == "2 of 3: 3"
    assert tell([1, None, None], MOST) == f"1 of 3: > {MOST}"
