"""Files on disk: an error says why the system refuses, and files are replaced whole or not at all."""

import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from typing import TypeAlias

from ..errors import TensorMoEError

# What a file is written from.
Chunk: TypeAlias = bytes | memoryview


def check_path(path: object) -> str:
    """A path as text.

    Raises:
        TensorMoEError: anything but text or a path.
    """
    if not isinstance(path, str | os.PathLike):
        raise TensorMoEError("path", path, "pass a path as text or as a pathlib.Path")
    text = os.fspath(path)
    if not isinstance(text, str) or not text:
        raise TensorMoEError("path", path, "pass the path of a file as text")
    return text


@contextmanager
def open_file(path: str) -> Iterator[BufferedReader]:
    """A file, open to be read.

    Raises:
        TensorMoEError: there is none, it is something else than a file, or the system refuses to read it.
    """
    with explain(path, "pass the path of a file that tm.save wrote"):
        _check_kind(path, os.stat(path).st_mode)
        with open(path, "rb") as file:
            yield file


def write_file(path: str, chunks: Iterable[Chunk]) -> None:
    """Write a file beside the path, and put it there when all of it is on the disk.

    What was there before stays as it is until then, and if anything fails.

    Raises:
        TensorMoEError: no such folder, something else at the path, or the system refuses to write.
    """
    with explain(path, "nothing was written; what was there is as it was"):
        # A link goes on pointing to the file.
        target = os.path.realpath(path)
        mode = _check_target(path, target)
        folder = os.path.dirname(target)
        temporary = os.path.join(folder, f".tensormoe-{secrets.token_hex(8)}")
        try:
            _fill(temporary, chunks)
            if mode is not None:
                os.chmod(temporary, mode)
            os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        _keep_name(folder)


def _fill(path: str, chunks: Iterable[Chunk]) -> None:
    # As for any new file, the system decides who may read it.
    with open(path, "xb") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def _keep_name(folder: str) -> None:
    """Bring a folder's list of names to the disk, where systems have that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _check_target(path: str, target: str) -> int | None:
    """The permissions of the file that is replaced; None if there is none."""
    if not os.path.basename(path):
        raise TensorMoEError("path", path, "this names a folder: add the name of a file")
    if not os.path.exists(target):
        return None
    mode = os.stat(target).st_mode
    _check_kind(path, mode)
    if not os.access(target, os.W_OK):
        raise TensorMoEError("path", path, "this file may not be written to: choose another path")
    return stat.S_IMODE(mode)


def _check_kind(path: str, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise TensorMoEError("path", path, "this is a folder: add the name of a file")
    if not stat.S_ISREG(mode):
        raise TensorMoEError("path", path, "this is not an ordinary file: pass the path of one")


@contextmanager
def explain(path: str, remedy: str) -> Iterator[None]:
    """A context in which the system's refusals become errors that name the path."""
    try:
        yield
    except TensorMoEError:
        raise
    except (OSError, ValueError) as error:  # a ValueError for a character that no path may have
        reason = getattr(error, "strerror", None) or str(error)
        raise TensorMoEError("path", path, f"{reason}: {remedy}") from error
