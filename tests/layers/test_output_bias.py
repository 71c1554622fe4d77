"""A vector added to the mixture, whatever its coefficients sum to, and what can be said with it."""

from pathlib import Path

import numpy as np
import pytest
from support.frameworks import optional
from support.strategies import BACKENDS, close

import tensormoe as tm

torch = optional("torch")

RELU = tm.Gate("relu", norm=None, router=tm.LinearRouter(bias=True))
BLOCK = tm.MuMoEBlockSpec(6, 7, 5, (4, 3), tm.CP(4), RELU, output_bias=True)
X = np.random.default_rng(0).normal(size=(2, 4, 6))
backends = pytest.mark.parametrize("backend", BACKENDS)


def draw(spec: tm.Spec) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(1)
    return {name: generator.normal(size=shape) for name, shape in spec.parameter_shapes.items()}


@backends
@pytest.mark.parametrize("spec", [BLOCK, tm.MuMoESpec(6, 5, 4, tm.Dense(), RELU, output_bias=True)])
def test_the_vector_is_added_once_whatever_the_coefficients_are(spec: tm.Spec, backend: str) -> None:
    parameters, ops = draw(spec), tm.get_backend(backend)
    plain = spec.replace(output_bias=False)
    with ops.double_precision():
        arrays, x = {k: ops.from_numpy(v) for k, v in parameters.items()}, ops.from_numpy(X)
        y = ops.to_float64(tm.apply(spec, arrays, x, backend=ops).y)
        without = {name: arrays[name] for name in plain.parameter_shapes}
        mixture = ops.to_float64(tm.apply(plain, without, x, backend=ops).y)
    close(y, mixture + parameters["output.bias"])


def test_it_starts_at_zero_is_counted_and_travels(tmp_path: Path) -> None:
    parameters, _ = tm.initialize(BLOCK)
    assert not parameters["output.bias"].any()
    assert BLOCK.num_parameters == BLOCK.replace(output_bias=False).num_parameters + 5
    assert tm.spec_from_json(BLOCK.to_json()) == BLOCK
    layer = tm.build(BLOCK, "torch", seed=0)
    layer.load_arrays({name: value.astype("float32") for name, value in draw(BLOCK).items()})
    tm.save(layer, tmp_path / "block.safetensors")
    again = tm.load(tmp_path / "block.safetensors", "jax")
    close(again.arrays()["output.bias"], draw(BLOCK)["output.bias"], 1e-6)


def test_a_block_with_it_is_verified_by_every_method() -> None:
    report = tm.verify(BLOCK, ("numpy", "torch"))
    assert report.passed, str(report)


def transcoder() -> tm.MuMoESpec:
    return tm.MuMoESpec(
        6, 5, experts=32,
        factorization=tm.TensorNetwork("n o, H: i", fixed={"H": np.eye(7)[-1]}),
        gate=tm.Gate("relu", norm=None, router=tm.LinearRouter(bias=True)),
        output_bias=True,
    )  # fmt: skip


@backends
def test_a_transcoder_is_its_equations(backend: str) -> None:
    """Each feature is an expert: y = D relu(E x + b) + c."""
    spec, ops = transcoder(), tm.get_backend(backend)
    assert spec.num_parameters == 32 * 6 + 32 + 32 * 5 + 5
    parameters, (_, state) = draw(spec), tm.initialize(spec, dtype="float64")
    e, b = parameters["gate_weights.0"], parameters["gate_bias.0"]
    d, c = parameters["cores.core1"], parameters["output.bias"]
    with ops.double_precision():
        arrays, held = ({k: ops.from_numpy(v) for k, v in each.items()} for each in (parameters, state))
        y, (a,), _ = tm.apply(spec, arrays, ops.from_numpy(X), state=held, backend=ops)
        y, a = ops.to_float64(y), ops.to_float64(a)
    expected = np.empty_like(y)
    for token in np.ndindex(2, 4):
        features = np.array([max(0.0, X[token] @ e[:, n] + b[n]) for n in range(32)])
        expected[token] = sum(features[n] * d[n] for n in range(32)) + c
        close(a[token], features)
    close(y, expected)


def test_a_transcoder_verifies_and_learns() -> None:
    spec = transcoder()
    assert tm.verify(spec, ("numpy", "torch")).passed
    layer = tm.build(spec, "torch", seed=0)
    x = torch.tensor(X, dtype=torch.float32)
    target = torch.relu(x @ torch.ones(6, 5))
    optimizer = torch.optim.Adam(layer.parameters(), 0.02)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (layer(x) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10
    assert all(parameter.grad.abs().max() > 0 for parameter in layer.parameters())
