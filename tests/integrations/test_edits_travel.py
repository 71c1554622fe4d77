"""Edited modules go from one framework to the other in processes of their own, and are undone there."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tensormoe as tm

torch = pytest.importorskip("torch")
pytest.importorskip("jax")

# The other framework cannot be imported, as where it is not installed.
ALONE = "import sys\nfor name in {others!r}: sys.modules[name] = None\n"
START = """
import numpy as np, tensormoe as tm
from tensormoe.editing import Ablate, Add, AddBias, Replace, Split, Steer
def layer(framework):
    spec = tm.MuMoESpec(5, 3, 4, tm.CP(2), tm.Gate("entmax15", "batch"))
    parameters, state = tm.initialize(spec, 0)
    draws = np.random.default_rng(0)
    values = {name: draws.normal(size=each.shape).astype("float32") for name, each in parameters.items()}
    return tm.SavedLayer(spec, values, state).build(framework)
"""
EDITS = """
columns = np.random.default_rng(1).normal(size=(5, 2))
edits = [Add(1, np.eye(5, 3)), Ablate(0), Split(1, 3, columns=columns), Steer(5, add=0.25),
         AddBias(4, 2, 0.5), Replace(2, np.ones((6, 3)))]
edited = tm.editing.edit(layer({framework!r}), edits)
tm.save(edited, {path!r})
"""
BACK = """
edited = tm.editing.load({path!r}, {framework!r})
assert len(edited.edits) == 6 and edited.certificate().unchanged == {{"cores": 1}}, edited
assert type(edited.layer).__module__.startswith("tensormoe_" + {framework!r})
tm.save(edited.undo(4), {part!r})
tm.save(edited.undo(6), {whole!r})
"""
CHECK = """
edited, base = tm.editing.load({part!r}, "numpy"), layer("numpy")
assert [type(each) for each in edited.edits] == [Add, Ablate]
for again in (edited.undo(2).layer, tm.load({whole!r}, "numpy")):
    assert again.spec == base.spec
    assert all((again.arrays()[name] == each).all() for name, each in base.arrays().items())
y = tm.load({path!r}, "numpy")(np.ones((2, 5), "float32"))
np.save({out!r}, y)
"""


def start(code: str, others: list[str]) -> "subprocess.Popen[str]":
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", ALONE.format(others=others) + START + code]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_edited_modules_are_undone_in_the_other_framework_and_without_one(tmp_path: Path) -> None:
    ways = {"torch": "jax", "jax": "torch"}
    results = []
    for stage in (EDITS, BACK, CHECK):
        running = []
        for first, second in ways.items():
            names = {
                name: str(tmp_path / f"{first}-{name}.safetensors") for name in ("path", "part", "whole")
            }
            here = {EDITS: first, BACK: second, CHECK: "numpy"}[stage]
            out = str(tmp_path / f"{first}.npy")
            code = stage.format(framework=here, out=out, **names)
            running.append(start(code, [name for name in ("torch", "jax") if name != here]))
            results += [out] * (stage is CHECK)
        for process in running:
            output, _ = process.communicate(timeout=300)
            assert process.returncode == 0, output[-3000:]
    ours, theirs = map(np.load, results)
    np.testing.assert_array_equal(ours, theirs)
    loaded = tm.load(tmp_path / "torch-path.safetensors", "torch")
    with torch.no_grad():
        np.testing.assert_allclose(loaded.eval()(torch.ones(2, 5)), ours, rtol=1e-4, atol=1e-5)
