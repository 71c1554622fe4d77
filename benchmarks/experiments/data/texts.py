"""Texts in files, one document after the other, as OpenWebText is published and as others keep them.

A `.txt` file is one document, and a `.jsonl` file has one on each line, under "text". Archives of `.txt`
files are read as they are: OpenWebText's are named `urlsf_subset00-1_data.xz`. Empty documents are left out.
"""

import json
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import tensormoe as tm

_ARCHIVES = (".tar", ".tgz", ".xz", ".gz")
_KINDS = (".txt", ".jsonl", *_ARCHIVES)


def read_texts(root: str | Path) -> Iterator[str]:
    """The documents of a file, or of all files in a folder and below it, in the order of their paths.

    Args:
        root: the file or the folder.

    Raises:
        TensorMoEError: nothing there to read, at once; a file that is cut off or not what its name says,
            when it is reached. It says which, and what was looked for.
    """
    start = Path(root)
    if not start.exists():
        raise tm.TensorMoEError("root", str(root), "there is no such file or folder: say where the texts are")
    files = [start] if start.is_file() else sorted(path for path in start.rglob("*") if path.is_file())
    texts = [path for path in files if path.suffix.lower() in _KINDS]
    if not texts:
        kinds = ", ".join(_KINDS)
        remedy = f"of {len(files)} files there none ends in {kinds}: put texts there, or archives of them"
        raise tm.TensorMoEError("root", str(root), remedy)
    return (document for path in texts for document in _read(path) if document.strip())


def hold_out(documents: Iterable[str], every: int, *, validation: bool) -> Iterator[str]:
    """The documents for validation, which are every so many from the first on, or the others.

    Args:
        documents: in the same order each time.
        every: 10 holds out a tenth.
        validation: whether the documents that are held out are given, or the others.
    """
    return (text for number, text in enumerate(documents) if (number % every == 0) == validation)


def take_part(documents: Iterable[str], part: str) -> Iterator[str]:
    """The documents of a part: of 20, one is for "validation", one for "test", and 18 are for "train"."""
    held = hold_out(documents, 10, validation=part != "train")
    return held if part == "train" else hold_out(held, 2, validation=part == "validation")


def limit(texts: Iterable[str], characters: int) -> Iterator[str]:
    """Texts until they have so many characters; 0 for all."""
    before = 0
    for text in texts:
        if characters and before >= characters:
            return
        before += len(text)
        yield text


def _read(path: Path) -> Iterator[str]:
    read = {".txt": _read_text, ".jsonl": _read_lines}.get(path.suffix.lower(), _read_archive)
    try:
        yield from read(path)
    except (OSError, EOFError, tarfile.TarError, ValueError, KeyError, TypeError) as error:
        expected = (read.__doc__ or "").rstrip(".").replace("A", "a", 1)
        remedy = f"expected {expected}, but {type(error).__name__}: {error}; copy this file again"
        raise tm.TensorMoEError("path", str(path), remedy) from error


def _read_text(path: Path) -> Iterator[str]:
    """A text in UTF-8."""
    yield path.read_text(encoding="utf-8")


def _read_lines(path: Path) -> Iterator[str]:
    """A JSON object with "text" on each line."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            text = json.loads(line)["text"]
            if not isinstance(text, str):
                raise TypeError(f"its text is {text!r}")
            yield text


def _read_archive(path: Path) -> Iterator[str]:
    """A tar archive with .txt files in UTF-8."""
    # Not as a stream ("r|*"), which may take the end of a file that was cut off for the end of the archive.
    with tarfile.open(path, "r:*") as archive:
        some = False
        for member in archive:
            opened = archive.extractfile(member) if member.name.endswith(".txt") else None
            if opened is not None:
                some = True
                yield opened.read().decode("utf-8")
    if not some:
        raise ValueError("none is in it")
