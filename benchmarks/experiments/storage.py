"""Results as files of JSON lines: one for each finished trial, whole or not at all."""

import fcntl
import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tensormoe.errors import TensorMoEError
from tensormoe.tables import versions

from .experiment import Experiment
from .presets import as_json
from .results import Line, Results, key
from .trial import Cell, Configuration, Outcome, Value

FOLDER = Path(__file__).with_name("results")
_PACKAGES = ("tensormoe", "numpy", "torch", "jax", "scipy", "scikit-learn", "networkx", "transformers")


def read(path: Path) -> Iterator[Line]:
    """The lines of a file, if it exists; one that was cut by a kill is left out."""
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n"):
                yield json.loads(line)


def select(experiment: Experiment[Configuration], configuration: Configuration, path: Path) -> Results:
    """The finished trials of a configuration, in the order of its trials, each once."""
    wanted = {key(cell, seed): None for cell, seed in experiment.trials(configuration)}
    lines: dict[str, Line] = {}
    for line in read(path):
        name = key(line["cell"], line["seed"])
        if name in wanted and same(line["configuration"], configuration):
            lines[name] = line
    return Results(tuple(lines[name] for name in wanted if name in lines))


def same(saved: Mapping[str, Value], configuration: Configuration) -> bool:
    """Whether a line is of this configuration. The number of seeds does not matter: a trial has one."""
    return {**saved, "seeds": 0} == {**json.loads(json.dumps(as_json(configuration))), "seeds": 0}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Nobody else writes this file meanwhile; a line that a kill has cut is removed first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            remedy = "another process writes it: wait, or pass another folder of results"
            raise TensorMoEError("results", str(path), remedy) from None
        file.seek(0)
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)
        yield


def append(path: Path, line: Line) -> None:
    """Add a line in one write, on the disk when this returns."""
    text = json.dumps(line, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n"
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, text.encode())
        os.fsync(file)
    finally:
        os.close(file)


def make(
    configuration: Configuration, cell: Cell, seed: int, outcome: Outcome, seconds: float, cpu: float
) -> Line:
    """The line of a finished trial. JSON has no NaN: null stands for it."""
    return {
        "configuration": json.loads(json.dumps(as_json(configuration))),
        "cell": cell,
        "seed": seed,
        "measures": {name: _finite(value) for name, value in outcome.measures.items()},
        "timings": {name: _finite(value) for name, value in outcome.timings.items()},
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu, 3),
        "versions": versions(_PACKAGES),
        "hardware": hardware(),
    }


def _finite(value: Value) -> Value:
    """The value, with null for what is not finite."""
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_finite(each) for each in value]
    return value


def hardware() -> str:
    """What the trial ran on: the processor with PyTorch's threads, and a graphics processor that is there."""
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch is not None else 1
    said = f"{platform.machine()} CPU, {os.cpu_count()} cores, {threads} thread{'s' * (threads > 1)}"
    if torch is not None and torch.cuda.is_available():
        said += f", {torch.cuda.get_device_name()}"
    return said
