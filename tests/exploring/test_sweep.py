"""Sweeps: what fails is written down, what is known is not repeated, and files of others are refused."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import tensormoe as tm
from tensormoe.exploring import Budget, Trial, cost_alone, fit_to, sweep, train_with

LAYER = tm.MuMoESpec(8, 6, 4, tm.Dense(), bias=False)
FAMILIES = [tm.CP(1), tm.TensorTrain((1, 1)), tm.TensorNetwork("n o, i o"), tm.Dense()]
EXPERTS = np.random.default_rng(0).normal(size=(4, 8, 6))


def rank_of(spec: tm.MuMoESpec) -> int:
    return spec.factorization.bonds(1).get("r", 0)


def test_every_candidate_is_matched_proved_counted_and_fitted() -> None:
    budgets = [Budget(parameters=150), Budget(macs=100)]
    study = sweep(FAMILIES, budgets, fit_to(EXPERTS), 2, like=LAYER, costs=("parameters", "macs", "-rank"))
    assert [trial.number for trial in study.trials] == [*range(16)]
    assert [trial.seed for trial in study.trials] == [0, 1] * 8
    for trial, (family, budget) in zip(
        study.trials[::2], [(family, budget) for family in FAMILIES for budget in budgets], strict=True
    ):
        assert trial.budget == budget
        if trial.state == "infeasible":
            assert family in FAMILIES[2:]
            assert "raise the budget" in trial.reason
            continue
        assert trial.proved
        assert trial.spec == matched(LAYER.replace(factorization=family), budget)
        assert trial.values["parameters"] == trial.spec.num_parameters
        assert trial.values["macs"] == trial.spec.macs
        product = tm.materialize(trial.spec, fit_to(EXPERTS)(trial.spec, trial.seed).cores)
        error = np.linalg.norm(product - EXPERTS) / np.linalg.norm(EXPERTS)
        assert trial.values["error"] == pytest.approx(error, abs=1e-12)
        assert error <= tm.fit(EXPERTS, trial.spec, seed=trial.seed).weight_error * 1.001 + 1e-12
    assert all(trial.verified for trial in study.trials if trial.number in {t.number for t in study.front()})


def matched(spec: tm.MuMoESpec, budget: Budget) -> tm.MuMoESpec:
    if not spec.factorization.bonds(1):
        return spec
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return spec.matched(budget.parameters, macs=budget.macs)


def test_one_matrix_for_all_experts_is_fitted_as_well_as_its_singular_values_allow() -> None:
    singular = np.linalg.svd(EXPERTS[0], compute_uv=False)
    best = np.linalg.norm(singular[3:]) / np.linalg.norm(singular)
    study = sweep([tm.CP(3), tm.Tucker((1, 3, 3))], None, fit_to(EXPERTS[0]), like=LAYER)
    for trial in study.trials:
        assert trial.state == "complete", trial.reason
        assert trial.values["error"] == pytest.approx(best, rel=1e-3)


def test_a_training_function_may_fail_for_some_and_its_curve_is_kept() -> None:
    def train(spec: tm.MuMoESpec, seed: int) -> list[float]:
        if spec.factorization == tm.CP(1):
            raise RuntimeError("out of luck")
        if isinstance(spec.factorization, tm.Dense):
            return [1.0, float("nan")]
        return [1.0, 0.5 + seed]

    study = sweep(FAMILIES, None, train_with(train), 3, like=LAYER)
    states = [trial.state for trial in study.trials]
    assert states == ["failed"] * 3 + ["complete"] * 6 + ["failed"] * 3
    assert study.trials[0].reason == "RuntimeError: out of luck"
    assert "no finite number" in study.trials[-1].reason
    assert study.trials[-1].curve == ()
    assert study.trials[3].curve == (1.0, 0.5)
    # Three seeds: 0.5, 1.5, 2.5. Student's t at 2 degrees of freedom is 4.3027.
    for _, interval in study.intervals("loss"):
        assert interval.mean == 1.5
        assert interval.high - 1.5 == pytest.approx(4.30265 / 3**0.5, rel=1e-4)
    assert study.best().values["loss"] == 0.5


def test_the_front_is_what_no_other_dominates() -> None:
    generator = np.random.default_rng(0)
    spec = LAYER.replace(factorization=tm.CP(2))
    for count in (1, 2, 30):
        points = generator.integers(0, 6, size=(count, 3)).astype(float)
        specs = [LAYER.replace(factorization=tm.CP(number + 1)) for number in range(count)]
        trials = [
            Trial(spec, values=dict(zip("abc", map(float, point), strict=True)), number=number)
            for number, (spec, point) in enumerate(zip(specs, points, strict=True))
        ]
        study = tm.explore.Study(tuple(trials), ("a", "b", "c"))
        expected = {tuple(p) for p in points if not any((q <= p).all() and (q < p).any() for q in points)}
        assert {tuple(trial.values.values()) for trial in study.front()} == expected
    assert tm.explore.Study((Trial(spec, state="failed"),), ("a",)).front() == ()


def test_a_study_is_the_same_after_its_file(tmp_path: Path) -> None:
    path = tmp_path / "study.jsonl"
    study = sweep(FAMILIES, Budget(parameters=150), fit_to(EXPERTS), 2, like=LAYER, path=path)
    assert tm.explore.Study.load(path) == study
    study.save(tmp_path / "copy.jsonl")
    assert tm.explore.Study.load(tmp_path / "copy.jsonl") == study
    lines = path.read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0])["format"] == 1
    assert all(json.loads(line) for line in lines)
    assert {*study.table()[0]} >= {"factorization", "budget", "seed", "error", "parameters", "state"}
    assert "CP(rank=6)" in str(study)


def test_a_sweep_repeats_nothing(tmp_path: Path) -> None:
    tried = []

    def train(spec: tm.MuMoESpec, seed: int) -> float:
        if len(tried) == 5:
            raise KeyboardInterrupt
        tried.append((spec, seed))
        return float(seed)

    path, task = tmp_path / "study.jsonl", train_with(train, name="count")
    with pytest.raises(KeyboardInterrupt):
        sweep(FAMILIES, None, task, 3, like=LAYER, path=path)
    assert len(tm.explore.Study.load(path).trials) == 5
    # What a killed process leaves of a line.
    with path.open("a") as file:
        file.write('{"number": 7, "spec"')
    tried.append(())  # type: ignore[arg-type]
    study = sweep(FAMILIES, None, task, 3, like=LAYER, path=path)
    assert len(tried) == 13
    assert len({each for each in tried if each}) == 12
    assert tm.explore.Study.load(path) == study
    assert sweep(FAMILIES, None, task, 3, like=LAYER, path=path) == study
    assert len(tried) == 13


PROGRAM = """
import sys, time
import tensormoe as tm

