"""The frame of the experiments: configurations, lines of results, intervals, the page."""

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benching.experiments import counting
from scipy import stats

from benchmarks.experiments import page, presets, results, runner, storage
from benchmarks.experiments.__main__ import main
from benchmarks.experiments.experiment import Experiment, find
from benchmarks.experiments.results import Results
from benchmarks.experiments.trial import Outcome, Trial
from tensormoe.errors import TensorMoEError
from tensormoe.intervals import interval

NAME = "benching.experiments.counting"
QUICK = counting.Configuration(seeds=2, steps=3, scales=(1.0, 2.0))


def test_a_preset_gives_all_values_and_changes_take_their_place() -> None:
    experiment = find(NAME)
    changes = presets.parse(["seeds=7", "scales=[5, 0.5]"])
    assert presets.read(experiment, "full") == counting.Configuration(3, 40, (1.0,))
    assert presets.read(experiment, "full", changes) == counting.Configuration(7, 40, (5.0, 0.5))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"seeds": 1, "steps": 1, "scales": [1], "stpes": 2},
            "received 'stpes'; remove it; the keys are seeds, steps",
        ),
        ({"seeds": 1}, "add steps, scales"),
        ({"seeds": "1", "steps": 1, "scales": [1]}, "configuration seeds: received '1'; its type is int"),
        ({"seeds": True, "steps": 1, "scales": [1]}, "its type is int"),
        ({"seeds": 1, "steps": 1, "scales": 1.0}, "write a list"),
        ({"seeds": 1, "steps": 1, "scales": ["x"]}, "its type is float"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused_by_name(
    values: dict[str, object], message: str
) -> None:
    with pytest.raises(TensorMoEError, match=message.replace("[", r"\[")):
        presets.build(counting.Configuration, values)


def test_unknown_presets_and_experiments_are_told_what_there_is() -> None:
    with pytest.raises(TensorMoEError, match=r"counting\.toml has small, full"):
        presets.read(find(NAME), "large")
    with pytest.raises(TensorMoEError, match="choose one of"):
        find("alchemy")
    with pytest.raises(TensorMoEError, match="write name=value"):
        presets.parse(["seeds"])


def test_what_is_finished_is_not_run_again_unless_it_is_asked_for(tmp_path: Path) -> None:
    calls: list[Trial] = []

    def run(configuration: counting.Configuration, trial: Trial) -> Outcome:
        calls.append(trial)
        return counting.run(configuration, trial)

    experiment = replace(counting.EXPERIMENT, run=run)
    first = runner.run(experiment, QUICK, tmp_path, quiet=True)
    assert [(c.cell["scale"], c.seed) for c in calls] == [(1.0, 0), (2.0, 0), (1.0, 1), (2.0, 1)]
    assert runner.run(experiment, QUICK, tmp_path, quiet=True) == first
    assert len(calls) == 4
    # More seeds are the same configuration, other steps another.
    runner.run(experiment, replace(QUICK, seeds=3), tmp_path, quiet=True)
    assert len(calls) == 6
    runner.run(experiment, replace(QUICK, steps=2), tmp_path, quiet=True)
    assert len(calls) == 10
    runner.run(experiment, QUICK, tmp_path, anew=True, quiet=True)
    assert len(calls) == 14
    assert len([*storage.read(tmp_path / "counting.jsonl")]) == 8


def test_a_line_says_what_ran_and_on_what(tmp_path: Path) -> None:
    line = runner.run(counting.EXPERIMENT, QUICK, tmp_path, quiet=True).lines[0]
    numbers = [np.random.default_rng((0, step)).normal() for step in range(3)]
    assert line["measures"] == {"total": pytest.approx(sum(numbers)), "nothing": None}
    assert line["configuration"] == {"seeds": 2, "steps": 3, "scales": [1.0, 2.0], "pause": 0.0}
    assert line["versions"]["numpy"] == np.__version__
    assert "cores" in line["hardware"]
    assert not [*(tmp_path / runner.SCRATCH).glob("*/[0-9a-f]*")]


def test_the_command_runs_what_is_missing_and_says_how_long_all_of_it_took(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["experiments", NAME, "--results", str(tmp_path), "--set", "pause=0.001"])
    assert main() == 0
    path = tmp_path / "counting.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    # One is missing, and the others took a minute each.
    path.write_text("".join(json.dumps({**line, "seconds": 60.0}) + "\n" for line in lines[:-1]))
    (tmp_path / "claims.md").unlink()
    capsys.readouterr()
    assert main() == 0
    again = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["measures"] for line in again] == [line["measures"] for line in lines]
    said = capsys.readouterr().out
    assert f"{NAME}: 6 results, which took 5.0 minutes, in {path}" in said
    assert "in all: 5.0 minutes" in said
    assert "That is all." in (tmp_path / "claims.md").read_text()


