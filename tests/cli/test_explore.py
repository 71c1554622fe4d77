"""`tensormoe explore`: candidates, the weight that they are fitted to, what is written, what is refused."""

import json
import sys
from pathlib import Path
from subprocess import run

import numpy as np
import pytest

import tensormoe as tm
from tensormoe import cli

WORDS = ["explore", "--in", "8", "--out", "6", "--experts", "4"]


def test_candidates_are_fitted_and_the_study_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target, storage, out = tmp_path / "w.npy", tmp_path / "study.jsonl", tmp_path / "out.json"
    experts = np.random.default_rng(0).normal(size=(4, 8, 6))
    np.save(target, experts)
    words = [*WORDS, "CP", "n i r, n r o", "--parameters", "200", "--target", str(target), "--seeds", "2"]
    words += ["--iterations", "30", "--storage", str(storage), "--json", str(out)]
    assert cli.main(words) == 0
    printed = capsys.readouterr().out
    assert "4 trials (4 complete)" in printed
    assert "CP(rank=8)" in printed
    study = tm.explore.Study.load(storage)
    best = study.best("error")
    fitted = tm.fit(experts, best.spec, seed=best.seed, iterations=30)
    assert 0 < best.values["error"] <= fitted.weight_error * (1 + 1e-6)
    written = json.loads(out.read_text(encoding="utf-8"))
    assert written["objectives"] == ["error", "parameters", "macs"]
    assert [trial["number"] for trial in written["trials"]] == [0, 1, 2, 3]
    assert written["front"] == [trial.number for trial in study.front()]
    before = storage.read_bytes()
    assert cli.main(words) == 0
    assert storage.read_bytes() == before
    assert cli.main([*words, "--iterations", "31"]) == 2
    assert "another study, with other task" in capsys.readouterr().err
    assert storage.read_bytes() == before


def test_without_candidates_the_families_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*WORDS, "--parameters", "200", "--macs", "100"]) == 0
    assert "14 trials" in capsys.readouterr().out
    assert cli.main(["explore", "--in", "8", "--out", "6", "--experts", "2,2"]) == 0
    assert "7 trials (7 complete)" in capsys.readouterr().out


def test_a_budget_that_nothing_meets_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*WORDS, "CP", "--parameters", "3"]) == 1
    assert "CP(rank=1): parameters: received 3" in capsys.readouterr().out


def test_a_search_makes_its_candidates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    target, storage = tmp_path / "w.npy", tmp_path / "search.jsonl"
    planted = tm.MuMoESpec(8, 6, 4, tm.CP(2), gate=None, bias=False)
    cores = tm.cores_of(planted, tm.initialize(planted, dtype="float64")[0])
    np.save(target, tm.materialize(planted, cores))
    words = [*WORDS, "--no-bias", "--target", str(target), "--parameters", "80", "--search", "6"]
    assert cli.main([*words, "--storage", str(storage)]) == 0
    assert storage.exists()
    assert "TensorNetwork('n a, i a, o a', a=2)" in capsys.readouterr().out
    assert cli.main([*words, "--method", "random", "--iterations", "3"]) == 0
    assert "6 trials" in capsys.readouterr().out
    refused = {
        "candidates": ["CP"],
        "--bond": ["--bond", "r=2"],
        "--seeds": ["--seeds", "2"],
        "budgets": ["--macs", "90"],
        "method": ["--method", "luck"],
    }
    for argument, more in refused.items():
        assert cli.main([*words, *more]) == 2
        assert capsys.readouterr().err.startswith(f"tensormoe: {argument}: ")
    assert cli.main([*WORDS, "CP", "--method", "random"]) == 2
    assert "add --search" in capsys.readouterr().err


def test_it_is_a_command() -> None:
    command = [sys.executable, "-m", "tensormoe", *WORDS, "CP", "--parameters", "200", "--cost", "rank"]
    assert "CP(rank=8)" in run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("words", "argument"),
    [
        (["CPP"], "candidate"),
        (["n 3r, i o"], "notation"),
        (["n r, i r, r o", "--bond", "r"], "--bond"),
        (["--experts", "x"], "--experts"),
        (["--experts", "0"], "experts"),
        (["--seeds", "0"], "seeds"),
        (["--workers", "0"], "jobs"),
        (["--parameters", "0"], "parameters"),
        (["--seconds", "nan"], "seconds"),
        (["--cost", "speed"], "objective"),
        (["--target", "missing.npy"], "--target"),
        (["--storage", "missing/study.jsonl"], "--storage"),
        (["--json", "missing/out.json"], "--json"),
        (["--unknown", "3"], "arguments"),
    ],
)
def test_what_cannot_be_explored_is_refused(
    words: list[str], argument: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*WORDS, *words]) == 2
    assert capsys.readouterr().err.startswith(f"tensormoe: {argument}")


def test_a_target_of_objects_is_never_unpickled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "w.npy"
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    assert cli.main([*WORDS, "--target", str(path)]) == 2
    assert "--target" in capsys.readouterr().err
