import re
import warnings
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.activation_oracles import (
    CASES,
    RANKINGS,
    WEIGHTINGS,
    Case,
    entmax,
    nearest_of_permutahedron,
    nearest_of_simplex,
    of_alpha,
    of_array_alpha,
    precise_entmax,
    with_options,
)
from support.frameworks import optional
from support.strategies import BACKENDS, close

import tensormoe as tm

torch = optional("torch")
jax = optional("jax")

backends = pytest.mark.parametrize("backend", BACKENDS)
every = pytest.mark.parametrize("name", CASES)
weighting = pytest.mark.parametrize("name", WEIGHTINGS)
ranking = pytest.mark.parametrize("name", RANKINGS)

INF = float("inf")


# JAX compiles for every shape, so there is one.
SHAPE = (3, 6)


@st.composite
def logits(draw: st.DrawFn, exact: bool = False) -> np.ndarray:
    """Few in the support or many, with and without ties; whole numbers add to exact ones without rounding."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    x = generator.normal(size=SHAPE) * draw(st.sampled_from([0.05, 1.0, 4.0, 50.0]))
    if exact or draw(st.booleans()):
        grain = 2.0 ** -draw(st.sampled_from([2, 10]))
        x = np.round(x / grain) * grain
    return x if exact else x + draw(st.sampled_from([0, 1e-9])) * generator.integers(0, 2, SHAPE)


def arrays(elements: st.SearchStrategy[float], *shape: int) -> st.SearchStrategy[np.ndarray]:
    size = int(np.prod(shape))
    return st.lists(elements, min_size=size, max_size=size).map(lambda v: np.array(v).reshape(shape))


uneven = st.one_of(st.floats(-4, 4, allow_subnormal=False), st.sampled_from([0.0, 0.25, 1.0, 1.0 + 1e-9]))


def evaluated(backend: str, function: Callable[[Any], Any], x: np.ndarray) -> np.ndarray:
    """In float64; by JAX compiled, as it would compile every operation for itself in eager mode."""
    ops = tm.get_backend(backend)
    with ops.double_precision():
        return ops.to_numpy((jax.jit(function) if backend == "jax" else function)(ops.from_numpy(x)))


def agree(case: Case, actual: np.ndarray, x: np.ndarray, tolerance: float = 1e-12) -> None:
    close(actual**case.exponent, case.expected(x) ** case.exponent, tolerance)


@backends
@every
@given(logits())
def test_values_equal_the_definition(backend: str, name: str, x: np.ndarray) -> None:
    actual = evaluated(backend, CASES[name].function, x)
    agree(CASES[name], actual, x)
    assert (actual >= 0).all()
    total = 21 if name in RANKINGS else 1
    assert np.max(np.abs(actual.sum(-1) - total)) < 1e-14 * total**2


@backends
@every
@given(logits(exact=True), st.permutations(range(6)), st.integers(-1000, 1000))
def test_permuting_permutes_and_shifting_changes_nothing(
    backend: str, name: str, x: np.ndarray, order: list[int], shift: int
) -> None:
    function = CASES[name].function
    actual = evaluated(backend, function, x)
    close(evaluated(backend, function, x + shift), actual)
    if "top_k" not in name or "soft" in name or all(len(set(row)) == 6 for row in x):
        close(evaluated(backend, function, x[:, order]), actual[:, order])


@backends
@weighting
@given(logits(exact=True), st.integers(0, 5), st.floats(2**-10, 5))
def test_higher_logits_get_no_less(
    backend: str, name: str, x: np.ndarray, position: int, rise: float
) -> None:
    actual = evaluated(backend, WEIGHTINGS[name].function, x)
    # Of equal logits, top_k prefers the first.
    order = np.stack([np.lexsort((-np.arange(6), row)) for row in x])
    sorted_by_logit = np.take_along_axis(actual, order, axis=-1)
    assert (np.diff(sorted_by_logit) >= -1e-14).all()
    raised = evaluated(backend, WEIGHTINGS[name].function, x + rise * (np.arange(6) == position))
    assert (raised[:, position] >= actual[:, position] - 1e-14).all()


@backends
@ranking
@given(logits(exact=True))
def test_ranks_are_ordered_as_the_values(backend: str, name: str, x: np.ndarray) -> None:
    actual = evaluated(backend, RANKINGS[name].function, x)
    order = np.argsort(x if "ascending" in name else -x, axis=-1)
    assert (np.diff(np.take_along_axis(actual, order, axis=-1)) >= -1e-12).all()


@given(logits())
def test_special_cases_of_one_another(x: np.ndarray) -> None:
    for kind in (float, np.array):
        close(tm.entmax(x, kind(1.0)), tm.softmax(x))
        close(tm.entmax(x, kind(1.5)), tm.entmax15(x))
        close(tm.entmax(x, kind(2.0)), tm.sparsemax(x))
    close(tm.soft_top_k(x, 1), tm.sparsemax(x))
    close(tm.soft_top_k(x, 1, eps=0.3), tm.sparsemax(x / 0.3))
    close(tm.soft_top_k(x, 6), np.full(SHAPE, 1 / 6))
    close(tm.top_k(x, 6), tm.softmax(x))


def test_a_gates_activation_has_the_functions_defaults_and_divides_by_its_temperature() -> None:
    ops, x = tm.get_backend("numpy"), np.array([[0.5, -1.0, 0.25, 0.0]])
    soft, sparse = tm.Activation("soft_top_k", k=1), tm.Activation("sparsemax")
    for temperature in (0.5, 1.0, 2.0, 3.0):
        expected = nearest_of_simplex(x[0] / temperature)
        for activation in (soft, sparse):
            close(activation.weights(ops, x, temperature)[0], np.array(expected, float))


# With the values that they tend to at a rank.
HARD: dict[str, tuple[Callable[..., Any], Callable[[np.ndarray], np.ndarray]]] = {
    "soft_top_k(1)": (partial(tm.soft_top_k, k=1, eps=1e-6), lambda rank: rank <= 1),
    "soft_top_k(4)": (partial(tm.soft_top_k, k=4, eps=1e-6), lambda rank: (rank <= 4) / 4),
    "soft_rank": (partial(tm.soft_rank, eps=1e-6), lambda rank: rank),
    "soft_rank ascending": (partial(tm.soft_rank, eps=1e-6, descending=False), lambda rank: 7 - rank),
}


@backends
@pytest.mark.parametrize("name", HARD)
@given(st.permutations(range(6)))
def test_small_eps_is_hard(backend: str, name: str, order: list[int]) -> None:
    x = np.array(order, "float64")
    function, of_ranks = HARD[name]
    # A soft rank is a difference of numbers of the size of x/ε.
    close(evaluated(backend, function, x), of_ranks(1.0 + np.argsort(np.argsort(-x))), 1e-9)


@given(arrays(uneven, 5))
def test_sparsemax_is_the_nearest_point(x: np.ndarray) -> None:
    close(tm.sparsemax(x), nearest_of_simplex(x))


@given(arrays(uneven, 4), st.sampled_from([0.5, 1.0, 4.0]), st.booleans())
def test_soft_ranks_are_the_nearest_point(x: np.ndarray, eps: float, descending: bool) -> None:
    close(tm.soft_rank(x, eps, descending), nearest_of_permutahedron(x, eps, descending))


@backends
@pytest.mark.parametrize(
    ("eps", "descending", "expected"),
    [
        (1.0, True, [1, 3, 2]),
        (2.0, True, [1, 2.75, 2.25]),
        (1.0, False, [3, 1, 2]),
        (2.0, False, [3, 1.25, 1.75]),
        (1e9, True, [2, 2, 2]),
    ],
)
def test_known_soft_ranks(backend: str, eps: float, descending: bool, expected: list[float]) -> None:
    actual = evaluated(backend, lambda x: tm.soft_rank(x, eps, descending), np.array([5.0, 1.0, 2.0]))
    close(actual, np.array(expected), 1e-8 if eps == 1e9 else 1e-15)


@backends
@pytest.mark.parametrize("power", [1, 3, 6, 9, 12, 15, 16])
def test_entmax_loses_no_digits_near_softmax(backend: str, power: int) -> None:
    x = np.array([[1.0, 0.9, -0.5, 0.25, 0.0], [9.0, -3.0, 2.0, 8.5, 30.0]])
    alpha = 1 + 10.0**-power
    expected = [[float(p) for p in precise_entmax(row, Decimal(alpha))] for row in x]
    for case in (of_alpha(alpha), of_array_alpha(alpha)):
        close(evaluated(backend, case.function, x), np.array(expected), 1e-14)


def narrow(backend: str, x: np.ndarray) -> Any:
    """In float32 and in one shape, for JAX's eager mode compiles every operation for every shape."""
    assert x.shape == (2, *SHAPE)
    return tm.get_backend(backend).from_numpy(x.astype("float32"))


