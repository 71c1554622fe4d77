"""The direction of imports is the one that CONTRIBUTING states."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = {"benching", "demo", "verification"}
# Only the package's own surface stands apart from the lines.
APART = {"__init__", "__main__"}


def stated() -> dict[str, int]:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    block = text.split("imports only from lines above its own")[1].split("```text\n")[1].split("```")[0]
    return {name: row for row, line in enumerate(block.splitlines()) for name in line.split(", ")}


def imported(path: Path) -> set[str]:
    """Modules of the core that a file imports when it is loaded or run."""
    found = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    checked = {id(n) for node in ast.walk(tree) if isinstance(node, ast.If) for n in ast.walk(node)}
    # A package's members reach the core by two dots.
    depth = 1 if path.parent.name == "tensormoe" else 2
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == depth and id(node) not in checked:
            found |= {node.module} if node.module else {alias.name for alias in node.names}
    return found - {"__version__"}


def test_every_module_imports_from_lines_above() -> None:
    rows = stated()
    files = {path.stem: path for path in (ROOT / "tensormoe").glob("*.py") if path.stem not in APART}
    assert set(rows) == {*files, *PACKAGES}
    edges = [(name, other) for name, path in files.items() for other in imported(path)]
    for package in PACKAGES:
        members = (ROOT / "tensormoe" / package).glob("*.py")
        edges += [(package, other) for path in members for other in imported(path)]
    assert len(edges) > 50
    assert [(a, b) for a, b in edges if rows[b] >= rows[a] and (a, b) != ("cli", "demo")] == []


def test_verification_shares_no_code_with_what_it_verifies() -> None:
    """Neither the prover nor any level imports planning or lowering; plans come with the specification."""
    prover = {
        name: imported(ROOT / "tensormoe" / f"{name}.py") for name in ("symbolic", "derivation", "proof")
    }
    for path in (ROOT / "tensormoe" / "verification").glob("*.py"):
        prover[path.stem] = imported(path)
    for name, modules in prover.items():
        allowed = {"planning"} if name == "verify" else set()
        assert not modules & ({"planning", "lowering"} - allowed), name


def test_the_core_imports_no_framework_and_no_backend_package() -> None:
    parts = ("*.py", "verification/*.py", "benching/*.py")
    paths = [path for part in parts for path in (ROOT / "tensormoe").glob(part)]
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            roots = {name.partition(".")[0] for name in names}
            assert not roots & {"torch", "jax", "flax", "tensormoe_numpy", "tensormoe_torch", "tensormoe_jax"}
