"""A notebook that runs in a kernel of its own: what it shows of networks, plans, proofs and studies."""

import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

import pytest

import tensormoe as tm

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

SPEC = "tm.MuMoESpec(6, 4, 3, tm.CP(rank=2), bias=False)"
CELLS = {
    "network": "spec.network",
    "layer": "spec",
    "plan": "spec.plan(64)",
    "proof": "tm.prove(spec)",
    "study": "tm.explore.sweep([tm.CP(1), tm.CP(2)], like=spec, progress=True)",
    "picture": "spec.network.draw()",
}


@pytest.fixture(scope="module")
def shown() -> Mapping[str, list[Any]]:
    """The outputs of each cell."""
    sources = ["import tensormoe as tm", f"spec = {SPEC}", *CELLS.values()]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    return {name: cell.outputs for name, cell in zip(CELLS, notebook.cells[2:], strict=True)}


@pytest.mark.parametrize("name", ["network", "layer", "plan", "proof"])
def test_what_a_notebook_shows_is_what_the_object_says(shown: Mapping[str, list[Any]], name: str) -> None:
    spec = tm.MuMoESpec(6, 4, 3, tm.CP(rank=2), bias=False)
    expected = {"network": spec.network, "layer": spec, "plan": spec.plan(64), "proof": tm.prove(spec)}[name]
    (output,) = shown[name]
    # Pictures number their parts at random.
    assert _without_images(output["data"]["text/html"]) == _without_images(expected._repr_html_())
    assert ("data:image/svg+xml;base64," in output["data"]["text/html"]) == (name in ("network", "layer"))


def _without_images(html: str) -> str:
    return re.sub(r'src="[^"]*"', "", html)


def test_a_sweep_shows_its_front_and_no_complaint_of_its_bar(shown: Mapping[str, list[Any]]) -> None:
    *streams, output = shown["study"]
    told = "".join(each["text"] for each in streams)
    assert "2/2" in told
    assert "Warning" not in told
    # Alone, costs have a front of one: the smallest rank.
    assert "2 trials, 2 complete" in output["data"]["text/html"]
    assert "CP(rank=1)" in output["data"]["text/html"]
    assert "CP(rank=2)" not in output["data"]["text/html"]


def test_a_figure_is_shown_without_pyplot(shown: Mapping[str, list[Any]]) -> None:
    (output,) = shown["picture"]
    assert b64decode(output["data"]["image/png"]).startswith(b"\x89PNG")
