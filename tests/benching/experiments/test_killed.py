"""A process that is killed at a random time, and started again, gives what one gives that was not."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from benching.experiments import counting

from benchmarks.experiments import presets, runner, storage
from benchmarks.experiments.trial import Outcome, Trial

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "benchmarks.experiments", "benching.experiments.counting", "--no-page"]
PATHS = os.pathsep.join(map(str, (ROOT, ROOT / "backends", ROOT / "tests")))


def start(folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": PATHS}
    return subprocess.Popen(
        [*COMMAND, "--results", str(folder)], env=environment, stdout=subprocess.DEVNULL, cwd=ROOT
    )


def wait_for(folder: Path, trials: int) -> None:
    """Until some trials are finished."""
    limit = time.monotonic() + 60
    while len([*storage.read(folder / "counting.jsonl")]) < trials and time.monotonic() < limit:
        time.sleep(0.005)


def test_a_killed_run_goes_on_to_the_same_results(tmp_path: Path) -> None:
    path = tmp_path / "counting.jsonl"
    for least in (1, 3):
        process = start(tmp_path)
        wait_for(tmp_path, least)
        time.sleep(random.uniform(0.0, 0.3))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        before = path.read_bytes()
    assert start(tmp_path).wait() == 0
    whole = before[: before.rfind(b"\n") + 1]
    assert path.read_bytes().startswith(whole)

    configuration = presets.read(counting.EXPERIMENT)
    killed = storage.select(counting.EXPERIMENT, configuration, path)
    free = runner.run(counting.EXPERIMENT, configuration, tmp_path / "free", quiet=True)
    assert len(free.lines) == len([*storage.read(path)]) == 6
    for one, other in zip(killed.lines, free.lines, strict=True):
        assert (one["cell"], one["seed"]) == (other["cell"], other["seed"])
        assert one["measures"] == other["measures"]


def test_a_trial_goes_on_from_its_own_checkpoint(tmp_path: Path) -> None:
    """Killed in its 15th step, it has the first 10."""
    configuration = counting.Configuration(seeds=1, steps=20, scales=(1.0,))

    class Killed(BaseException):
        pass

    def stop(text: str, share: float) -> None:
        if share == 0.75:
            raise Killed

    def run(configuration: counting.Configuration, trial: Trial) -> Outcome:
        return counting.run(configuration, replace(trial, tell=stop))

    with pytest.raises(Killed):
        runner.run(replace(counting.EXPERIMENT, run=run), configuration, tmp_path, quiet=True)
    line = runner.run(counting.EXPERIMENT, configuration, tmp_path, quiet=True).lines[0]
    assert line["timings"] == {"steps": 10}
    free = runner.run(counting.EXPERIMENT, configuration, tmp_path / "free", quiet=True).lines[0]
    assert line["measures"] == free["measures"]
