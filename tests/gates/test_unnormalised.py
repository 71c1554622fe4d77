"""Gate activations without a fixed sum: values, derivatives, what to expect of their sums at the start."""

from collections.abc import Callable
from functools import partial
from math import pi
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.frameworks import optional
from support.strategies import BACKENDS, close

import tensormoe as tm
from tensormoe.gates.activations import Activation

torch = optional("torch")
jax = optional("jax")

INF, NAN = float("inf"), float("nan")


def by_loop(name: str, row: list[float]) -> list[float]:
    """Entry by entry, in Python's numbers."""
    if name == "sigmoid":
        return [float(1 / (1 + np.exp(np.longdouble(-value)))) for value in row]
    if name == "jump_relu":
        return [value if value > 0.5 else 0.0 for value in row]
    chosen = sorted(range(len(row)), key=lambda i: (-row[i], i))[: 2 if name == "relu_top_k" else None]
    return [value if i in chosen and value > 0 else 0.0 for i, value in enumerate(row)]


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "relu": tm.relu,
    "sigmoid": tm.sigmoid,
    "relu_top_k": partial(tm.relu_top_k, k=2),
    "jump_relu": partial(tm.jump_relu, threshold=0.5),
}
OPTIONS: dict[str, dict[str, Any]] = {"relu_top_k": {"k": 2}, "jump_relu": {"threshold": 0.5}}
backends = pytest.mark.parametrize("backend", BACKENDS)
every = pytest.mark.parametrize("name", FUNCTIONS)


def evaluate(backend: str, name: str, x: np.ndarray) -> np.ndarray:
    ops = tm.get_backend(backend)
    with ops.double_precision():
        return ops.to_numpy(FUNCTIONS[name](ops.from_numpy(x)))


@backends
@every
@given(
    st.lists(
        st.one_of(
            st.sampled_from([0.0, 0.5, 1.0, -2.0, 700.0, -700.0, 1e300, -INF]),
            st.floats(-4, 4, allow_subnormal=False),
        ),
        min_size=5,
        max_size=5,
    )
)
def test_values_equal_the_definition(backend: str, name: str, row: list[float]) -> None:
    actual = evaluate(backend, name, np.array([row]))[0]
    np.testing.assert_allclose(actual, by_loop(name, row), rtol=1e-14, atol=1e-310)


@backends
@every
def test_a_nan_stays_in_its_row(backend: str, name: str) -> None:
    x = np.array([[1.0, NAN, -2.0, 3.0, 2.0], [1.0, 0.0, -2.0, 3.0, INF]])
    actual = evaluate(backend, name, x)
    assert np.isnan(actual[0, 1])
    assert np.isnan(actual[0]).sum() == (5 if name == "relu_top_k" else 1)
    assert not np.isnan(actual[1]).any()
    assert actual[1, 4] == (1 if name == "sigmoid" else INF)


@every
def test_derivatives_are_those_of_the_definition(name: str) -> None:
    x = np.array([[0.3, -0.2, 2.0, 0.8, 1e4, -1e4]])
    kept = np.array(by_loop(name, x[0].tolist())) > 0
    p = np.exp(-np.abs(x[0])) / (1 + np.exp(-np.abs(x[0]))) ** 2
    expected = p if name == "sigmoid" else kept.astype(float)
    at = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    FUNCTIONS[name](at).sum().backward()
    close(at.grad.numpy()[0], expected)
    with jax.enable_x64(True):
        close(jax.grad(lambda x: FUNCTIONS[name](x).sum())(jax.numpy.asarray(x))[0], expected)
    near = torch.tensor(x[:, :4], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(FUNCTIONS[name], near, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(FUNCTIONS[name], near)


def test_at_zero_the_derivative_of_relu_is_zero_in_every_framework() -> None:
    at = torch.zeros(3, requires_grad=True)
    tm.relu(at).sum().backward()
    assert at.grad.tolist() == [0, 0, 0]
    assert jax.grad(lambda x: tm.relu(x).sum())(jax.numpy.zeros(3)).tolist() == [0, 0, 0]


@every
def test_a_temperature_divides_the_logits_and_shifts_nothing(name: str) -> None:
    ops, x = tm.get_backend("numpy"), np.array([[4.0, 1.5, -1.0, 0.25]])
    activation = Activation(name, **OPTIONS.get(name, {}))
    close(activation.weights(ops, x, 2.0)[0], by_loop(name, (x[0] / 2).tolist()))


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("relu", {}),
        ("relu_top_k", {"k": 1}),
        ("relu_top_k", {"k": 3}),
        ("relu_top_k", {"k": 7}),
        ("jump_relu", {"threshold": 0.5}),
    ],
)
def test_sums_at_the_start_are_those_of_many_draws(
    name: str, options: dict[str, Any], temperature: float
) -> None:
    activation = Activation(name, **options)
    z = np.random.default_rng(0).normal(size=(100_000, 7))
    a = activation.weights(tm.get_backend("numpy"), z, temperature)
    together, apart = activation.expected_squares(7, temperature)
    assert np.mean(a.sum(-1) ** 2) == pytest.approx(together, rel=0.03)
    assert 7 / 6 * np.mean(((a - a.mean(-1, keepdims=True)) ** 2).sum(-1)) == pytest.approx(apart, rel=0.03)