def test_a_line_that_was_cut_is_run_again(tmp_path: Path) -> None:
    path = tmp_path / "counting.jsonl"
    whole = runner.run(counting.EXPERIMENT, QUICK, tmp_path, quiet=True)
    path.write_bytes(path.read_bytes()[:-40])
    again = runner.run(counting.EXPERIMENT, QUICK, tmp_path, quiet=True)
    assert [line["measures"] for line in again.lines] == [line["measures"] for line in whole.lines]
    assert [json.loads(line)["seed"] for line in path.read_text().splitlines()] == [0, 0, 1, 1]


def test_a_trial_that_fails_leaves_no_line(tmp_path: Path) -> None:
    def fail(configuration: counting.Configuration, trial: Trial) -> Outcome:
        if trial.seed:
            raise ZeroDivisionError
        return counting.run(configuration, trial)

    with pytest.raises(ZeroDivisionError):
        runner.run(replace(counting.EXPERIMENT, run=fail), QUICK, tmp_path, quiet=True)
    assert len([*storage.read(tmp_path / "counting.jsonl")]) == 2


def test_two_processes_do_not_write_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "counting.jsonl"
    held, free = multiprocessing.Event(), multiprocessing.Event()

    def hold() -> None:
        with storage.locked(path):
            held.set()
            free.wait(30)

    process = multiprocessing.get_context("fork").Process(target=hold)
    process.start()
    assert held.wait(30)
    with pytest.raises(TensorMoEError, match="another process writes it"):
        runner.run(counting.EXPERIMENT, QUICK, tmp_path, quiet=True)
    free.set()
    process.join()


def test_an_interval_is_that_of_students_distribution() -> None:
    values = [0.91, 0.93, 0.96, 0.9, 0.97]
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert interval(values) == pytest.approx((np.mean(values), low, high, 5))
    assert interval(values).shown(1, 100, "%") == f"93.4 ± {100 * (high - low) / 2:.1f} %"
    assert interval([0.5]).low == -float("inf")


def test_differences_are_taken_seed_by_seed() -> None:
    def lines(scale: float, totals: list[float | None]) -> list[results.Line]:
        base = storage.make(QUICK, {"scale": scale}, 0, Outcome({}), 0.0, 0.0)
        return [{**base, "seed": n, "measures": {"total": total}} for n, total in enumerate(totals)]

    both = Results((*lines(1.0, [1.0, 2.0, None]), *lines(2.0, [3.0, 5.0, 9.0])))
    # 3 − 1 and 5 − 2; the seed without a value has no partner.
    assert both.difference("total", {"scale": 2.0}, {"scale": 1.0}) == interval([2.0, 3.0])
    assert both.by_seed("total", scale=1.0) == {0: 1.0, 1: 2.0}
    with pytest.raises(TensorMoEError, match="several cells"):
        both.by_seed("total")


def test_a_page_has_the_numbers_of_the_lines_and_says_what_is_missing(tmp_path: Path) -> None:
    assert "Not all of it has been run: `python -m benchmarks.experiments counting" in page.text(
        tmp_path, [NAME]
    )
    experiment: Experiment[counting.Configuration] = counting.EXPERIMENT
    own = runner.run(experiment, presets.read(experiment, "small", {"pause": 0.0}), tmp_path, quiet=True)
    changed = [{**line, "configuration": {**line["configuration"], "pause": 0.004}} for line in own.lines]
    (tmp_path / "counting.jsonl").write_text("".join(json.dumps(line) + "\n" for line in changed))
    text = page.text(tmp_path, [NAME])
    rises = [sum(np.random.default_rng((seed, step)).normal() for step in range(40)) for seed in range(2)]
    assert f"{np.mean(rises):.2f} ±".replace("-", "−") in text
    assert "| It \\| rises. | sums |" in text
    assert "*It | rises*: By chance." in text
    assert "6 trials, 2 seeds" in text
    assert page.write(tmp_path, [NAME]).read_text() == text
