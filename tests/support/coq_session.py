"""Many certificates in one process of Coq: its start and the prelude are paid for once."""

import atexit
import os
import re
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

from tensormoe.verification.coq.check import check_certificate
from tensormoe.verification.coq.names import PARTS, read_prelude

_STATE = re.compile(r"<prompt>\S+ < (\d+) ")
_BODY = re.compile(r"^\(\* III\. THE LAYER\. \*\)$(.*?)^End Program\.$", re.DOTALL | re.MULTILINE)


class Session:
    """A process of Coq that knows the prelude, and forgets each certificate after it has said what it thinks.

    Args:
        seconds: how long a certificate may take; one that takes longer counts as refused.
    """

    def __init__(self, seconds: int = 300) -> None:
        self._process = subprocess.Popen(
            ["coqtop", "-q", "-emacs"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        self._folder = TemporaryDirectory(prefix="tensormoe-")
        said = self._load(read_prelude(PARTS))
        assert "Error" not in said, said
        self._ask(f"Set Default Timeout {seconds}.")
        self._start = self._state

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def refusal(self, text: str) -> str:
        """What Coq objects to in a certificate, or ""."""
        body = _BODY.search(text)
        assert body is not None
        said = self._load(body[1])
        if "Error" not in said:
            # Nothing in a certificate is admitted or assumed; it is asked whether both theorems are there.
            assert not re.search(r"Admitted|Axiom|admit", body[1])
            said = self._ask("Check (program_is_soft_moe, program_fits).")
            said = said if "Error" in said else ""
        self._ask(f"BackTo {self._start}.")
        return said

    def _load(self, text: str) -> str:
        path = Path(self._folder.name, "file.v")
        path.write_text(text, encoding="utf-8")
        return self._ask(f'Load "{path}".')

    def _ask(self, command: str) -> str:
        """What Coq answers to commands."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\nPrint unit.\n")
        self._process.stdin.flush()
        said = []
        while not said or "Inductive unit" not in said[-1]:
            said.append(self._process.stdout.readline())
            assert said[-1], "".join(said)
        self._state = int(_STATE.findall("".join(said))[-1])
        return "".join(said[:-1])


def objection(text: str) -> str:
    """What Coq objects to in a certificate, or "".

    One session judges all certificates of this process. With the deep profile each is checked as users check
    it: by itself, with all that it rests on.
    """
    if os.environ.get("HYPOTHESIS_PROFILE") == "deep":
        verdict = check_certificate(text)
        return "" if verdict.passed else str(verdict)
    return _session().refusal(text)


@cache
def _session() -> Session:
    session = Session()
    atexit.register(session.__exit__, None, None, None)
    return session
