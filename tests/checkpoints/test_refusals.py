"""What a file may not say, even with a checksum that fits, and what the error says of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import sealing
from checkpoints.examples import BLOCK, LAYER, draw, same

import tensormoe as tm

LAST = "gate_weights.1"
Header = dict[str, Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "layer.safetensors"


def refuse(path: Path, match: str) -> None:
    for act in (lambda: tm.load_arrays(path), lambda: tm.load(path, "numpy")):
        with pytest.raises(tm.TensorMoEError, match=rf"^path: received '.*layer\.safetensors'; {match}"):
            act()


def edit_layers(change: Callable[[Any], None]) -> Callable[[Header], None]:
    """A change of what the metadata say of the layers."""

    def edit(header: Header) -> None:
        data = json.loads(header["__metadata__"]["tensormoe.layers"])
        change(data)
        header["__metadata__"]["tensormoe.layers"] = json.dumps(data)

    return edit


def edit_spec(**changes: Any) -> Callable[[Header], None]:
    return edit_layers(lambda data: data["layers"][0]["spec"].update(changes))


def edit_metadata(**changes: Any) -> Callable[[Header], None]:
    return lambda header: header["__metadata__"].update(
        {f"tensormoe.{name}": value for name, value in changes.items()}
    )


def edit_entry(**changes: Any) -> Callable[[Header], None]:
    return lambda header: header[LAST].update(changes)


def turn(header: Header) -> None:
    header["cores.expert1"]["shape"].reverse()


def move(header: Header, by: int) -> None:
    header[LAST]["data_offsets"] = [place + by for place in header[LAST]["data_offsets"]]


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (
            lambda header: header.update(more=header.pop(LAST)),
            r"its specification .*missing: gate_weights\.1",
        ),
        (edit_spec(bias=False), r"its specification .*cores.input: received \(4, 2\); .* shape is \(3, 2\)"),
        (turn, r"its specification .*cores\.expert1: received \(2, 4\); .* shape is \(4, 2\)"),
        (edit_spec(experts=[4, 3, 2]), r"its specification .*missing: cores\.expert3"),
        (edit_spec(experts=[4]), r"its specification .*unknown: cores\.expert2, gate_mean\.1"),
        (edit_spec(gate={"norm": None}), r"its specification .*unknown: gate_mean\.0, gate_mean\.1"),
        (edit_spec(out_features=-1), "its specification .*out_features: received -1"),
        (edit_spec(factorization={"type": "Mine"}), "its specification .*'Mine'.*: .*define or import it"),
        (edit_spec(gate={"router": {"type": "Mine"}}), "its specification .*'Mine'.*: .*define or import it"),
        (edit_spec(format=2), "its specification .*this version reads format 1"),
        (edit_spec(more=1), "its specification .*'more'"),
        (edit_metadata(layers="{"), "its specification .*this is not JSON"),
        (edit_metadata(layers='{"layers": [], "layers": []}'), "its specification .*occurs twice"),
        (edit_layers(lambda data: data.clear()), "its specification .*there is no layer"),
        (edit_layers(lambda data: data["layers"][0].pop("spec")), "its specification .*not a layer's names"),
        (edit_layers(lambda data: data["layers"][0].update(names=[1])), "its specification .*not a layer's"),
        (
            edit_layers(lambda data: data["layers"].append(data["layers"][0] | {"names": ["a"]})),
            "its specification .*contains others",
        ),
        (edit_metadata(format="2"), "its format is 2, and this version reads 1: update tensormoe"),
        (edit_metadata(format=1), "its metadata are damaged"),
        (lambda header: header["__metadata__"].pop("tensormoe.layers"), "tm.save did not write it"),
        (lambda header: header.pop("__metadata__"), "tm.save did not write it.*tm.from_published"),
        (edit_entry(dtype="I32"), r"'gate_weights\.1' is of type 'I32'; .* F64, F32, F16, BF16"),
        (edit_entry(dtype="F64"), r"the shape of 'gate_weights\.1' does not fit"),
        (edit_entry(shape=[2**62, 2**62]), r"the shape of 'gate_weights\.1' does not fit"),
        (edit_entry(shape=[3, -3]), r"its header is damaged at 'gate_weights\.1'"),
        (edit_entry(shape=[3, True]), r"its header is damaged at 'gate_weights\.1'"),
        (edit_entry(shape=[1] * 31 + [3, 3]), r"its header is damaged at 'gate_weights\.1'"),
        (edit_entry(more=1), r"its header is damaged at 'gate_weights\.1'"),
        (edit_entry(shape=[0, 3], data_offsets=[0, 0]), r"the shape of 'gate_weights\.1' does not fit"),
        (lambda header: move(header, 4), "its tensors overlap or leave gaps"),
        (lambda header: move(header, -4), "its tensors overlap or leave gaps"),
        (lambda header: header.pop(LAST), r"its tensors have \d+ bytes by its header, but \d+ are there"),
    ],
)
def test_a_forged_header_is_refused_with_a_reason(
    edit: Callable[[Header], object], match: str, path: Path
) -> None:
    tm.save(draw(LAYER), path)
    header, rest = sealing.part(path.read_bytes())
    assert header[LAST]["data_offsets"][1] == len(rest)
    edit(header)
    path.write_bytes(sealing.join(header, rest) if "__metadata__" not in header else _seal(header, rest))
    refuse(path, match)


def _seal(header: Header, rest: bytes) -> bytes:
    before = header["__metadata__"].keys()
    sealed = sealing.seal(header, rest)
    assert before <= sealing.part(sealed)[0]["__metadata__"].keys()
    return sealed


def test_a_tensor_more_or_in_another_layer_is_unknown(path: Path) -> None:
    tm.save({"a": draw(LAYER)}, path)
    header, rest = sealing.part(path.read_bytes())
    changed = {name.replace("a.", "b.", 1): entry for name, entry in header.items()}
    path.write_bytes(sealing.seal(changed, rest))
    refuse(path, r"its specification .*missing: a\.cores")
    extra = {"dtype": "F32", "shape": [1], "data_offsets": [len(rest), len(rest) + 4]}
    path.write_bytes(sealing.seal(header | {"a.more": extra}, rest + b"\0" * 4))
    refuse(path, r"its specification .*unknown: a\.more")


def test_tensors_that_change_places_are_noticed(path: Path) -> None:
    """They have the same shape, so only the checksum tells."""
    tm.save({"a": draw(BLOCK), "b": draw(BLOCK, seed=1)}, path)
    header, rest = sealing.part(path.read_bytes())
    one, other = "a.first.input", "b.first.input"
    path.write_bytes(sealing.join(header | {one: header[other], other: header[one]}, rest))
    refuse(path, "it has changed since tm.save wrote it: save the layer again")


def test_a_name_that_occurs_twice_is_refused(path: Path) -> None:
    tm.save(draw(LAYER), path)
    header, rest = sealing.part(path.read_bytes())
    text = json.dumps(header)
    doubled = (text[:-1] + f', "{LAST}": {json.dumps(header[LAST])}}}').encode()
    path.write_bytes(len(doubled).to_bytes(8, "little") + doubled + rest)
    refuse(path, "it is damaged, or not a safetensors file")


@pytest.mark.parametrize(
    "data", [b"", b"1234567", b"\0" * 8, b"\x02" + b"\0" * 7 + b"[]", b"PK" * 500, b"{" * 99]
)
def test_another_file_is_not_one_of_safetensors(data: bytes, path: Path) -> None:
    path.write_bytes(data)
    refuse(path, r"it is (cut|damaged), or not a safetensors file: pass one that tm\.save wrote")


def test_the_same_header_in_other_words_is_the_same(path: Path) -> None:
    saved = draw(LAYER)
    tm.save(saved, path)
    header, rest = sealing.part(path.read_bytes())
    path.write_bytes(sealing.join(dict(reversed(header.items())), rest))
    assert same(tm.load_arrays(path), saved)


def test_a_forged_weight_of_another_type_is_just_a_weight(path: Path) -> None:
    tm.save(draw(LAYER, "float16"), path)
    header, rest = sealing.part(path.read_bytes())
    header[LAST]["dtype"] = "BF16"
    path.write_bytes(sealing.seal(header, rest))
    assert tm.load_arrays(path).parameters[LAST].dtype.name == "bfloat16"
    assert np.isfinite(tm.load_arrays(path).parameters["cores.input"]).all()
