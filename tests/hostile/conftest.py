"""A small machine, so that refusals of what does not fit can be tried without risk."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile.guards import PRESENT

from tensormoe import memory


@pytest.fixture
def small_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A machine of 200 MB, which is what may be asked for before a size is refused, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    limit = tmp_path / "memory.max"
    limit.write_text(str(PRESENT))
    monkeypatch.setattr(memory, "_LIMITS", (str(limit),))
    memory.host_memory.cache_clear()
    yield
    memory.host_memory.cache_clear()
