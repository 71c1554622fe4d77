"""A Mixture of Decoders (Oldfield et al., 2025) is a block, and equal to its equations.

z = φ(W x + b), or φ(W x + b) ∗ (V x + c); a = the k largest of ReLU(G x + h), not normalised; and
y = Σ_n a_n (D diag(c_n) z) + d, with the vectors c_n on the side of the output or of the hidden features.
"""

from functools import cache
from math import erf
from typing import Any

import numpy as np
import pytest
from support.frameworks import BACKENDS
from support.strategies import close

import tensormoe as tm

K, EXPERTS = 3, 10


def decoders(gated: bool, scaled: str, **sizes: Any) -> tm.MuMoEBlockSpec:
    """Six lines at most."""
    return tm.MuMoEBlockSpec(
        **{"in_features": 5, "hidden_features": 7, "out_features": 6, "experts": EXPERTS, **sizes},
        factorization=[tm.TensorNetwork("i o")] * (1 + gated) + [tm.TensorNetwork(f"n {scaled}, i o")],
        gate=tm.Gate(tm.Activation("relu_top_k", k=K), norm=None, router=tm.LinearRouter(bias=True)),
        bias=[True] * (1 + gated) + [False], output_bias=True, gated=gated,
    )  # fmt: skip


every = pytest.mark.parametrize("gated", [False, True], ids=["dense encoder", "gated encoder"])
sides = pytest.mark.parametrize("scaled", ["o", "i"])


@cache
def draw(gated: bool, scaled: str) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    shapes = decoders(gated, scaled).parameter_shapes
    return {name: generator.normal(size=shape) for name, shape in shapes.items()}


def equations(values: dict[str, Any], x: Any, gated: bool, scaled: str) -> tuple[Any, Any]:
    """The output and the coefficients of one input, expert by expert."""
    scales, decoder = values["second.core1"], values["second.core2"]
    encoder = values["first.core1"]
    u = x @ encoder[:-1] + encoder[-1]
    z = np.array([each * (1 + erf(each / np.sqrt(2))) / 2 for each in u])
    if gated:
        z = z * (x @ values["up.core1"][:-1] + values["up.core1"][-1])
    logits = x @ values["gate_weights.0"] + values["gate_bias.0"]
    a = np.zeros(EXPERTS)
    for expert in sorted(range(EXPERTS), key=lambda n: -logits[n])[:K]:
        a[expert] = max(logits[expert], 0.0)
    y = values["output.bias"].copy()
    for expert in range(EXPERTS):
        own = decoder * scales[expert] if scaled == "o" else decoder * scales[expert][:, None]
        y = y + a[expert] * (z @ own)
    return y, a


@pytest.mark.parametrize("backend", BACKENDS)
@sides
@every
def test_a_mixture_of_decoders_is_its_equations(gated: bool, scaled: str, backend: str) -> None:
    spec, values = decoders(gated, scaled), draw(gated, scaled)
    x = np.random.default_rng(1).normal(size=(4, 5))
    expected = [equations(values, each, gated, scaled) for each in x]
    ops = tm.get_backend(backend)
    with ops.double_precision():
        block = tm.build(spec, backend, seed=0, dtype="float64")
        block.load_arrays(values)
        y, coefficients = block(ops.from_numpy(x), return_coefficients=True)
        close(ops.to_float64(y), np.array([y for y, _ in expected]))
        close(ops.to_float64(coefficients[0]), np.array([a for _, a in expected]))


@sides
@every
def test_it_is_proved_and_verified(gated: bool, scaled: str) -> None:
    report = tm.verify(decoders(gated, scaled), ("numpy",))
    assert report.passed, report


def test_a_step_of_training_is_that_of_the_equations() -> None:
    """The gradient with respect to a scale, by central differences of the equations."""
    spec, values = decoders(True, "o"), draw(True, "o")
    x = np.random.default_rng(1).normal(size=5)
    ops = tm.get_backend("torch")
    names = list(values)
    leaves = [ops.from_numpy(values[name]).double() for name in names]

    def run(*leaves: Any) -> Any:
        return tm.apply(spec, dict(zip(names, leaves, strict=True)), ops.from_numpy(x[None]).double()).y

    gradients = dict(
        zip(names, ops.gradients(run, tuple(leaves), ops.from_numpy(np.ones((1, 6)))), strict=True)
    )
    expert = int(np.argmax(equations(values, x, True, "o")[1]))
    for name, place in (("second.core1", (expert, 2)), ("first.core1", (5, 1)), ("gate_bias.0", (expert,))):
        changed = []
        for step in (1e-6, -1e-6):
            moved = {**values, name: values[name].copy()}
            moved[name][place] += step
            changed.append(equations(moved, x, True, "o")[0].sum())
        assert float(gradients[name][place]) == pytest.approx((changed[0] - changed[1]) / 2e-6, rel=1e-5)


@pytest.mark.parametrize("scaled", ["o", "i"])
def test_it_starts_at_the_scale_of_two_linear_layers(scaled: str) -> None:
    """Coefficients sum to much more than 1, and the decoder starts smaller by as much."""
    sizes = {"in_features": 48, "hidden_features": 64, "out_features": 32, "experts": 128}
    spec = decoders(False, scaled, **sizes).replace(nonlinearity="identity", bias=False)
    x = np.random.default_rng(0).normal(size=(64, 48))
    squares, sums = [], []
    for seed in range(12):
        parameters, state = tm.initialize(spec, seed, "float64")
        result = tm.apply(spec, parameters, x, state=state)
        squares.append(np.mean(result.y**2))
        sums.append(result.coefficients[0].sum(1).mean())
    assert np.mean(sums) > 4
    # Each of two linear layers leaves a third of the mean square.
    assert 0.75 < np.mean(squares) * 9 < 1.3


def test_its_plan_is_its_bare_products() -> None:
    spec = decoders(False, "o")
    assert spec.plan(batch_size=1).macs == 6 * 7 + 7 * 6 + EXPERTS * 6
