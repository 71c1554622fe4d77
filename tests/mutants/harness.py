"""Mutants: the library with one fault injected, and the methods of verification that catch it.

Most faults are edits of the source of one function, as a slip of the hand would be.
"""

import functools
import inspect
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest
from mutants.running import Patch, failures

import tensormoe as tm
from tensormoe.verification import METHODS


@dataclass(frozen=True)
class Mutant:
    """The library with one fault.

    Args:
        name: what is wrong.
        where: the module and what in it is changed, "programs.lowering:lower".
        patch: injects the fault.
        spec: what it is tried on; a function, since specifications remember their plans.
        caught_by: the method of verification that is to catch it; where verification does not look, the test,
            such as "gates/test_gate.py::test_batch_norm_is_pytorchs".
        backends: what it is tried with; the frameworks method compares two.
    """

    name: str
    where: str
    patch: Patch
    spec: Callable[[], tm.Spec]
    caught_by: str
    backends: tuple[str, ...] = ("numpy", "torch")


def edit(name: str, where: str, old: str, new: str, *rest: Any, **options: Any) -> Mutant:
    """The mutant in which a function's source has one text in place of another."""
    return Mutant(name, where, functools.partial(_edit, where, old, new), *rest, **options)


def assign(name: str, where: str, value: Any, *rest: Any, **options: Any) -> Mutant:
    """The mutant in which a name of a module or a class stands for another value."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(*_place(where), value)

    return Mutant(name, where, patch, *rest, **options)


def find_refusal(spec: Callable[[], tm.Spec], backends: tuple[str, ...], method: str) -> str | None:
    """Why a method refuses the library as it is now; None if it passes.

    An exception is a refusal, too: the fault is not silent.
    """
    try:
        report = tm.verify(spec(), backends, methods=method)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None if report.passed else str(report)


def reasons(mutant: Mutant, methods: tuple[str, ...] = METHODS) -> dict[str, str]:
    """Why each of the methods that catch a mutant does."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        forget(mutant)
        mutant.patch(monkeypatch)
        actual = {method: find_refusal(mutant.spec, mutant.backends, method) for method in methods}
    forget(mutant)
    return {method: reason for method, reason in actual.items() if reason is not None}


def failing_tests(mutant: Mutant) -> list[str]:
    """The tests that fail with a mutant, of those that it names."""
    return failures(mutant.patch, mutant.caught_by, functools.partial(forget, mutant))


def forget(mutant: Mutant) -> None:
    """Empty the caches that would carry what was computed with a fault to without it, or back."""
    for module in _modules():
        for function in [value for value in vars(module).values() if hasattr(value, "cache_clear")]:
            function.cache_clear()
    if "jax" in mutant.backends:
        # What is compiled is known by the function that it came from, which stays the same.
        import_module("jax").clear_caches()


def _place(where: str) -> tuple[Any, str]:
    """The module or class that holds what is changed, and its name there."""
    module, _, path = where.partition(":")
    *owners, name = path.split(".")
    actual = import_module(module if module.startswith("tensormoe_") else f"tensormoe.{module}")
    return functools.reduce(getattr, owners, actual), name


def _edit(where: str, old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name = _place(where)
    original = inspect.getattr_static(owner, name)
    function = inspect.unwrap(getattr(original, "func", None) or getattr(original, "fget", None) or original)
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1, f"{where} has no such line any more: {old}"
    # Within a function, so that super() knows the class.
    within = textwrap.indent(source.replace(old, new), "    ")
    namespace: dict[str, Any] = {}
    maker = f"def make(__class__):\n{within}\n    return {name}"
    exec(compile(maker, where, "exec"), function.__globals__, namespace)
    mutated = namespace["make"](owner)
    if hasattr(mutated, "__set_name__"):
        mutated.__set_name__(owner, name)
    monkeypatch.setattr(owner, name, mutated)
    for holder in _holders():
        for key in [key for key, value in vars(holder).items() if value is original]:
            monkeypatch.setattr(holder, key, mutated)
        for table in [value for value in vars(holder).values() if type(value) is dict]:
            for key, value in [*table.items()]:
                monkeypatch.setitem(table, key, _with_another(value, original, mutated))


def _with_another(value: Any, original: Any, mutated: Any) -> Any:
    """What a table holds: the function itself, or a record with it."""
    if not is_dataclass(value) or isinstance(value, type):
        return mutated if value is original else value
    changes = {f.name: mutated for f in fields(value) if getattr(value, f.name, None) is original}
    return replace(value, **changes) if changes else value


def _holders() -> list[Any]:
    """What may hold functions of others, under names of its own or in dictionaries: modules and classes."""
    modules = _modules()
    classes = {value for module in modules for value in vars(module).values() if isinstance(value, type)}
    tests = [module for name, module in sys.modules.items() if name.startswith("tests.")]
    return [*modules, *(kind for kind in classes if kind.__module__.startswith("tensormoe")), *tests]


def _modules() -> list[ModuleType]:
    return [module for name, module in sys.modules.items() if name.startswith("tensormoe")]
