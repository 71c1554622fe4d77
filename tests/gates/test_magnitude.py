"""Gate activations of logits of any size, against exact arithmetic: values, sums, ranges, flaws, batches."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.exact_activations import (
    EXACT,
    RANKINGS,
    WEIGHTINGS,
    entmax,
    entmax15,
    of_levels,
    soft_top_k,
    softmax,
    sparsemax,
)
from support.frameworks import optional
from support.strategies import BACKENDS

import tensormoe as tm

torch = optional("torch")
jax = optional("jax")

# JAX compiles each for seconds: there, those that differ in how they are computed, in its usual type.
IN_JAX = (
    "sparsemax",
    "entmax15",
    "entmax(1.875)",
    "soft_top_k(2, 1e-12)",
    "top_k(2)",
    "soft_rank(1.0, ascending)",
)
NAMED = [(backend, name) for backend in BACKENDS for name in EXACT if backend != "jax" or name in IN_JAX]
TYPED = [
    (backend, name, dtype)
    for backend, name in NAMED
    for dtype in ("float32", "float64")
    if dtype == "float32" or backend != "jax" or name == "sparsemax"
]
backends = pytest.mark.parametrize("backend", BACKENDS)
every = pytest.mark.parametrize(("backend", "name"), NAMED)
every_type = pytest.mark.parametrize(("backend", "name", "dtype"), TYPED)
# Exact arithmetic takes milliseconds a row.
few = settings(max_examples=15) if settings().max_examples <= 100 else settings()

INF, NAN = float("inf"), float("nan")
SHAPE = (3, 6)
# So many copies of it do not fit what small batches are computed by.
COPIES = 300
SIZES = {"float32": [0.0, 1.0, 8.0, 1e4, 1e8, 1e17, 1e30, 3e38], "float64": [0.0, 1.0, 1e8, 1e17, 1e300]}


@st.composite
def rows(draw: st.DrawFn, dtype: str) -> np.ndarray:
    """Logits next to a number of any size, by units in its last place or more; some masked, some far away."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = draw(st.sampled_from(SIZES[dtype])) * draw(st.sampled_from([1, -1]))
    last_place = float(np.spacing(np.abs(np.array(size or 1, dtype))))
    step = draw(st.sampled_from([last_place, 0.05, 1.0, 4.0, abs(size) * 1e-3]))
    with np.errstate(over="ignore"):
        x = (size + step * np.round(generator.normal(size=SHAPE) * 2**8) / 2**7).astype(dtype)
    x = np.clip(x, np.finfo(dtype).min, np.finfo(dtype).max)
    if draw(st.booleans()):
        x[0, :2], x[1, 3] = -INF, np.finfo(dtype).min
        x[2, 1:] = -INF
    return x


@contextmanager
def in_silence() -> Iterator[None]:
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        yield


def evaluated(backend: str, function: Callable[[Any], Any], x: np.ndarray, dtype: str = "") -> np.ndarray:
    """In the array's own type, or in another; in JAX compiled."""
    ops = tm.get_backend(backend)
    if backend == "jax":
        with jax.enable_x64(x.dtype == np.float64):
            return ops.to_float64(jax.jit(function)(ops.from_float64(x, dtype or x.dtype.name)))
    array = ops.cast(ops.from_numpy(x), dtype or x.dtype.name)
    with in_silence():
        y = function(array)
    return np.asarray(ops.to_float64(y))


@every_type
@few
@given(st.data())
def test_values_are_exact_and_the_same_in_any_batch(
    backend: str, dtype: str, name: str, data: st.DataObject
) -> None:
    case, x = EXACT[name], data.draw(rows(dtype))
    unit = np.finfo(dtype).eps * case.total
    expected = case(x) ** case.power
    alone = evaluated(backend, case.function, x)
    together = evaluated(backend, case.function, np.tile(x, (COPIES, 1))).reshape(COPIES, *SHAPE)
    for actual in (alone[None], together):
        assert np.abs(actual**case.power - expected).max() <= 8 * unit
        assert np.abs(actual.sum(-1) - case.total).max() <= 8 * unit
        assert actual.min() >= 0
        assert actual.max() <= (6 if name in RANKINGS else 1)


@every_type
@few
@given(st.data())
def test_a_shift_without_rounding_changes_no_bit(
    backend: str, dtype: str, name: str, data: st.DataObject
) -> None:
    grain = 2.0 ** data.draw(st.integers(-4, 4))
    x = grain * np.array(data.draw(st.lists(st.integers(-9, 9), min_size=18, max_size=18)))
    x = x.reshape(SHAPE).astype(dtype)
    shift = grain * data.draw(st.integers(-(2**18), 2**18))
    for copies in (1, COPIES):
        z = np.tile(x, (copies, 1))
        moved = (z + np.array(shift, dtype)).astype(dtype)
        before, after = (evaluated(backend, EXACT[name].function, array) for array in (z, moved))
        assert (before == after).all()


