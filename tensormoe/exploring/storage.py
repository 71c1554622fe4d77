"""Studies in files: JSON lines, of which the first says what was asked for and each other is a trial."""

import json
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

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


def write_lines(path: str | PathLike[str], header: dict[str, Data], trials: Iterable[Trial]) -> None:
    """Write a study at once."""
    text = first_line(header) + "".join(line(trial.to_dict()) for trial in trials)
    Path(path).write_text(text, encoding="utf-8")


def read_lines(path: str | PathLike[str]) -> tuple[Header, list[Trial]]:
    """The header and the trials of a study's file.

    What a killed process left of its last line is dropped.

    Raises:
        TensorMoEError: a file that cannot be read, or of another form; names the line.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8", errors="replace")
    except OSError as error:
        raise TensorMoEError("path", str(path), f"it cannot be read ({error})") from error
    first, *rest = text.split("\n")
    # What follows the last end of line was not finished.
    lines = rest[:-1]
    try:
        header = dict(_read(first)) if rest else {}
    except TensorMoEError as error:
        raise TensorMoEError("path", str(path), f"its first line is not a study's ({error.remedy})") from None
    if header.pop("kind", None) != KIND or not {"objectives", "settings"} <= {*header}:
        raise TensorMoEError("path", str(path), "it is not a study: pass a file that a study wrote")
    trials = []
    for number, each in enumerate(lines, start=2):
        try:
            trials.append(Trial.from_dict(read_json(each)))
        except TensorMoEError as error:
            raise TensorMoEError("path", str(path), f"line {number} is not a trial ({error})") from None
    return header, trials


def _read(text: str) -> Header:
    return dict(check_format(read_json(text)))  # type: ignore[call-overload,no-any-return]
