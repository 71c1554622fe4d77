"""Plain data: how deep lists may nest, and which class a name stands for."""

from dataclasses import make_dataclass
from typing import Any

import pytest

import tensormoe as tm
from tensormoe.codec import decode, encode

DEEPEST = 50


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = (value,)
    return value


def test_lists_nest_as_deep_as_is_said_and_no_deeper() -> None:
    deepest = nested(DEEPEST)
    assert decode(encode("field", deepest)) == deepest
    for convert in (lambda value: encode("field", value), decode):
        with pytest.raises(tm.TensorMoEError, match=f"nested more than {DEEPEST} deep"):
            convert(nested(DEEPEST + 1))


@pytest.mark.parametrize(("first", "second"), [("module_a", "module_b"), ("module_b", "module_a")])
def test_dataclasses_of_one_name_in_two_modules_are_two(first: str, second: str) -> None:
    def define(module: str) -> type:
        bases, methods = (tm.Router,), {"logits": lambda *_: ([], {})}
        namespace = {"__module__": module, "__dataclass_fields__": {}, **methods}
        return make_dataclass(f"Twice{first}", [], bases=bases, namespace=namespace, frozen=True)

    define(first)
    # The same once more, with a name of the module that is equal and another object.
    define("".join([*first, ""]))
    with pytest.raises(tm.TensorMoEError, match="already has the name"):
        define(second)
