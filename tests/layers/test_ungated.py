"""Layers without a gate: coefficients come with each call, also in place of a gate's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.definition import truth
from support.frameworks import BACKENDS
from support.strategies import close, on_every_backend, values_for

import tensormoe as tm
from tensormoe.layers.functional import compute_gate, mix
from tensormoe.testing import blocks, specs

LEVELS = tm.MuMoESpec(6, 5, (4, 3), tm.CP(3), gate=None)
ONE = LEVELS.replace(experts=4)
GATED = tm.MuMoESpec(6, 5, 4, tm.CP(3), tm.Gate("softmax", norm="batch"))
BLOCK = tm.MuMoEBlockSpec(6, 7, 5, 4, tm.CP(3), gate=None, gated=True, input_norm=True)
# JAX compiles each example; its modules are tried below.
EAGER = tuple(name for name in BACKENDS if name != "jax")
backends = pytest.mark.parametrize("backend", BACKENDS)


def arrays_of(backend: str, values: Any) -> Any:
    return tm.get_backend(backend).from_float64(np.asarray(values), "float32")


def draw(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).normal(size=shape)


@on_every_backend(specs(gate=st.none(), max_levels=3, min_levels=0), st.integers(0, 3), backends=EAGER)
def test_any_layer_at_coefficients_of_the_call_is_the_definition(
    backend: str, spec: tm.MuMoESpec, batch_size: int
) -> None:
    values, ops = values_for(spec, 0, batch_size), tm.get_backend(backend)
    names = [f"cores.{name}" for name in spec.network.shapes]
    with ops.double_precision():
        arrays = {name: ops.from_numpy(core) for name, core in zip(names, values.cores, strict=True)}
        parameters = {name: arrays[name] for name in spec.parameter_shapes}
        state = {name: arrays[name] for name in spec.state_shapes}
        x, *coefficients = (ops.from_numpy(each) for each in (values.x, *values.coefficients))
        result = tm.apply(spec, parameters, x, state=state, coefficients=coefficients)
        mixed = mix(spec, arrays, coefficients, x)
    close(ops.to_float64(result.y), truth(spec, values).y)
    close(ops.to_float64(mixed), truth(spec, values).y)
    assert [tuple(a.shape) for a in result.coefficients] == [(batch_size, n) for n in spec.experts]
    assert result.state.keys() == state.keys()


UNGATED = specs(gate=st.none(), min_levels=0)


@given(UNGATED, blocks(UNGATED))
def test_any_such_layer_or_block_survives_json(spec: tm.MuMoESpec, block: tm.MuMoEBlockSpec) -> None:
    assert tm.spec_from_json(block.to_json()) == block
    assert tm.spec_from_json(spec.to_json()) == spec
    assert spec.num_parameters == spec.network.num_parameters
    assert {*spec.parameter_shapes, *spec.state_shapes} == {*spec.core_names}
    assert spec.gate_shapes == {}


@given(blocks(specs(gate=st.none(), max_levels=2, min_levels=0)))
def test_blocks_are_proved(block: tm.MuMoEBlockSpec) -> None:
    tm.prove(block)


@pytest.mark.parametrize("spec", [LEVELS, ONE.replace(experts=()), BLOCK], ids=["levels", "linear", "block"])
def test_a_layer_is_verified_by_every_method(spec: tm.Spec) -> None:
    report = tm.verify(spec, batch_size=3, backends=EAGER)
    assert report.passed, str(report)
    assert "gate: none" in str(report)
    assert not any("coefficients of the gate" in check.quantity for check in report.checks)


@backends
@pytest.mark.parametrize("spec", [ONE, BLOCK], ids=["layer", "block"])
def test_a_module_mixes_by_what_it_is_given(backend: str, spec: tm.Spec) -> None:
    layer = tm.build(spec, backend, seed=0)
    parameters = {name: np.asarray(value) for name, value in tm.initialize(spec)[0].items()}
    x, a = draw(2, 3, 6), draw(2, 3, 4)
    expected = mix(spec, {name: value.astype("float64") for name, value in parameters.items()}, [a], x)
    ops = tm.get_backend(backend)
    for given_as in (arrays_of(backend, a), [arrays_of(backend, a)]):
        y, coefficients = layer(arrays_of(backend, x), return_coefficients=True, coefficients=given_as)
        close(ops.to_float64(y.detach() if backend == "torch" else y), expected, 1e-5)
        close(ops.to_float64(coefficients[0]), a, 1e-6)
    assert len(layer.gate_weights) == 0


@backends
def test_without_coefficients_a_call_says_what_to_pass(backend: str) -> None:
    for spec, shape in ((ONE, r"\(2, 4\)"), (LEVELS, r"\(2, 4\), \(2, 3\)")):
        layer = tm.build(spec, backend, seed=0)
        with pytest.raises(
            tm.TensorMoEError, match=f"coefficients: received None; .* no gate: .* shape {shape}"
        ):
            layer(arrays_of(backend, draw(2, 6)))


@backends
@pytest.mark.parametrize(
    ("coefficients", "message"),
    [
        (lambda ops: ops(draw(2, 3)), r"coefficients\[0\].*received \(2, 3\); .*shape \(2, 4\)"),
        (lambda ops: [ops(draw(4))], r"coefficients\[0\].*received \(4,\)"),
        (lambda ops: [ops(draw(2, 4))] * 2, r"coefficients: received 2; pass 1 array"),
        (lambda ops: [], r"coefficients: received 0; pass 1 array"),
        (lambda ops: [[[0.25] * 4] * 2], r"coefficients\[0\]"),
        (lambda ops: 0.25, r"coefficients: received <class 'float'>"),
        (lambda ops: {"0": ops(draw(2, 4))}, r"coefficients: received <class 'dict'>"),
    ],
    ids=["experts", "tokens", "levels", "none", "lists", "number", "mapping"],
)
def test_coefficients_that_do_not_fit_are_refused(backend: str, coefficients: Any, message: str) -> None:
    layer = tm.build(ONE, backend, seed=0)
    brought = coefficients(lambda values: arrays_of(backend, values))
    with pytest.raises(tm.TensorMoEError, match=message):
        layer(arrays_of(backend, draw(2, 6)), coefficients=brought)


def test_coefficients_of_another_type_are_refused() -> None:
    layer = tm.build(ONE, "numpy", seed=0)
    with pytest.raises(tm.TensorMoEError, match=r"coefficients\[0\] is float64"):
        layer(draw(2, 6).astype("float32"), coefficients=draw(2, 4))


def test_one_array_does_not_stand_for_two_levels() -> None:
    layer = tm.build(LEVELS, "numpy", seed=0)
    with pytest.raises(tm.TensorMoEError, match="pass a list of 2 array"):
        layer(draw(2, 6).astype("float32"), coefficients=draw(2, 4).astype("float32"))


def test_coefficients_take_the_place_of_a_gates_and_its_statistics_stay() -> None:
    parameters, state = tm.initialize(GATED, 0, "float64")
    x, a = draw(5, 6), draw(5, 4)
    usual = tm.apply(GATED, parameters, x, state=state, training=True)
    result = tm.apply(GATED, parameters, x, coefficients=a, state=state, training=True)
    cores = {name: value for name, value in parameters.items() if name in GATED.core_names}
    close(result.y, mix(GATED, cores, [a], x))
    assert result.coefficients[0] is a
    assert all((result.state[name] == state[name]).all() for name in state)
    assert any((usual.state[name] != state[name]).any() for name in state)
    again = tm.apply(GATED, parameters, x, coefficients=usual.coefficients, state=state)
    close(again.y, usual.y)


def test_cores_start_as_with_coefficients_that_sum_to_one() -> None:
    gated = tm.initialize(GATED, 3)[0]
    alone = tm.initialize(GATED.replace(gate=None), 3)[0]
    assert all((alone[name] == gated[name]).all() for name in alone)
    x, a = draw(64, 6), np.full((64, 4), 0.25)
    shared = tm.materialize(ONE, tm.cores_of(ONE, alone)).mean(0)
    y = tm.apply(ONE, alone, x.astype("float32"), coefficients=a.astype("float32")).y
    close(y, x @ shared[:6] + shared[6], 1e-5)


def test_a_layer_without_a_gate_costs_no_router() -> None:
    assert GATED.macs - ONE.macs == 6 * 4
    assert GATED.num_parameters - ONE.num_parameters == 6 * 4
    assert ONE.matched(parameters=200).num_parameters <= 200


@backends
@pytest.mark.parametrize("spec", [LEVELS, ONE.replace(experts=()), BLOCK], ids=["levels", "linear", "block"])
def test_a_saved_layer_comes_back(spec: tm.Spec, backend: str, tmp_path: Path) -> None:
    layer = tm.build(spec, backend, seed=0)
    tm.save(layer, tmp_path / "layer")
    loaded = tm.load(tmp_path / "layer", backend="numpy")
    assert loaded.spec == spec
    x = draw(2, 6).astype("float32")
    a = [draw(2, n).astype("float32") for n in spec.experts]
    y = layer(arrays_of(backend, x), coefficients=[arrays_of(backend, each) for each in a])
    close(tm.get_backend(backend).to_float64(y.detach() if backend == "torch" else y),
          loaded(x, coefficients=a), 1e-5)  # fmt: skip


def test_what_asks_for_a_gate_says_that_there_is_none() -> None:
    x = draw(2, 6).astype("float32")
    layer = tm.build(ONE, "numpy", seed=0)
    for call in (
        lambda: compute_gate(ONE, {}, x),
        lambda: tm.editing.edit(layer, tm.editing.Steer(expert=1, set=1.0)),
        lambda: tm.editing.edit(layer, tm.editing.Split(1)),
    ):
        with pytest.raises(
            tm.TensorMoEError, match=r"gate.*: received None; .*coefficients come with each call"
        ):
            call()


def test_experts_are_ablated_with_the_coefficients_of_a_call() -> None:
    x, a = draw(3, 6), draw(3, 4)
    layer = tm.build(ONE, "numpy", seed=0, dtype="float64")
    outputs = tm.analysis.ablate(layer, x, coefficients=a)
    for expert in range(4):
        left = np.where(np.arange(4) == expert, 0, a)
        close(outputs[expert], layer(x, coefficients=left), 1e-12)
    with pytest.raises(tm.TensorMoEError, match=r"coefficients: received None; the layer has no gate"):
        tm.analysis.ablate(layer, x)


def test_experts_are_edited_without_a_gate() -> None:
    layer = tm.build(ONE, "numpy", seed=0, dtype="float64")
    edited = tm.editing.edit(layer, tm.editing.Ablate(2))
    assert edited.certificate().experts == {"cores": ((2,),)}
    x, a = draw(3, 6), draw(3, 4)
    without = a * (np.arange(4) != 2)
    close(edited.layer(x, coefficients=a), layer(x, coefficients=without))


def test_what_asks_for_experts_says_that_there_are_none() -> None:
    linear = tm.build(ONE.replace(experts=()), "numpy", seed=0)
    for call in (
        lambda: tm.editing.edit(linear, tm.editing.Ablate(0)),
        lambda: tm.editing.certify(linear, linear, 0),
        lambda: tm.analysis.gram(linear),
        lambda: tm.analysis.spectrum(linear, 0),
    ):
        with pytest.raises(tm.TensorMoEError, match="has no experts"):
            call()
    with pytest.raises(tm.TensorMoEError, match="this layer has no gate: there are no experts to mix"):
        compute_gate(linear.spec, {}, draw(2, 6))


@pytest.mark.parametrize("gate", [tm.Gate(), tm.Gate("softmax", router=tm.AdaptiveClustering())])
def test_a_gate_needs_experts(gate: tm.Gate) -> None:
    with pytest.raises(tm.TensorMoEError, match=r"experts: received \(\); without experts .*pass gate=None"):
        tm.MuMoESpec(6, 5, (), tm.CP(3), gate)
    with pytest.raises(tm.TensorMoEError, match=r"experts: received \(\); without experts .*pass gate=None"):
        tm.MuMoESpec(6, 5, (), tm.CP(3))


def test_a_dense_weight_becomes_a_layer_without_experts() -> None:
    generator = np.random.default_rng(0)
    weight, bias = generator.normal(size=(6, 3)) @ generator.normal(size=(3, 5)), generator.normal(size=5)
    spec = tm.MuMoESpec(6, 5, (), tm.CP(3), gate=None, bias=False)
    x = draw(4, 6)
    parameters, _ = tm.upcycle(weight, spec, dtype="float64")
    close(tm.apply(spec, parameters, x).y, x @ weight, 1e-9)
    fitted = tm.fit(weight, spec)
    close(tm.materialize(spec, fitted.cores), weight, 1e-9)
    whole = spec.replace(bias=True, factorization=tm.CP(5))
    parameters, _ = tm.upcycle(weight, whole, bias=bias, dtype="float64")
    close(tm.apply(whole, parameters, x).y, x @ weight + bias, 1e-9)


@pytest.mark.parametrize("experts", [4, ()], ids=["experts", "linear"])
def test_a_layer_without_a_gate_is_timed(experts: Any) -> None:
    spec = ONE.replace(experts=experts, bias=False)
    report = tm.bench(spec, "numpy", batch_size=4, rounds=1, seconds=0.001)
    macs = {m.side: m.macs for m in report.measurements}
    assert macs["layer"] == spec.plan(4).macs > 0
