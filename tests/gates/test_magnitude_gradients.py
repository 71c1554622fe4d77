"""Derivatives of gate activations at logits of any size, against those at ordinary ones.

Finite differences check the latter in `test_activation_gradients.py`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.frameworks import optional
from support.strategies import BACKENDS

import tensormoe as tm

torch = optional("torch")
jax = optional("jax")

differentiating = pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "numpy"])
# JAX compiles each; the others share their derivatives.
few = settings(max_examples=15) if settings().max_examples <= 100 else settings()

PLAIN: dict[str, Callable[..., Any]] = {
    "softmax": tm.softmax,
    "sparsemax": tm.sparsemax,
    "entmax15": tm.entmax15,
    **{f"entmax({alpha})": partial(tm.entmax, alpha=alpha) for alpha in (1.125, 1.75, 3.0)},
    "top_k": partial(tm.top_k, k=2),
}
# ε is in units of the logits.
SCALED = {"soft_top_k": partial(tm.soft_top_k, k=2), "soft_rank": tm.soft_rank}


def reverse(
    function: Callable[[Any], Any], x: np.ndarray, v: np.ndarray, backend: str = "torch"
) -> np.ndarray:
    if backend == "jax":
        with jax.enable_x64(x.dtype == np.float64):
            return np.asarray(jax.vjp(function, jax.numpy.asarray(x))[1](jax.numpy.asarray(v))[0], "float64")
    at = torch.tensor(x, requires_grad=True)
    return torch.autograd.grad(function(at), at, torch.tensor(v))[0].double().numpy()


def forward(function: Callable[[Any], Any], x: np.ndarray, v: np.ndarray) -> np.ndarray:
    return torch.func.jvp(function, (torch.tensor(x),), (torch.tensor(v),))[1].double().numpy()


def draw_logits(data: st.DataObject) -> tuple[np.ndarray, np.ndarray]:
    """Multiples of 1/4 without ties, one of them masked, and a cotangent of small whole numbers."""
    steps = data.draw(st.permutations(range(-6, 6)))[:6]
    x = np.array(steps, "float64")[None] / 4
    x[0, data.draw(st.integers(0, 5))] = -np.inf
    return x, np.array(data.draw(st.lists(st.integers(-4, 4), min_size=6, max_size=6)), "float64")[None]


def copies(x: np.ndarray, count: int, dtype: str) -> np.ndarray:
    return np.tile(x, (count, 1)).astype(dtype)


@differentiating
@pytest.mark.parametrize("name", PLAIN)
@few
@given(st.data())
def test_a_shift_leaves_derivatives_as_they_are(backend: str, name: str, data: st.DataObject) -> None:
    if backend == "jax" and name not in ("sparsemax", "entmax(1.75)", "top_k"):
        return
    function, (x, v) = PLAIN[name], draw_logits(data)
    expected = reverse(function, x, v)
    for dtype, shift in (("float32", 2.0**20), ("float64", -(2.0**48))):
        for count in (1, 1000):
            z, w = copies(x + shift, count, dtype), copies(v, count, dtype)
            derivatives = [reverse(function, z, w, backend)]
            derivatives += [forward(function, z, w)] if backend == "torch" else []
            for actual in derivatives:
                assert np.abs(actual - expected).max() <= 64 * np.finfo(dtype).eps


@differentiating
@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize("power", [-40, 97])
@few
@given(st.data())
def test_derivatives_scale_with_the_logits_and_eps(
    backend: str, name: str, power: int, data: st.DataObject
) -> None:
    """Logits of 1e-12 and ε of 1e-12, and logits of 1e29 and as large an ε."""
    (x, v), unit = draw_logits(data), 2.0**power
    expected = reverse(partial(SCALED[name], eps=1.0), x, v) / unit
    for count in (1, 1000):
        z, w = copies(x * unit, count, "float32"), copies(v, count, "float32")
        function = CALLS[name, power]
        derivatives = [reverse(function, z, w, backend)]
        derivatives += [forward(function, z, w)] if backend == "torch" else []
        for actual in derivatives:
            assert np.abs(actual - expected).max() * unit <= 64 * np.finfo("float32").eps * 6


CALLS = {(name, power): partial(SCALED[name], eps=2.0**power) for name in SCALED for power in (-40, 97)}


@pytest.mark.parametrize("size", [1.0, 1e4, 1e30])
@pytest.mark.parametrize("name", SCALED)
def test_derivatives_are_zero_where_choices_are_hard(name: str, size: float) -> None:
    x = np.array([[3.0, 1.0, 2.0, -np.inf, 0.0]], "float32") * np.float32(size)
    for function in (partial(SCALED[name], eps=1e-12), partial(SCALED[name], eps=1e-300)):
        assert (reverse(function, x, np.ones_like(x) * [1, 2, 3, 4, 5]) == 0).all()


@pytest.mark.parametrize("eps", [1.0, 1e-6, 1e-12])
def test_equal_logits_share_slopes_at_any_eps(eps: float) -> None:
    """Two logits share the last place of soft top-k: J = (I − 1/2) / (k ε) on them, and 0 elsewhere."""
    x = np.array([[5.0, 1.0, 1.0, -9.0]], "float32") * np.float32(1e8)
    v = np.array([[1.0, 2.0, 5.0, 3.0]], "float32")
    expected = np.array([[0, -1.5, 1.5, 0]]) / (2 * eps)
    actual = reverse(partial(tm.soft_top_k, k=2, eps=eps), x, v)
    assert np.abs(actual - expected).max() <= 1e-6 / eps
    ranks = reverse(partial(tm.soft_rank, eps=eps), x, v)
    assert np.abs(ranks + expected * 2).max() <= 1e-6 / eps


@differentiating
@pytest.mark.parametrize("alpha", [2.5, 3.0, 4.0])
@pytest.mark.parametrize("weight", [1e-2, 1e-4, 1e-6])
def test_a_small_weight_above_alpha_2_does_not_cost_digits(backend: str, alpha: float, weight: float) -> None:
    """Two experts: J = c [[1, −1], [−1, 1]] with 1/c = 1/s₁ + 1/s₂; s = p^(2 − α) is as large as 1e12."""
    h = alpha - 1
    x = np.array([[0.0, -((1 - weight) ** h - weight**h) / h]])
    function = partial(tm.entmax, alpha=alpha)
    p = tm.entmax(x, alpha)[0]
    steepness = 1 / (p ** (alpha - 2)).sum()
    v = np.array([[3.0, 1.0]])
    actual = reverse(function, x, v, backend)
    assert np.abs(actual - steepness * 2 * np.array([[1, -1]])).max() <= 1e-9
    narrow = reverse(function, x.astype("float32"), v.astype("float32"), backend)
    assert np.isfinite(narrow).all()
    assert abs(narrow.sum()) <= 1e-5
    assert np.abs(narrow - actual).max() <= 0.05 if weight > 1e-5 else np.abs(narrow).max() <= 2.1
