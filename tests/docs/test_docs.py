"""Every Python block of the README and of the documentation runs and prints what the page shows."""

import doctest
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
# Its line, its code and the output that is shown.
Block = tuple[int, str, str | None]
# Code, and what it prints if a block of text follows it directly.
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n*```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
# Packages of the extra "integrations": a block that imports one runs where it is installed.
OPTIONAL = (
    "equinox",
    "huggingface_hub",
    "lightning",
    "lm_eval",
    "onnxruntime",
    "orbax",
    "peft",
    "safetensors",
    "torchao",
    "transformers",
)
# A C++ compiler takes its time: tests/integrations/test_neighbours.py runs these.
SLOW = ("torch._inductor",)

texts = {path: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")]}
PAGES = {str(path.relative_to(ROOT)): text for path, text in texts.items() if BLOCK.search(text)}


def blocks(page: str) -> list[Block]:
    """The line, the code and the shown output of every block that can run here."""
    left_out = [*SLOW, *(name for name in OPTIONAL if find_spec(name) is None)]
    matches = [(PAGES[page].count("\n", 0, m.start()) + 1, *m.groups()) for m in BLOCK.finditer(PAGES[page])]
    return [match for match in matches if not any(imports(name, match[1]) for name in left_out)]


def imports(name: str, code: str) -> bool:
    """Whether code imports a package at the start of a line."""
    return re.search(rf"^(?:import|from) {re.escape(name)}\b", code, re.MULTILINE) is not None


def test_the_pages_with_code_are_found() -> None:
    assert "README.md" in PAGES
    assert len([page for page in PAGES if page.startswith("docs")]) >= 5
    # No block is written in a way that the pattern above misses.
    for page, text in PAGES.items():
        assert len(BLOCK.findall(text)) == len(re.findall(r"^\s*[`~]{3,} *py", text, re.MULTILINE)), page


# Pages that stay away from the other framework: they run where it cannot be imported.
FOR_ONE = {"docs/pytorch.md": "torch", "docs/jax.md": "jax"}
# It has blocks for either, and those for one run where the other cannot be imported.
FOR_EITHER = "docs/tutorial.md"


@pytest.mark.parametrize("page", sorted(PAGES.keys() - {*FOR_ONE, FOR_EITHER}))
def test_code_runs_and_prints_what_is_shown(page: str) -> None:
    run(page, blocks(page))


def run(page: str, matches: list[Block]) -> None:
    """Run blocks one after the other, and compare what they print with what is shown."""
    namespace = {"__name__": "__main__"}
    for line, code, shown in matches:
        if ">>>" in code:
            example = doctest.DocTestParser().get_doctest(code, {}, page, page, line)
            example.globs = namespace
            report: list[str] = []
            runner = doctest.DocTestRunner(verbose=False, optionflags=FLAGS)
            result = runner.run(example, out=report.append, clear_globs=False)
            assert not result.failed, "".join(report)
            continue
        printed = StringIO()
        with redirect_stdout(printed):
            exec(compile("\n" * line + code, page, "exec"), namespace)
        if shown is not None:
            output = printed.getvalue()
            assert doctest.OutputChecker().check_output(shown, output, FLAGS), f"{page}:{line}\n{output}"


# The packages that cannot be imported where a page is for the other framework.
OTHERS = {"torch": ("jax", "jaxlib", "flax", "tensormoe_jax"), "jax": ("torch", "tensormoe_torch")}


@pytest.mark.parametrize(("page", "framework"), FOR_ONE.items())
def test_code_of_a_page_for_one_framework_runs_without_the_other(page: str, framework: str) -> None:
    _run_without(framework, page, blocks(page))


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_the_tutorial_runs_in_either_framework(framework: str) -> None:
    matches = blocks(FOR_EITHER)
    own = [match for match in matches if not any(imports(name, match[1]) for name in OTHERS[framework])]
    assert len(own) < len(matches)
    _run_without(framework, FOR_EITHER, own)


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_a_first_block_of_the_readme_runs_alone(framework: str) -> None:
    first = next(match for match in blocks("README.md") if imports(framework, match[1]))
    _run_without(framework, "README.md", [first])


def _run_without(framework: str, page: str, matches: list[Block]) -> None:
    """Run blocks in a new interpreter with one framework, in which the other cannot be imported."""
    pytest.importorskip(framework)
    here = Path(__file__)
    script = [
        "import sys",
        *(f"sys.modules[{name!r}] = None" for name in OTHERS[framework]),
        f"sys.path.insert(0, {str(here.parent)!r})",
        f"from {here.stem} import run",
        f"run({page!r}, {matches!r})",
    ]
    command = [sys.executable, "-c", "\n".join(script)]
    # Without `env`, a child has the COLUMNS that readline sets behind Python's back.
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 0, done.stderr
