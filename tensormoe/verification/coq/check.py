"""Certificates checked by Coq: what it proves, and what that rests on."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ...errors import TensorMoEError
from .export import THEOREM
from .names import has_prelude

# What Coq says of a theorem that rests on nothing.
_CLOSED = "Closed under the global context"
# What a certificate asks for those who compile it; here it is asked from outside, and once is enough.
_QUESTION = "Print Assumptions certificate.\n"
_CLAIMS = re.compile(r"^Definition certificate := \(([\w, ]+)\)\.$", re.MULTILINE)
_ADVICE = (
    "Read this statement: it is what is proved, of exact numbers, with y and the steps of the program as the "
    "file defines them. What it assumes is written in it."
)
_REMEDY = (
    "Coq is not installed, or coqc is not on PATH: apt install coq, brew install coq, or opam install coq "
    "(certificates are written for Coq 8.16)"
)


@dataclass(frozen=True)
class Verdict:
    """What Coq says of a certificate; prints as text.

    Args:
        theorems: the names of those that the file claims.
        statement: what the first one says, in Coq's words.
        assumptions: what they rest on, in Coq's words.
        refusal: why Coq refuses the file, or "".
        has_prelude: whether the definitions of operations are those that this version writes.
    """

    theorems: tuple[str, ...]
    statement: str = ""
    assumptions: str = ""
    refusal: str = ""
    has_prelude: bool = True

    @property
    def passed(self) -> bool:
        """Whether the file has its theorem, and all that it claims rests on nothing unproved."""
        return not self.refusal and THEOREM in self.theorems and self.assumptions == _CLOSED

    def __str__(self) -> str:
        if self.refusal:
            return f"Coq refuses the file: {self.refusal}"
        if THEOREM not in self.theorems:
            return f"the file does not claim {THEOREM}"
        lines = [
            self.statement,
            "",
            _ADVICE,
            "",
            f"{len(self.theorems)} theorems: {', '.join(self.theorems)}",
            self.assumptions,
        ]
        if not self.has_prelude:
            lines.append("The operations are not defined as this version of tensormoe defines them.")
        return "\n".join(lines)


def check_certificate(text: str) -> Verdict:
    """Ask Coq whether a certificate holds, and on what it rests.

    The file is compiled in a temporary folder. Its theorems are then looked at from another file, so what the
    file prints itself does not count. Axioms, and proofs that were admitted, are among the assumptions that
    Coq lists.

    Args:
        text: of the file, such as `proof.to_coq()`.

    Raises:
        TensorMoEError: Coq is not installed.
    """
    coqc = find_coqc()
    claims = _CLAIMS.search(text)
    names = tuple(claims[1].split(", ")) if claims else ()
    known = has_prelude(text)
    if THEOREM not in names:
        return Verdict(names, has_prelude=known)
    with TemporaryDirectory(prefix="tensormoe-") as name:
        folder = Path(name)
        files = ("certificate.v", text.removesuffix(_QUESTION)), ("claims.v", _ask(names))
        for file, content in files:
            folder.joinpath(file).write_text(content, encoding="utf-8")
            refusal = _compile(coqc, folder, file)
            if refusal:
                return Verdict(names, refusal=refusal, has_prelude=known)
        return Verdict(names, _read(folder, "says"), _read(folder, "rests"), has_prelude=known)


def check_file(path: Path) -> Verdict:
    """Ask Coq whether the certificate in a file holds.

    Raises:
        TensorMoEError: Coq is not installed, or the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise TensorMoEError("certificate", str(path), f"the file cannot be read ({error})") from error
    return check_certificate(text)


def find_coqc() -> str:
    """The path of Coq's compiler.

    Raises:
        TensorMoEError: there is none; the text says how to install it.
    """
    path = shutil.which("coqc")
    if path is None:
        raise TensorMoEError("coqc", None, _REMEDY)
    return path


def _ask(names: Sequence[str]) -> str:
    """A file that asks what the theorem says, and what all of them rest on."""
    # Not as a tuple: Coq would write the types of all that come before into that of each.
    every = "".join(f"let _ := certificate.{name} in " for name in names)
    return (
        "Require certificate.\nSet Printing Width 100.\n"
        f'Redirect "says" Check certificate.{THEOREM}.\n'
        f"Definition every := {every}I.\n"
        'Redirect "rests" Print Assumptions every.\n'
    )


def _compile(coqc: str, folder: Path, file: str) -> str:
    """Compile a file; what Coq objects to, or ""."""
    done = subprocess.run([coqc, "-q", file], cwd=folder, capture_output=True, text=True, encoding="utf-8")
    if done.returncode == 0:
        return ""
    text = " ".join((done.stderr or done.stdout).split())
    return re.sub(r'^File "[^"]*", ', "", text) or f"coqc ends with status {done.returncode}"


def _read(folder: Path, name: str) -> str:
    return folder.joinpath(f"{name}.out").read_text(encoding="utf-8").strip()
