"""Every section of docs/neighbours.md runs alone, and so does the page on transformers after its story."""

import shutil
from importlib.util import find_spec

import pytest

from docs import test_docs as pages

SECTIONS = {
    title.splitlines()[0]: title
    for page, only in (("docs/neighbours.md", ""), ("docs/transformers.md", "on the Hub"))
    for title in pages.PAGES[page].split("\n## ")[1:]
    if only in title.splitlines()[0]
}


def test_each_neighbour_has_a_section() -> None:
    assert {
        "PEFT",
        "torchao",
        "ONNX Runtime",
        "AOTInductor",
        "Lightning",
        "lm-eval",
        "orbax",
    } < SECTIONS.keys()


@pytest.mark.filterwarnings("ignore")  # those of the tools
@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_runs(section: str) -> None:
    text = SECTIONS[section]
    missing = [name for name in pages.OPTIONAL if find_spec(name) is None and pages.imports(name, text)]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed; the section says how")
    if pages.imports("torch._inductor", text) and not shutil.which("c++"):
        pytest.skip("there is no C++ compiler: apt-get install g++")
    pages.run("docs", [(1, code, shown or None) for code, shown in pages.BLOCK.findall(text)])