def hard(x: np.ndarray, k: int) -> np.ndarray:
    """1/k for each of the k largest; those that are equal to the k-th share what is left."""
    kth = np.sort(x, axis=-1)[:, ::-1][:, k - 1 : k]
    above, level = x > kth, x == kth
    share = (k - above.sum(-1, keepdims=True)) / level.sum(-1, keepdims=True)
    return (above + level * share) / k


# JAX compiles once for one function.
HARD = {
    eps: (partial(tm.soft_top_k, k=2, eps=eps), partial(tm.soft_rank, eps=eps)) for eps in (1e-12, 1e-300)
}


@backends
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("eps", HARD)
@few
@given(st.data())
def test_soft_top_k_and_ranks_tend_to_hard_ones(
    backend: str, dtype: str, eps: float, data: st.DataObject
) -> None:
    """Where logits differ by far more than ε, or not at all."""
    size = data.draw(st.sampled_from(SIZES[dtype][2:]))
    steps = np.array(data.draw(st.lists(st.integers(-3, 3), min_size=18, max_size=18))).reshape(SHAPE)
    x = (size * (1 - steps / 64)).astype(dtype)
    unit, (choose, rank) = np.finfo(dtype).eps, HARD[eps]
    actual = evaluated(backend, choose, x)
    assert np.abs(actual - hard(x, 2)).max() <= unit
    ranks = evaluated(backend, rank, x)
    above = (x[:, None, :] > x[:, :, None]).sum(-1)
    equal = (x[:, None, :] == x[:, :, None]).sum(-1)
    assert np.abs(ranks - (above + (1 + equal) / 2)).max() <= 8 * unit


@backends
@pytest.mark.parametrize("kind", ["equal", "within a few units in the last place"])
@pytest.mark.parametrize("alpha", [1.125, 1.25, 1.5, 1.75, 1.9, 2.0, 2.5, 4.0])
def test_a_crowd_at_the_threshold_is_counted(backend: str, alpha: float, kind: str) -> None:
    """20,000 logits next to τ: its error moves them all, so it must be far below a unit in the last place."""
    if backend == "jax" and alpha not in (1.9, 2.0):
        return
    h, count = alpha - 1, 20_000
    for weight in (1e-3, 0.3):
        near = np.float32(-(1 - (weight / count) ** h) / h)
        units = np.random.default_rng(0).integers(-4, 5, count) if kind != "equal" else np.zeros(count)
        crowd = near + units * np.spacing(np.abs(near))
        x = np.concatenate([[0, -0.1 / max(h, 0.3)], crowd]).astype("float32")[None]
        expected = np.array(of_levels(partial(entmax, alpha=alpha))(x[0]))
        functions = [partial(tm.entmax, alpha=alpha)]
        functions += {1.5: [tm.entmax15], 2.0: [tm.sparsemax, partial(tm.soft_top_k, k=1)]}.get(alpha, [])
        for function in functions:
            actual = evaluated(backend, function, x)[0]
            assert np.abs(actual ** max(h, 1) - expected ** max(h, 1)).max() <= 2e-6
            assert abs(actual.sum() - 1) <= 2e-6


@backends
@pytest.mark.parametrize("k", [1, 2, 100])
@pytest.mark.parametrize("eps", [1.0, 1e-6])
def test_a_crowd_at_the_threshold_is_counted_by_soft_top_k(backend: str, k: int, eps: float) -> None:
    if backend == "jax" and (k, eps) != (2, 1.0):
        return
    generator = np.random.default_rng(0)
    for grain in (0, 1):
        crowd = 1e4 - eps * 0.75 + grain * generator.integers(-4, 5, 20_000) * np.spacing(np.float32(1e4))
        x = np.concatenate([np.full(k - 1, 2e4), [1e4], crowd]).astype("float32")[None]
        expected = np.array(of_levels(partial(soft_top_k, k=k, eps=eps))(x[0]))
        actual = evaluated(backend, partial(tm.soft_top_k, k=k, eps=eps), x)[0]
        assert np.abs(actual - expected).max() <= 2e-6
        # The sum of 20,000 small numbers and k large ones.
        assert abs(actual.sum() - 1) <= 1e-5


# In JAX each combination is compiled; a flaw is lost there only where rows are many and short.
SHAPES = {"jax": [(5, 6), (1024, 5)], "": [(1, 2), (5, 6), (3, 1000), (1024, 5), (700, 64)]}


