"""Checkpoints, data and folders that do not fit: an error each, and nothing is written."""

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tensormoe as tm
from tensormoe.cli import main
from tensormoe.reporting.data import Data, read_data

SPEC = tm.MuMoESpec(16, 3, experts=4, factorization=tm.CP(rank=2))
X = np.ones((5, 16), "float32")


@pytest.fixture
def refuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the command, which must refuse; what it says."""
    tm.save(tm.build(SPEC, "numpy", seed=0), tmp_path / "layer.safetensors")
    np.savez(tmp_path / "x.npz", x=X)

    def run(*words: str, checkpoint: str = "layer.safetensors", data: str = "x.npz", out: str = "out") -> str:
        before = sorted(os.listdir(tmp_path))
        paths = str(tmp_path / checkpoint), str(tmp_path / data), "--out", str(tmp_path / out)
        assert main(["analyze", *paths, *words]) == 2
        assert sorted(os.listdir(tmp_path)) == before
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("\n") == 1
        return said.err

    return run


class Trap:
    """What a pickle runs when it is read."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("/tmp/tensormoe-was-unpickled",)


def arrays(**changes: Any) -> dict[str, Any]:
    return {"x": X, **changes}


WRONG_ARRAYS = [
    ({"y": X}, "its arrays are x, labels, groups, ids, names"),
    (arrays(label=np.zeros(5, int)), "its arrays are x, labels, groups, ids, names"),
    ({"x": np.ones((5, 15))}, "x: received (5, 15); the layer takes 16 features"),
    ({"x": np.ones((5, 4, 3))}, "the layer takes 16 features"),
    ({"x": np.ones(16)}, "the layer takes 16 features"),
    ({"x": np.ones((0, 16))}, "pass at least one input"),
    ({"x": X * 1j}, "of real numbers"),
    ({"x": np.full((2, 16), np.nan)}, "x: received nan; inputs are finite"),
    ({"x": np.full((5, 16), "a")}, "of real numbers"),
    ({"x": np.full((5, 16), None)}, "it cannot be read (Object arrays cannot be loaded"),
    (arrays(labels=np.zeros(4, int)), "labels: received (4,); pass one for each of the inputs"),
    (arrays(labels=-np.ones(5, int)), "labels: received -1"),
    (arrays(labels=np.zeros(5)), "labels: received"),
    (arrays(labels=np.full(5, 10**9)), "labels: received 1000000000; number labels from 0 on"),
    (arrays(groups=np.zeros((5, 2), int)), "groups: received (5, 2)"),
    (arrays(ids=np.zeros(5)), "ids: received"),
    (arrays(names=np.array(["a"])), "names: received"),
    (arrays(labels=np.full(5, 2), names=np.array(["a"])), "names: received"),
]


@pytest.mark.parametrize(("members", "message"), WRONG_ARRAYS)
def test_arrays_that_do_not_fit_are_refused(
    members: dict[str, Any], message: str, refuse: Callable[..., str], tmp_path: Path
) -> None:
    np.savez(tmp_path / "wrong.npz", **members)
    assert message in refuse(data="wrong.npz")


def test_files_of_another_kind_are_refused_and_never_unpickled(
    refuse: Callable[..., str], tmp_path: Path
) -> None:
    whole = (tmp_path / "x.npz").read_bytes()
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00")
    text = io.BytesIO()
    with zipfile.ZipFile(text, "w") as archive:
        archive.writestr("x", b"no array")
    wrong = {"empty": b"", "text": b"1,2,3\n", "cut": whole[:100], "pickle": pickle.dumps(Trap())}
    wrong |= {"header": stored.getvalue(), "member": text.getvalue()}
    for name, content in wrong.items():
        (tmp_path / name).write_bytes(content)
        assert refuse(data=name).startswith("tensormoe: data: received"), name
    assert not os.path.exists("/tmp/tensormoe-was-unpickled")
    assert "No such file" in refuse(data="missing.npz")
    assert "not an ordinary file" in refuse(data="/dev/null")


def test_what_is_not_a_saved_layer_is_refused_and_says_how_models_are_recorded(
    refuse: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "other.safetensors").write_bytes(pickle.dumps(Trap()))
    for name in ("model", "other.safetensors", "missing.safetensors"):
        said = refuse(checkpoint=name)
        assert said.startswith("tensormoe: checkpoint: received")
        assert "tm.analysis.record(model, batches)" in said
    layer = tm.build(SPEC, "numpy", seed=0)
    tm.save({"h": {"0": layer, "1": layer}}, tmp_path / "several.safetensors")
    assert "several layers: add --layer and one of h.0, h.1" in refuse(checkpoint="several.safetensors")
    assert "choose one of 'h.0', 'h.1'" in refuse("--layer", "h.2", checkpoint="several.safetensors")
    layer.parameters["cores.input"][0, 0] = np.inf
    tm.save(layer, tmp_path / "infinite.safetensors")
    assert "cores.input has values that are not finite" in refuse(checkpoint="infinite.safetensors")


