"""Whatever is read as JSON, a reader returns a specification or says what is wrong with the text."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hostile.guards import limits
from hostile.values import BLOCKS, LAYERS
from hypothesis import given
from hypothesis import strategies as st

import tensormoe as tm


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:  # a number of more digits than Python reads
        raise tm.TensorMoEError("text", text, "this is the test's own parser") from error


READERS: tuple[Callable[[Any], tm.Spec], ...] = (
    tm.spec_from_json,
    tm.MuMoESpec.from_json,
    tm.MuMoEBlockSpec.from_json,
    lambda text: tm.Spec.from_dict(_parse(text)),
)

# As they stand in JSON text: Python's own writer refuses some of them.
WRONG = (
    *("null", "true", "false", "0", "-1", "3", "1.0", "2.5", "1e400", "-0.0", "NaN", "Infinity", "-Infinity"),
    *('""', '"no"', '"16"', '"CP"', '"softmax"', '"\\ud800"', '"\\u0000"', "[]", "{}", "[[4]]", "[1, null]"),
    *("1000000000000000000", "9" * 400, "9" * 6000, '{"float": "nan"}', '{"float": "inf"}', '{"float": 3}'),
    *(
        '{"type": "CP"}',
        '{"type": "Tucker", "ranks": 3}',
        '{"type": ["CP"]}',
        '{"notation": "n"}',
        '{"a": {"b": 1}}',
    ),
    *('{"type": "AdaptiveClustering", "clusters": 10000000000000000000}', '{"name": "entmax", "alpha": 9}'),
    str([1] * 2000),
    str([1] * 40),
    "[" * 500 + "]" * 500,
    '{"a": ' * 500 + "1" + "}" * 500,
)


def _places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path to every value."""
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(place for key, value in inner for place in _places(value, (*path, key)))]


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A specification's text with one or two values replaced, or a field too many."""
    data = json.loads(draw(st.sampled_from([*LAYERS, *BLOCKS])).to_json())
    marks = {}
    for number in range(draw(st.integers(1, 2))):
        *path, last = draw(st.sampled_from([place for place in _places(data) if place]))
        inner = data
        for key in path:
            inner = inner[key]
        mark = f"mark {number}"
        marks[json.dumps(mark)] = draw(st.sampled_from(WRONG))
        if isinstance(inner, dict) and draw(st.booleans()):
            last = draw(st.sampled_from(["bogus", "type", "clamp", "k", "10^18", "", last]))
        inner[last] = mark
    text = json.dumps(data)
    for mark, wrong in marks.items():
        text = text.replace(mark, wrong)
    return text


def read(reader: Callable[[Any], tm.Spec], text: Any) -> None:
    """Read a text, and use what it describes."""
    with limits():
        try:
            spec = reader(text)
        except tm.TensorMoEError:
            return
        assert tm.spec_from_json(spec.to_json()) == spec
        _ = str(spec.plan(2)), spec.num_parameters


@given(st.sampled_from(READERS), texts())
def test_a_text_with_wrong_values_is_refused_or_read(reader: Callable[[Any], tm.Spec], text: str) -> None:
    read(reader, text)


@given(st.sampled_from(READERS[:3]), st.one_of(st.text(), st.binary(), st.integers(), st.none()))
def test_what_is_no_specification_is_refused(reader: Callable[[Any], tm.Spec], text: Any) -> None:
    with pytest.raises(tm.TensorMoEError):
        reader(text)


@given(st.sampled_from(LAYERS), st.data())
def test_a_text_that_is_cut_or_repeated_is_refused(spec: tm.MuMoESpec, data: st.DataObject) -> None:
    text = spec.to_json()
    place = data.draw(st.integers(0, len(text) - 1))
    for wrong in (
        text[:place],
        text + text[place:] + "x",
        text.replace('"experts"', '"bias": true, "experts"'),
    ):
        with pytest.raises(tm.TensorMoEError):
            tm.spec_from_json(wrong)


def test_a_thousand_levels_are_refused_at_once() -> None:
    data = LAYERS[0].to_dict() | {"experts": [1] * 2000}
    with limits(), pytest.raises(tm.TensorMoEError, match="at most 24 levels"):
        tm.spec_from_json(json.dumps(data))


@pytest.mark.parametrize("depth", [300, 100_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    nested: Any = []
    for _ in range(depth):
        nested = [nested]
    for wrong in (nested, {"type": "CP", "rank": nested}):
        with pytest.raises(tm.TensorMoEError):
            tm.Spec.from_dict(LAYERS[0].to_dict() | {"factorization": wrong, "optimize": nested})
