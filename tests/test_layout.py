"""The direction of imports is the one that CONTRIBUTING states."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
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
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 1 and id(node) not in checked:
            found |= {node.module} if node.module else {alias.name for alias in node.names}
    return found - {"__version__"}


def test_every_module_imports_from_lines_above() -> None:
    rows = stated()
    files = {path.stem: path for path in (ROOT / "tensormoe").glob("*.py") if path.stem not in APART}
    assert set(rows) == {*files, "demo"}
    edges = [(name, other) for name, path in files.items() for other in imported(path)]
    assert len(edges) > 50
    assert [(a, b) for a, b in edges if rows[b] >= rows[a] and (a, b) != ("cli", "demo")] == []


def test_the_core_imports_no_framework_and_no_backend_package() -> None:
    for path in (ROOT / "tensormoe").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            roots = {name.partition(".")[0] for name in names}
            assert not roots & {"torch", "jax", "flax", "tensormoe_numpy", "tensormoe_torch", "tensormoe_jax"}
