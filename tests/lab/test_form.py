"""The fields of the page against the specifications that they should make, and what it refuses."""

import re
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import assume, given, settings
from support.strategies import specs

import tensormoe as tm
from tensormoe.lab.form import Form, find_field, to_python
from tensormoe.lab.view import show

FIELDS: dict[str, Any] = {
    "notation": "n1 r, n2 r, i r, r o",
    "inputs": "8",
    "outputs": "6",
    "experts": "4, 3",
    "sizes": "r=5",
    "fixed": "",
    "batch_size": "10",
    "hidden": "",
    "nonlinearity": "gelu",
    "gated": False,
    "gate": "entmax15",
    "norm": "layer",
    "bias": True,
}


def view(**changes: Any) -> dict[str, Any]:
    (layer,) = show([FIELDS | changes])["layers"]  # type: ignore[misc]
    assert isinstance(layer, dict)
    return layer


def write(spec: tm.MuMoESpec, **changes: Any) -> Form:
    """The fields that say what a specification without a gate of its own is."""
    network = spec.factorization
    assert isinstance(network, tm.TensorNetwork)
    sizes = [f"{name}={size}" for name, size in network.ranks]
    sizes += [f"{name}={'x'.join(map(str, parts))}" for name, parts in network.parts]
    fields = {
        "notation": network.text,
        "inputs": str(spec.in_features),
        "outputs": str(spec.out_features),
        "experts": ", ".join(map(str, spec.experts)),
        "sizes": " ".join(sizes),
        "bias": spec.bias,
    }
    return Form.read({**FIELDS, **fields, **changes})


def run(spec: tm.Spec) -> object:
    """What the lines of a specification make."""
    names: dict[str, Any] = {}
    exec(to_python(spec), names)  # type: ignore[arg-type]
    return names["spec"]


@settings(max_examples=20)
@given(specs())
def test_a_form_makes_the_layer_that_was_written_and_python_makes_it_again(spec: tm.MuMoESpec) -> None:
    network = spec.network
    # Padding has no field.
    assume(not any(each.pad for each in network.splits))
    written = tm.TensorNetwork.with_sizes(
        str(spec.factorization.notation(spec.levels)),
        spec.factorization.bonds(spec.levels),
        parts={each.mode: each.sizes for each in network.splits},
    )
    gate = tm.Gate() if spec.experts else None
    expected = tm.MuMoESpec(*spec.features, spec.experts, written, gate, bias=spec.bias)
    assert write(expected).spec() == run(expected) == expected


GATES = {
    "entmax15": "entmax15",
    " softmax ": "softmax",
    "top_k k=2": tm.Activation("top_k", k=2),
    "entmax alpha=1.25": tm.Activation("entmax", alpha=1.25),
}


@pytest.mark.parametrize("written", GATES)
@pytest.mark.parametrize("norm", ["layer", "batch", None])
def test_gates_of_layers_and_blocks(written: str, norm: str | None) -> None:
    network = tm.TensorNetwork("n r, i r, r o", r=5)
    layer = tm.MuMoESpec(8, 6, 4, network, tm.Gate(GATES[written], norm))
    block = tm.MuMoEBlockSpec(8, 12, 6, 4, network, layer.gate, nonlinearity="silu", gated=True)
    gate = {"gate": written, "norm": norm or "none"}
    assert write(layer, **gate).spec() == run(layer) == layer
    of_block = {"hidden": "12", "nonlinearity": "silu", "gated": True}
    assert write(layer, **gate, **of_block).spec() == run(block) == block
    alone = layer.replace(gate=None)
    assert write(layer, gate="none").spec() == run(alone) == alone


def test_fixed_cores_have_values_by_name() -> None:
    fixed = {"H": "hadamard", "M": "blocks 2"}
    network = tm.TensorNetwork("n q, H: i q, M: q p, p o", q=8, p=6, fixed=fixed)
    spec = tm.MuMoESpec(8, 6, 4, network, bias=False)
    assert write(spec, fixed="H=hadamard, M = blocks 2").spec() == run(spec) == spec


def test_a_block_is_shown_with_all_its_layers() -> None:
    layer, block = view(hidden="12", experts="4", notation="n r, i r, r o"), None
    block = tm.spec_from_json(layer["json"])
    assert isinstance(block, tm.MuMoEBlockSpec)
    assert f">{block.num_parameters:,}<" in layer["network"]
    assert block.plan(10)._repr_html_() in layer["details"]
    assert tm.prove(block)._repr_html_() in layer["details"]
    for stage in block.layers.values():
        assert stage.network.list_cores() in layer["details"]
    # Soft MoEs of both layers: a weight tensor with biases for each.
    assert f">{4 * 9 * 12 + 4 * 13 * 6:,}<" in layer["network"]


@pytest.mark.parametrize("sizes", ["r=5", " r = 5 ", "r:5", "r=5,", "r=5;"])
def test_sizes_may_be_written_in_several_ways(sizes: str) -> None:
    assert Form.read(FIELDS | {"sizes": sizes}).spec().factorization == tm.TensorNetwork(
        "n1 r, n2 r, i r, r o", r=5
    )


