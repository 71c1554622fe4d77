"""Tables of options: what each is tried with, or the test that does so; see `tests/house`."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
# A call that takes the option as a keyword, and another value than the default.
Changed = tuple[Callable[..., Any], Any]
# By function and option; text names a test, as in "house/test_every_option.py::test_of_it".
Options = Mapping[str, Mapping[str, Any]]


def calls_of(options: Options) -> dict[str, Changed]:
    """The options that are tried by a call, by "function.option"."""
    return {
        f"{name}.{option}": call
        for name, several in options.items()
        for option, call in several.items()
        if not isinstance(call, str)
    }


def change(name: str, changed: Changed) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The call of an option as it is by default, and with another value."""
    call, value = changed
    return call, partial(call, **{name.rpartition(".")[2]: value})


def options_of(function: Callable[..., Any]) -> set[str]:
    """The parameters that have a default."""
    parameters = inspect.signature(function).parameters.values()
    return {each.name for each in parameters if each.default is not each.empty}


def assert_named_tests_are_there(options: Options) -> None:
    """The tests that a table names in place of calls are in their files."""
    for several in options.values():
        for call in several.values():
            if isinstance(call, str):
                path, _, test = call.partition("::")
                assert f"def {test}(" in (TESTS / path).read_text(encoding="utf-8"), call
