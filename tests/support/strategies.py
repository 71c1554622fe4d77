"""What the tests share: the cases that are tried everywhere, values, and how results are compared."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.definition import Truth, truth
from support.frameworks import BACKENDS

import tensormoe as tm
from tensormoe.testing import Inputs, inputs_for, specs

__all__ = [
    "BACKENDS",
    "EVERY",
    "EVERY_GATE",
    "Truth",
    "close",
    "dtypes",
    "layers",
    "on_every_backend",
    "truth",
    "values_for",
]

# Each kind of network once, for one level of experts.
EVERY = [
    tm.CP(6),
    tm.Tucker((3, 4, 5)),
    tm.TensorTrain((3, 4)),
    tm.TensorRing((3, 2, 4)),
    tm.Dense(),
    tm.TensorNetwork("n o, i o"),
    tm.TensorNetwork("n i r, n r o", r=3),
    tm.TensorNetwork("i o + n o") + tm.CP(3),
    tm.TensorNetwork("g n p, g i q, g o s, g p q s", g=2, p=3, q=2, s=4),
]

# Each router, and each activation with each norm that differs in kind. JumpReLU and ReLU alone are tried in
# gates/test_unnormalised.py.
EVERY_GATE = [
    tm.Gate(),
    tm.Gate("softmax", "batch"),
    tm.Gate("sparsemax", None, tm.LowRankRouter(2)),
    tm.Gate(tm.Activation("entmax", alpha=1.3), temperature=0.5),
    tm.Gate(tm.Activation("entmax", alpha=3.0), noise=0.1),
    tm.Gate(tm.Activation("soft_top_k", k=2, eps=0.5)),
    tm.Gate(tm.Activation("top_k", k=2), "batch"),
    tm.Gate("sigmoid", None, tm.LinearRouter(bias=True)),
    tm.Gate(tm.Activation("relu_top_k", k=2), "batch"),
    tm.Gate("softmax", None, tm.CosineRouter(rank=2)),
    tm.Gate(tm.Activation("top_k", k=2), None, tm.NoisyRouter()),
    tm.Gate(router=tm.AdaptiveClustering()),
    tm.Gate("softmax", None, tm.AdaptiveClustering("vision", statistics="batch", assignment="hard")),
    tm.Gate("sparsemax", "batch", tm.AdaptiveClustering(dispersion="std", clusters=6)),
    tm.Gate("softmax", "batch", tm.AdaptiveClustering(statistics="batch", evaluation="batch")),
]

# Element types with the error that frameworks may differ by, relative to the size of what is summed.
dtypes = st.sampled_from([("float64", 1e-12), ("float32", 1e-5)])


def on_every_backend(
    *strategies: st.SearchStrategy, backends: Sequence[str] = BACKENDS
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The property on every backend, on fewer examples where each of them is compiled."""

    def decorate(law: Callable[..., None]) -> Callable[..., None]:
        @pytest.mark.parametrize("backend", backends)
        def test(backend: str) -> None:
            examples = settings.default.max_examples
            if backend == "jax":
                examples = max(10, examples // 6)
            settings(max_examples=examples)(given(st.just(backend), *strategies)(law))()

        return test

    return decorate


@st.composite
def layers(
    draw: st.DrawFn, max_levels: int = 4, shared: bool = True, fixed: bool = True
) -> tuple[tm.MuMoESpec, Inputs]:
    """A random layer, perhaps without experts, with values; the batch may be empty."""
    spec = draw(specs(max_levels=max_levels, min_levels=0, shared=shared, fixed=fixed))
    return spec, draw(inputs_for(spec))


def values_for(spec: tm.MuMoESpec, seed: int, batch_size: int) -> Inputs:
    """Values of ordinary size, of fixed cores their own; coefficients are arbitrary and need not sum to 1."""
    generator, fixed = np.random.default_rng(seed), spec.network.fixed_values()
    return Inputs(
        generator.normal(size=(batch_size, spec.in_features)),
        [generator.normal(size=(batch_size, n)) for n in spec.experts],
        [
            np.asarray(fixed[name], "float64") if name in fixed else generator.normal(size=shape)
            for name, shape in spec.network.shapes.items()
        ],
        generator.normal(size=(batch_size, spec.out_features)),
    )


def close(actual: Any, expected: Any, tolerance: float = 1e-12) -> None:
    """Assert equal shapes, and entries equal relative to the largest."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    if prod(actual.shape):
        scale = max(float(np.max(np.abs(expected))), 1.0)
        assert float(np.max(np.abs(actual - expected))) <= tolerance * scale


def check_programs(spec: tm.MuMoESpec, values: Inputs) -> Truth:
    """Assert that outputs and gradients of all programs are those of the definition, which is returned."""
    expected, ops = truth(spec, values), tm.get_backend("numpy")
    for _, program in spec.programs:
        close(program.run(ops, values.operands), expected.y)
        gradients = program.vjp(ops, values.operands, values.cotangent)
        for actual, gradient in zip(gradients, expected.gradients, strict=True):
            close(actual, gradient)
    return expected
