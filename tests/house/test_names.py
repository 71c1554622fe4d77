"""What is public has an example in its docstring, which `make doctest` runs."""

import inspect

import pytest
from support.frameworks import BACKENDS

import tensormoe
import tensormoe.testing
from tensormoe.arrays.registry import get_module

MODULES = (tensormoe, tensormoe.analysis, tensormoe.editing, tensormoe.testing, *map(get_module, BACKENDS))
PUBLIC = [getattr(module, name) for module in MODULES for name in module.__all__]


@pytest.mark.parametrize(
    "public", [each for each in PUBLIC if inspect.isclass(each) or inspect.isroutine(each)]
)
def test_a_public_name_has_an_example(public) -> None:
    assert ">>>" in (inspect.getdoc(public) or "")
