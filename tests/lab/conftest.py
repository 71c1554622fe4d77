"""A lab that runs as a process of its own, as users run it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the page is."""
    command = [sys.executable, "-m", "tensormoe", "lab", "--port", "0", "--no-browser"]
    given = filter(None, [os.environ.get("PYTHONPATH")])
    sources = os.pathsep.join([*given, str(ROOT), str(ROOT / "backends")])
    folder = tmp_path_factory.mktemp("lab")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=folder, env={**os.environ, "PYTHONPATH": sources}
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield line.split(" until ")[0].removeprefix("the lab is at ")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
    assert list(folder.iterdir()) == []
