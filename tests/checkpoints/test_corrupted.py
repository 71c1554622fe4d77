"""A file that has changed gives the very values that were saved, or an error that says so."""

import json
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from checkpoints import sealing
from checkpoints.examples import BLOCK, LAYER, draw, same
from hostile.guards import limits
from hypothesis import given, settings
from hypothesis import strategies as st

import tensormoe as tm

LAYERS = {
    "one": draw(LAYER),
    "a block": draw(BLOCK, "float16"),
    "several": {"a": draw(LAYER, "bfloat16"), "b": {"a": draw(LAYER, "float64", 1), "c": draw(BLOCK)}},
}
MANY = settings(max_examples=10_000 if settings.default.max_examples >= 1_000 else 500)
NUMBERS = (-1, 0, 1, 2, 3, 8, 2**31, 2**53, 2**62, 2**63, 2**64, 10**400, 1.0, 1e300, True, None, "1", [], {})
WORDS = (
    "",
    "1",
    "2",
    "0",
    "-1",
    "F32",
    "F16",
    "BF16",
    "I32",
    "U8",
    "F128",
    "a",
    "\ud800",
    "softmax",
    "CP",
    "{}",
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corrupted") / "layer"


def write(saved: Any, path: Path) -> bytes:
    tm.save(saved, path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def written(path: Path) -> dict[str, bytes]:
    """The files of all layers."""
    return {name: write(saved, path) for name, saved in LAYERS.items()}


def tensors(header: dict[str, Any]) -> list[str]:
    return [name for name in header if name != "__metadata__"]


def change_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """Flipped bits, cuts, and pieces that are overwritten, repeated, moved or added."""
    start = draw(st.integers(0, len(data) - 1))
    end = draw(st.integers(start, min(start + 200, len(data))))
    match draw(st.sampled_from(["flip", "flip", "cut", "write", "repeat", "drop", "add", "begin", "length"])):
        case "flip":
            changed = bytearray(data)
            for place in draw(st.lists(st.integers(0, 8 * len(data) - 1), min_size=1, max_size=3)):
                changed[place // 8] ^= 1 << place % 8
            return bytes(changed)
        case "cut":
            return data[:start]
        case "write":
            return data[:start] + draw(st.binary(max_size=20)) + data[end:]
        case "repeat":
            return data[:end] + data[start:end] + data[end:]
        case "drop":
            return data[:start] + data[end:]
        case "add":
            return data + draw(st.binary(min_size=1, max_size=20))
        case "begin":
            return draw(st.binary(max_size=20)) + data
        case _:
            length = draw(st.one_of(st.integers(0, 2**64 - 1), st.integers(0, len(data))))
            return length.to_bytes(8, "little") + data[8:]


def change_entry(draw: st.DrawFn, header: dict[str, Any]) -> None:
    """A tensor with another name, type, shape or place; two that have changed places; one more or less."""
    names = st.sampled_from(tensors(header))
    one, other = draw(names), draw(names)
    entry = header[one]
    number = st.sampled_from(NUMBERS)
    match draw(
        st.sampled_from(["swap", "swap", "rename", "dtype", "shape", "size", "offset", "drop", "more"])
    ):
        case "swap":
            header[one], header[other] = header[other], header[one]
        case "rename":
            header[draw(st.sampled_from([*WORDS, one.upper(), one + ".0"]))] = header.pop(one)
        case "dtype":
            entry["dtype"] = draw(st.sampled_from(WORDS))
        case "shape":
            entry["shape"] = draw(
                st.one_of(number, st.lists(number, max_size=40), st.just(entry["shape"][::-1]))
            )
        case "size":
            entry["shape"][draw(st.integers(0, len(entry["shape"]) - 1))] = draw(number)
        case "offset":
            entry["data_offsets"] = draw(st.lists(number, min_size=1, max_size=3))
        case "drop":
            del header[one]
        case _:
            header[draw(st.sampled_from(WORDS))] = draw(st.sampled_from([deepcopy(entry), *NUMBERS]))


def change_metadata(draw: st.DrawFn, header: dict[str, Any]) -> None:
    """Another format, checksum or specification, or none."""
    metadata = header["__metadata__"]
    key = draw(st.sampled_from(sorted(metadata)))
    match draw(st.sampled_from(["drop", "replace", "cut", "specification", "more", "all"])):
        case "drop":
            del metadata[key]
        case "replace":
            metadata[key] = draw(st.sampled_from([*WORDS, *NUMBERS]))
        case "cut":
            metadata[key] = metadata[key][: draw(st.integers(0, len(metadata[key])))]
        case "more":
            metadata[draw(st.sampled_from(WORDS))] = draw(st.sampled_from([*WORDS, *NUMBERS]))
        case "all":
            header["__metadata__"] = draw(st.sampled_from([*WORDS, *NUMBERS]))
        case _:
            data = json.loads(metadata["tensormoe.layers"])
            change_value(draw, data)
            metadata["tensormoe.layers"] = json.dumps(data)


def change_value(draw: st.DrawFn, data: Any) -> None:
    """Something inside nested lists and objects."""
    while True:
        keys = list(data) if isinstance(data, dict) else list(range(len(data)))
        if not keys:
            return
        key = draw(st.sampled_from(keys))
        if not isinstance(data[key], dict | list) or draw(st.integers(0, 5)) == 0:
            break
        data = data[key]
    if draw(st.booleans()):
        data[key] = draw(st.sampled_from([*NUMBERS, *WORDS]))
    else:
        del data[key]


def repeat_field(draw: st.DrawFn, header: dict[str, Any]) -> str:
    """The header's text with a field that occurs twice."""
    name = draw(st.sampled_from(tensors(header)))
    other = draw(st.sampled_from(tensors(header)))
    field = f"{json.dumps(name)}: {json.dumps(header[other])}"
    text = json.dumps(header)
    return f"{{{field}, {text[1:]}" if draw(st.booleans()) else f"{text[:-1]}, {field}}}"


def edit_header(draw: st.DrawFn, data: bytes) -> tuple[dict[str, Any], bytes]:
    header, rest = sealing.part(data)
    for _ in range(draw(st.integers(1, 2))):
        # The first change may leave nothing that the second could change.
        with suppress(AttributeError, KeyError, TypeError, ValueError):
            draw(st.sampled_from([change_entry, change_metadata]))(draw, header)
    return header, rest


def seal_if_possible(header: dict[str, Any], rest: bytes) -> bytes:
    with suppress(AttributeError, KeyError, TypeError):
        return sealing.seal(header, rest)
    return sealing.join(header, rest)


def change_file(draw: st.DrawFn, data: bytes) -> bytes:
    """A file that says something else, or the same in other words."""
    header, rest = sealing.part(data)
    match draw(st.sampled_from(["bytes", "bytes", "header", "header", "order", "twice"])):
        case "bytes":
            return change_bytes(draw, data)
        case "header":
            return sealing.join(*edit_header(draw, data))
        case "order":
            return sealing.join(dict(draw(st.permutations(list(header.items())))), rest)
        case _:
            text = repeat_field(draw, header).encode()
            return len(text).to_bytes(8, "little") + text + rest


@MANY
@given(name=st.sampled_from(sorted(LAYERS)), data=st.data())
def test_a_changed_file_gives_what_was_saved_or_an_error(
    path: Path, written: dict[str, bytes], name: str, data: st.DataObject
) -> None:
    path.write_bytes(change_file(data.draw, written[name]))
    with limits(), suppress(tm.TensorMoEError):
        assert same(tm.load_arrays(path), LAYERS[name])


@MANY
@given(name=st.sampled_from(sorted(LAYERS)), data=st.data())
def test_a_forged_file_is_read_or_refused(
    path: Path, written: dict[str, bytes], name: str, data: st.DataObject
) -> None:
    """With a checksum that fits it is as good as any other, so all that it says must hold together."""
    path.write_bytes(seal_if_possible(*edit_header(data.draw, written[name])))
    with limits(), suppress(tm.TensorMoEError):
        check_shapes(tm.load_arrays(path))


def check_shapes(saved: Any) -> None:
    """Assert that every layer's arrays are those of its specification."""
    if isinstance(saved, dict):
        for each in saved.values():
            check_shapes(each)
    else:
        shapes = saved.spec.parameter_shapes | saved.spec.state_shapes
        assert {name: array.shape for name, array in saved.arrays().items()} == shapes


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_a_file_cut_anywhere_is_refused(name: str, path: Path) -> None:
    data = write(LAYERS[name], path)
    for length in range(0, len(data), 41):
        path.write_bytes(data[:length])
        with pytest.raises(tm.TensorMoEError, match=r"^path: received .*(cut|damaged|header|save)"):
            tm.load_arrays(path)


def test_every_bit_of_a_weight_counts(path: Path) -> None:
    data = write(LAYERS["a block"], path)
    _, rest = sealing.part(data)
    for place in range(len(data) - len(rest), len(data), 7):
        changed = bytearray(data)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(tm.TensorMoEError, match="it has changed since"):
            tm.load_arrays(path)


BIG = tm.MuMoESpec(100, 100, 50, tm.TensorNetwork("n i r, r o", r=40))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("shape", [2**20, 2**20]),
        ("shape", [2**31, 2**31, 2**31]),
        ("shape", [2**62]),
        ("shape", [10**4000] * 20),
        ("shape", [1] * 5000),
        ("data_offsets", [0, 2**50]),
        ("data_offsets", [2**62, 2**62 + 16_000]),
        ("dtype", "F64"),
    ],
    ids=lambda value: str(value)[:20],
)
@pytest.mark.parametrize("make", [sealing.join, sealing.seal], ids=["damaged", "forged"])
def test_declared_sizes_cost_no_memory(
    make: Callable[..., bytes], field: str, value: Any, path: Path
) -> None:
    header, rest = sealing.part(write(draw(BIG), path))
    header["cores.core1"][field] = value
    path.write_bytes(make(header, rest))
    assert peak(path) < 2 * path.stat().st_size


@pytest.mark.parametrize("length", [2**64 - 1, 2**63, 2**40, 10**8, 10**8 + 1])
def test_a_declared_header_costs_no_memory(length: int, path: Path) -> None:
    data = write(draw(BIG), path)
    path.write_bytes(length.to_bytes(8, "little") + data[8:])
    assert peak(path) < len(data)


# What Python makes of each takes 20 to 30 times the text.
DENSE = {
    "lists": lambda length: '{"a":[' + (length // 3 - 3) * "[]," + "[]]}",
    "objects": lambda length: '{"a":[' + (length // 7 - 2) * '{"":0},' + "{}]}",
    "fields": lambda length: "{" + ",".join(f'"{n:05}":' + "{}" for n in range(length // 11 - 1)) + "}",
}


@pytest.mark.parametrize("kind", DENSE)
def test_a_header_costs_at_most_32_mib_beside_the_tensors(kind: str, path: Path) -> None:
    write_header(path, DENSE[kind](2**20), tensors=0)
    assert 2**24 < peak(path) < 2**25
    write_header(path, DENSE[kind](2**20 + 2**13), tensors=0)
    assert peak(path) < path.stat().st_size
    write_header(path, DENSE[kind](2**20 + 2**16), tensors=2**21)
    assert peak(path) < 2 * path.stat().st_size + 2**25


def write_header(path: Path, header: str, tensors: int) -> None:
    text = header.encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(tensors))


def test_layers_with_more_names_than_values_are_saved_up_to_a_size(path: Path) -> None:
    """What is written can be read."""
    small = draw(tm.MuMoESpec(1, 1, 1, tm.CP(1)))
    tm.save({f"{n}": small for n in range(900)}, path)
    assert len(tm.load_arrays(path)) == 900
    before = path.read_bytes()
    with pytest.raises(tm.TensorMoEError, match=r"layers: received .* tensors.*save fewer layers to a file"):
        tm.save({f"{n:0300}": small for n in range(1000)}, path)
    assert path.read_bytes() == before


def test_a_right_file_costs_less_than_twice_its_size(path: Path) -> None:
    tm.save(draw(BIG), path)
    assert peak(path, refused=False) < 2 * path.stat().st_size


def peak(path: Path, refused: bool = True) -> int:
    """The bytes that reading allocates at most."""
    tm.MuMoESpec.from_dict(BIG.to_dict())  # what is imported and cached once
    tracemalloc.start()
    try:
        tm.load_arrays(path)
        assert not refused
    except tm.TensorMoEError:
        assert refused
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return most
