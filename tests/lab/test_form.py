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
    "batch_size": "10",
    "bias": True,
}


def view(**changes: Any) -> dict[str, Any]:
    (layer,) = show([FIELDS | changes])["layers"]  # type: ignore[misc]
    assert isinstance(layer, dict)
    return layer


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
    expected = tm.MuMoESpec(spec.in_features, spec.out_features, spec.experts, written, bias=spec.bias)
    sizes = [f"{name}={size}" for name, size in written.ranks]
    sizes += [f"{name}={'x'.join(map(str, parts))}" for name, parts in written.parts]
    form = Form(
        notation=written.text,
        inputs=str(spec.in_features),
        outputs=str(spec.out_features),
        experts=", ".join(map(str, spec.experts)),
        sizes=" ".join(sizes),
        batch_size="3",
        bias=spec.bias,
    )
    assert form.spec() == expected
    names: dict[str, Any] = {}
    exec(to_python(expected), names)
    assert names["spec"] == expected


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
    assert {*re.findall(r'data-field="(\w+)"', page)} == {*FIELDS} - {"bias"}
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
