"""The direction of imports is the one that CONTRIBUTING states, and there is no circle."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BACKENDS = ("tensormoe_numpy", "tensormoe_torch", "tensormoe_jax")
SOURCES = {"tensormoe": ROOT, **dict.fromkeys(BACKENDS, ROOT / "backends")}


def modules() -> dict[str, Path]:
    """Every module of the library by its dotted name; a package stands for its `__init__`."""
    found = {}
    for package, root in SOURCES.items():
        for path in (root / package).rglob("*.py"):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imported(module: str) -> Iterator[str]:
    """What a module imports, wherever in the file: under an `if` and inside functions, too."""
    path = MODULES[module]
    package = module.split(".") if path.stem == "__init__" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *filter(None, [node.module])])
            for alias in node.names:
                member = f"{origin}.{alias.name}"
                yield member if member in MODULES else origin


EDGES = [(module, other) for module in MODULES for other in imported(module)]


def unit(module: str) -> str:
    """The word that stands for a module in CONTRIBUTING: its folder in the core, or its own name."""
    package, *parts = module.split(".")
    if package != "tensormoe":
        return package
    return parts[0] if parts else "__init__"


def stated() -> dict[str, int]:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    block = text.split("imports only from the lines above")[1].split("```text\n")[1].split("```")[0]
    return {name: row for row, line in enumerate(block.splitlines()) for name in line.split(", ")}


def test_every_folder_imports_only_from_the_lines_above_it() -> None:
    rows = stated()
    assert set(rows) == {unit(module) for module in MODULES} - {*BACKENDS, "__main__"}
    core = [(a, b) for a, b in EDGES if a.startswith("tensormoe.") and b.partition(".")[0] == "tensormoe"]
    assert len(core) > 150
    upward = [
        (a, b) for a, b in core if unit(a) not in (unit(b), "__main__") and rows[unit(b)] >= rows[unit(a)]
    ]
    assert upward == []


def test_backends_import_folders_of_the_core_and_never_its_face_or_each_other() -> None:
    edges = [(a, b) for a, b in EDGES if unit(a) in BACKENDS and b.startswith("tensormoe")]
    assert len(edges) > 10
    low = {"typing", "errors", "tables", "networks", "arrays", "programs", "gates", "layers"}
    wrong = [(a, b) for a, b in edges if unit(b) not in {*low, unit(a)}]
    assert wrong == []


def test_no_file_imports_itself_in_a_circle() -> None:
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for module, other in EDGES:
        if other in MODULES and other != module:
            graph[module].add(other)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_verification_shares_no_code_with_what_it_verifies() -> None:
    """Neither the prover nor any method imports the search for paths or lowering: plans come with specs."""
    forbidden = {"tensormoe.programs.path", "tensormoe.programs.lowering"}
    plans = "tensormoe.programs.plan"
    for module in MODULES:
        if unit(module) == "verification":
            assert not forbidden & set(imported(module)), module
        if module.startswith("tensormoe.verification.proof."):
            assert plans not in set(imported(module)), module


def test_the_core_imports_no_framework_and_no_backend_package() -> None:
    barred = {"torch", "jax", "flax", *BACKENDS}
    for module in MODULES:
        if unit(module) not in (*BACKENDS, "demo"):
            assert not {name.partition(".")[0] for name in imported(module)} & barred, module
