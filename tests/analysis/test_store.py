"""Tokens on disk: all of them, in order, whole or not there."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from analysis.recordings import levels_of

import tensormoe as tm
from tensormoe.analysis import Recording, recording, store


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of 5 tokens of 4 experts in float64, and fewer of more."""
    monkeypatch.setattr(store, "_SHARD", 160)


def joined(recorded: Recording, name: str) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    chunks = list(recorded.chunks(name))
    coefficients = zip(*(chunk.coefficients for chunk in chunks), strict=True)
    columns = {key: np.concatenate([chunk.columns[key] for chunk in chunks]) for key in chunks[0].columns}
    return [np.concatenate(level) for level in coefficients], columns


@pytest.mark.usefixtures("small_files")
def test_a_store_gives_back_every_token_in_order_and_bit_for_bit(tmp_path: Path) -> None:
    sizes = [3, 0, 1, 17, 4]
    batches = [levels_of(k, (size,), (4,)) for k, size in enumerate(sizes)]
    ids = np.split(np.arange(25), np.cumsum(sizes)[:-1])
    with recording(store=tmp_path / "store") as recorded:
        for levels, own in zip(batches, ids, strict=True):
            with recorded.batch(labels=own % 3, mask=own != 7, image=own, weight=own / 2):
                recorded.add("a", levels)
                recorded.add("b.c", [levels[0].astype("float32"), levels[0][:, :2]])
        assert not (tmp_path / "store").exists()
    kept = np.delete(np.arange(25), 7)
    whole = np.concatenate([levels[0] for levels in batches])[kept]
    for opened in (recorded, Recording.open(tmp_path / "store")):
        coefficients, columns = joined(opened, "a")
        assert (coefficients[0] == whole).all()
        assert {name: column.tolist() for name, column in columns.items()} == {
            "image": kept.tolist(),
            "labels": (kept % 3).tolist(),
            "weight": (kept / 2).tolist(),
        }
        assert [len(chunk.coefficients[0]) for chunk in opened.chunks("a")] == [5, 5, 5, 5, 4]
        coefficients, _ = joined(opened, "b.c")
        assert (coefficients[0] == whole.astype("float32")).all()
        assert coefficients[0].dtype == "float32"
        assert (coefficients[1] == whole[:, :2]).all()
        assert opened["a"].tokens == 24
    assert Recording.open(tmp_path / "store").to_json() == recorded.to_json()
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_the_files_are_read_by_the_package_of_their_format(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    levels = levels_of(0, (6,), (4, 2))
    with recording(store=tmp_path / "store") as recorded, recorded.batch(labels=range(6)):
        recorded.add("a", levels)
    tensors = safetensors.load_file(tmp_path / "store" / "0000-000000.safetensors")
    assert (tensors["coefficients.1"] == levels[1]).all()
    assert tensors["labels"].tolist() == list(range(6))


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("fail", ["in the loop", "in a batch", "at a name"])
def test_what_fails_leaves_nothing_on_the_disk(tmp_path: Path, fail: str) -> None:
    def run() -> None:
        with recording(store=tmp_path / "store") as recorded:
            recorded.add("a", levels_of(0, (20,), (4,)))
            if fail == "in the loop":
                raise ZeroDivisionError
            if fail == "in a batch":
                with recorded.batch():
                    raise ZeroDivisionError
            recorded.add(3, levels_of(0, (20,), (4,)))

    with pytest.raises((ZeroDivisionError, tm.TensorMoEError)):
        run()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_or_file_that_exists_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("folder", "file", "link"):
        with (
            pytest.raises(tm.TensorMoEError, match="something is there already"),
            recording(store=tmp_path / name),
        ):
            pytest.fail("the loop began")
    for path in (tmp_path / "no" / "store", "a\0b", 3, ""):
        with pytest.raises(tm.TensorMoEError, match=r"path|store"), recording(store=path):
            pytest.fail("the loop began")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "link"]


def test_all_batches_of_a_store_have_the_same_columns(tmp_path: Path) -> None:
    with recording(store=tmp_path / "store") as recorded:
        with recorded.batch(labels=0):
            recorded.add("a", levels_of(0, (2,), (4,)))
        with pytest.raises(tm.TensorMoEError, match="the batches before had labels"):
            recorded.add("a", levels_of(0, (2,), (4,)))
    assert recorded["a"].tokens == 2


def test_stores_of_merged_recordings_follow_each_other(tmp_path: Path) -> None:
    parts = []
    for k in range(2):
        with recording(store=tmp_path / f"{k}") as recorded:
            recorded.add("a", levels_of(k, (3,), (4,)))
        parts.append(recorded)
    coefficients, _ = joined(parts[0].merge(parts[1]), "a")
    assert (coefficients[0] == np.concatenate([levels_of(k, (3,), (4,))[0] for k in range(2)])).all()


def _cut(folder: Path) -> None:
    path = folder / "0000-000000.safetensors"
    path.write_bytes(path.read_bytes()[:-8])


def _edit(folder: Path, change: Any) -> None:
    index = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps(change(index)))


DAMAGES = {
    "a file is missing": lambda folder: (folder / "0000-000000.safetensors").unlink(),
    "a file is cut": _cut,
    "the index is missing": lambda folder: (folder / "index.json").unlink(),
    "the index is not JSON": lambda folder: (folder / "index.json").write_text("{"),
    "the index has other tokens": lambda folder: _edit(
        folder, lambda index: {**index, "layers": {"a": [["0000-000000.safetensors", 5]]}}
    ),
    "the index leads elsewhere": lambda folder: _edit(
        folder, lambda index: {**index, "layers": {"a": [["../0000-000000.safetensors", 6]]}}
    ),
    "the index is of a later version": lambda folder: _edit(folder, lambda index: {**index, "format": 2}),
    "the summary is missing": lambda folder: (folder / "summary.safetensors").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_store_is_refused(tmp_path: Path, damage: str) -> None:
    with recording(store=tmp_path / "store") as recorded:
        recorded.add("a", levels_of(0, (6,), (4,)))
    DAMAGES[damage](tmp_path / "store")
    with pytest.raises(tm.TensorMoEError, match=r"path|store"):
        list(Recording.open(tmp_path / "store").chunks("a"))


def test_tokens_are_there_only_where_they_were_stored() -> None:
    with recording() as recorded:
        recorded.add("a", levels_of(0, (6,), (4,)))
    with pytest.raises(tm.TensorMoEError, match="no tokens were kept"):
        recorded.chunks("a")
    with pytest.raises(tm.TensorMoEError, match=r"choose one of 'a'"):
        recorded.chunks("b")
