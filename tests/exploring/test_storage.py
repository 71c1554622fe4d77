"""Files of sweeps and searches that are cut, damaged, full, or refused; processes that end in the middle."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import tensormoe as tm
from tensormoe.cli import main
from tensormoe.exploring import Space, Study, search, sweep, train_with

LAYER = tm.MuMoESpec(8, 6, 4, tm.Dense(), bias=False)
RANKS = [tm.CP(rank) for rank in range(1, 6)]


def lose(spec: tm.MuMoESpec, seed: int) -> float:
    return 1 / spec.macs


TASK = train_with(lose, name="inverse")


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file grows beyond so many bytes, as on a disk with so much space."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_keeps_what_was_written_and_the_sweep_goes_on_later(tmp_path: Path) -> None:
    path = tmp_path / "study.jsonl"
    with full_disk(2_500), pytest.raises(tm.TensorMoEError, match=r"path: .*File too large: pass a path"):
        sweep(RANKS, None, TASK, like=LAYER, path=path)
    known = Study.load(path).trials
    assert 0 < len(known) < len(RANKS)
    study = sweep(RANKS, None, TASK, like=LAYER, path=path)
    assert len(study.trials) == len(RANKS)
    assert study.trials[0].seconds == known[0].seconds


def test_a_study_that_cannot_be_saved_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "study.jsonl"
    study = sweep(RANKS, None, TASK, like=LAYER)
    study.save(path)
    before = path.read_bytes()
    with full_disk(2_500), pytest.raises(tm.TensorMoEError, match="nothing was written"):
        study.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_line_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "study.jsonl"
    sweep(RANKS, None, TASK, like=LAYER, path=path)
    lines = path.read_text().splitlines(keepends=True)
    lines[2] = lines[2].replace('"seed": 0', '"seed": "x"')
    path.write_text("".join(lines))
    with pytest.raises(tm.TensorMoEError, match=r"path: .*line 3 is not a trial: delete it, .*seed"):
        sweep(RANKS, None, TASK, like=LAYER, path=path)
    assert path.read_text() == "".join(lines)
    path.write_text("".join(lines[:2] + lines[3:]))
    assert len(sweep(RANKS, None, TASK, like=LAYER, path=path).trials) == len(RANKS)


@pytest.mark.parametrize("name", ["/dev/zero", "missing/study.jsonl", "folder", "a\0b", ""])
def test_where_nothing_can_be_kept_nothing_is_tried(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    tried = []
    task = train_with(lambda spec, seed: tried.append(spec) or 1.0, name="count")  # type: ignore[func-returns-value]
    path = name and str(tmp_path / name)
    with pytest.raises(tm.TensorMoEError, match="path: received"):
        sweep(RANKS, None, task, like=LAYER, path=path)
    with pytest.raises(tm.TensorMoEError, match="path: received"):
        Study.load(path)
    assert tried == []


def find(storage: Path, trials: int) -> tm.explore.Study:
    return search(None, TASK, Space(LAYER, ranks=3), method="greedy", trials=trials, storage=storage)


def test_a_search_goes_on_wherever_its_file_was_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever follows a half line is lost with it, unless it is removed first."""
    pytest.importorskip("optuna")
    # A trial that has just begun might be that of a process that lives.
    monkeypatch.setattr("tensormoe.exploring.board._PATIENCE", 0.2)
    whole, cut = tmp_path / "whole.log", tmp_path / "cut.log"
    find(whole, 3)
    content = whole.read_bytes()
    for size in np.linspace(300, len(content) - 1, 3).astype(int):
        cut.write_bytes(content[:size])
        for trials in (3, 4):
            assert len(find(cut, trials).trials) == trials
        for line in cut.read_text().splitlines():
            json.loads(line)


def test_a_search_on_a_full_disk_says_so_and_goes_on_later(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    path = tmp_path / "search.log"
    with (
        full_disk(20_000),
        pytest.raises(tm.TensorMoEError, match=r"storage: .*File too large.*search again"),
    ):
        find(path, 10)
    assert len(find(path, 10).trials) == 10
    path.write_text(path.read_text().replace('{"op_code":4', '{"op_code', 1))
    with pytest.raises(tm.TensorMoEError, match=r"storage: .*damaged"):
        find(path, 10)


def test_what_other_processes_cannot_do_is_an_error_of_ours() -> None:
    pytest.importorskip("joblib")
    lock = threading.Lock()

    def wait(spec: tm.MuMoESpec, seed: int) -> float:
        with lock:
            return 1.0

    with pytest.raises(tm.TensorMoEError, match="processes: received 2; the task cannot be sent"):
        sweep(RANKS, None, train_with(wait), like=LAYER, jobs=2)


def test_a_process_that_is_killed_leaves_what_was_written(tmp_path: Path) -> None:
    pytest.importorskip("joblib")
    path = tmp_path / "study.jsonl"

    def train(spec: tm.MuMoESpec, seed: int) -> float:
        if spec.factorization == tm.CP(4):
            os.kill(os.getpid(), signal.SIGKILL)
        return 1.0

    with pytest.raises(tm.TensorMoEError, match="processes: received 2; one of them was killed"):
        sweep(RANKS, None, train_with(train), like=LAYER, path=path, jobs=2)
    assert len(Study.load(path).trials) < len(RANKS)


def test_ctrl_c_leaves_no_process_and_no_lock(tmp_path: Path) -> None:
    """As in a terminal, which sends it to all processes of the command."""
    pytest.importorskip("optuna")
    np.save(tmp_path / "w.npy", np.random.default_rng(0).normal(size=(8, 20, 16)))
    words = ["explore", "--in", "20", "--out", "16", "--experts", "8", "--target", "w.npy"]
    storage = tmp_path / "search.log"
    words += ["--search", "500", "--method", "random", "--storage", storage.name, "--workers", "2"]
    command = [sys.executable, "-m", "tensormoe", *words]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            command, cwd=tmp_path, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    finally:
        signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 60
    while b'"trial"' not in (storage.read_bytes() if storage.exists() else b""):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    # Workers hold the pipe, too: it ends with the last of them.
    output, _ = process.communicate(timeout=30)
    assert (process.returncode, output) == (130, b"")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["search.log", "w.npy"]


def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    space = Space(LAYER, ranks=2)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(tm.TensorMoEError, match=r'optuna: .*pip install "tensormoe\[explore\]"'):
        search(None, TASK, space, trials=2)
    monkeypatch.setitem(sys.modules, "joblib", None)
    with pytest.raises(tm.TensorMoEError, match=r"workers: .*pass workers=1, or install joblib"):
        search(None, TASK, space, trials=2, workers=2)
    with pytest.raises(tm.TensorMoEError, match=r"jobs: .*pass jobs=1, or install joblib"):
        sweep(RANKS, like=LAYER, jobs=None)


def test_a_report_that_cannot_be_written_is_said_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "plotly.io", None)
    words = [
        "explore",
        "CP",
        "--in",
        "8",
        "--out",
        "6",
        "--experts",
        "4",
        "--report",
        str(tmp_path / "a.html"),
    ]
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert 'pip install "tensormoe[explore]"' in captured.err
