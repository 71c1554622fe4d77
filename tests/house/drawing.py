"""Reads who imports whom, and draws it: `make imports`.

The rows are those of CONTRIBUTING, from the bottom up. It needs nothing but Python, so that it runs
before anything is installed.
"""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]
BACKENDS = ("tensormoe_numpy", "tensormoe_torch", "tensormoe_jax")
SOURCES = {"tensormoe": ROOT, **dict.fromkeys(BACKENDS, ROOT / "backends")}


def _modules() -> dict[str, Path]:
    paths = {}
    for package, root in SOURCES.items():
        for path in (root / package).rglob("*.py"):
            parts = path.relative_to(root).with_suffix("").parts
            paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return paths


# Every module of the library by its dotted name; a package stands for its `__init__`.
MODULES = _modules()


@cache
def imports(module: str) -> tuple[str, ...]:
    """What a module imports, wherever in the file: under an `if` and inside functions, too."""
    return tuple(_imports(module))


def _imports(module: str) -> Iterator[str]:
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


EDGES = [(module, other) for module in MODULES for other in imports(module)]


def unit(module: str) -> str:
    """The word that stands for a module in CONTRIBUTING: its folder in the core, or its own name."""
    package, *parts = module.split(".")
    if package != "tensormoe":
        return package
    return parts[0] if parts else "__init__"


def rows() -> list[list[str]]:
    """The lines of CONTRIBUTING's layout, the lowest first, and the backends, which stand beside the face."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    block = text.split("imports only from the lines above")[1].split("```text\n")[1].split("```")[0]
    return [line.split(", ") for line in block.splitlines()]


def arrows() -> dict[str, set[str]]:
    """Each folder, or file beside the folders, with those that it imports."""
    graph: dict[str, set[str]] = {}
    for module, other in EDGES:
        if other.partition(".")[0] in SOURCES and unit(module) != unit(other):
            graph.setdefault(unit(module), set()).add(unit(other))
    # `python -m tensormoe` is the command line.
    graph.pop("__main__", None)
    return graph


def upward() -> list[str]:
    """The arrows that do not go down: what the layout forbids."""
    heights = {name: height for height, row in enumerate(rows()) for name in row}
    heights |= dict.fromkeys(BACKENDS, heights["verification"])
    return [
        f"{name} → {other}"
        for name, others in arrows().items()
        for other in sorted(others)
        if heights[other] >= heights[name]
    ]


def circle() -> list[str]:
    """Modules that import each other in a circle; empty if there is none."""
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for module, other in EDGES:
        if other in MODULES and other != module:
            graph[module].add(other)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def draw() -> str:
    """One line for each row, the highest first, with arrows to what lies below."""
    graph = arrows()
    lines = []
    for row in [[*BACKENDS], *reversed(rows())]:
        for name in row:
            below = [other for line in rows() for other in line if other in graph.get(name, ())]
            lines.append(f"{name:16s} ↓ {', '.join(below)}" if below else name)
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    print(draw())
    wrong = [*upward(), *filter(None, [" → ".join(circle())])]
    print(f"arrows that go up, or in a circle: {', '.join(wrong) or 'none'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
