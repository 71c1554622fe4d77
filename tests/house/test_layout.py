"""The direction of imports is the one that CONTRIBUTING states, and there is no circle."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from house.drawing import BACKENDS, EDGES, MODULES, ROOT, circle, draw, imports, rows, unit, upward

# What a backend may import: names and arrays, the mathematics written with them, and values to start with.
LOW = {"terminal", "typing", "errors", "tables", "codec", "memory"} | {
    "networks",
    "arrays",
    "programs",
    "gates",
    "layers",
    "fitting",
}
# A file with more lines than this holds more than one concept.
LONGEST = 330


def test_every_folder_imports_only_from_the_lines_above_it() -> None:
    named = {name for row in rows() for name in row}
    assert named == {unit(module) for module in MODULES} - {*BACKENDS, "__main__"}
    assert len([a for a, b in EDGES if a.startswith("tensormoe.") and b.startswith("tensormoe.")]) > 150
    assert upward() == []


def test_no_file_imports_itself_in_a_circle() -> None:
    assert circle() == []


def test_the_drawing_shows_every_folder() -> None:
    drawn = {line.split()[0] for line in draw().splitlines() if line}
    assert drawn == {unit(module) for module in MODULES} - {"__main__"}


def test_backends_import_folders_of_the_core_and_never_its_face_or_each_other() -> None:
    edges = [(a, b) for a, b in EDGES if unit(a) in BACKENDS and b.startswith("tensormoe")]
    assert len(edges) > 10
    assert [(a, b) for a, b in edges if unit(b) not in {*LOW, unit(a)}] == []


def test_verification_shares_no_code_with_what_it_verifies() -> None:
    """Neither the prover nor any method imports the search for paths or lowering: plans come with specs."""
    forbidden = {"tensormoe.programs.path", "tensormoe.programs.lowering"}
    plans = "tensormoe.programs.plan"
    for module in MODULES:
        if unit(module) == "verification":
            assert not forbidden & set(imports(module)), module
        if module.startswith("tensormoe.verification.proof."):
            assert plans not in set(imports(module)), module


def test_the_core_imports_no_framework_and_no_backend_package() -> None:
    barred = {"torch", "jax", "flax", *BACKENDS}
    for module in MODULES:
        if unit(module) not in (*BACKENDS, "demo"):
            assert not {name.partition(".")[0] for name in imports(module)} & barred, module


def test_the_core_is_imported_in_a_fifth_of_a_second_without_a_framework(tmp_path: Path) -> None:
    code = (
        "import sys, time; start = time.process_time(); import numpy, scipy, tensorly, opt_einsum\n"
        "start = time.process_time(); import tensormoe; print(time.process_time() - start)\n"
        "assert not {'torch', 'jax', 'flax', 'rich'} & {*sys.modules}"
    )
    # From the second start on, Python has its bytecode, unless the environment forbids it to keep any.
    kept = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    command = [sys.executable, "-c", code]
    seconds = [
        float(subprocess.run(command, capture_output=True, check=True, env=kept).stdout) for _ in range(3)
    ]
    assert min(seconds) < 0.2


def test_no_file_is_too_long() -> None:
    lengths = {module: len(path.read_text().splitlines()) for module, path in MODULES.items()}
    assert {module: length for module, length in lengths.items() if length > LONGEST} == {}


def test_the_operations_of_a_framework_have_a_type() -> None:
    """What is passed along as `ops` is one of the protocols, never Any."""
    untyped = re.compile(r"\b(ops|tl|backend): Any\b")
    core = [module for module in MODULES if unit(module) not in BACKENDS]
    assert [module for module in core if untyped.search(MODULES[module].read_text())] == []


@pytest.mark.parametrize("folder", sorted(path.name for path in (ROOT / "tensormoe").glob("[a-z]*/")))
def test_tests_mirror_the_folders_of_the_core(folder: str) -> None:
    # The demonstration is a command and so is tested with the command line.
    places = {"demo": "cli", "testing": "verification"}
    assert [*(ROOT / "tests" / places.get(folder, folder)).glob("test_*.py")]


def test_every_folder_of_tests_is_one_of_the_readmes() -> None:
    table = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
    folders = {path.parent.relative_to(ROOT / "tests").parts[0] for path in ROOT.glob("tests/*/**/*.py")}
    assert {folder for folder in folders if f"| `{folder}/` |" not in table} == set()
