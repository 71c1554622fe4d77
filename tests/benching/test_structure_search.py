"""The table of planted networks on the docs' page is what its program counted."""

import json
from pathlib import Path

from benchmarks.structure_search import MOST, PROBLEMS, RESULTS, show, tell

PAGE = Path(__file__).parents[2] / "docs" / "tutorial-search.md"


def test_the_page_shows_what_was_counted() -> None:
    results = json.loads(RESULTS.read_text())
    assert show(results) in PAGE.read_text(encoding="utf-8")
    assert {*results} <= {problem.name for problem in PROBLEMS}


def test_what_is_not_found_counts_as_more_than_was_tried() -> None:
    assert tell([1, None, 3], MOST) == "2 of 3: 3"
    assert tell([1, None, None], MOST) == f"1 of 3: > {MOST}"