def test_sums_at_the_start_have_closed_forms() -> None:
    n = 5
    assert Activation("relu").expected_squares(n, 1.0)[0] == pytest.approx(
        n / 2 + n * (n - 1) / (2 * pi), rel=1e-4
    )
    assert Activation("sigmoid").expected_squares(n, 1.0) == (n**2 / 4, 0.0)
    assert Activation("softmax").expected_squares(n, 1.0) == (1.0, 0.0)
    # A threshold that nothing passes asks for no infinite cores.
    assert Activation("jump_relu", threshold=100).expected_squares(n, 1.0)[0] > 0


@pytest.mark.parametrize("experts", [6, (3, 4)])
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    "factorization", [tm.CP(40), tm.Dense(), tm.TensorNetwork("i o") + tm.CP(30)], ids=str
)
def test_the_output_starts_at_the_scale_of_linear_layers(
    name: str, factorization: tm.Factorization, experts: Any
) -> None:
    gate = tm.Gate(Activation(name, **({"k": 2} if name == "relu_top_k" else OPTIONS.get(name, {}))), None)
    spec = tm.MuMoESpec(24, 20, experts, factorization, gate, bias=False)
    x = np.random.default_rng(1).normal(size=(200, 24))
    # Otherwise long inputs have larger coefficients, too.
    x *= np.sqrt(24 / (x**2).sum(-1, keepdims=True))
    squares = [
        (tm.apply(spec, tm.initialize(spec, seed, "float64")[0], x).y ** 2).mean() for seed in range(24)
    ]
    assert 3 * np.mean(squares) == pytest.approx(1, rel=0.2)


def test_other_gates_start_as_before_and_these_draw_their_weights() -> None:
    spec = tm.MuMoESpec(8, 6, 4, tm.CP(5))
    assert not tm.initialize(spec)[0]["gate_weights.0"].any()
    assert not tm.initialize(spec.replace(gate=tm.Gate("sigmoid")))[0]["gate_weights.0"].any()
    relu = spec.replace(gate=tm.Gate("relu"))
    for backend in BACKENDS:
        weights = tm.get_backend(backend).to_numpy(tm.build(relu, backend, seed=0).gate_weights[0][...])
        np.testing.assert_array_equal(weights, tm.initialize(relu)[0]["gate_weights.0"])
        assert weights.std() > 0.2


def test_a_fitted_layer_with_such_a_gate_can_learn() -> None:
    spec = tm.MuMoESpec(3, 2, 2, tm.Dense(), tm.Gate("relu"), bias=False)
    fitted = tm.fit(np.random.default_rng(0).normal(size=(2, 3, 2)), spec)
    assert fitted.initialize()[0]["gate_weights.0"].all()


def test_upcycling_needs_coefficients_that_sum_to_one() -> None:
    spec = tm.MuMoESpec(3, 2, 2, tm.Dense(), tm.Gate("relu"))
    with pytest.raises(tm.TensorMoEError, match=r"gate activation: received .*relu.*only with coefficients"):
        tm.upcycle(np.ones((3, 2)), spec)


@every
def test_layers_are_verified_and_laws_know_that_rows_have_no_sum(name: str) -> None:
    gate = tm.Gate(Activation(name, **OPTIONS.get(name, {})))
    spec = tm.MuMoESpec(5, 4, (3, 2), tm.CP(3), gate)
    report = tm.verify(spec, ("numpy", "torch"))
    assert report.passed, report
    # The same through a norm of one's own, which has no reference: only laws are tried.
    laws = tm.verify(spec.replace(gate=tm.Gate(gate.activation, norm=lambda z: z + 0.0)), ("numpy",))
    assert laws.passed, laws
    assert not [check for check in laws.checks if "sums to" in check.quantity]


@pytest.mark.parametrize("threshold", [-0.1, INF, NAN, "0.5", None])
def test_thresholds_are_numbers_of_at_least_zero(threshold: Any) -> None:
    with pytest.raises(tm.TensorMoEError, match="threshold"):
        tm.Activation("jump_relu", threshold=threshold)


def test_no_more_experts_are_kept_than_there_are() -> None:
    with pytest.raises(tm.TensorMoEError, match="a level has only 2 experts"):
        tm.MuMoESpec(3, 2, 2, tm.Dense(), tm.Gate(tm.Activation("relu_top_k", k=3)))
