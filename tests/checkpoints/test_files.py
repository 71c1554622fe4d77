"""Paths, permissions and failures to write: a file is there whole, or as it was."""

import os
import re
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from checkpoints.examples import LAYER, draw, same

import tensormoe as tm
from tensormoe.checkpoints import files

SAVED, OTHER = draw(LAYER), draw(LAYER, seed=1)


def refuse(path: object, match: str) -> None:
    """Neither saving nor loading takes this path."""
    for act in (lambda: tm.save(SAVED, path), lambda: tm.load(path, "numpy"), lambda: tm.load_arrays(path)):
        with pytest.raises(tm.TensorMoEError, match=rf"^path: received .*{match}"):
            act()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "layer.safetensors"


def test_text_and_paths_are_paths(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tm.save(SAVED, str(path))
    assert same(tm.load_arrays(path), SAVED)
    monkeypatch.chdir(path.parent)
    tm.save(OTHER, "layer.safetensors")
    assert same(tm.load_arrays("layer.safetensors"), OTHER)


@pytest.mark.parametrize("wrong", [None, 3, True, b"layer", "", range(3), ["layer"]], ids=repr)
def test_anything_else_is_not(wrong: object) -> None:
    refuse(wrong, "pass (a|the) path")


def test_what_is_not_there_cannot_be_read(path: Path) -> None:
    for wrong in (path, path / "deeper"):
        with pytest.raises(tm.TensorMoEError, match=r"No such file or directory: pass the path of a file"):
            tm.load(wrong, "numpy")


def test_a_folder_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(tm.TensorMoEError, match="No such file or directory: nothing was written"):
        tm.save(SAVED, tmp_path / "nowhere" / "layer")
    assert [*tmp_path.iterdir()] == []


def test_folders_and_devices_are_no_files(tmp_path: Path) -> None:
    refuse(tmp_path, "this is a folder")
    refuse(f"{tmp_path}/", "this (is|names) a folder")
    refuse("/dev/null", "this is not an ordinary file")
    os.mkfifo(tmp_path / "pipe")
    refuse(tmp_path / "pipe", "this is not an ordinary file")


def test_characters_and_lengths_that_no_path_has(tmp_path: Path) -> None:
    refuse("a\0b", "null")
    refuse("\ud800", "")
    refuse(str(tmp_path / ("x" * 300)), "File name too long")


def test_a_long_name_is_still_a_name(tmp_path: Path) -> None:
    longest = tmp_path / ("x" * 255)
    tm.save(SAVED, longest)
    assert same(tm.load_arrays(longest), SAVED)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_new_file_may_be_read_by_whom_the_system_says(path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        tm.save(SAVED, path)
        with open(path.with_suffix(".plain"), "wb"):
            pass
    finally:
        os.umask(before)
    assert path.stat().st_mode == path.with_suffix(".plain").stat().st_mode


def test_a_file_keeps_its_permissions(path: Path) -> None:
    tm.save(SAVED, path)
    path.chmod(0o640)
    tm.save(OTHER, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert same(tm.load_arrays(path), OTHER)


def test_a_link_goes_on_pointing_to_the_file(tmp_path: Path) -> None:
    tm.save(SAVED, tmp_path / "layer")
    (tmp_path / "link").symlink_to("layer")
    tm.save(OTHER, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert same(tm.load_arrays(tmp_path / "layer"), OTHER)


@pytest.fixture
def small_disk(path: Path) -> Iterator[Path]:
    """A file that is there, where no file of more than 300 bytes can be written."""
    tm.save(SAVED, path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, limits[1]))
    yield path
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_leaves_the_old_file(small_disk: Path) -> None:
    before = small_disk.read_bytes()
    with pytest.raises(tm.TensorMoEError, match="File too large: nothing was written; what was there"):
        tm.save(OTHER, small_disk)
    assert small_disk.read_bytes() == before
    assert [*small_disk.parent.iterdir()] == [small_disk]


@pytest.mark.parametrize("step", ["fsync", "replace", "chmod"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_whatever_step_fails_the_old_file_is_there(
    path: Path, step: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    tm.save(SAVED, path)

    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(files.os, step, fail)
    with pytest.raises((tm.TensorMoEError, KeyboardInterrupt)):
        tm.save(OTHER, path)
    monkeypatch.undo()
    assert same(tm.load_arrays(path), SAVED)
    assert [*path.parent.iterdir()] == [path]


def test_a_process_that_is_killed_leaves_the_old_file(path: Path) -> None:
    """What is written lies beside the file until it is complete."""
    tm.save(SAVED, path)
    code = (
        "import os, sys, tensormoe as tm; from tensormoe.checkpoints import files\n"
        "files.os.fsync = lambda descriptor: os.kill(os.getpid(), 9)\n"
        f"tm.save(tm.build(tm.load_arrays({str(path)!r}).spec, 'numpy', seed=3), {str(path)!r})"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert same(tm.load_arrays(path), SAVED)
    (left,) = {*path.parent.iterdir()} - {path}
    assert re.fullmatch(r"\.tensormoe-[0-9a-f]{16}", left.name)


@pytest.mark.parametrize(
    ("layer", "match"),
    [
        (None, "layer: received .*NoneType"),
        (LAYER, "layer: received .*MuMoESpec"),
        ({}, "layer: received .*dict"),
        ({"a": {}}, "layer 'a': received .*dict"),
        ({1: SAVED}, "a name in layer: received 1"),
        ({"": SAVED}, "a name in layer: received ''"),
        ({"\ud800": SAVED}, "a name in layer"),
        ({"a": {"b": SAVED}, "a.b": SAVED}, "layer 'a.b': received .*rename one"),
        ({"a": SAVED, "b": SAVED.arrays()}, "layer 'b.cores.expert1': received .*ndarray"),
        ([SAVED], "layer: received .*list"),
        (tm.SavedLayer(LAYER, SAVED.parameters, {}), "layer: .*missing: 'gate_mean.0'"),
        (tm.SavedLayer(LAYER, None, {}), "parameters: received None"),
        (SAVED._replace(parameters=SAVED.parameters | {"b": np.ones(2)}), "layer: .*unknown: 'b'"),
        (
            SAVED._replace(parameters=SAVED.parameters | {"cores.input": np.ones((2, 4))}),
            r"layer\['cores.input'\]: received \(2, 4\); pass an array of shape \(4, 2\)",
        ),
        (
            SAVED._replace(parameters=SAVED.parameters | {"cores.input": np.ones((4, 2), int)}),
            r"layer\['cores.input'\]: .*floating-point",
        ),
        (
            SAVED._replace(parameters=SAVED.parameters | {"cores.input": np.ones((4, 2), np.longdouble)}),
            r"layer\['cores.input'\]: received 'float128'; convert",
        ),
        (
            SAVED._replace(parameters=SAVED.parameters | {"cores.input": np.ma.ones((4, 2))}),
            r"layer\['cores.input'\]: received .*filled",
        ),
        (draw(LAYER.replace(gate=tm.Gate(lambda logits: logits))), "gate activation: received"),
        (draw(LAYER.replace(gate=tm.Gate(norm=lambda logits: logits))), "gate norm: received"),
    ],
)
def test_what_cannot_be_saved_is_refused_before_anything_is_written(
    layer: object, match: str, path: Path
) -> None:
    tm.save(OTHER, path)
    before = path.read_bytes()
    with pytest.raises(tm.TensorMoEError, match=f"^{match}"):
        tm.save(layer, path)
    assert path.read_bytes() == before
    assert [*path.parent.iterdir()] == [path]


def test_a_name_may_not_lead_deeper_than_anybody_goes(path: Path) -> None:
    layer: object = SAVED
    for _ in range(49):
        layer = {"a": layer}
    tm.save(layer, path)
    assert same(tm.load_arrays(path), layer)
    endless: dict[str, object] = {}
    endless["a"] = endless
    for deep in ({"a": {"a": layer}}, endless):
        with pytest.raises(tm.TensorMoEError, match="at most 50 names deep"):
            tm.save(deep, path)


def test_without_its_package_bfloat16_is_refused_by_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tm.save(draw(LAYER, "bfloat16"), path)
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(tm.TensorMoEError, match="pip install ml_dtypes"):
        tm.load(path, "numpy")
