"""Layers whose gates leave few coefficients: the same function, read from fewer slices."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.frameworks import BACKENDS
from support.strategies import close, truth, values_for

import tensormoe as tm
from tensormoe.gates.steering import Sharing, Steering
from tensormoe.layers.functional import compute_gate, mix, run_mixture

TWO = tm.Gate(tm.Activation("top_k", k=2))
GATES = [
    TWO,
    tm.Gate(tm.Activation("relu_top_k", k=2), None),
    tm.Gate(tm.Activation("top_k", k=2), noise=0.5),
]
# Large enough to be gathered for few vectors.
WIDE = tm.MuMoESpec(96, 96, 128, tm.Dense(), TWO)


def dense(spec: tm.Spec, parameters: dict[str, Any], coefficients: Any, x: Any, ops: Any) -> Any:
    """The output of the program that reads all of every core."""
    return run_mixture(ops, spec, parameters, coefficients, x, False)


def is_gathered(spec: tm.MuMoESpec, batch_size: int) -> bool:
    return bool(spec.plan(batch_size).contraction.active)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("gate", GATES, ids=str)
def test_a_layer_gives_what_its_coefficients_and_weight_give(gate: tm.Gate, backend: str) -> None:
    spec = WIDE.replace(gate=gate)
    assert is_gathered(spec, 3)
    ops = tm.get_backend(backend)
    parameters, state = tm.initialize(spec, seed=0)
    x = np.random.default_rng(0).normal(size=(3, 96)).astype("float32")
    arrays = {name: ops.from_numpy(value) for name, value in parameters.items()}
    result = tm.apply(spec, arrays, ops.from_numpy(x), state=state)
    a = ops.to_float64(result.coefficients[0])
    assert (np.count_nonzero(a, axis=1) <= 2).all()
    weight = parameters["cores.core1"].astype("float64")
    extended = np.concatenate([x, np.ones((3, 1))], axis=1).astype("float64")
    close(ops.to_float64(result.y), np.einsum("tn,nio,ti->to", a, weight, extended), 1e-5)


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "numpy"])
@pytest.mark.parametrize("activation", ["top_k", "relu_top_k"])
def test_gradients_of_parameters_are_those_of_the_dense_program(activation: str, backend: str) -> None:
    spec = WIDE.replace(gate=tm.Gate(tm.Activation(activation, k=2)))
    ops = tm.get_backend(backend)
    parameters, _ = tm.initialize(spec, seed=1)
    generator = np.random.default_rng(1)
    names = list(parameters)
    values = [parameters[name].astype("float64") for name in names]
    values[names.index("gate_weights.0")] = generator.normal(size=(96, 128))
    with ops.double_precision():
        leaves = [ops.from_float64(value, "float64") for value in (*values, generator.normal(size=(3, 96)))]
        weights = ops.from_float64(generator.normal(size=(3, 96)), "float64")

        def run(gathers: bool, *leaves: Any) -> Any:
            arrays, x = dict(zip(names, leaves[:-1], strict=True)), leaves[-1]
            a = compute_gate(spec, {"gate_weights.0": arrays.pop("gate_weights.0")}, x).coefficients
            return run_mixture(ops, spec, arrays, a, x, False, spec.active if gathers else None)

        gathered = ops.gradients(lambda *each: run(True, *each), leaves, weights)
        whole = ops.gradients(lambda *each: run(False, *each), leaves, weights)
        for one, other in zip(gathered, whole, strict=True):
            close(ops.to_float64(one), ops.to_float64(other), 1e-10)
            assert float(np.abs(ops.to_float64(one)).max()) > 0


@settings(max_examples=10)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_your_own_sparse_coefficients_give_the_soft_moe(seed: int, k: int) -> None:
    spec = WIDE.replace(gate=tm.Gate(), in_features=90, out_features=100)
    values = values_for(spec, seed, 3)
    a = values.coefficients[0]
    a[a < np.sort(a, axis=1)[:, -k][:, None]] = 0
    cores = dict(zip(spec.core_names, values.cores, strict=True))
    assert any(plan.contraction.active for _, (plan,) in spec.plans_for((k,)))
    close(mix(spec, cores, [a], values.x, active=k), truth(spec, values).y)
    # A single vector has no leading axes.
    close(mix(spec, cores, [a[0]], values.x[0], active=k), truth(spec, values).y[0])


def test_more_coefficients_than_you_say_are_refused() -> None:
    spec = WIDE.replace(gate=tm.Gate())
    values = values_for(spec, 0, 3)
    cores = dict(zip(spec.core_names, values.cores, strict=True))
    a = np.zeros((3, 128))
    a[1, :3] = 1
    with pytest.raises(tm.TensorMoEError, match="more than active = 2 of a token's differ from 0"):
        mix(spec, cores, [a], values.x, active=2)
    assert mix(spec, cores, [a], values.x, active=3).shape == (3, 96)
    with pytest.raises(tm.TensorMoEError, match="only 128 experts"):
        mix(spec, cores, [a], values.x, active=129)


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "numpy"])
@pytest.mark.parametrize("tokens", [3, 60])
def test_the_derivative_at_a_coefficient_of_0_is_0_for_few_and_for_many_vectors(
    tokens: int, backend: str
) -> None:
    spec = WIDE.replace(gate=tm.Gate())
    assert bool(spec.plans_for((2,))[-1][1][0].contraction.active)
    values, ops = values_for(spec, 0, tokens), tm.get_backend(backend)
    a = values.coefficients[0]
    a[:, 2:] = 0
    a[0, :2] = 0
    with ops.double_precision():
        leaf, x, cotangent, *cores = (
            ops.from_float64(each, "float64") for each in (a, values.x, values.cotangent, *values.cores)
        )
        named = dict(zip(spec.core_names, cores, strict=True))
        (gradient,) = ops.gradients(lambda each: mix(spec, named, [each], x, active=2), [leaf], cotangent)
        result = ops.to_float64(gradient)
    close(result, truth(spec, values).gradients[1] * (a != 0))


def test_an_empty_batch_and_rows_of_nan_pass() -> None:
    parameters, _ = tm.initialize(WIDE)
    x = np.full((2, 96), np.nan, "float32")
    x[1] = 1
    y = tm.apply(WIDE, parameters, x).y
    assert np.isnan(y[0]).all()
    assert np.isfinite(y[1]).all()
    assert tm.apply(WIDE, parameters, np.zeros((0, 96), "float32")).y.shape == (0, 96)
    assert tm.apply(WIDE, parameters, np.zeros((2, 0, 96), "float32")).y.shape == (2, 0, 96)


def test_gates_say_how_many_coefficients_they_leave() -> None:
    assert tm.Activation("relu_top_k", k=3).active == 3
    assert tm.Gate(tm.Activation("top_k", k=2)).active(0, 5) == 2
    assert tm.Gate("sparsemax").active(1, 5) == 5

    def active(experts: tuple[int, ...], *gates: tm.Gate) -> tuple[int, ...] | None:
        gate = gates[0] if len(gates) == 1 else gates
        return tm.MuMoESpec(4, 3, experts, tm.CP(3), gate).active

    assert active((5, 3), TWO) == (2, 2)
    # If all may differ from 0, there is nothing to gain.
    assert active((2, 2), TWO) is None
    assert active((5, 2), TWO) == (2, 2)
    assert active((5, 4), TWO, tm.Gate("softmax")) == (2, 4)
    assert active((5, 4), tm.Gate("softmax"), tm.Gate()) is None
    assert tm.MuMoESpec(4, 3, 5, tm.CP(3), gate=None).active is None


def test_steered_experts_are_active_too() -> None:
    steps = (Steering(0, 7, 0.5), Steering(0, 7, 0.25, adds=True), Steering(0, 80, 0.5))
    spec = WIDE.replace(gate=tm.Gate(tm.Activation("top_k", k=2), steering=steps))
    assert spec.active == (4,)
    # An expert that is split has as many coefficients as copies.
    split = tm.Gate(tm.Activation("top_k", k=2), steering=(Sharing(0, 1, 3),))
    assert WIDE.replace(gate=split).active == (5,)
    assert is_gathered(spec, 3)
    parameters, _ = tm.initialize(spec, seed=0)
    x = np.random.default_rng(0).normal(size=(3, 96)).astype("float32")
    result = tm.apply(spec, parameters, x)
    assert np.count_nonzero(result.coefficients[0], axis=1).max() > 2
    whole = dense(
        spec, {"cores.core1": parameters["cores.core1"]}, result.coefficients, x, tm.get_backend("numpy")
    )
    close(result.y, whole, 1e-5)


def test_a_function_of_your_own_may_say_how_many() -> None:
    def largest(logits: Any) -> Any:
        return (logits == logits.max(axis=-1, keepdims=True)).astype(logits.dtype)

    assert tm.Gate(largest).active(0, 16) == 16
    largest.active = 1  # type: ignore[attr-defined]
    spec = WIDE.replace(gate=tm.Gate(largest))
    assert spec.active == (1,)
    assert is_gathered(spec, 2)
    parameters, _ = tm.initialize(spec)
    parameters["gate_weights.0"] = np.random.default_rng(0).normal(size=(96, 128)).astype("float32")
    x = np.random.default_rng(1).normal(size=(2, 96)).astype("float32")
    result = tm.apply(spec, parameters, x)
    whole = dense(
        spec, {"cores.core1": parameters["cores.core1"]}, result.coefficients, x, tm.get_backend("numpy")
    )
    close(result.y, whole, 1e-5)
    largest.active = 0  # type: ignore[attr-defined]
    with pytest.raises(tm.TensorMoEError, match="positive integer"):
        tm.Gate(largest).active(0, 16)
