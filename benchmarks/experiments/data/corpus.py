"""Texts at hand: English that installed packages bring along, so that nothing is downloaded.

They are the topics of Python's `help`, from the manual of the language, and the docstrings of modules,
classes and functions of packages that are installed. Packages are read and not imported. The texts are those
of the versions that are installed: results say which.
"""

import ast
import pydoc_data.topics
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from inspect import cleandoc
from pathlib import Path
from typing import NamedTuple

import tensormoe as tm

PACKAGES = ("numpy", "scipy", "sklearn")
MANUAL = "python"
_Documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class Text(NamedTuple):
    """A document, and where it comes from.

    Args:
        source: "python" for its manual, or the package.
        name: the topic, or the module and the object in it.
        text: the document.
    """

    source: str
    name: str
    text: str


def read_corpus(
    packages: Sequence[str] = PACKAGES, *, shortest: int = 200, longest: int = 4_000
) -> list[Text]:
    """The manual of Python and the docstrings of packages: of equal versions, the same each time.

    Args:
        packages: whose docstrings; each must be installed.
        shortest: documents of fewer characters are left out.
        longest: documents are cut off after so many characters.

    Returns:
        Documents without repetition, by source and then by name.

    Raises:
        TensorMoEError: a package that is not installed.
    """
    texts, known = [], set()
    sources = [_read_manual(), *(_read_package(name) for name in packages)]
    for each in (text for source in sources for text in source):
        cut = each.text[:longest]
        if len(cut) >= shortest and cut not in known:
            known.add(cut)
            texts.append(each._replace(text=cut))
    return texts


def _read_manual() -> Iterator[Text]:
    for name, text in sorted(pydoc_data.topics.topics.items()):
        yield Text(MANUAL, name, text)


def _read_package(name: str) -> Iterator[Text]:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        remedy = "it is not installed, and its docstrings were to be learned from: install it, or name others"
        raise tm.TensorMoEError("packages", name, remedy)
    root = Path(spec.origin).parent
    # Tests have docstrings for programmers of that package only.
    for path in sorted(root.rglob("*.py"), key=lambda path: path.relative_to(root).as_posix()):
        place = path.relative_to(root.parent)
        if not {"tests", "testing", "_vendor"} & {*place.parts}:
            yield from _read_docstrings(name, place.as_posix(), path.read_text(encoding="utf-8"))


def _read_docstrings(package: str, place: str, code: str) -> Iterator[Text]:
    if '"""' not in code:
        return
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, _Documented) and (text := ast.get_docstring(node)):
            yield Text(package, f"{place}:{getattr(node, 'name', '')}", cleandoc(text))
