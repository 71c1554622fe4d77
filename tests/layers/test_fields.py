"""Every field of a specification, of its gate and of its factorization changes something, and travels."""

import json
import pickle
from collections import Counter
from dataclasses import fields
from functools import cache
from inspect import signature
from typing import Any

import pytest
from support.frameworks import BACKENDS
from support.options import CHANGES, Change, activated, outcome

import tensormoe as tm
from tensormoe.codec import Serializable
from tensormoe.gates.activations import WEIGHTINGS, check_options

cached_outcome = cache(outcome)
every_field = pytest.mark.parametrize(
    "change", CHANGES, ids=lambda change: f"{change.kind.__name__}.{change.field}"
)


def test_every_field_of_every_public_class_is_here() -> None:
    public = [value for value in vars(tm).values() if isinstance(value, type)]
    kinds = {
        kind for kind in public if issubclass(kind, Serializable) and hasattr(kind, "__dataclass_fields__")
    }
    expected = {(kind, field.name) for kind in kinds for field in fields(kind)}
    assert {(change.kind, change.field) for change in CHANGES} == expected
    assert max(Counter((change.kind, change.field) for change in CHANGES).values()) == 1


@every_field
def test_a_field_that_is_ignored_is_noticed(change: Change) -> None:
    """Another value changes shapes, plans or results."""
    before, after = change.make_before(), change.make_after()
    assert before != after
    assert cached_outcome(before) != outcome(after)


@every_field
def test_a_field_is_not_lost_on_the_way(change: Change) -> None:
    before, after = change.make_before(), change.make_after()
    text = after.to_json()
    assert json.loads(text) != json.loads(before.to_json())
    ways = tm.spec_from_json(text), pickle.loads(pickle.dumps(after)), type(after)(**after.arguments)
    for again in ways:
        assert again.arguments == after.arguments
        assert repr(again) != repr(before)
        assert outcome(again) == outcome(after)


def test_a_pickle_holds_no_plans() -> None:
    for change in CHANGES[:2]:
        spec = change.make_after()
        spec.prepare()
        assert vars(pickle.loads(pickle.dumps(spec))) == spec.arguments


@every_field
@pytest.mark.parametrize("backend", BACKENDS)
def test_modules_are_built_with_every_field(change: Change, backend: str) -> None:
    spec = change.make_after()
    module = tm.build(spec, backend, seed=0)
    again = type(module)(**spec.arguments, seed=0)
    assert module.spec.arguments == again.spec.arguments == spec.arguments


# Two values of every option of every gate activation.
OPTIONS: dict[str, dict[str, tuple[Any, Any]]] = {
    "entmax": {"alpha": (1.2, 1.4)},
    "soft_top_k": {"k": (2, 3), "eps": (0.5, 2.0)},
    "top_k": {"k": (2, 3)},
    "relu_top_k": {"k": (1, 3)},
    "jump_relu": {"threshold": (0.1, 0.5)},
}


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_every_option_of_a_gate_activation_is_heard(name: str) -> None:
    known = list(signature(WEIGHTINGS[name]).parameters)[2:]
    assert known == [*OPTIONS.get(name, {})]
    first = {option: values[0] for option, values in OPTIONS.get(name, {}).items()}
    for option, (_, other) in OPTIONS.get(name, {}).items():
        before, after = activated(name, **first), activated(name, **{**first, option: other})
        assert outcome(before) != outcome(after)
        assert tm.spec_from_json(after.to_json()) == after
    assert check_options(first) == first