@backends
@every
def test_along_any_axis_in_the_arrays_own_type(backend: str, name: str) -> None:
    ops, case = tm.get_backend(backend), CASES[name]
    x = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype("float32")
    for axis in (0, 1, 2, -1, -2, -3):
        moved = ops.moveaxis(narrow(backend, x), -1, axis)
        actual = case.function(moved, axis=axis)
        assert ops.dtype_name(actual) == "float32"
        expected = case.expected(ops.to_numpy(moved), axis)
        close(ops.to_numpy(actual) ** case.exponent, expected**case.exponent, 2e-6)


@backends
@every
def test_logits_of_any_size(backend: str, name: str) -> None:
    large = [[1e4, -1e4, 1e4 - 0.25, 1e4 - 0.125, 0, 1e4], [-1e4, -1e4, -9999.5, -1e4, -2e4, -1e4], [1e4] * 6]
    small = [[7.5] * 6, [-1e4] * 6, [0, 1e-300, -1e-300, 1e-20, 0, -1e-20]]
    for x in (np.array(large), np.array(small)):
        # Rounding x/ε and (α − 1) x costs digits in proportion to x.
        agree(CASES[name], evaluated(backend, CASES[name].function, x), x, 1e-11)


@backends
@pytest.mark.parametrize("name", [name for name in CASES if "k(" not in name])
def test_one_expert_gets_everything(backend: str, name: str) -> None:
    x = np.array([[0.0], [1e4], [-3.25]])
    assert (evaluated(backend, CASES[name].function, x) == 1).all()


