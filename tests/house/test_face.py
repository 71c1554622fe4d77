"""The library's face: what is imported at its first use is what type checkers are told."""

import ast
import subprocess
import sys
from dataclasses import FrozenInstanceError, is_dataclass
from inspect import isabstract

import pytest
from house.drawing import MODULES

import tensormoe as tm


def declared() -> dict[str, str]:
    """The names under TYPE_CHECKING by the module that they come from."""
    tree = ast.parse(MODULES["tensormoe"].read_text(encoding="utf-8"))
    (branch,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in branch.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module for node in imports if node.module for alias in node.names}


def test_names_of_the_face_come_from_where_type_checkers_look() -> None:
    for name, module in declared().items():
        assert getattr(tm, name) is getattr(sys.modules[f"tensormoe.{module}"], name)
    assert {*declared()} <= {*tm.__all__} <= {*dir(tm)}


def test_records_cannot_be_changed() -> None:
    """They are remembered, shared and used as keys."""
    records = [
        kind for name in tm.__all__ if is_dataclass(kind := getattr(tm, name)) and not isabstract(kind)
    ]
    assert {tm.MuMoESpec, tm.Gate, tm.Proof} < {*records}
    for kind in records:
        with pytest.raises(FrozenInstanceError):
            object.__new__(kind).name = "another"


def test_every_name_of_the_face_is_there_at_once() -> None:
    """Each in an interpreter of its own kind of first use: by attribute, by import, by star."""
    for code in (
        "import tensormoe as tm; assert all(hasattr(tm, name) for name in tm.__all__); tm.fitting.compare",
        "from tensormoe import *; verify, save, fit",
        "import tensormoe as tm; assert not hasattr(tm, 'verifi'); from tensormoe import prove, load",
    ):
        subprocess.run([sys.executable, "-c", code], check=True)


def test_what_few_need_is_not_imported_before() -> None:
    code = (
        "import sys, tensormoe\n"
        "late = ('analysis', 'benching', 'checkpoints', 'editing', 'fitting', 'verification')\n"
        "assert not {f'tensormoe.{name}' for name in late} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
