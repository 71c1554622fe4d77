"""Edits in files: read again in every framework, undone there, and refused if they are damaged or forged."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import sealing
from editing.oracle import edit_tensor, pad, saved, weight_of
from support.strategies import BACKENDS, close

import tensormoe as tm
from tensormoe.editing import (
    Ablate,
    Add,
    AddBias,
    Edit,
    Edited,
    Merge,
    Replace,
    RewriteBias,
    Scale,
    Steer,
    edit,
)

SPEC = tm.MuMoESpec(5, 3, 4, tm.CP(2), tm.Gate("softmax", "batch"))
PAIRS = tm.MuMoESpec(5, 3, (4, 2), tm.TensorRing((2, 2, 3, 2)))
BLOCK = tm.MuMoEBlockSpec(5, 6, 3, 4, tm.CP(2), gated=True, input_norm=True)
MATRIX = np.arange(15.0).reshape(5, 3) ** 2 / 10 - 4
EDITS: list[Edit] = [
    Add(1, MATRIX),
    Scale(1, -2),
    AddBias(2, 1, 1 / 3),
    Merge((0, 3)),
    RewriteBias(np.array([0.4, 0.1, 0.2, 0.3]), 2, 1.5),
    Ablate(2),
    Replace(3, np.eye(6, 3)),
    Add(0, (np.ones((6, 1)), MATRIX[:1])),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "layer.safetensors"


def same(ours: Any, theirs: Any) -> bool:
    ours, theirs = (
        {name: tm.backend_of(array).to_float64(array) for name, array in each.arrays().items()}
        for each in (ours, theirs)
    )
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("backend", BACKENDS)
def test_edits_are_read_and_undone_in_every_framework(backend: str, path: Path) -> None:
    layer = saved(SPEC, dtype="float32")
    edited = edit(layer, EDITS)
    tm.save(edited, path)
    again = tm.editing.load(path, backend)
    assert again.edits == tuple(EDITS)
    assert same(again.layer, edited.layer)
    assert same(again.base, layer)
    assert again.spec == edited.spec
    assert type(again.layer) is type(tm.load(path, backend))
    back = again.undo(len(EDITS))
    assert same(back.layer, layer)
    assert back.spec == SPEC
    close(weight_of(again.undo(3).layer), edit_tensor(weight_of(layer), EDITS[:-3]), 2e-6)
    assert again.edit(Ablate(0)).edits == (*EDITS, Ablate(0))


def test_what_was_loaded_gets_the_certificate_that_it_had(path: Path) -> None:
    edited = edit(saved(PAIRS), [Ablate((3, 1)), Replace((2, 0), MATRIX)])
    tm.save(edited, path)
    again = tm.editing.load_arrays(path)
    assert isinstance(again.base, tm.SavedLayer)
    assert str(again.certificate()) == str(edited.certificate())


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_layers_of_any_type_keep_it_and_their_edits(dtype: str, path: Path) -> None:
    layer = saved(SPEC)
    arrays = ({name: array.astype(dtype) for name, array in part.items()} for part in layer[1:])
    edited = edit(tm.SavedLayer(SPEC, *arrays), EDITS[:5])
    tm.save(edited, path)
    again = tm.editing.load_arrays(path)
    assert same(again.layer, edited.layer)
    assert {array.dtype.name for array in again.base.arrays().values()} == {dtype}


def test_edited_layers_and_others_share_a_file(path: Path) -> None:
    first = edit(saved(BLOCK), [Ablate(1, layer="first"), AddBias(0, 2, 0.5, layer="second")])
    second = edit(saved(SPEC), Scale(3, -0.0))
    tm.save({"h": {"0": first, "1": second}, "plain": saved(PAIRS)}, path)
    again = tm.editing.load_arrays(path)
    assert again["h"]["0"].edits == first.edits
    assert same(again["h"]["0"].undo(2).layer, first.base)
    assert same(again["h"]["1"].undo().layer, second.base)
    assert not again["plain"].edits
    assert same(again["plain"].layer, saved(PAIRS))
    assert tm.load_arrays(path)["h"]["0"].spec == first.spec


def test_the_bases_of_loaded_layers_are_their_own(path: Path) -> None:
    tm.save({"edited": edit(saved(SPEC), Ablate(1)), "plain": saved(SPEC)}, path)
    for each in tm.editing.load_arrays(path).values():
        each.layer.parameters["cores.input"][:] = 0
        assert each.base.parameters["cores.input"].any()


def test_a_file_has_only_what_undoing_takes(path: Path) -> None:
    tm.save(edit(saved(SPEC), [Ablate(1), Add(2, MATRIX)]), path)
    names = {name for name in sealing.values(path.read_bytes()) if name.startswith("history")}
    assert names == {"history.cores.expert1", "history.1.delta"}


def test_large_matrices_are_tensors_of_the_file_and_not_text(path: Path) -> None:
    spec = tm.MuMoESpec(200, 150, 2, tm.CP(1))
    matrix = np.random.default_rng(0).normal(size=(200, 150))
    tm.save(edit(saved(spec), Replace(1, matrix)), path)
    assert len(sealing.part(path.read_bytes())[0]["__metadata__"]["tensormoe.layers"]) < 5000
    assert (tm.editing.load_arrays(path).edits[0].matrix == matrix).all()


@pytest.mark.parametrize("part", ["base", "layer"])
def test_an_edited_layer_that_was_trained_since_is_not_saved_with_its_edits(part: str, path: Path) -> None:
    edited = edit(saved(SPEC), Ablate(1))
    getattr(edited, part).parameters["cores.output"][0, 0] += 1e-9
    with pytest.raises(tm.TensorMoEError, match="the edits do not give it"):
        tm.save(edited, path)
    assert not path.exists()
    tm.save(edited.layer, path)
    assert not tm.editing.load_arrays(path).edits


def test_factors_that_another_machine_chose_are_no_forgery(path: Path) -> None:
    low = np.outer(np.arange(5.0), [1.0, 2.0, 3.0]) + np.outer(np.ones(5), [3.0, 0.0, -1.0])
    edited = edit(saved(SPEC, dtype="float32"), Add(1, low))
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(2, 2)))
    cores = edited.layer.parameters
    for name, turned in (
        ("input_2", cores["cores.input_2"] @ rotation),
        ("output_2", rotation.T @ cores["cores.output_2"]),
    ):
        cores[f"cores.{name}"][:] = turned
    tm.save(edited, path)
    assert tm.editing.load_arrays(path).edits == edited.edits


def forge(path: Path, change: Callable[[Any, dict[str, np.ndarray]], None]) -> None:
    """Change what a file says, and seal it again."""
    header, rest = sealing.part(path.read_bytes())
    data = json.loads(header["__metadata__"]["tensormoe.layers"])
    rest = bytearray(rest)
    tensors = {
        name: np.frombuffer(
            memoryview(rest)[slice(*entry["data_offsets"])], sealing.DTYPES[entry["dtype"]]
        ).reshape(entry["shape"])
        for name, entry in header.items()
        if name != "__metadata__"
    }
    change(data["layers"][0]["history"], tensors)
    header["__metadata__"]["tensormoe.layers"] = json.dumps(data)
    path.write_bytes(sealing.seal(header, bytes(rest)))


def set_edit(number: int, **fields: Any) -> Callable[[Any, Any], None]:
    return lambda history, tensors: history["edits"][number].update(fields)


def set_value(name: str, place: Any, value: float) -> Callable[[Any, Any], None]:
    def change(history: Any, tensors: dict[str, np.ndarray]) -> None:
        tensors[name][place] = value

    return change


# What is said of edits [Scale(1, 2), AddBias(2, 1, 0.5), Add(0, MATRIX)], and what the error says.
FORGED = {
    "another factor": (set_edit(0, factor=2.001), "expert 1 of cores"),
    "another expert": (set_edit(0, expert=3), "expert 1 of cores"),
    "another bias": (set_edit(1, value=0.5001), "expert 2 of cores"),
    "another output": (set_edit(1, output=2), "expert 2 of cores"),
    "an edit left out": (lambda history, _: history["edits"].pop(1), "expert 2 of cores"),
    "an edit more": (
        lambda history, _: history["edits"].append({"type": "Ablate", "expert": 3}),
        "expert 3 of cores",
    ),
    "another number of a matrix": (set_value("history.2.delta", (1, 1), 7.0), "expert 0 of cores"),
    "another layer before": (set_value("history.cores.expert1", (3, 0), 7.0), "expert 3 of cores"),
    "an expert of the copy": (set_value("cores.expert1", (3, 0), 7.0), "expert 3 of cores"),
    "a bit of NaN": (set_value("history.2.delta", (1, 1), np.nan), "pass finite numbers"),
    "a type that is not there": (set_edit(0, type="os.system"), "edit type"),
    "a field that is not there": (set_edit(0, command="rm"), "edit field"),
    "an expert that is not there": (set_edit(0, expert=9), "expert of edit 1"),
    "text for a number": (set_edit(0, factor="2"), "factor"),
    "an object for a number": (set_edit(0, factor={"array": "2.delta"}), "factor"),
    "an array that is not there": (set_edit(2, delta={"array": "7.delta"}), "array of an edit"),
    "an array of the layer before": (set_edit(2, delta={"array": "cores.expert1"}), "array of an edit"),
    "an array that no edit has": (lambda history, _: history["edits"].pop(2), "no edit has them"),
    "edits that are numbers": (lambda history, _: history.update(edits=[1, 2, 3]), "edit"),
    "another gate before": (
        lambda history, _: history["spec"]["gate"].update(activation="sparsemax"),
        "gate after",
    ),
    "other sizes before": (lambda history, _: history["spec"].update(out_features=4), "an array of shape"),
}
# These say nothing that holds of a file.
BROKEN: dict[str, Callable[[Any, Any], Any]] = {
    "no list": lambda history, _: history.update(edits={}),
    "no specification": lambda history, _: history.update(spec=None),
    "no arrays": lambda history, _: history.pop("arrays"),
    "one part more": lambda history, _: history.update(more=1),
    "a shape of text": lambda history, _: history["arrays"].update({"2.delta": "5, 3"}),
    "a negative size": lambda history, _: history["arrays"].update({"2.delta": [-5, 3]}),
    "another shape": lambda history, _: history["arrays"].update({"2.delta": [3, 5]}),
    "a tensor that is not in the file": lambda history, _: history["arrays"].update(more=[1]),
    "a tensor left out": lambda history, _: history["arrays"].pop("2.delta"),
}


@pytest.fixture
def forgeable(path: Path) -> Path:
    tm.save(edit(saved(SPEC), [Scale(1, 2), AddBias(2, 1, 0.5), Add(0, MATRIX)]), path)
    return path


@pytest.mark.filterwarnings("ignore:.*there are NaN")
@pytest.mark.parametrize("fault", FORGED)
def test_forged_edits_are_refused_and_the_layer_alone_is_read(fault: str, forgeable: Path) -> None:
    change, told = FORGED[fault]
    forge(forgeable, change)
    with pytest.raises(tm.TensorMoEError, match="its edits do not hold") as error:
        tm.editing.load_arrays(forgeable)
    assert told in str(error.value)
    assert tm.load_arrays(forgeable).spec.factorization == tm.CP(2) + tm.CP(4)


@pytest.mark.parametrize("fault", BROKEN)
def test_a_history_that_is_none_is_refused_by_every_reader(fault: str, forgeable: Path) -> None:
    forge(forgeable, BROKEN[fault])
    for read in (tm.load_arrays, tm.editing.load_arrays):
        with pytest.raises(tm.TensorMoEError, match="its specification does not hold"):
            read(forgeable)


def test_a_small_forgery_of_another_expert_gets_no_certificate(forgeable: Path) -> None:
    forge(
        forgeable,
        lambda _, tensors: tensors["cores.expert1"].__setitem__(
            (3, 0), np.nextafter(tensors["cores.expert1"][3, 0], 9)
        ),
    )
    with pytest.raises(tm.TensorMoEError, match="expert 3"):
        tm.editing.load_arrays(forgeable).certificate()


@pytest.mark.parametrize(
    "family", [tm.CP(2), tm.CP(2) + tm.TensorNetwork("n o"), tm.TensorNetwork("A: n r, A: i r, r o", r=2)]
)
def test_biases_that_are_terms_are_kept(family: tm.Factorization, path: Path) -> None:
    layer = saved(tm.MuMoESpec(4, 3, 4, family, bias=False))
    edited = edit(layer, [AddBias(1, 2, 0.5), Ablate(0), Replace(2, np.ones((5, 3)))])
    tm.save(edited, path)
    again = tm.editing.load_arrays(path)
    assert again.edits == edited.edits
    assert same(again.layer, edited.layer)
    assert again.certificate().unchanged == {"cores": 1}
    assert again.undo(3).spec == layer.spec
    expected = edit_tensor(pad(weight_of(layer), layer), edited.edits)
    close(weight_of(edited.layer), expected, 1e-12)


def test_a_layer_that_is_steered_besides_is_not_what_the_edits_make(path: Path) -> None:
    edited = edit(saved(SPEC), Ablate(2))
    steered = edit(edited.layer, Steer(1, set=0.5)).layer
    with pytest.raises(tm.TensorMoEError, match="gate after"):
        tm.save(Edited(edited.base, edited.edits, steered), path)
