"""No right layer fails: random layers with sizes to 1,024, in every element type."""

import os

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.frameworks import optional
from support.strategies import BACKENDS

import tensormoe as tm
from tensormoe.testing import gates, networks
from tensormoe.verification.arithmetic.rounding import UNITS, Counted, CountingOps, Precision

torch = optional("torch")

DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
# JAX takes seconds to compile each layer.
CHOSEN = BACKENDS if DEEP else [name for name in BACKENDS if name != "jax"]
_LARGEST = 2**17


def sizes(largest: int) -> st.SearchStrategy[int]:
    """Sizes of every magnitude up to the largest."""
    return st.floats(0, float(np.log2(largest))).map(lambda power: round(2**power))


@st.composite
def layers(draw: st.DrawFn) -> tm.MuMoESpec:
    """Named families and random networks."""
    levels = draw(st.integers(1, 3))
    experts = tuple(draw(sizes(1024)) for _ in range(levels))
    ranks = st.tuples(*[sizes(32)] * (levels + 2))
    families = [
        st.builds(tm.CP, sizes(256)),
        st.builds(tm.Tucker, ranks),
        st.builds(tm.TensorRing, ranks),
        st.builds(tm.TensorTrain, ranks.map(lambda each: each[1:])),
        st.just(tm.Dense()),
        networks(levels, max_rank=32),
    ]
    family, gate, bias = draw(st.one_of(families)), draw(gates()), draw(st.booleans())
    features = draw(sizes(1024)), draw(sizes(1024))
    while True:
        spec = tm.MuMoESpec(*features, experts, family, gate, bias)
        if spec.num_parameters <= _LARGEST:
            return spec
        # What is left are the bonds of a network.
        assume(max(*features, *experts) > 1)
        # Halved rather than thrown away: dense layers would hardly ever be small enough.
        features = ((features[0] + 1) // 2, (features[1] + 1) // 2)
        experts = tuple((n + 1) // 2 for n in experts)


@settings(max_examples=500 if DEEP else 6)
@given(layers(), st.integers(0, 2**32))
def test_no_right_layer_fails(spec: tm.MuMoESpec, seed: int) -> None:
    report = tm.verify(spec, CHOSEN, seed, methods="float")
    assert report.passed, str(report)


@pytest.mark.parametrize("size", [(64, 64, 16), (256, 64, 8), (1024, 256, 2), (2, 1024, 64)])
def test_no_dense_layer_fails(size: tuple[int, int, int]) -> None:
    """Their gradients sum over experts along axes that NumPy does not widen."""
    for seed in (0, 1):
        report = tm.verify(tm.MuMoESpec(*size, tm.Dense()), ("numpy", "torch"), seed, methods="float")
        assert report.passed, str(report)
        # Still useful: the largest error is not far below its bound.
        assert max(check.ratio for check in report.checks) > 0.1


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_long_sum_is_within_its_bound(backend: str, dtype: str, axis: int) -> None:
    ops = tm.get_backend(backend)
    if dtype not in ops.float_types:
        return
    values = np.full((2000, 3, 2), 1.0) if axis == 0 else np.full((3, 2000, 2), 1.0)
    values = values if axis < 2 else np.full((3, 2, 2000), 1.0)
    with ops.double_precision():
        total = ops.to_float64(ops.sum(ops.from_float64(values / 3, dtype), axis=axis))
    precision = Precision(dtype, ops.widens_sums)
    bound = CountingOps().sum(Counted(values.shape, precision), axis=axis).bound
    # The terms themselves are rounded, too.
    assert np.abs(total / (2000 / 3) - 1).max() <= (1 + bound) * (1 + UNITS[dtype]) - 1


def test_sums_that_are_not_widened_have_a_bound_of_their_own() -> None:
    narrow, wide = (Precision("float16", widens).summing(1001) for widens in (False, True))
    assert narrow == 1000 * 2.0**-11
    assert 2.0**-11 <= wide < 2.0**-10
    assert Precision("float64").summing(0) == 0
