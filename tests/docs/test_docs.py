"""Every Python block of the README and of the documentation runs and prints what the page shows."""

import doctest
import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
# Code, and what it prints if a block of text follows it directly.
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n*```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)

texts = {path: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")]}
PAGES = {str(path.relative_to(ROOT)): text for path, text in texts.items() if BLOCK.search(text)}


def test_the_pages_with_code_are_found() -> None:
    assert "README.md" in PAGES
    assert len([page for page in PAGES if page.startswith("docs")]) >= 5
    # No block is written in a way that the pattern above misses.
    for page, text in PAGES.items():
        assert len(BLOCK.findall(text)) == len(re.findall(r"^\s*[`~]{3,} *py", text, re.MULTILINE)), page


@pytest.mark.parametrize("page", sorted(PAGES))
def test_code_runs_and_prints_what_is_shown(page: str) -> None:
    namespace = {"__name__": "__main__"}
    for block in BLOCK.finditer(PAGES[page]):
        code, shown = block.groups()
        line = PAGES[page].count("\n", 0, block.start()) + 1
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
            found = printed.getvalue()
            assert doctest.OutputChecker().check_output(shown, found, FLAGS), f"{page}:{line}\n{found}"
