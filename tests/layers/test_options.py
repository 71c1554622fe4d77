"""What constructors pass on to specifications."""

import inspect

import pytest

import tensormoe as tm
from tensormoe.layers.options import BlockOptions, LayerOptions


@pytest.mark.parametrize(
    ("spec", "options"), [(tm.MuMoESpec, LayerOptions), (tm.MuMoEBlockSpec, BlockOptions)]
)
def test_options_are_the_arguments_that_have_defaults(spec: type[tm.Spec], options: type) -> None:
    arguments = inspect.signature(spec).parameters.values()
    optional = {each.name for each in arguments if each.default is not inspect.Parameter.empty}
    assert set(options.__annotations__) == optional
    # None may be left out, or a default would be written twice.
    assert options.__required_keys__ == frozenset()
