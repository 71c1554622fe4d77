"""Specifications as plain data and as JSON: what is written, what is read, and whose names are taken."""

import json
import math
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensormoe as tm
from tensormoe.layers.serialization import spec_data
from tensormoe.testing import blocks, specs

infinity = float("inf")
positive = st.floats(min_value=1e-300, allow_nan=False, allow_infinity=False)
activations = st.one_of(
    st.sampled_from(["softmax", "sparsemax", "entmax15"]),
    st.builds(lambda alpha: tm.Activation("entmax", alpha=alpha), st.floats(1, 4)),
    st.builds(lambda eps: tm.Activation("soft_top_k", k=1, eps=eps), positive),
    st.just(tm.Activation("top_k", k=1)),
)
routers = st.one_of(
    st.just(tm.LinearRouter()),
    st.builds(
        tm.AdaptiveClustering,
        preset=st.sampled_from(["language", "vision"]),
        assignment=st.sampled_from(["soft", "hard"]),
        clamp=st.sampled_from([None, 1.0, 2.5, infinity]),
        shrinkage=st.sampled_from([0.0, 2, infinity]),
        momentum=st.floats(min_value=1e-6, max_value=1),
    ),
)
gates = st.builds(
    tm.Gate,
    activations,
    st.sampled_from(["layer", "batch", None]),
    routers,
    temperature=positive,
    noise=st.floats(min_value=0, allow_nan=False),
)


