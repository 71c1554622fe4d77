"""Python programs in processes of their own: what they print, and what they hold in memory."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
# Only Linux tells a process all that follows.
MEMORY_IS_MEASURED = _STATUS.exists()


def output_of(program: str, environment: Mapping[str, str] | None = None) -> str:
    """What a Python program prints in a process of its own, in the folder of the project."""
    command, root = [sys.executable, "-c", program], Path(__file__).parents[1]
    given = {**os.environ, **(environment or {})}
    return subprocess.run(command, cwd=root, env=given, check=True, capture_output=True, text=True).stdout


def resident() -> int:
    """Bytes that this process holds now."""
    return _bytes("VmRSS")


def peak() -> int:
    """Bytes that this process held at most, all that it imported included, since it began or `forget_peak`.

    `getrusage` tells something else as `ru_maxrss`: Python starts a process within its own memory (vfork),
    and the most that this memory ever was counts as the new process's.
    """
    return _bytes("VmHWM")


def forget_peak() -> None:
    """Let the peak start anew, at what this process holds now."""
    _CLEAR.write_text("5")


def _bytes(field: str) -> int:
    line = re.search(rf"{field}:\s+(\d+) kB", _STATUS.read_text())
    if line is None:
        raise RuntimeError(f"{_STATUS} has no {field}")
    return 1024 * int(line[1])
