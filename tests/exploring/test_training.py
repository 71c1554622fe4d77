"""Candidates are trained by functions that use PyTorch or JAX, and a sweep takes their losses."""

import numpy as np
import pytest
from support.frameworks import BACKENDS, optional

import tensormoe as tm

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(64, 6)).astype("float32")
Y = np.tanh(X @ GENERATOR.normal(size=(6, 4))).astype("float32")
STEPS, RATE = 30, 0.3


def train_in_torch(spec: tm.MuMoESpec, seed: int) -> list[float]:
    torch = optional("torch")
    layer = tm.build(spec, "torch", seed=seed)
    optimizer = torch.optim.SGD(layer.parameters(), RATE)
    x, y, losses = torch.from_numpy(X), torch.from_numpy(Y), []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = ((layer(x) - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def train_in_jax(spec: tm.MuMoESpec, seed: int) -> list[float]:
    jax = optional("jax")
    parameters, state = tm.initialize(spec, seed=seed)
    spec.prepare()

    @jax.jit
    @jax.value_and_grad
    def evaluate(parameters: dict[str, object]) -> object:
        return ((tm.apply(spec, parameters, jax.numpy.asarray(X), state=state).y - Y) ** 2).mean()

    parameters, losses = jax.tree.map(jax.numpy.asarray, parameters), []
    for _ in range(STEPS):
        loss, gradients = evaluate(parameters)
        parameters = jax.tree.map(lambda value, slope: value - RATE * slope, parameters, gradients)
        losses.append(float(loss))
    return losses


@pytest.mark.parametrize(("backend", "function"), [("torch", train_in_torch), ("jax", train_in_jax)])
def test_candidates_are_trained_in_a_framework(backend: str, function: object) -> None:
    if backend not in BACKENDS:
        pytest.skip(f"{backend} is not installed")
    layer = tm.MuMoESpec(6, 4, 3, tm.Dense())
    task = tm.explore.train_with(function)  # type: ignore[arg-type]
    budget = tm.explore.Budget(parameters=90)
    study = tm.explore.sweep([tm.CP(1), tm.TensorTrain((2, 1))], budget, task, 2, like=layer)
    for trial in study.trials:
        assert trial.state == "complete", trial.reason
        assert len(trial.curve) == STEPS
        assert trial.values["loss"] == trial.curve[-1] < 0.9 * trial.curve[0]
    # Seeds start elsewhere.
    assert study.trials[0].curve != study.trials[1].curve
