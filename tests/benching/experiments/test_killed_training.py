"""A real experiment, killed at a random time while it tunes, trains or measures, and started again."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from support.frameworks import optional

torch = optional("torch")
from benchmarks.experiments import bias, presets, runner, storage  # noqa: E402

ROOT = Path(__file__).parents[3]
PATHS = os.pathsep.join(map(str, (ROOT, ROOT / "backends")))
CHANGES = (
    *("seeds=1", "experts=[4]", "rank=4", "width=8", "steps=60", "batch=32", "rates=[0.003]"),
    *("strengths=[0, 8]", "constants=[0, 1]", "adversaries=[0.1]"),
)


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.experiments", "bias", "--no-page"]
    return subprocess.Popen(
        [*command, "--results", str(folder), "--set", *CHANGES],
        env={**os.environ, "PYTHONPATH": PATHS, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        cwd=ROOT,
    )


def kill_within(folder: Path, seconds: float) -> bool:
    """Kill a run at a random time after its first file; whether it was still running."""
    process = start(folder)
    limit = time.monotonic() + 60
    while not (folder / runner.SCRATCH).exists() and time.monotonic() < limit:
        time.sleep(0.005)
    time.sleep(random.uniform(0.0, seconds))
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def test_a_killed_experiment_goes_on_to_the_same_results(tmp_path: Path) -> None:
    configuration = presets.read(bias.EXPERIMENT, "small", presets.parse(CHANGES))
    began = time.monotonic()
    free = runner.run(bias.EXPERIMENT, configuration, tmp_path / "free", quiet=True)
    # At any time of what it took; where a run was faster and had ended, once more and earlier.
    seconds = time.monotonic() - began
    while not kill_within(folder := tmp_path / f"{seconds}", seconds):
        seconds /= 2
    assert start(folder).wait() == 0
    path = folder / "bias.jsonl"
    killed = storage.select(bias.EXPERIMENT, configuration, path)
    assert len(killed.lines) == len(free.lines) == len([*storage.read(path)]) == len(bias.METHODS)
    for one, other in zip(killed.lines, free.lines, strict=True):
        timed = {"seconds", "cpu_seconds", "timings"}
        assert {k: v for k, v in one.items() if k not in timed} == {
            k: v for k, v in other.items() if k not in timed
        }