@pytest.mark.parametrize("flaw", [NAN, INF])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@every
def test_a_flaw_makes_its_row_nan_in_silence(backend: str, name: str, dtype: str, flaw: float) -> None:
    half = "16" in dtype
    if (backend, dtype) == ("numpy", "bfloat16") or (backend == "jax" and dtype != "float32"):
        return
    for shape in SHAPES.get(backend, SHAPES[""]):
        if shape[-1] < 3 and "soft_top_k(3" in name:
            continue
        x = np.random.default_rng(0).normal(size=shape).astype("float64" if dtype == "float64" else "float32")
        flawed = [0, shape[0] // 2, shape[0] - 1]
        for row, position in zip(flawed, (0, shape[1] // 2, shape[1] - 1), strict=True):
            x[row, position] = flaw
        actual = evaluated(backend, EXACT[name].function, x, dtype if half else "")
        assert (np.isnan(actual).all(-1) == np.isin(np.arange(shape[0]), flawed)).all()
        assert np.isnan(actual).any(-1).sum() == len(set(flawed))


@every
def test_a_row_that_is_all_masked_becomes_nan_where_it_is_not_refused(backend: str, name: str) -> None:
    """A gate passes it on in silence, and other rows are not affected."""
    x = np.array(
        [[0.0, -INF, 1.0, 0.5, -INF, 0.25], [-INF] * 6, [1.0, 2.0, 3.0, -INF, -1e30, 0.0]], "float32"
    )
    ops, case = tm.get_backend(backend), EXACT[name]
    with pytest.raises(tm.TensorMoEError, match="a row of -inf"):
        case.function(ops.from_numpy(x))
    if name in WEIGHTINGS and "array" not in name:
        keywords = {**case.function.keywords} if isinstance(case.function, partial) else {}
        plain = getattr(case.function, "func", case.function).__name__
        with in_silence():
            actual = ops.to_float64(tm.Activation(plain, **keywords).weights(ops, ops.from_numpy(x)))
        assert np.isnan(actual[1]).all()
        assert np.abs(actual[[0, 2]] - case(x[[0, 2]])).max() < 2e-6


@every
def test_half_types_take_their_largest_numbers(backend: str, name: str) -> None:
    case = EXACT[name]
    x = np.array([[6e4, 6e4, 5.9e4, -6e4, 0, 1], [3e4, -3e4, 2.9e4, 2.8e4, 3e4, 3e4], [6e4] * 6], "float16")
    actual = evaluated(backend, case.function, x, "float16")
    assert np.abs(actual - case(x.astype("float64"))).max() <= 2.0**-11 * case.total


@backends
@pytest.mark.parametrize("k", [1, 2, 5, 8])
@given(x=st.lists(st.sampled_from([0.0, -0.0, 1.0, 1e30, -INF, -1e30]), min_size=8, max_size=8))
def test_top_k_keeps_k_and_of_equal_logits_the_first(backend: str, k: int, x: list[float]) -> None:
    if max(x) == -INF:
        return
    ops = tm.get_backend(backend)
    actual = ops.to_float64(tm.top_k(ops.from_numpy(np.array([x], "float32")), k))[0]
    chosen = sorted(range(8), key=lambda i: (-x[i], i))[:k]
    weights = [np.exp(x[i] - max(x)) if i in chosen else 0.0 for i in range(8)]
    assert np.abs(actual - np.array(weights) / sum(weights)).max() < 1e-6


@backends
def test_low_temperatures_do_not_magnify_rounding(backend: str) -> None:
    """A temperature divides differences of logits, not logits."""
    ops = tm.get_backend(backend)
    x = np.array([[1e4, 1e4 - 2**-10, 1e4 - 2**-9], [3e30, 3e30, -3e30]], "float32")
    for name, function in (("sparsemax", sparsemax), ("soft_top_k", partial(soft_top_k, k=1, eps=1.0))):
        options = {"k": 1} if name == "soft_top_k" else {}
        for temperature in (1e-3, 3e-12):
            z = (x.astype("float64") - x.max(-1, keepdims=True)) / temperature
            expected = np.array([of_levels(function)(row) for row in z])
            with in_silence():
                weights = tm.Activation(name, **options).weights(ops, ops.from_numpy(x), temperature)
            assert np.abs(ops.to_float64(weights) - expected).max() < 2e-6


@pytest.mark.parametrize("activation", ["softmax", "sparsemax", "entmax15", "entmax", "soft_top_k", "top_k"])
def test_numpys_error_state_does_not_reach_pytorch(activation: str) -> None:
    options = {"entmax": {"alpha": 1.3}, "top_k": {"k": 2}, "soft_top_k": {"k": 2}}.get(activation, {})
    gate = tm.Gate(tm.Activation(activation, **options), norm=None)
    with in_silence():
        layer = tm.build(tm.MuMoESpec(5, 4, 6, tm.CP(3), gate), "torch", seed=0)
        torch.nn.init.normal_(layer.gate_weights[0])
        x = torch.tensor([[1e38] * 5, [NAN] * 5, [INF, 0, 0, 0, 0], [1e-30] * 5, [-1e38] * 5])
        layer(x).sum().backward()


def test_the_exact_oracles_agree_where_two_solve_one_problem() -> None:
    x = np.array([1.0, 0.75, -0.5, 0.25, 0.75, 0.0])
    pairs = [
        (sparsemax, partial(entmax, alpha=2.0)),
        (sparsemax, partial(soft_top_k, k=1, eps=1.0)),
        (entmax15, partial(entmax, alpha=1.5)),
        (softmax, partial(entmax, alpha=1 + 2.0**-40)),
    ]
    for one, other in pairs:
        assert np.allclose(of_levels(one)(x), of_levels(other)(x), rtol=0, atol=1e-11)