def train(spec, seed):
    with open(sys.argv[2], "a") as file:
        file.write(f"{spec.factorization} {seed}\\n")
    time.sleep(0.05)
    return float(seed)

layer = tm.MuMoESpec(8, 6, 4, tm.Dense(), bias=False)
families = [tm.CP(rank) for rank in range(1, 11)]
study = tm.explore.sweep(families, None, tm.explore.train_with(train), 3, like=layer, path=sys.argv[1])
print(len(study.trials))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
def test_a_killed_sweep_goes_on(tmp_path: Path) -> None:
    path, log = tmp_path / "study.jsonl", tmp_path / "tried.txt"
    command = [sys.executable, "-c", PROGRAM, str(path), str(log)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (log.exists() and len(log.read_text().splitlines()) >= 4) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    known = len(tm.explore.Study.load(path).trials)
    assert 3 <= known < 30
    assert subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip() == "30"
    tried = log.read_text().splitlines()
    assert len({*tried}) == 30
    # Only what was going on when it was killed is done again.
    assert len(tried) <= 31
    assert len(tm.explore.Study.load(path).trials) == 30


def test_processes_share_the_work_through_joblib(tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib")
    alone = sweep(FAMILIES, Budget(parameters=150), fit_to(EXPERTS, iterations=20), like=LAYER)
    with joblib.parallel_config("threading", n_jobs=2):
        shared = sweep(
            FAMILIES, Budget(parameters=150), fit_to(EXPERTS, iterations=20), like=LAYER, jobs=None
        )
    apart = sweep(FAMILIES, Budget(parameters=150), fit_to(EXPERTS, iterations=20), like=LAYER, jobs=2)
    with joblib.parallel_config("threading", n_jobs=2):
        counted = sweep(FAMILIES, like=LAYER, jobs=None)
    assert len(counted.complete) == len(FAMILIES)
    for study in (shared, apart):
        for trial, own in zip(study.trials, alone.trials, strict=True):
            # With more threads, products of matrices may round otherwise.
            assert trial.values == pytest.approx(own.values, rel=1e-12)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"budgets": Budget(parameters=200)}, "budgets"),
        ({"seeds": 2}, "seeds"),
        ({"task": cost_alone()}, "objectives"),
        ({"task": fit_to(2 * EXPERTS)}, "task"),
        ({"candidates": FAMILIES[:2]}, "number of candidates"),
        ({"candidates": FAMILIES[::-1]}, "candidates"),
        ({"costs": ("macs",)}, "objectives"),
    ],
)
def test_a_file_of_another_study_is_refused_and_stays(
    tmp_path: Path, changes: dict[str, object], what: str
) -> None:
    path = tmp_path / "study.jsonl"
    options: dict[str, object] = {
        "candidates": FAMILIES,
        "budgets": Budget(parameters=150),
        "task": fit_to(EXPERTS),
        "seeds": 1,
        "like": LAYER,
        "path": path,
    }
    sweep(**options)  # type: ignore[arg-type]
    before = path.read_bytes()
    with pytest.raises(tm.TensorMoEError, match=f"path: .*another study, with other {what}"):
        sweep(**{**options, **changes})  # type: ignore[arg-type]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "text", ["hello\n", "{}\n", '{"format": 1, "kind": "other"}\n', "half a line", "\n\n"]
)
def test_what_is_not_a_study_is_refused_and_stays(tmp_path: Path, text: str) -> None:
    path = tmp_path / "study.jsonl"
    path.write_text(text)
    with pytest.raises(tm.TensorMoEError, match="path: "):
        sweep(FAMILIES, like=LAYER, path=path)
    with pytest.raises(tm.TensorMoEError, match="path: "):
        tm.explore.Study.load(path)
    assert path.read_text() == text


