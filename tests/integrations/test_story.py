"""The story of docs/transformers.md on two processes: replaced, trained, saved, loaded, and used in JAX."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("transformers")
pytest.importorskip("accelerate")
pytest.importorskip("jax")

PAGE = Path(__file__).parents[2] / "docs" / "transformers.md"
BLOCK = re.compile(r"^```python\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
PROCESSES = 2


def test_the_story_of_the_page_on_two_processes(tmp_path: Path) -> None:
    """Each process asserts what the page asserts."""
    story = PAGE.read_text(encoding="utf-8").split("\n## ")[1]
    ends = f"assert torch.distributed.get_world_size() == {PROCESSES}\nprint('the end')\n"
    script = tmp_path / "train.py"
    script.write_text("\n".join([*BLOCK.findall(story), ends]), encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(tmp_path),
    }
    command = ["torch.distributed.run", "--standalone", f"--nproc-per-node={PROCESSES}", str(script)]
    done = subprocess.run(
        [sys.executable, "-m", *command], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    assert done.stdout.count("the end") == PROCESSES
    assert (tmp_path / "gpt2-mumoe" / "model.safetensors").exists()
    assert (tmp_path / "gpt2-mumoe" / "checkpoints" / "checkpoint-200").exists()