def test_a_view_says_what_the_layer_is() -> None:
    layer, spec = view(), Form.read(FIELDS).spec()
    assert tm.spec_from_json(layer["json"]) == spec
    assert f">{spec.num_parameters:,}<" in layer["network"]
    assert spec.plan(10)._repr_html_() in layer["details"]
    assert tm.prove(spec)._repr_html_() in layer["details"]


def test_warnings_name_what_can_never_be_used() -> None:
    assert (
        "r has size 500, but no more than"
        in view(notation="n p, i r, r o p", sizes="r=500 p=2", experts="4")["network"]
    )
    assert "warnings" not in view()["network"]
    many = view(inputs="4000", outputs="4000", sizes="r=500")["network"]
    assert "more than 1,048,576 parameters" in many


WRONG = [
    ({"notation": "n r, i r"}, "notation", "mode 'o' is in no core"),
    ({"notation": "<script>alert(1)</script>"}, "notation", "<script>"),
    ({"notation": "../../etc/passwd"}, "notation", "received"),
    ({"notation": ""}, "notation", "received ''"),
    ({"notation": "n r, " * 40 + "i r, r o"}, "notation", "this page shows at most 32 cores"),
    ({"notation": "n r" * 1000}, "notation", "pass text of at most 1,000 characters"),
    ({"inputs": "abc"}, "inputs", "inputs: received 'abc'; pass a positive integer"),
    ({"inputs": "-3"}, "inputs", "pass a positive integer"),
    ({"inputs": "٣"}, "inputs", "pass a positive integer"),
    ({"inputs": "9" * 19}, "inputs", "below 2**63"),
    ({"outputs": "1e3"}, "outputs", "pass a positive integer"),
    ({"experts": "4"}, "notation", "mode 'n2' belongs to no expert level"),
    ({"experts": "0, 3"}, "experts", "pass a positive integer"),
    ({"experts": "4, three"}, "experts", "pass a positive integer"),
    ({"sizes": ""}, "sizes", "give each bond a size: add r=64"),
    ({"sizes": "r"}, "sizes", "write each size once"),
    ({"sizes": "r=5 r=6"}, "sizes", "write each size once"),
    ({"sizes": "r=0"}, "sizes", "pass a positive integer"),
    ({"sizes": "r=5 q=6"}, "notation", "unknown bond 'q'"),
    ({"hidden": "x"}, "hidden", "pass a positive integer"),
    ({"hidden": "0"}, "hidden", "pass a positive integer"),
    ({"hidden": "9", "nonlinearity": "magic"}, "nonlinearity", "received 'magic'"),
    ({"gate": "magic"}, "gate", "received 'magic'"),
    ({"gate": "top_k"}, "gate", "k"),
    ({"gate": "top_k k=x"}, "gate", "write options as numbers"),
    ({"gate": "top_k k=99"}, "gate", "k"),
    ({"gate": "top_k q=2"}, "gate", "q"),
    ({"gate": "entmax alpha=nan"}, "gate", "alpha"),
    ({"norm": "magic"}, "norm", "received 'magic'"),
    ({"fixed": "H"}, "fixed", "write a core's name and its values"),
    ({"fixed": "H=hadamard"}, "fixed", "H"),
    ({"notation": "n1 r, n2 r, H: i r, r o", "fixed": "H=magic"}, "fixed", "received 'magic'"),
    ({"notation": "n1 r, n2 r, H: i r, r o", "fixed": "H=hadamard"}, "fixed", "H"),
    ({"batch_size": "0"}, "batch_size", "pass a positive integer"),
    ({"bias": "yes"}, "bias", "pass True or False"),
    ({"sizes": "r=" + "9" * 18}, "notation", "no array has so many elements"),
    ({"other": "1"}, "notation", "pass the fields"),
]


@pytest.mark.parametrize(("changes", "field", "text"), WRONG)
def test_what_cannot_be_read_is_said_beside_its_field(changes: dict[str, Any], field: str, text: str) -> None:
    layer = view(**changes)
    assert {*layer} == {"error", "field"}
    assert text in layer["error"]
    assert layer["field"] == field


def test_every_field_of_an_error_is_on_the_page() -> None:
    from importlib.resources import files

    page = files("tensormoe.lab").joinpath("index.html").read_text()
    assert {*re.findall(r'name="(\w+)"', page)} - {"viewport"} == {*FIELDS}
    assert {*re.findall(r'data-field="(\w+)"', page)} == {*FIELDS} - {"bias", "gated"}
    assert find_field(tm.TensorMoEError("in_features", 0, "")) == "inputs"
    assert find_field(tm.TensorMoEError("bond r", 0, "")) == "sizes"


def test_two_layers_are_compared_and_a_wrong_one_is_left_out() -> None:
    other = FIELDS | {"sizes": "r=7"}
    both = show([FIELDS, other])["together"]
    spec = Form.read(other).spec()
    assert isinstance(both, str)
    assert "layer A" in both
    assert f">{spec.num_parameters:,}<" in both
    alone = show([FIELDS | {"inputs": "x"}, other])
    assert isinstance(alone["together"], str)
    assert "<table" not in alone["together"]
    assert show([FIELDS | {"inputs": "x"}])["together"] == ""
    assert asdict(Form.read(FIELDS)) == FIELDS