@pytest.mark.parametrize("function", [tm.soft_top_k, tm.top_k])
def test_one_of_one_and_all_of_two(function: Callable[..., Any]) -> None:
    assert (function(np.array([[0.0], [-1e4]]), 1) == 1).all()
    close(function(np.array([[1.0, 1.0]]), 2), np.array([[0.5, 0.5]]))


@backends
@weighting
def test_masked_experts_get_nothing_and_the_rest_what_they_would_alone(backend: str, name: str) -> None:
    case = WEIGHTINGS[name]
    x = np.array([[0.3, -INF, 1.0, 0.2, -INF, 0.75], [0.3, -INF, 1.0, -INF, -INF, -INF], [-INF] * 5 + [7.5]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        actual = evaluated(backend, case.function, x)
    for row, weights in zip(x, actual, strict=True):
        kept = np.isfinite(row)
        assert (weights[~kept] == 0).all()
        agree(case, weights[kept], row[kept])


@backends
@ranking
def test_masked_values_share_the_lowest_ranks(backend: str, name: str) -> None:
    x = np.array([[0.3, -INF, 1.0, 0.2, -INF, 0.75], [0.3, -INF, 1.0, -INF, -INF, -INF], [-INF] * 5 + [7.5]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        actual = evaluated(backend, RANKINGS[name].function, x)
    for row, ranks in zip(x, actual, strict=True):
        kept = np.isfinite(row)
        below = 6 - kept.sum()
        if "ascending" in name:
            lowest, offset = (1 + below) / 2, below
        else:
            lowest, offset = 6 - (below - 1) / 2, 0
        close(ranks[~kept], np.full(below, lowest))
        agree(RANKINGS[name], ranks[kept] - offset, row[kept])


@backends
@every
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_row_of_masked_experts_alone_is_refused(backend: str, name: str) -> None:
    x = np.zeros((2, *SHAPE))
    x[1, 2] = -INF
    with pytest.raises(tm.TensorMoEError, match="x: received 'a row of -inf'"):
        CASES[name].function(narrow(backend, x))


@backends
@pytest.mark.parametrize(
    ("name", "flaw"),
    # An infinite logit is no flaw to soft_top_k: it is chosen.
    [*((name, np.nan) for name in CASES), *((name, INF) for name in CASES if "soft_top_k" not in name)],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_flaw_shows_in_its_whole_row_and_in_no_other(backend: str, name: str, flaw: float) -> None:
    for position in (0, 3, 5):
        x = np.random.default_rng(0).normal(size=SHAPE)
        x[1, position] = flaw
        actual = evaluated(backend, CASES[name].function, x)
        assert np.isnan(actual[1]).all()
        agree(CASES[name], actual[[0, 2]], x[[0, 2]])


@every
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_half_precision_computes_in_float32(backend: str, name: str, dtype: str) -> None:
    ops = tm.get_backend(backend)
    if backend == "numpy" and dtype == "bfloat16":
        # NumPy has this type from a package that comes with JAX.
        pytest.importorskip("ml_dtypes")
    rows = [[60.0, -60.0, 59.5, 59.25, 0, 1], [0.5] * 6, [1, 0.75, -0.25, 0.5, 0.125, 0]]
    x, case = np.array([rows, rows[::-1]]), CASES[name]
    actual = case.function(ops.cast(narrow(backend, x), dtype))
    assert ops.dtype_name(actual) == dtype
    actual = np.asarray(ops.to_numpy(ops.cast(actual, "float32")), "float64")
    rounding = 2.0**-9 if dtype == "bfloat16" else 2.0**-12
    close(actual**case.exponent, case.expected(x) ** case.exponent, 4 * rounding)


@weighting
def test_wider_types_are_not_narrowed(name: str) -> None:
    case = WEIGHTINGS[name]
    x = np.linspace(0, 1, 6, dtype=np.longdouble) ** 2 / 3
    actual = case.function(x)
    assert actual.dtype == np.longdouble
    assert np.abs(actual**case.exponent - case.oracle(x) ** case.exponent).max() < 1e-17


def test_soft_ranks_of_wider_types_are_not_narrowed() -> None:
    x = np.array([5, 1, 2], np.longdouble) + np.finfo(np.longdouble).eps * np.array([0, 0, 8], np.longdouble)
    actual = tm.soft_rank(x, eps=2.0)
    assert actual.dtype == np.longdouble
    # Half of the last two's difference, no part of which a float64 holds.
    assert actual[1] - actual[2] == (x[2] - x[1]) / 2


def logits_that_converge_slowly(kind: str, width: int) -> np.ndarray:
    steps = np.arange(width)
    if kind == "adversarial":
        return against_newton(width)
    return {
        "normal": np.random.default_rng(0).normal(size=width),
        "flat": np.zeros(width),
        "ramp": steps / max(width - 1, 1) * 2,
        "geometric": -2 * 1.01 ** -steps.astype(float),
        # What takes 1.5-entmax's iteration the most steps.
        "slow": -np.log1p(steps / width * (np.exp(28) - 1)) / 14,
        "spike": np.where(steps == 0, 2.0, 0.0),
    }[kind]


def against_newton(width: int, share: float = 0.7, margin: float = 0.01) -> np.ndarray:
    """Logits that drop out of sparsemax's support just to the right of each of Newton's iterates.

    Each step leaves a share r of the support and, of the excess over 1, a share 1 − r. The iterates are found
    backwards, in units of the last excess: from τ with support n, the step s to the next is excess/n, and the
    logits at τ + margin s that leave the support make the difference between the excesses at the two.
    """
    counts = [width]
    while counts[-1] > 2:
        counts.append(max(int(share * counts[-1]), 2))
    leaving = -np.diff(counts)
    steps, excess = [], 1.0
    for count, left in zip(counts[-2::-1], leaving[::-1], strict=False):
        steps.append(excess / (left * (1 - margin)))
        excess = count * steps[-1]
    # The last two logits are 0, so that the first iterate is −1 if the last excess is this.
    sizes = np.array(steps[::-1]) / 2 / (sum(steps) + 0.5)
    iterates = -1 + np.cumsum(sizes) - sizes
    return np.concatenate([np.repeat(iterates + margin * sizes, leaving), np.zeros(counts[-1])])


def newton_steps(x: np.ndarray) -> int:
    """How many steps of Newton's iteration sparsemax takes from −1 until its support stays."""
    tau, support, steps = -1.0, 0, 0
    while (inside := int((x > tau).sum())) != support:
        tau, support, steps = (x[x > tau].sum() - 1) / inside, inside, steps + 1
    return steps


@pytest.mark.parametrize("width", [64, 1024, 100_000])
def test_the_adversary_slows_newton_down(width: int) -> None:
    assert newton_steps(against_newton(width)) > 1.4 * np.log2(width)


def iterated(width: int) -> dict[str, Case]:
    """What iterates, for this number of logits."""
    actual = {name: CASES[name] for name in ("sparsemax", "entmax15", "entmax(1.3)", "entmax(3.5)")}
    third = -(-width // 3)
    for k, eps in ((1, 1.0), (third, 0.01), (third, 1.0), (third, 30.0), (width, 1.0)):
        actual[f"soft_top_k({k}, {eps})"] = with_options("soft_top_k", k=k, eps=eps)
    return actual


@pytest.mark.parametrize("width", [1, 2, 64, 1024, 100_000])
@pytest.mark.parametrize("kind", ["normal", "flat", "ramp", "geometric", "slow", "spike", "adversarial"])
def test_iterations_converge_at_any_width(width: int, kind: str) -> None:
    """Both until nothing changes and, traced, in a fixed number of steps."""
    x = logits_that_converge_slowly(kind, width)
    for case in iterated(width).values():
        agree(case, case.function(x), x)
        agree(case, torch.func.vmap(case.function)(torch.tensor(x[None])).numpy()[0], x)


@pytest.mark.parametrize("kind", ["slow", "adversarial"])
@pytest.mark.parametrize("name", ["sparsemax", "entmax15"])
def test_a_million_experts(name: str, kind: str) -> None:
    x = logits_that_converge_slowly(kind, 1_000_000)
    agree(CASES[name], torch.func.vmap(CASES[name].function)(torch.tensor(x[None])).numpy()[0], x)


def test_sparse_exactly() -> None:
    for function in (tm.sparsemax, tm.entmax15, partial(tm.entmax, alpha=3), partial(tm.soft_top_k, k=1)):
        assert (function(np.array([0.0, 3.0, 0.5])) == [0.0, 1.0, 0.0]).all()


Unfit = tuple[Callable[..., Any], dict[str, Any], str]
UNFIT: list[Unfit] = [
    *[(f, {"k": k}, f"k: received {k!r};") for f in (tm.soft_top_k, tm.top_k) for k in (0, -1, 4, True, 1.5)],
    *[(tm.top_k, {"k": k}, f"k: received {k!r};") for k in (None, "2", np.array([1, 2]))],
    *[(tm.soft_top_k, {"k": 1, "eps": eps}, f"eps: received {eps!r};") for eps in (0, -1.0, np.nan, INF)],
    *[(tm.soft_rank, {"eps": eps}, f"eps: received {eps!r};") for eps in (0, -1.0, np.nan, INF, "1", True)],
    *[(tm.entmax, {"alpha": a}, f"alpha: received {a!r};") for a in (0.99, 4.01, -INF, np.nan, True, "2")],
    *[(tm.entmax, {"alpha": a}, f"alpha: received {a!r};") for a in (None, np.array([1.5, 2.0]), [2])],
    *[(tm.soft_rank, {"descending": d}, f"descending: received {d!r};") for d in (1, None, "no")],
]


@backends
@pytest.mark.parametrize(("function", "options", "message"), UNFIT, ids=[unfit[2] for unfit in UNFIT])
def test_unfit_options_are_named(
    backend: str, function: Callable[..., Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(tm.TensorMoEError, match="^" + re.escape(message)):
        evaluated(backend, partial(function, **options), np.array([1.0, 0.5, -1.0]))


@backends
@pytest.mark.parametrize("value", [[1.5, 2.0], 0.5, 4.5, np.nan])
def test_an_array_alpha_must_fit(backend: str, value: Any) -> None:
    ops = tm.get_backend(backend)
    alpha = ops.from_numpy(np.array(value, "float32"))
    with pytest.raises(tm.TensorMoEError, match=re.escape(f"alpha: received {alpha!r};")):
        tm.entmax(ops.from_numpy(np.zeros(3, "float32")), alpha)


@pytest.mark.parametrize("other", BACKENDS)
@backends
def test_an_array_alpha_is_of_the_logits_framework(backend: str, other: str) -> None:
    x = tm.get_backend(backend).from_numpy(np.array([1.0, 0.5, -1.0], "float32"))
    alpha = tm.get_backend(other).from_numpy(np.array(2.0, "float32"))
    if other == backend:
        close(tm.get_backend(backend).to_numpy(tm.entmax(x, alpha)), [0.75, 0.25, 0.0], 1e-7)
        return
    with pytest.raises(tm.TensorMoEError, match=r"alpha: received .*2"):
        tm.entmax(x, alpha)


@backends
@every
def test_unfit_arrays_are_named(backend: str, name: str) -> None:
    ops, function = tm.get_backend(backend), CASES[name].function
    x = ops.from_numpy(np.ones((2, 6), "float32"))
    for axis in (None, 1.0, 2, -3):
        with pytest.raises(tm.TensorMoEError, match=f"axis: received {axis!r};"):
            function(x, axis=axis)
    with pytest.raises(tm.TensorMoEError, match=r"x: received 'int32'; .*floating-point"):
        function(ops.from_numpy(np.arange(6, dtype="int32")))
    with pytest.raises(tm.TensorMoEError, match=r"x: received \(6, 0\); .*is empty"):
        function(ops.from_numpy(np.ones((6, 0), "float32")))


def test_an_empty_batch_stays_empty() -> None:
    for case in CASES.values():
        assert case.function(np.ones((0, 6))).shape == (0, 6)
        assert case.function(torch.ones(0, 6)).shape == (0, 6)


def test_the_oracles_agree_where_two_solve_one_problem() -> None:
    x = np.array([1.0, 0.9, -0.5, 0.25, 0.0])
    for alpha in (1.0, 1.5, 2.0, 3.0):
        precise = np.array([float(p) for p in precise_entmax(x, Decimal(alpha))])
        close(entmax(x, alpha) ** max(alpha - 1, 1), precise ** max(alpha - 1, 1), 1e-14)
