"""What notebooks show is strict HTML, whose cells are read back and compared with what they are about."""

import base64
import sys
from math import prod
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings

import tensormoe as tm
from tensormoe.displays import draw_table, fold_away, write_line, write_text
from tensormoe.testing import specs

SPEC = tm.MuMoESpec(8, 6, (4, 3), tm.CP(rank=5))
BLOCK = tm.MuMoEBlockSpec(8, 16, 6, experts=4, factorization=tm.TensorRing((2, 3, 4)))


def read(shown: object) -> ElementTree.Element:
    """The elements of what a notebook shows. XML is strict: tags close, text is escaped."""
    return ElementTree.fromstring(f"<div>{shown._repr_html_()}</div>")  # type: ignore[attr-defined]


def cells(shown: object) -> list[list[str]]:
    """The rows of all tables, without their headings."""
    return [
        ["".join(cell.itertext()) for cell in row.findall("td")]
        for row in read(shown).iter("tr")
        if row.find("td") is not None
    ]


def pictures(shown: object) -> list[ElementTree.Element]:
    prefix = "data:image/svg+xml;base64,"
    addresses = [each.attrib["src"] for each in read(shown).iter("img")]
    assert all(each.startswith(prefix) for each in addresses)
    return [ElementTree.fromstring(base64.b64decode(each.removeprefix(prefix))) for each in addresses]


@settings(max_examples=10)
@given(specs(max_levels=3))
def test_a_network_lists_its_cores(spec: tm.MuMoESpec) -> None:
    network = spec.network
    rows = {name: (shape, size.split()[0]) for name, _, shape, size in cells(network)}
    assert rows == {
        name: (" × ".join(f"{n:,}" for n in shape), f"{prod(shape):,}")
        for name, shape in network.shapes.items()
    }
    assert len(pictures(network)) == 1


def test_fixed_cores_and_further_uses_are_named() -> None:
    fixed = tm.TensorNetwork("H: i q, n q, q o", q=8, fixed={"H": "hadamard"})
    assert cells(tm.MuMoESpec(8, 6, 5, fixed, bias=False).network)[0] == ["H", "i q", "8 × 8", "64 (fixed)"]
    shared = tm.TensorNetwork("A: n r, A: n s, i r, s r o", r=2, s=2)
    assert cells(tm.MuMoESpec(8, 6, 5, shared).network)[0] == ["A", "n r, n s", "5 × 2", "10"]


def test_a_specification_shows_sizes_parameters_and_its_picture() -> None:
    assert cells(SPEC)[-1][-1] == f"{SPEC.num_parameters:,}"
    assert "".join(read(SPEC).itertext()).startswith("8 → 6 with 4 × 3 experts, ")
    assert [row[0] for row in cells(BLOCK)] == ["first", "second", "with the gate's"]
    ungated = tm.MuMoESpec(64, 32, (), tm.TensorNetwork("i r, r o", r=8), gate=None)
    assert "with no experts" in "".join(read(ungated).itertext())
    for spec in (SPEC, BLOCK, ungated):
        assert len(pictures(spec)) == 1


def test_a_plan_and_a_proof_show_every_step() -> None:
    plan, proof = SPEC.plan(10), tm.prove(SPEC)
    steps = cells(plan)[: len(plan.steps)]
    assert [row[2] for row in steps] == [f"{step.macs:,}" for step in plan.steps]
    assert [row[0].split(maxsplit=1)[1] for row in steps] == [step.expression for step in plan.steps]
    assert cells(proof) == [[f"{step.number}", step.statement, step.law] for step in proof.steps]
    block = BLOCK.plan(10)
    assert len(cells(block)) == sum(len(each.steps) + 4 for each in block.layers.values())
    chain = tm.prove(BLOCK)
    assert isinstance(chain, tm.BlockProof)
    assert len(cells(chain)) == len(chain.chain.steps)
    for each in (proof, chain):
        assert "∎" in "".join(next(read(each).iter("pre")).itertext())


def test_all_text_is_escaped() -> None:
    text = "<script>alert('&')</script>"
    shown = draw_table((text, text), [(text, text)]), write_line(text), fold_away(text, write_text(text))
    for part in shown:
        element = ElementTree.fromstring(part)
        assert [*element.iter("script")] == []
        assert set(filter(None, element.itertext())) == {text}


def test_text_has_the_readers_colour() -> None:
    """So that it is legible on a light and on a dark ground."""
    for shown in (SPEC, SPEC.network, SPEC.plan(10), tm.prove(SPEC)):
        for element in read(shown).iter():
            style = element.attrib.get("style", "")
            assert element.tag == "img" or "color" not in style.replace("background", "")
            assert element.tag == "img" or "background" not in style


def test_without_the_packages_for_pictures_the_rest_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "networkx", None)
    assert pictures(SPEC.network) == []
    assert len(cells(SPEC.network)) == 4
    with pytest.raises(tm.TensorMoEError, match="networkx"):
        SPEC.network.draw()


def test_a_network_draws_itself() -> None:
    assert SPEC.network.draw().get_suptitle() == "n1 r, n2 r, i r, r o"
    assert SPEC.network.draw(title="mine").get_suptitle() == "mine"
    with pytest.raises(tm.TensorMoEError, match="title: received 3"):
        SPEC.network.draw(title=3)  # type: ignore[arg-type]
