"""Which frameworks the tests run on: TENSORMOE_TEST_BACKENDS, or else those that are installed.

A framework that the variable names and that cannot be imported is an error, so that nothing is skipped in
silence where all of them are meant. One that it does not name cannot be imported at all, installed or not:
what runs is what would run without it.
"""

import os
import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec
from typing import Any

# Each backend with the packages that are its framework.
PACKAGES = {"numpy": ("numpy",), "torch": ("torch",), "jax": ("jax", "jaxlib", "flax", "optax")}

INSTALLED = tuple(name for name, packages in PACKAGES.items() if all(map(find_spec, packages)))
BACKENDS = tuple(filter(None, os.environ.get("TENSORMOE_TEST_BACKENDS", ",".join(INSTALLED)).split(",")))
# NumPy is never left out: the library itself needs it.
MISSING = {package for name in {"torch", "jax"} - {*BACKENDS} for package in PACKAGES[name]}


class Finder(PathFinder):
    """Python's own finder of modules, which does not see the frameworks that are left out."""

    @classmethod
    def find_spec(cls, name: str, *args: Any) -> Any:
        return None if name.partition(".")[0] in MISSING else super().find_spec(name, *args)


def leave_out() -> None:
    """Make the frameworks that are not chosen as good as not installed."""
    sys.meta_path[sys.meta_path.index(PathFinder)] = Finder


def lacks(error: BaseException | None) -> str | None:
    """The framework that is left out and whose absence caused an error; None if it has another cause."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in MISSING:
            return str(error.name).partition(".")[0]
        error = error.__cause__ or error.__context__
    return None
