"""Seed 0 gives the values that it gave in version 0.1, whatever the order of axes that cores now have.

`frozen.json` was recorded before parameters took the order of their notation. Hashes are of float32 cores
with their axes in the order recorded there; outputs and gradients were computed in float64 with the gate's
weights moved away from zero.
"""

import hashlib
import json
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch

import tensormoe as tm

FROZEN = json.loads(Path(__file__).with_name("frozen.json").read_text(encoding="utf-8"))
EXPERTS = {"1": (5,), "2": (4, 3), "3": (3, 2, 4)}


def wave(shape: tuple[int, ...], step: float) -> np.ndarray:
    return np.cos(step * np.arange(1, prod(shape) + 1)).reshape(shape)


def spec_of(case: str) -> tm.MuMoESpec:
    family, levels, bias = case.split(", ")
    experts = EXPERTS[levels.split()[0]]
    inner = tuple(range(2, 2 + len(experts)))
    factorizations = {
        "CP": tm.CP(6),
        "Tucker": tm.Tucker((*inner, 4, 5)),
        "TensorTrain": tm.TensorTrain((*inner, 4)),
        "TensorRing": tm.TensorRing((3, *inner, 4)),
        "Dense": tm.Dense(),
        "Mixture of Decoders": tm.TensorNetwork("n o, i o"),
        "low-rank experts": tm.TensorNetwork("n i r, n r o", r=3),
    }
    gate = tm.Gate("softmax")
    bias = bias == "bias"
    return tm.MuMoESpec(6, 4, experts, factorizations[family], gate, bias, initialization="published")


def recorded_axes(spec: tm.MuMoESpec, case: str) -> dict[str, tuple[int, ...]]:
    """For each core, where the axes of the recorded order are now."""
    now = {core.name: core.indices for core in spec.network.cores}
    then = {name: core["indices"].split() for name, core in FROZEN[case]["cores"].items()}
    return {name: tuple(now[name].index(index) for index in indices) for name, indices in then.items()}


@pytest.mark.parametrize("case", FROZEN)
def test_initial_values_of_seed_0(case: str) -> None:
    spec = spec_of(case)
    parameters, _ = tm.initialize(spec, seed=0)
    for name, axes in recorded_axes(spec, case).items():
        value = np.ascontiguousarray(parameters[f"cores.{name}"].transpose(axes))
        assert hashlib.sha256(value.tobytes()).hexdigest() == FROZEN[case]["cores"][name]["sha256"], name


@pytest.mark.parametrize("case", FROZEN)
def test_outputs_and_gradients(case: str) -> None:
    spec = spec_of(case)
    axes = {f"cores.{name}": order for name, order in recorded_axes(spec, case).items()}
    parameters, _ = tm.initialize(spec, seed=0, dtype="float64")
    leaves = {}
    for name, value in parameters.items():
        moved = value if name in axes else value + 0.5 * wave(value.shape, 0.7)
        leaves[name] = torch.tensor(moved, requires_grad=True)
    x = torch.tensor(wave((3, 6), 0.3), requires_grad=True)
    y, _, _ = tm.apply(spec, leaves, x)
    np.testing.assert_allclose(y.detach().numpy(), FROZEN[case]["y"], rtol=1e-12, atol=1e-12)
    (y * torch.tensor(wave((3, 4), 1.1))).sum().backward()
    for name, leaf in {"x": x, **leaves}.items():
        assert leaf.grad is not None
        gradient = leaf.grad.numpy().transpose(axes.get(name, range(leaf.dim())))
        actual = float((gradient * wave(gradient.shape, 0.9)).sum())
        assert actual == pytest.approx(FROZEN[case]["gradients"][name], rel=1e-12, abs=1e-12), name
