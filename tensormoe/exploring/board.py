"""What several processes know of one search: an Optuna study, in memory, in a file or in a database.

A trial of Optuna holds the choices of a point as its parameters, so that its samplers and its dashboard know
what they are; its attributes hold the candidate's key and what came of it. Of several trials with one key,
the first is tried: a trial waits until all before it have said which candidate is theirs.

Source: Lamport, "A New Solution of Dijkstra's Concurrent Programming Problem", 1974, for numbers that are
drawn and then compared.
"""

import json
import os
import socket
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from ..codec import Data
from ..errors import TensorMoEError
from .space import Point, Space
from .trial import Trial

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

Storage = str | PathLike[str]

_SETTINGS, _KEY, _TRIAL, _OWNER = "tensormoe", "key", "trial", "owner"
# A process says within so many seconds which candidate the trial that it has begun is.
_PATIENCE = 20
# After so many seconds each, what another process began to make of a database is there.
_WAITS = (0.1, 0.3, 1.0)
# A trial of another machine that takes longer is given up.
_LONGEST = timedelta(days=1)
# Who of this process searches now.
_HERE: set[str] = set()


@dataclass(frozen=True, eq=False)
class Board:
    """A search that processes share; see `open_board`.

    Args:
        space: of its points.
        study: Optuna's.
        names: of the objectives.
        owner: this process and this search.
    """

    space: Space
    study: "optuna.Study"
    names: tuple[str, ...]
    owner: str
    _known: dict[int, Trial] = field(default_factory=dict)

    @property
    def distributions(self) -> "dict[str, BaseDistribution]":
        """The coordinates, as Optuna knows them: sizes are integers, all else is one of several."""
        from optuna.distributions import CategoricalDistribution, IntDistribution

        return {
            each.name: IntDistribution(0, len(each.choices) - 1)
            if each.ordered
            else CategoricalDistribution(range(len(each.choices)))
            for each in self.space.coordinates
        }

    def ask(self, point: Point | None = None) -> "tuple[optuna.Trial, Point]":
        """A new trial, and its point: the sampler's, or one that is given."""
        import optuna

        distributions, sampler = self.distributions, self.study.sampler
        if point is not None:
            fixed = dict(zip(distributions, point, strict=True))
            with _quiet():
                self.study.sampler = optuna.samplers.PartialFixedSampler(fixed, sampler)
        ticket = self.study.ask(distributions)
        ticket.set_user_attr(_OWNER, self.owner)
        self.study.sampler = sampler
        return ticket, tuple(int(ticket.params[name]) for name in distributions)

    def claim(self, ticket: "optuna.Trial", key: str) -> bool:
        """Say which candidate a trial is; whether it is this trial's to try."""
        ticket.set_user_attr(_KEY, key)
        while any(_KEY not in each.user_attrs for each in self._living(ticket.number)):
            time.sleep(0.01)
        rivals = [each for each in self._living(ticket.number) if each.user_attrs[_KEY] == key]
        return not rivals and key not in self.trials()

    def trials(self) -> dict[str, Trial]:
        """The finished trials by key, in order."""
        finished = {}
        for each in self.study.get_trials(deepcopy=False):
            if each.state.is_finished() and _TRIAL in each.user_attrs:
                if each.number not in self._known:
                    trial = Trial.from_dict(json.loads(each.user_attrs[_TRIAL]))
                    self._known[each.number] = replace(trial, number=each.number)
                finished[str(each.user_attrs[_KEY])] = self._known[each.number]
        return finished

    def running(self) -> set[str]:
        """The keys of the candidates that are being tried."""
        return {str(each.user_attrs.get(_KEY)) for each in self._living()}

    def finish(self, ticket: "optuna.Trial", trial: Trial) -> None:
        """Write down what came of a trial."""
        # A trial that has been told takes no attributes.
        ticket.set_user_attr(_TRIAL, json.dumps(trial.to_dict(), allow_nan=False))
        self.tell(ticket, trial)

    def tell(self, ticket: "optuna.Trial", trial: Trial | None) -> None:
        """Tell the sampler of a trial's values; None for a point without a candidate of its own."""
        from optuna.trial import TrialState

        if trial is not None and trial.complete:
            self.study.tell(ticket, [trial.values[name] for name in self.names])
        else:
            self.study.tell(ticket, state=TrialState.FAIL)

    def _living(self, below: int | None = None) -> "list[FrozenTrial]":
        """The trials that have begun and not ended, of processes that live."""
        from optuna.trial import TrialState

        begun = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [each for each in begun if (below is None or each.number < below) and self._lives(each)]

    def _lives(self, trial: "FrozenTrial") -> bool:
        owner = str(trial.user_attrs.get(_OWNER, ""))
        began = trial.datetime_start or datetime.now()
        if _KEY not in trial.user_attrs and datetime.now() - began > timedelta(seconds=_PATIENCE):
            return False
        host, _, rest = owner.partition(" ")
        if not owner or host != socket.gethostname():
            return datetime.now() - began < _LONGEST
        process = int(rest.partition(" ")[0])
        return owner in _HERE if process == os.getpid() else _exists(process)

    def sweep(self) -> None:
        """End the trials of processes that were killed, so that their candidates are tried again."""
        from optuna.trial import TrialState

        for each in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if not self._lives(each):
                self.study.tell(each.number, state=TrialState.FAIL, skip_if_finished=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's warnings that a function may change."""
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def open_board(
    space: Space,
    names: Sequence[str],
    settings: Mapping[str, Data],
    storage: Storage | None,
) -> Iterator[Board]:
    """The board of a search, that of earlier and of other processes if there is a storage.

    Raises:
        TensorMoEError: a storage that cannot be read, one of another search, or Optuna is missing.
    """
    try:
        import optuna
        from optuna.exceptions import StorageInternalError
    except ImportError as error:
        remedy = f'searches need it ({error}): pip install "tensormoe[explore]"'
        raise TensorMoEError("optuna", None, remedy) from error
    level = optuna.logging.get_verbosity()
    owner = f"{socket.gethostname()} {os.getpid()} {uuid.uuid4().hex}"
    text = json.dumps(settings, sort_keys=True)
    try:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = _join(storage, len(names))
        held = study.user_attrs.get(_SETTINGS)
        if held is None and not study.get_trials(deepcopy=False):
            study.set_user_attr(_SETTINGS, text)
            with _quiet():
                study.set_metric_names([*names])
        elif held != text:
            raise TensorMoEError("storage", str(storage), _differ(held, settings))
    except TensorMoEError:
        raise
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        remedy = f"it cannot be opened, or what it holds is damaged ({told}): pass another path or URL"
        raise TensorMoEError("storage", str(storage), remedy) from error
    finally:
        optuna.logging.set_verbosity(level)
    _HERE.add(owner)
    try:
        board = Board(space, study, tuple(names), owner)
        board.sweep()
        yield board
    except (OSError, StorageInternalError) as error:  # such as a full disk
        remedy = f"it cannot be written ({error}): mend that, and search again; what it holds stays there"
        raise TensorMoEError("storage", str(storage), remedy) from error
    finally:
        _HERE.remove(owner)


def _join(storage: Storage | None, count: int) -> "optuna.Study":
    """The storage's study. Other processes may be making the same tables: what they made is then there."""
    import optuna
    from sqlalchemy.exc import DatabaseError

    def join() -> "optuna.Study":
        return optuna.create_study(
            storage=_open(storage),
            study_name="tensormoe",
            directions=["minimize"] * count,
            load_if_exists=True,
        )

    for wait in _WAITS:
        try:
            return join()
        except DatabaseError:
            time.sleep(wait)
    return join()


def _open(storage: Storage | None) -> "optuna.storages.BaseStorage | str | None":
    """A database by its URL, or a file: a journal, which several machines can share over NFS."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    if storage is None or "://" in fspath(storage):
        return None if storage is None else fspath(storage)
    path = Path(storage)
    if path.is_file() and path.stat().st_size and not _is_journal(path):
        remedy = "it is not a file that a search wrote: pass another path"
        raise TensorMoEError("storage", str(storage), remedy)
    if path.exists():
        _cut(path)
    return JournalStorage(JournalFileBackend(fspath(storage)))


def _cut(path: Path) -> None:
    """Remove what a killed process left of its last line; the next one would be written behind it."""
    from optuna.storages.journal import JournalFileSymlinkLock

    lock = JournalFileSymlinkLock(fspath(path))
    lock.acquire()
    try:
        with path.open("r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)
    finally:
        lock.release()


def _is_journal(path: Path) -> bool:
    """Whether the first line is one of Optuna's journals."""
    with path.open("rb") as file:
        return file.readline(1000).startswith(b'{"op_code"')


def _differ(held: object, settings: Mapping[str, Data]) -> str:
    """What tells a storage's search from this one."""
    if not isinstance(held, str):
        return "it holds a study that is no search of tensormoe: pass another path"
    other = json.loads(held)
    names = [name for name in settings if other.get(name) != settings[name]]
    return f"it holds another search ({', '.join(names)} differ): pass another path"
