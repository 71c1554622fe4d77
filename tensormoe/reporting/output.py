"""The folder that a report is written to: whole or not at all."""

import os
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress

from ..checkpoints.files import write_file
from ..errors import TensorMoEError


def check_folder(path: str) -> None:
    """Raise an error unless a folder can be made here, or an empty one is here."""
    remedy = "pass the name of a new folder, or an empty one, in a folder that exists"
    try:
        target = os.path.abspath(path)
        if not path or not os.path.isdir(os.path.dirname(target)):
            raise TensorMoEError("--out", path, remedy)
        with suppress(FileNotFoundError):
            os.lstat(target)
            if not os.path.isdir(target) or os.listdir(target):
                raise TensorMoEError("--out", path, f"something is there already: {remedy}")
    except TensorMoEError:
        raise
    except (OSError, ValueError) as error:  # a name that is too long, or has a null character
        reason = getattr(error, "strerror", None) or error
        raise TensorMoEError("--out", path, f"{reason}: {remedy}") from error


def write_folder(path: str, texts: Mapping[str, str]) -> None:
    """Write files beside the folder's place, and put it there when all are on the disk.

    Raises:
        TensorMoEError: the system refuses to write; nothing is left of it then.
    """
    check_folder(path)
    target = os.path.realpath(path)
    folder = os.path.join(os.path.dirname(target), f".tensormoe-{secrets.token_hex(8)}")
    try:
        os.mkdir(folder)
        for name, text in texts.items():
            write_file(os.path.join(folder, name), [text.encode("utf-8", "replace")])
        if os.path.isdir(target):
            os.rmdir(target)
        os.rename(folder, target)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError | TensorMoEError):
            reason = getattr(error, "strerror", None) or str(error)
            raise TensorMoEError("--out", path, f"{reason}: nothing was written") from error
        raise