WRONG_WORDS = [
    (["--backend", "no"], "backend: received 'no'"),
    (["--batch-size", "0"], "--batch-size: received 0"),
    (["--threshold", "0"], "--threshold: received 0"),
    (["--threshold", "nan"], "--threshold: received nan"),
    (["--image-shape", "4"], "--image-shape: received (4,)"),
    (["--image-shape", "3,5"], "--image-shape: received (3, 5)"),
    (["--image-shape", "4,x"], "--image-shape: received 'x'"),
    (["--image-shape=-4,-4"], "--image-shape: received -4"),
    (["--classifier"], "--classifier: received"),
    (["more"], "arguments: received 'more'"),
]


@pytest.mark.parametrize(("words", "message"), WRONG_WORDS)
def test_options_that_do_not_fit_are_refused(
    words: list[str], message: str, refuse: Callable[..., str]
) -> None:
    assert message in refuse(*words)


def test_a_label_without_an_output_is_refused(refuse: Callable[..., str], tmp_path: Path) -> None:
    np.savez(tmp_path / "labels.npz", x=X, labels=np.full(5, 3))
    assert "labels: received 3; the layer has 3 outputs" in refuse("--classifier", data="labels.npz")


@pytest.mark.parametrize("name", ["full", "file", "missing/out", "a" * 300, "a\0b"])
def test_a_folder_that_cannot_be_made_is_refused(
    name: str, refuse: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    assert refuse(out=name).startswith("tensormoe: --out: received")
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"


def test_a_disk_that_is_full_leaves_nothing(
    refuse: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tensormoe.reporting.run.write_page", lambda report: tm.analysis.Page("", ""))
    monkeypatch.setattr("tensormoe.reporting.output.write_file", fail)
    assert "No space left on device: nothing was written" in refuse()


def save_image(path: Path, shade: int, size: tuple[int, int] = (4, 4), mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, shade if mode == "L" else (shade, 0, 0)).save(path)


def test_a_folder_of_folders_of_images_has_classes(tmp_path: Path) -> None:
    for number, name in enumerate(("cat/1.png", "cat/2.PNG", "dog/1.png")):
        save_image(tmp_path / name, 51 * number)
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    data = read_data(str(tmp_path), 16)
    assert isinstance(data, Data)
    np.testing.assert_allclose(data.x, np.repeat([[0.0], [0.2], [0.4]], 16, axis=1), rtol=1e-6)
    assert data.labels is not None
    assert (data.labels.tolist(), data.names, data.image_shape) == ([0, 0, 1], ("cat", "dog"), (4, 4))
    assert data.ids == tuple(
        os.path.join(*each) for each in (("cat", "1.png"), ("cat", "2.PNG"), ("dog", "1.png"))
    )
    save_image(tmp_path / "all" / "1.png", 255, mode="RGB")
    colour = read_data(str(tmp_path / "all"), 48)
    assert colour.labels is None
    assert colour.take_images(np.array([0])).shape == (1, 4, 4, 3)
    np.testing.assert_array_equal(colour.x.reshape(16, 3), np.tile([1.0, 0, 0], (16, 1)))


def test_images_that_do_not_fit_are_refused(refuse: Callable[..., str], tmp_path: Path) -> None:
    save_image(tmp_path / "large" / "1.png", 0, (5, 5))
    assert "it has 5 × 5 pixels; the layer takes 16" in refuse(data="large")
    assert "such as 4 × 4 in grey" in refuse(data="large")
    save_image(tmp_path / "mixed" / "1.png", 0)
    save_image(tmp_path / "mixed" / "2.png", 0, (2, 8))
    assert "pass images of one size" in refuse(data="mixed")
    save_image(tmp_path / "both" / "1.png", 0)
    save_image(tmp_path / "both" / "cat" / "1.png", 0)
    assert "one for each class" in refuse(data="both")
    (tmp_path / "none").mkdir()
    assert "put images" in refuse(data="none")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "1.png").write_bytes(b"\x89PNG\r\n")
    assert "this image cannot be read" in refuse(data="broken")


def test_tokens_and_images_are_told_apart_by_their_axes(tmp_path: Path) -> None:
    def read(x: np.ndarray, **others: Any) -> Data:
        np.savez(tmp_path / "x.npz", x=x, **others)
        return read_data(str(tmp_path / "x.npz"), 16)

    tokens = read(np.ones((3, 5, 16)), labels=np.arange(3))
    assert tokens.labels is not None
    assert (tokens.x.shape, tokens.image_shape) == ((15, 16), None)
    assert tokens.labels.tolist() == np.repeat(np.arange(3), 5).tolist()
    assert read(np.ones((3, 2, 8))).image_shape == (2, 8)
    assert read(np.ones((3, 16))).image_shape == (4, 4)
    assert read(-np.ones((3, 16))).image_shape is None
    np.save(tmp_path / "x.npy", np.ones((3, 48)))
    pixels = read_data(str(tmp_path / "x.npy"), 48, (3, 4, 4)).take_images(np.arange(2))
    assert pixels.shape == (2, 4, 4, 3)
