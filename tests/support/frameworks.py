"""Which frameworks the tests run on: TENSORMOE_TEST_BACKENDS, otherwise those that are installed.

A framework that the variable names and that cannot be imported is an error, so that nothing is skipped in
silence where all of them are meant. One that it does not name cannot be imported at all, installed or not:
what runs is what would run without it.
"""

import os
import sys
from dataclasses import dataclass
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import find_spec
from typing import Any

# Each backend with the packages that are its framework.
PACKAGES = {"numpy": ("numpy",), "torch": ("torch",), "jax": ("jax", "jaxlib", "flax", "optax")}
# Ours are there, but cannot be imported without the framework.
OURS = {"tensormoe_torch": "torch", "tensormoe_jax": "jax"}

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


def optional(name: str) -> Any:
    """A framework's module; where the framework is left out, a stand-in for it, in place of `import`.

    Files with tests for several frameworks import them so: only the tests that use a missing one are skipped.
    """
    package = name.partition(".")[0]
    return Absent(name) if OURS.get(package, package) in MISSING else import_module(name)


@dataclass(frozen=True)
class Absent:
    """A name of a framework that is left out: it may stand anywhere, but not be called."""

    path: str

    def __getattr__(self, name: str) -> "Absent":
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent(f"{self.path}.{name}")

    def __call__(self, *args: object, **options: object) -> Any:
        package = self.path.partition(".")[0]
        package = OURS.get(package, package)
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    def __mro_entries__(self, bases: object) -> tuple[type, ...]:
        return ()

    def __instancecheck__(self, instance: object) -> bool:
        return False

    def __or__(self, other: object) -> "Absent":
        return self