def test_two_processes_do_not_write_one_sweep(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    path = tmp_path / "study.jsonl"

    def train(spec: tm.MuMoESpec, seed: int) -> float:
        with pytest.raises(tm.TensorMoEError, match="another process writes"):
            sweep(FAMILIES, None, task, like=LAYER, path=path)
        return 1.0

    task = train_with(train, name="itself")
    study = sweep(FAMILIES, None, task, like=LAYER, path=path)
    assert {trial.state for trial in study.trials} == {"complete"}


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"candidates": []}, "candidates"),
        ({"candidates": [3]}, "candidates"),
        ({"candidates": FAMILIES, "like": None}, "like"),
        ({"like": tm.CP(1)}, "like"),
        ({"budgets": []}, "budgets"),
        ({"budgets": 100}, "budgets"),
        ({"task": "fit"}, "task"),
        ({"seeds": 0}, "seeds"),
        ({"seeds": [1, 1]}, "seeds"),
        ({"seeds": [-1]}, "seeds"),
        ({"costs": ()}, "costs"),
        ({"costs": ("macs", "macs")}, "costs"),
        ({"costs": ("speed",)}, "objective"),
        ({"jobs": 0}, "jobs"),
        ({"progress": 1}, "progress"),
    ],
)
def test_what_cannot_be_swept_is_an_error_before_anything_is_written(
    tmp_path: Path, options: dict[str, object], argument: str
) -> None:
    path = tmp_path / "study.jsonl"
    with pytest.raises(tm.TensorMoEError) as raised:
        sweep(**{"candidates": FAMILIES, "like": LAYER, "path": path, **options})  # type: ignore[arg-type]
    assert raised.value.argument == argument
    assert not path.exists()


def test_a_bar_counts_what_is_tried(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "study.jsonl"
    for done in (len(FAMILIES), 0):
        sweep(FAMILIES, like=LAYER, path=path, progress=True)
        assert (f"{done}/{done}" in capsys.readouterr().err) == bool(done)
    sweep(FAMILIES, like=LAYER)
    assert capsys.readouterr().err == ""


def test_a_budget_of_seconds_is_met_as_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest rank is taken whose time, here a millisecond for each, is within the budget."""
    times: list[int] = []

    def measure(spec: tm.MuMoESpec, batch_size: int) -> float:
        assert batch_size == 256
        times.append(rank_of(spec))
        return 1e-3 * rank_of(spec)

    monkeypatch.setattr("tensormoe.exploring.budget.measure_seconds", measure)
    layer = tm.MuMoESpec(64, 64, 4, tm.CP(1))
    assert rank_of(Budget(seconds=0.0215, batch_size=256).match(layer)) == 21
    # Each rank is measured once: its second time may be another.
    assert len({*times}) == len(times) < 12
    # No more parameters than the weight tensor has: what is larger is not measured.
    largest = rank_of(Budget(seconds=1e9, batch_size=256).match(layer))
    assert largest * (4 + 65 + 64) <= 4 * 65 * 64 < (largest + 1) * (4 + 65 + 64)
    with pytest.raises(tm.TensorMoEError, match=r"seconds: .*raise"):
        Budget(seconds=1e-4, batch_size=256).match(layer)


def test_a_front_that_fails_its_verification_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Report:
        passed = False
        checks = ()

    monkeypatch.setattr("tensormoe.exploring.evaluation.verify", lambda *args, **options: Report())
    study = sweep(FAMILIES, like=LAYER)
    assert study.front() == ()
    assert all("verification failed" in trial.reason for trial in study.trials)
    with pytest.raises(tm.TensorMoEError, match="none is complete"):
        study.best()