def strict(text: str) -> Any:
    """What a parser reads that knows no more than RFC 8259."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@given(specs(), blocks(), gates, st.sampled_from(["auto", "greedy"]), st.sampled_from([None, 2**62]))
def test_every_specification_returns_from_strict_json(
    layer: tm.MuMoESpec, block: tm.MuMoEBlockSpec, gate: tm.Gate, optimize: str, memory_limit: int | None
) -> None:
    for drawn in (layer, block):
        each = drawn.replace(gate=gate, optimize=optimize, memory_limit=memory_limit)
        data = strict(each.to_json())
        assert data == each.to_dict()
        assert data["format"] == 1
        for again in (
            tm.spec_from_json(each.to_json()),
            type(each).from_json(json.dumps(data)),
            type(each).from_dict(each.to_dict()),
            tm.Spec.from_dict(data),
        ):
            assert again == each
            assert hash(again) == hash(each)
            assert again.arguments == each.arguments


def test_a_specification_fits_into_the_json_of_something_else() -> None:
    spec = tm.MuMoESpec(8, 6, (4, 3), tm.Tucker((2, 2, 3, 3)))
    configuration = json.loads(json.dumps({"hidden": 8, "moe": spec.to_dict()}))
    assert tm.MuMoESpec.from_dict(configuration["moe"]) == spec


def test_each_part_is_plain_data_of_its_own() -> None:
    for part in (
        tm.CP(3),
        tm.TensorNetwork("n r, i r, o r", r=3),
        tm.Tucker((2, 3, 4)),
        tm.AdaptiveClustering(clusters=3, clamp=infinity),
        tm.Activation("soft_top_k", k=2),
        tm.Gate(tm.Activation("top_k", k=2)),
    ):
        data = json.loads(json.dumps(part.to_dict(), allow_nan=False))
        assert type(part).from_dict(data) == part
    assert tm.LinearRouter().to_dict() == {"type": "Linear", "bias": False}
    assert tm.Factorization.from_dict({"type": "CP", "rank": 3}) == tm.CP(3)
    with pytest.raises(tm.TensorMoEError, match="factorization type: received 'CP'; choose one of 'Tucker'"):
        tm.Tucker.from_dict({"type": "CP", "rank": 3})


def test_reports_take_stages_and_functions() -> None:
    block = tm.MuMoEBlockSpec(4, 3, 2, 5, tm.CP(3))
    data = json.loads(json.dumps(spec_data(block.layers["second"])))
    assert (data["in_features"], data["experts"], data["factorization"]["rank"]) == (3, [5], 3)
    assert spec_data(block) == block.to_dict()
    with_function = block.replace(gate=tm.Gate(norm=len))
    assert spec_data(with_function) == repr(with_function)


def changed(**fields: Any) -> str:
    data = json.loads(tm.MuMoESpec(8, 6, 4, tm.CP(3)).to_json())
    data.update(fields)
    return json.dumps({name: value for name, value in data.items() if value is not ...})


def without(name: str) -> str:
    data = json.loads(changed())
    del data[name]
    return json.dumps(data)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "this is not JSON"),
        (None, "this is not JSON"),
        ("[1, 2]", "pass an object with named fields"),
        ("[" * 100_000, "this is not JSON"),
        (b"\xff\xfe{", "this is not JSON"),
        ('{"bias": true, "bias": false}', "a field occurs twice"),
        ('{"in_features": ' + "9" * 5000 + "}", "this is not JSON"),
        ('{"format": 1, "memory_limit": Infinity}', "JSON has no Infinity"),
        (
            "{}",
            "specification: received .*the field 'format' is missing: .*to_json",
        ),
        (changed(format=2), "format: received 2; .* update tensormoe"),
        (changed(format="1"), "format: received '1'"),
        (changed(format=True), "format: received True"),
        (changed(type="Linear"), "spec type: received 'Linear'"),
        (changed(type=["MuMoESpec"]), "spec type"),
        (changed(type="MuMoEBlockSpec"), "spec type.* choose one of 'MuMoESpec'"),
        (changed(colour="red"), "spec field: received 'colour'"),
        (without("in_features"), "the field 'in_features' is missing"),
        (without("factorization"), "factorization: received None; pass an object"),
        (changed(in_features="8"), "in_features: received '8'"),
        (changed(in_features=8.5), "in_features: received 8.5"),
        (changed(in_features=10**20), r"in_features: .* below 2\*\*63"),
        (changed(experts=[]), "experts"),
        (changed(experts=[4, 0]), "experts"),
        (changed(experts=[1] * 2000), "experts: .* at most 24 levels, not 2000"),
        (changed(bias="yes"), "bias"),
        (changed(gate="softmax"), "gate: received 'softmax'"),
        (changed(gate={"activation": "gelu"}), "gate activation: received 'gelu'"),
        (changed(gate={"activation": ["softmax"]}), "gate activation"),
        (changed(gate={"softness": 2}), "gate field: received 'softness'"),
        (changed(gate={"noise": {"float": "loud"}}), "gate"),
        (changed(factorization="CP"), "factorization: received 'CP'; pass an object"),
        (changed(factorization={"type": "PARAFAC", "rank": 3}), "choose one of .*'CP'"),
        (changed(factorization={"type": "CP"}), "factorization: .* the field 'rank' is missing"),
        (
            changed(factorization={"type": "CP", "rank": 3, "ranks": 3}),
            "factorization field: received 'ranks'",
        ),
        (changed(factorization={"type": "CP", "rank": "3"}), "CP rank"),
        (
            changed(factorization={"type": "TensorNetwork", "notation": "n o, i o"}),
            "pass two fields: notation, and bonds",
        ),
        (changed(factorization={"type": "TensorNetwork", "notation": 3, "bonds": {}}), "pass a string"),
        (changed(optimize="cheapest"), "optimize: received 'cheapest'"),
        (changed(optimize=[[0, 1]]), "optimize"),
        (changed(memory_limit=-1), "memory_limit"),
    ],
)
def test_unfit_json_is_refused(text: str, said: str) -> None:
    with pytest.raises(tm.TensorMoEError, match=said):
        tm.MuMoESpec.from_json(text)


def test_a_subclass_of_the_gate_is_not_written_as_a_gate() -> None:
    class Halved(tm.Gate):
        pass

    spec = tm.MuMoESpec(8, 6, 4, tm.CP(3), gate=Halved("softmax"))
    with pytest.raises(tm.TensorMoEError, match=r"^gate: .*JSON has no name for .*Halved"):
        spec.to_json()


def test_fields_with_a_default_may_be_left_out() -> None:
    assert tm.spec_from_json(without("gate")) == tm.MuMoESpec(8, 6, 4, tm.CP(3))


@pytest.mark.parametrize("base", [tm.LinearRouter, tm.AdaptiveClustering, tm.CP, tm.Dense, tm.MuMoESpec])
def test_no_class_of_a_user_takes_the_name_of_a_built_in_one(base: type) -> None:
    with pytest.raises(
        tm.TensorMoEError, match=f"class name: .*{base.__module__}.{base.__name__} already has the name"
    ):
        type(base.__name__, base.__mro__[1:2], {})
    spec = tm.MuMoESpec(4, 4, 3, tm.CP(2), tm.Gate(router=tm.AdaptiveClustering()))
    assert tm.spec_from_json(spec.to_json()) == spec


@pytest.mark.parametrize("name", ["Linear", "LinearRouter"])
def test_a_router_is_known_without_its_suffix(name: str) -> None:
    with pytest.raises(tm.TensorMoEError, match="has the name 'Linear'"):
        type(name, (tm.Router,), {})


def test_two_definitions_of_one_name_are_an_error_and_one_definition_run_twice_is_not() -> None:
    def define() -> type[tm.Factorization]:
        @dataclass(frozen=True)
        class RunTwice(tm.Factorization):
            rank: int

            def notation(self, levels: int) -> str:
                return "n r, i r, o r"

        return RunTwice

    define()
    latest = define()
    spec = tm.MuMoESpec(4, 4, 3, latest(2))
    assert type(tm.spec_from_json(spec.to_json()).factorization) is latest
    with pytest.raises(tm.TensorMoEError, match=r"RunTwice already has the name 'RunTwice': choose another"):

        class RunTwice(tm.Factorization):
            def notation(self, levels: int) -> str:
                return "n o, i o"

    # A decorator that makes the class anew defines it twice, too.
    @dataclass(frozen=True, slots=True)
    class Slotted(tm.Router):
        factor: float = 2.0

        def logits(self, ops, x, parameters, state, call):
            return x, {}

    assert tm.Router.from_dict(Slotted(infinity).to_dict()) == Slotted(infinity)


@dataclass(frozen=True)
class Fielded(tm.Router):
    """A router with a field that may hold anything."""

    value: Any = None

    def logits(self, ops, x, parameters, state, call):
        return x, {}


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda members: st.lists(members, max_size=3).map(tuple),
    max_leaves=5,
)


@given(plain)
def test_a_field_returns_with_its_value_and_type(value: Any) -> None:
    router = Fielded(value)
    text = json.dumps(router.to_dict(), allow_nan=False)
    again = tm.Router.from_dict(strict(text))
    assert again == router
    assert repr(again) == repr(router)


def test_a_field_that_is_not_a_number_and_one_of_another_kind() -> None:
    again = tm.Router.from_dict(Fielded(float("nan")).to_dict())
    assert math.isnan(again.value)
    assert Fielded((np.int64(3), np.float32(0.5))).to_dict()["value"] == [3, 0.5]
    for value in (len, {1: 2}, np.ones(2), 1j, object()):
        with pytest.raises(tm.TensorMoEError, match=r"router value: .* cannot be written as JSON"):
            Fielded(value).to_dict()


def test_a_router_of_a_user_travels_by_pickle_and_json() -> None:
    spec = tm.MuMoESpec(4, 3, 2, tm.CP(2), tm.Gate(router=Fielded((1, infinity))))
    assert tm.spec_from_json(spec.to_json()) == pickle.loads(pickle.dumps(spec)) == spec
