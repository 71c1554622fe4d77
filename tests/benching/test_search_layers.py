"""What the comparison on digits and text may try, and that the page shows what it found."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

import tensormoe as tm
from benchmarks.search_layers import EXPERTS, RESULTS, RIVALS, make_space, show
from tensormoe.exploring.candidate import decode

PAGE = Path(__file__).parents[2] / "docs" / "tutorial-search.md"
LAYER = tm.MuMoESpec(64, 10, EXPERTS, tm.Dense())
# Experts, inputs and outputs are slots 0, 1 and 2; each has a core of its own to begin with.
CHOSEN = {
    "Mixture of Decoders": ({("carrier", (2, 0)): 1, ("carrier", (2, 1)): 1}, tm.TensorNetwork("n o, i o")),
    "block term": (
        {("hyperedge", (0,)): 4, ("bond", (1, 2)): 2},
        tm.TensorNetwork("n r, i r s, o r s", r=4, s=2),
    ),
    "CP": ({("hyperedge", (0,)): 8}, tm.CP(8)),
    "ring": ({("bond", pair): 4 for pair in ((0, 1), (1, 2), (0, 2))}, tm.TensorRing((4, 4, 4))),
}


@pytest.mark.parametrize("name", RIVALS)
def test_what_is_known_is_in_the_space(name: str) -> None:
    chosen, family = CHOSEN[name]
    space = make_space(LAYER)
    point = tuple(
        each.choices.index(chosen.get((each.kind, each.subject), each.choices[0]))
        for each in space.coordinates
    )
    candidate = decode(space, point)
    assert candidate is not None
    assert candidate.key == tm.explore.canonical_key(LAYER.replace(factorization=family).network)


def test_the_page_shows_what_was_measured() -> None:
    assert show(json.loads(RESULTS.read_text())) in PAGE.read_text(encoding="utf-8")
