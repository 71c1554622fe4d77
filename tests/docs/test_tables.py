"""The tables of the documentation hold what the library has: nothing is missing, and nothing is made up."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from matrix.page import PAGE, written

import tensormoe as tm
from tensormoe.arrays.nonlinearities import NONLINEARITIES
from tensormoe.gates.activations import WEIGHTINGS
from tensormoe.gates.gate import NORMS
from tensormoe.networks import families, structured

PAGES_WITH_COUNTS = ("verification.md", "mutants.md")
DOCS = Path(__file__).parents[2] / "docs"
NAMED = {
    kind
    for kind in (*vars(families).values(), *vars(structured).values())
    if isinstance(kind, type) and issubclass(kind, tm.Factorization)
} - {tm.Factorization, tm.TensorNetwork}


def table(page: str, heading: str) -> list[list[str]]:
    """The cells of the table whose first heading is this, row by row."""
    text = (DOCS / page).read_text(encoding="utf-8")
    lines = text.split(f"\n| {heading} |", 1)[1].splitlines()
    rows = (line for line in lines[2:])
    listed = []
    for row in rows:
        if not row.startswith("|"):
            break
        listed.append([cell.strip() for cell in row.strip("|").split("|")])
    return listed


def code(cell: str) -> str:
    """The first code in a cell."""
    match = re.search(r"`([^`]+)`", cell)
    assert match, cell
    return match[1]


def test_every_named_family_is_listed_with_the_notation_that_it_writes() -> None:
    rows = table("notation.md", "family | notation") + table("notation.md", "structured family | notation")
    listed = [eval(code(row[0]), {"tm": tm}) for row in rows]
    assert {type(family) for family in listed} == NAMED
    for family, row in zip(listed, rows, strict=True):
        assert code(row[1]) == family.notation(1)


def test_every_gate_activation_is_listed() -> None:
    cells = [code(row[0]) for row in table("gates.md", "`activation=`")]
    listed = [eval(cell, {"tm": tm}) for cell in cells]
    assert {each if isinstance(each, str) else each.name for each in listed} == set(WEIGHTINGS)


def test_every_norm_is_listed() -> None:
    cells = [row[0] for row in table("gates.md", "`norm=`")]
    assert {eval(code(cell)) for cell in cells if "`" in cell} == set(NORMS)


def test_every_router_is_listed() -> None:
    listed = {type(eval(code(row[0]), {"tm": tm})) for row in table("routers.md", "`tm.Gate(router=...)`")}
    routers = {tm.LinearRouter, tm.LowRankRouter, tm.CosineRouter, tm.NoisyRouter, tm.AdaptiveClustering}
    assert listed == routers


def test_every_option_of_adaptive_clustering_is_listed() -> None:
    listed = [code(row[0]) for row in table("routers.md", "`tm.AdaptiveClustering(...)`")]
    assert {cell.split("=")[0] for cell in listed} == {field.name for field in fields(tm.AdaptiveClustering)}
    for cell in listed:
        name, _, default = cell.partition("=")
        assert not default or name == "preset" or getattr(tm.AdaptiveClustering(), name) == eval(default), (
            cell
        )


def test_every_nonlinearity_is_named() -> None:
    listed = [eval(code(row[0])) for row in table("layers.md", "`nonlinearity=`")]
    assert sorted(listed) == sorted(NONLINEARITIES)


@pytest.mark.parametrize("name", sorted(tm.__all__))
def test_every_public_name_is_in_the_reference(name: str) -> None:
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    assert re.search(rf"^::: tensormoe\.(?:\w+\.)*{name}$", text, re.MULTILINE)


def test_counts_of_mutants_are_those_of_the_catalogue() -> None:
    verification, mutants = ((DOCS / page).read_text(encoding="utf-8") for page in PAGES_WITH_COUNTS)
    counts = re.search(r"Of (\d+) realistic faults .*?(\d+) are found", verification, re.DOTALL)
    assert counts is not None
    assert f"Here are {counts[1]} that" in mutants
    assert f"\n{counts[2]} are caught by" in mutants


def test_the_page_of_what_works_where_is_that_of_the_matrix() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert written(text) == text
