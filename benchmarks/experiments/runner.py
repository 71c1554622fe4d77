"""Runs the trials that are not finished, with bars, and keeps each result as soon as there is one."""

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from . import results, storage
from .experiment import Experiment
from .presets import as_json
from .results import Results
from .trial import Cell, Configuration, Trial

# Where trials keep files: beside the results, and never committed.
SCRATCH = "scratch"


def run(
    experiment: Experiment[Configuration],
    configuration: Configuration,
    folder: Path = storage.FOLDER,
    *,
    anew: bool = False,
    quiet: bool = False,
) -> Results:
    """Run what is missing in `folder`, and return all results of the configuration.

    A process that was killed may be started again: finished trials are in the file, a trial that was cut
    short starts anew or goes on from its own checkpoint, and results are those of a run that nobody stopped.

    Args:
        experiment: as its module has it.
        configuration: as its preset has it.
        folder: has a file of JSON lines for each experiment.
        anew: run all trials again; their lines take the place of the old ones.
        quiet: without bars.

    Raises:
        TensorMoEError: another process writes the same file.
    """
    path = folder / f"{experiment.name}.jsonl"
    scratch = folder / SCRATCH / f"{experiment.name}-{_digest(configuration)}"
    with storage.locked(path):
        if anew:
            _forget(path, configuration)
            shutil.rmtree(scratch, ignore_errors=True)
        finished = {results.key(line["cell"], line["seed"]) for line in _own(path, configuration)}
        trials = experiment.trials(configuration)
        missing = [each for each in trials if results.key(*each) not in finished]
        _limit_threads(experiment.threads)
        with _bars(experiment.name, len(trials), len(missing), quiet) as bars:
            for cell, seed in missing:
                _run_one(experiment, configuration, cell, seed, path, scratch, bars)
    return storage.select(experiment, configuration, path)


def _run_one(
    experiment: Experiment[Configuration],
    configuration: Configuration,
    cell: Cell,
    seed: int,
    path: Path,
    scratch: Path,
    bars: "_Bars",
) -> None:
    own = scratch / hashlib.sha256(results.key(cell, seed).encode()).hexdigest()[:16]
    shared = scratch / "shared"
    for each in (own, shared):
        each.mkdir(parents=True, exist_ok=True)
    bars.begin(f"{' '.join(str(value) for value in cell.values())}, seed {seed}")
    start, cpu = time.perf_counter(), time.process_time()
    outcome = experiment.run(configuration, Trial(cell, seed, shared, own, bars.tell))
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    storage.append(path, storage.make(configuration, cell, seed, outcome, seconds, cpu))
    shutil.rmtree(own)
    bars.end()


def _own(path: Path, configuration: Configuration) -> Iterator[results.Line]:
    return (line for line in storage.read(path) if storage.same(line["configuration"], configuration))


def _forget(path: Path, configuration: Configuration) -> None:
    """Leave out the lines of a configuration. The file is written in place: it is the one that is locked."""
    kept = [line for line in storage.read(path) if not storage.same(line["configuration"], configuration)]
    path.write_text("", encoding="utf-8")
    for line in kept:
        storage.append(path, line)


def _digest(configuration: Configuration) -> str:
    """A name for the configuration: files of another one are not taken for its own."""
    text = json.dumps({**as_json(configuration), "seeds": 0}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _limit_threads(threads: int) -> None:
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


class _Bars:
    """A bar for all trials and one for the trial that runs."""

    def __init__(self, progress: Progress, all_trials: TaskID, current: TaskID) -> None:
        self._progress, self._all, self._current = progress, all_trials, current

    def begin(self, text: str) -> None:
        self._progress.update(self._current, description=text, completed=0, total=None)

    def tell(self, text: str, share: float) -> None:
        self._progress.update(self._current, description=text, completed=round(100 * share), total=100)

    def end(self) -> None:
        self._progress.advance(self._all)


@contextmanager
def _bars(name: str, total: int, missing: int, quiet: bool) -> Iterator[_Bars]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=quiet) as progress:
        everything = progress.add_task(name, total=total, completed=total - missing)
        yield _Bars(progress, everything, progress.add_task("", total=None))
