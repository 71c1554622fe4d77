"""The gate's noise: where it is added, how it is distributed, and what draws apart."""

from typing import Any

import numpy as np
import pytest
from scipy import stats
from support.frameworks import BACKENDS, optional

import tensormoe as tm

torch = optional("torch")
jax = optional("jax")

every_backend = pytest.mark.parametrize("backend", BACKENDS)
EXPERTS, TOKENS, SIGMA = (60, 60), 200, 0.25


def generator_of(backend: str, seed: int = 0) -> Any:
    if backend == "numpy":
        return np.random.default_rng(seed)
    return torch.Generator().manual_seed(seed) if backend == "torch" else jax.random.key(seed)


def noise_of(backend: str, norm: str | None = "layer", temperature: float = 1.0) -> list[np.ndarray]:
    """What was added to the normalised logits of each level, up to a constant of each token.

    The coefficients are a softmax, whose logarithm is the logits over the temperature, up to that constant.
    """
    ops = tm.get_backend(backend)
    gate = tm.Gate("softmax", norm, temperature=temperature, noise=SIGMA)
    spec = tm.MuMoESpec(6, 5, EXPERTS, tm.CP(3), gate)
    drawn = np.random.default_rng(3)
    # So small that a norm enlarges the logits a thousand times: noise that comes before it would grow, too.
    parameters = {name: drawn.normal(size=shape) / 500 for name, shape in spec.parameter_shapes.items()}
    x = drawn.normal(size=(TOKENS, 6))
    _, state = tm.initialize(spec, 0, "float64")
    with ops.double_precision():
        arrays, statistics = (
            {name: ops.from_numpy(value) for name, value in values.items()} for values in (parameters, state)
        )
        coefficients = tm.apply(
            spec, arrays, ops.from_numpy(x), state=statistics, training=True, generator=generator_of(backend)
        ).coefficients
        logarithms = [temperature * np.log(ops.to_numpy(a)) for a in coefficients]
    logits = [x @ parameters[f"gate_weights.{level}"] for level in range(2)]
    axis = {"layer": 1, "batch": 0}.get(norm or "")
    if axis is not None:
        logits = [
            (z - z.mean(axis, keepdims=True)) / np.sqrt(z.var(axis, keepdims=True) + 1e-5) for z in logits
        ]
    return [a - z - (a - z).mean(1, keepdims=True) for a, z in zip(logarithms, logits, strict=True)]


@every_backend
def test_noise_is_normal_with_the_deviation_that_is_asked_for(backend: str) -> None:
    for level in noise_of(backend):
        # A token's mean was subtracted: one of N degrees of freedom.
        scaled = level.ravel() / (SIGMA * np.sqrt(1 - 1 / level.shape[1]))
        assert abs(scaled.std() - 1) < 0.02
        assert stats.kstest(scaled, "norm").pvalue > 1e-3


@every_backend
@pytest.mark.parametrize("norm", ["layer", "batch", None])
def test_noise_comes_after_the_norm_and_before_the_temperature(backend: str, norm: str | None) -> None:
    """A temperature divides it, and no norm scales it."""
    for level in noise_of(backend, norm, temperature=0.5):
        assert abs(level.std() / SIGMA - 1) < 0.05


@every_backend
def test_every_entry_of_every_level_has_noise_of_its_own(backend: str) -> None:
    first, second = noise_of(backend)
    pairs = [(first, second), (first[1:], first[:-1]), (first[:, 1:], first[:, :-1])]
    for a, b in pairs:
        # Of the order of one over the root of the number of pairs, beside what the subtracted means share.
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.06


@every_backend
def test_calls_with_another_seed_draw_other_noise(backend: str) -> None:
    ops, like = tm.get_backend(backend), np.zeros((4, 5), "float32")
    first, again, other = (
        ops.to_numpy(ops.normal(ops.from_numpy(like), generator_of(backend, seed), 0)) for seed in (0, 0, 1)
    )
    assert (first == again).all()
    assert (first != other).all()
