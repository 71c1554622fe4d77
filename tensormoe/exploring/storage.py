"""Studies in files: JSON lines, of which the first says what was asked for and each other is a trial."""

import json
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from os import PathLike
from pathlib import Path
from typing import Self

from ..checkpoints.files import check_path, explain, write_file
from ..codec import FORMAT, Data, check_format, read_json
from ..errors import TensorMoEError
from .trial import Trial

KIND = "tensormoe study"
Header = dict[str, object]


def line(data: dict[str, Data]) -> str:
    """One object as strict JSON on a line of its own."""
    return json.dumps(data, allow_nan=False) + "\n"


def first_line(header: dict[str, Data]) -> str:
    """The line that says what was asked for."""
    return line({"format": FORMAT, "kind": KIND, **header})


class Journal:
    """A study's file, to which trials are added as they are known; a process killed meanwhile loses none.

    Args:
        path: the file; it is made if there is none.
        header: what was asked for.

    Raises:
        TensorMoEError: a file of another study, one that is not a study, one that cannot be written, or one
            that another process writes now.
    """

    def __init__(self, path: str | PathLike[str], header: dict[str, Data]) -> None:
        self._path = Path(check_path(path))
        with self._explain():
            _check_kind(self._path)
            # Without a buffer, nothing is written later than it is said to be, or twice.
            self._file = self._path.open("a+b", buffering=0)
        try:
            self._lock()
            self.trials = self._begin(header)
        except BaseException:
            self._file.close()
            raise

    def add(self, trial: Trial) -> None:
        """Write a trial; one with the number of an earlier one takes its place.

        Raises:
            TensorMoEError: the system refuses, for example since the disk is full. What is in the file stays.
        """
        self._write(line(trial.to_dict()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def _begin(self, header: dict[str, Data]) -> list[Trial]:
        """The trials that are known; what a killed process left half-written is cut off."""
        self._file.seek(0)
        held = self._file.read()
        whole = held.rfind(b"\n") + 1
        if not whole and not first_line(header).encode().startswith(held):
            raise TensorMoEError("path", str(self._path), "it is not a study: pass a new path")
        if whole:
            known, trials = read_lines(self._path)
            _compare(self._path, known, header)
        self._file.truncate(whole)
        if not whole:
            self._write(first_line(header))
            return []
        return trials

    def _write(self, text: str) -> None:
        left = text.encode()
        with self._explain():
            while left:
                left = left[self._file.write(left) :]

    def _explain(self) -> AbstractContextManager[None]:
        return explain(str(self._path), "pass a path that can be written; the trials in the file stay there")

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows has none
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            remedy = "another process writes this study: wait for it, or pass another path"
            raise TensorMoEError("path", str(self._path), remedy) from error


def _compare(path: Path, known: Header, wanted: dict[str, Data]) -> None:
    """Raise the error that says how a file's study differs from what is asked for."""
    ours: dict[str, object] = {"objectives": wanted["objectives"]} | _settings(wanted)
    theirs: dict[str, object] = {"objectives": known["objectives"]} | _settings(known)
    for name in dict.fromkeys((*ours, *theirs)):
        if ours.get(name) != theirs.get(name):
            remedy = (
                f"it holds another study, with other {name} ({_brief(theirs.get(name))} and not "
                f"{_brief(ours.get(name))}): pass another path, or ask for the same"
            )
            raise TensorMoEError("path", str(path), remedy)


def _settings(header: Mapping[str, object]) -> dict[str, object]:
    settings = header["settings"]
    return dict(settings) if isinstance(settings, dict) else {}


def _brief(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else text[:197] + "..."


def write_lines(path: str | PathLike[str], header: dict[str, Data], trials: Iterable[Trial]) -> None:
    """Write a study at once; what was there stays if anything fails."""
    lines = (first_line(header), *(line(trial.to_dict()) for trial in trials))
    write_file(check_path(path), map(str.encode, lines))


def read_lines(path: str | PathLike[str]) -> tuple[Header, list[Trial]]:
    """The header and the trials of a study's file.

    What a killed process left of its last line is dropped. Of trials with the same number, the last counts.

    Raises:
        TensorMoEError: a file that cannot be read, or of another form; names the line.
    """
    file = Path(check_path(path))
    with explain(str(file), "pass the path of a file that a study wrote"):
        _check_kind(file)
        text = file.read_bytes().decode("utf-8", errors="replace")
    first, *rest = text.split("\n")
    # What follows the last end of line was not finished.
    lines = rest[:-1]
    try:
        header = dict(_read(first)) if rest else {}
    except TensorMoEError as error:
        raise TensorMoEError("path", str(path), f"its first line is not a study's ({error.remedy})") from None
    if header.pop("kind", None) != KIND or not {"objectives", "settings"} <= {*header}:
        raise TensorMoEError("path", str(path), "it is not a study: pass a file that a study wrote")
    trials: dict[int, Trial] = {}
    for number, each in enumerate(lines, start=2):
        try:
            trial = Trial.from_dict(read_json(each))
        except TensorMoEError as error:
            remedy = f"line {number} is not a trial: delete it, and it is tried again ({error})"
            raise TensorMoEError("path", str(path), remedy) from None
        trials[trial.number] = trial
    return header, [trials[number] for number in sorted(trials)]


def _check_kind(path: Path) -> None:
    """Raise an error for a device or a pipe, which would be read for ever, and for a folder."""
    if path.exists() and not path.is_file():
        raise TensorMoEError("path", str(path), "this is not an ordinary file: pass the path of one")


def _read(text: str) -> Header:
    return dict(check_format(read_json(text)))  # type: ignore[call-overload,no-any-return]
