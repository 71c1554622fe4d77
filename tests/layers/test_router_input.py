"""What the router reads: the layer's input, or an input of its own."""

from typing import Any

import numpy as np
import pytest
from support.frameworks import BACKENDS
from support.strategies import close

import tensormoe as tm
from tensormoe.layers.functional import compute_gate

GATE = tm.Gate("softmax", None)
LAYER = tm.MuMoESpec(5, 6, (4, 3), tm.CP(3), GATE, gate_features=7)
BLOCK = tm.MuMoEBlockSpec(5, 8, 6, 4, tm.CP(3), GATE, nonlinearity="relu", input_norm=True, gate_features=7)
GENERATOR = np.random.default_rng(0)
X, R = GENERATOR.normal(size=(2, 3, 5)), GENERATOR.normal(size=(2, 3, 7))
every = pytest.mark.parametrize("spec", [LAYER, BLOCK], ids=["layer", "block"])


def draw(spec: tm.Spec) -> dict[str, Any]:
    generator = np.random.default_rng(1)
    return {name: generator.normal(size=shape) for name, shape in spec.parameter_shapes.items()}


def softmax(z: Any) -> Any:
    power = np.exp(z - z.max(-1, keepdims=True))
    return power / power.sum(-1, keepdims=True)


@pytest.mark.parametrize("backend", BACKENDS)
@every
def test_coefficients_are_those_of_the_routers_own_input(spec: tm.Spec, backend: str) -> None:
    values = draw(spec)
    ops = tm.get_backend(backend)
    with ops.double_precision():
        module = tm.build(spec, backend, seed=0, dtype="float64")
        module.load_arrays({name: ops.from_numpy(value) for name, value in values.items()})
        if hasattr(module, "eval"):
            module.eval()
        x, r = ops.from_numpy(X), ops.from_numpy(R)
        y, coefficients = module(x, return_coefficients=True, router_input=r)
        expected = [softmax(R @ values[f"gate_weights.{level}"]) for level in range(spec.levels)]
        for actual, each in zip(coefficients, expected, strict=True):
            close(ops.to_float64(actual), each)
        # The same mixture, of x, at these coefficients.
        close(ops.to_float64(y), ops.to_float64(module(x, coefficients=list(coefficients))))
        arrays = {name: ops.from_numpy(value) for name, value in values.items()}
        close(ops.to_float64(tm.apply(spec, arrays, x, router_input=r).y), ops.to_float64(y))


@every
def test_a_router_with_an_input_of_its_own_is_verified(spec: tm.Spec) -> None:
    report = tm.verify(spec, ("numpy",), methods=("float", "frameworks"))
    assert report.passed, report


def test_a_router_that_learns_statistics_takes_an_input_of_its_own() -> None:
    batch = LAYER.replace(gate=tm.Gate("softmax", "batch", noise=0.1))
    assert tm.verify(batch, ("numpy",), methods="frameworks").passed
    clusters = LAYER.replace(gate=tm.Gate("softmax", "batch", tm.AdaptiveClustering()))
    assert tm.verify(clusters, ("numpy",), methods="frameworks").passed
    assert tm.build(clusters, "numpy", seed=0).state["router_total.0"].shape == (4, 7)


def test_any_layer_takes_an_input_for_its_router_of_its_own_size() -> None:
    plain = LAYER.replace(gate_features=None)
    values = draw(plain)
    other = X[..., ::-1].copy()
    result = tm.apply(plain, values, X, router_input=other)
    close(result.coefficients[1], softmax(other @ values["gate_weights.1"]))
    same = tm.apply(plain, values, X, router_input=X)
    np.testing.assert_array_equal(same.y, tm.apply(plain, values, X).y)


def test_sizes_and_starts_follow_the_routers_input() -> None:
    spec = LAYER.replace()  # derived anew
    assert spec.gate_shapes == {"gate_weights.0": (7, 4), "gate_weights.1": (7, 3)}
    assert LAYER.macs - 7 * 7 == LAYER.replace(gate_features=None).macs - 5 * 7
    assert tm.MuMoESpec.from_json(LAYER.to_json()) == LAYER
    assert LAYER.replace(gate_features=None) != LAYER
    drawn = LAYER.replace(gate=tm.Gate("relu", None), gate_features=3000)
    weights = tm.initialize(drawn)[0]["gate_weights.0"]
    assert abs(weights.std() * 3000**0.5 - 1) < 0.05


def test_logits_are_computed_of_the_routers_input() -> None:
    values = {name: array for name, array in draw(LAYER).items() if name in LAYER.gate_shapes}
    close(compute_gate(LAYER, values, R).logits[0], R @ values["gate_weights.0"])
    with pytest.raises(tm.TensorMoEError, match=r"its last dimension must be gate_features = 7"):
        compute_gate(LAYER, values, X)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({}, r"router_input: received None; the router has an input of its own: .* of shape \(2, 3, 7\)"),
        ({"router_input": X}, r"router_input: received \(2, 3, 5\); pass an array of shape \(2, 3, 7\)"),
        ({"router_input": R[0]}, r"router_input: received \(3, 7\)"),
        ({"router_input": R.astype("float32")}, r"router_input is float32: convert one"),
        ({"router_input": [1.0]}, "router_input: received"),
        (
            {"router_input": R, "coefficients": [np.ones((2, 3, 4)), np.ones((2, 3, 3))]},
            "coefficients are given, and no router is asked",
        ),
    ],
)
def test_what_no_router_can_read_is_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(tm.TensorMoEError, match=match):
        tm.apply(LAYER, draw(LAYER), X, **options)


def test_a_size_for_no_router_is_refused() -> None:
    with pytest.raises(tm.TensorMoEError, match="gate_features: received 0"):
        LAYER.replace(gate_features=0)
    with pytest.raises(tm.TensorMoEError, match="without a gate there is no router"):
        LAYER.replace(gate=None)
