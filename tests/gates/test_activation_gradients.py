from collections.abc import Callable, Iterator
from decimal import Decimal, localcontext
from functools import partial
from typing import Any

import numpy as np
import pytest
from support.activation_oracles import CASES, WEIGHTINGS, Case, precise_entmax
from support.frameworks import optional
from support.strategies import BACKENDS, close

import tensormoe as tm

torch = optional("torch")
jax = optional("jax")
check_grads = optional("jax.test_util").check_grads

every = pytest.mark.parametrize("name", CASES)
# Where tracing takes its own way; each is compiled many times.
TRACED = (
    "sparsemax",
    "entmax15",
    "entmax(1.3)",
    "entmax(3.5)",
    "soft_top_k(2, 0.5)",
    "top_k(2)",
    "soft_rank",
)
traced = pytest.mark.parametrize("name", TRACED)
# From 1 + 1e-5, finite differences stay where α is defined.
alphas = pytest.mark.parametrize("alpha", [1 + 1e-5, 1.3, 1.5, 2.5, 3.5])

INF = float("inf")
# Away from kinks: experts are in the support or far from it, and clipped or far from it.
X = np.array(
    [
        [0.10, 0.05, -9.00, 0.00, 0.12, -9.50],
        [5.00, 0.10, 0.00, -9.00, 0.05, -9.50],
        [-9.00, 0.00, 0.11, 0.06, -9.00, 0.09],
    ]
)
COTANGENT = np.random.default_rng(0).normal(size=X.shape)


def point(exponent: float) -> np.ndarray:
    """Beyond α = 2, only logits that are close together share a support."""
    return X if exponent <= 1 else 0.04 * X


def leaf(x: Any) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float64, requires_grad=True)


def pulled_back(function: Callable[[Any], Any], x: np.ndarray) -> np.ndarray:
    """The gradient by PyTorch's eager mode, which gradcheck judges below."""
    at = leaf(x)
    function(at).backward(torch.tensor(COTANGENT))
    return at.grad.numpy()


@pytest.fixture(autouse=True)
def _forget_compiled() -> Iterator[None]:
    yield
    if "torch" in BACKENDS:
        torch.compiler.reset()


@every
def test_gradients_are_exact_to_second_order(name: str) -> None:
    function, x = CASES[name].function, leaf(point(CASES[name].exponent))
    assert torch.autograd.gradcheck(function, x, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, x)


# Those of entmax are below, with those with respect to α.
@pytest.mark.parametrize("name", ["softmax", *(name for name in TRACED if "entmax(" not in name)])
def test_jax_gradients_are_exact_to_second_order(name: str) -> None:
    with jax.enable_x64(True):
        x = jax.numpy.array(point(CASES[name].exponent))
        function = jax.jit(CASES[name].function)
        check_grads(function, (x,), order=2, modes=("fwd", "rev"), atol=1e-5, rtol=1e-5, eps=1e-6)


@every
def test_forward_mode_is_reverse_mode(name: str) -> None:
    function, x = CASES[name].function, point(CASES[name].exponent)
    close(torch.func.jacfwd(function)(torch.tensor(x)), torch.func.jacrev(function)(torch.tensor(x)))


@alphas
def test_gradients_with_respect_to_alpha(alpha: float) -> None:
    x = point(alpha - 1)
    inputs = leaf(x), leaf(alpha)
    assert torch.autograd.gradcheck(tm.entmax, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(tm.entmax, inputs)


@pytest.mark.parametrize("alpha", [1.3, 3.5])
def test_jax_gradients_with_respect_to_alpha(alpha: float) -> None:
    with jax.enable_x64(True):
        inputs, function = (jax.numpy.array(point(alpha - 1)), jax.numpy.array(alpha)), jax.jit(tm.entmax)
        check_grads(function, inputs, order=2, modes=("fwd", "rev"), atol=1e-5, rtol=1e-5, eps=1e-6)


@pytest.mark.parametrize("alpha", [1.0, 1 + 1e-12, 1 + 1e-6, 1.5, 2.0, 3.0, 4.0])
def test_slopes_in_alpha_up_to_the_ends(alpha: float) -> None:
    """Against one-sided differences of 60 digits."""
    x = np.array([0.3, 0.25, -0.4, 0.2])
    with localcontext(prec=60):
        step = Decimal("-1e-12" if alpha == 4 else "1e-12")
        here, near, far = (precise_entmax(x, Decimal(alpha) + i * step) for i in range(3))
        expected = [float((4 * b - 3 * a - c) / (2 * step)) for a, b, c in zip(here, near, far, strict=True)]
    at = torch.tensor(x)
    slopes = torch.func.jacrev(partial(tm.entmax, at))(torch.tensor(alpha, dtype=torch.float64))
    close(slopes, np.array(expected), 1e-11)
    with jax.enable_x64(True):
        close(jax.jacfwd(partial(tm.entmax, jax.numpy.array(x)))(alpha), np.array(expected), 1e-11)


@pytest.mark.parametrize("name", ["softmax", *(name for name in TRACED if name in WEIGHTINGS)])
def test_masked_experts_get_no_gradient(name: str) -> None:
    function = WEIGHTINGS[name].function
    x = point(WEIGHTINGS[name].exponent)[0]
    masked = np.isin(np.arange(6), [2, 5])
    with_mask, cotangent = np.where(masked, -INF, x), COTANGENT[0]
    kept = leaf(x[~masked])
    function(kept).backward(torch.tensor(cotangent[~masked]))
    at = leaf(with_mask)
    function(at).backward(torch.tensor(cotangent))
    with jax.enable_x64(True):
        by_jax = jax.grad(lambda x: (jax.jit(function)(x) * cotangent).sum())(with_mask)
    for gradient in (at.grad.numpy(), np.asarray(by_jax)):
        assert (gradient[masked] == 0).all()
        close(gradient[~masked], kept.grad)
    assert np.abs(kept.grad).max() > 1e-3


@pytest.mark.parametrize("name", [name for name in CASES if "rank" in name])
def test_masked_values_get_no_gradient(name: str) -> None:
    x = np.where(np.arange(6) < 2, -INF, X)
    gradient = pulled_back(CASES[name].function, x)
    assert (gradient[:, :2] == 0).all()
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 1e-3


def with_a_masked_row(case: Case) -> np.ndarray:
    """A row of -inf, which tracing cannot see, is to come out as NaN and leave the others alone."""
    return np.concatenate([point(case.exponent), np.full((1, 6), -INF)])


def agrees(case: Case, actual: Any, x: np.ndarray) -> None:
    actual = np.asarray(actual.detach() if isinstance(actual, torch.Tensor) else actual)
    masked = (x == -INF).all(axis=-1)
    assert np.isnan(actual[masked]).all()
    close(actual[~masked], case.expected(x[~masked]))


@traced
def test_compiles_to_one_graph(name: str) -> None:
    case, x = CASES[name], with_a_masked_row(CASES[name])
    compiled = torch.compile(case.function, fullgraph=True, backend="aot_eager")
    at = leaf(x)
    actual = compiled(at)
    agrees(case, actual, x)
    actual[:-1].backward(torch.tensor(COTANGENT))
    close(at.grad[:-1], pulled_back(case.function, x[:-1]))


def test_a_learned_alpha_compiles_to_one_graph() -> None:
    compiled = torch.compile(tm.entmax, fullgraph=True, backend="aot_eager")
    for alpha in (1.0, 1.4, 3.0):
        x, gradients = point(alpha - 1), []
        for function in (compiled, tm.entmax):
            inputs = leaf(x), leaf(alpha)
            function(*inputs).backward(torch.tensor(COTANGENT))
            gradients.append([at.grad for at in inputs])
        for actual, expected in zip(*gradients, strict=True):
            close(actual, expected)


@traced
def test_pytorch_maps_and_differentiates(name: str) -> None:
    case, x = CASES[name], point(CASES[name].exponent)
    mapped = torch.func.vmap(case.function)
    masked = with_a_masked_row(case)
    agrees(case, mapped(torch.tensor(masked)), masked)
    agrees(case, torch.func.vmap(mapped)(torch.tensor(x)[:, None])[:, 0], x)

    def total(x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return (case.function(x) * v).sum()

    expected = pulled_back(case.function, x)
    close(torch.func.grad(total)(torch.tensor(x), torch.tensor(COTANGENT)), expected)
    close(torch.func.vmap(torch.func.grad(total))(torch.tensor(x), torch.tensor(COTANGENT)), expected)


def test_pytorch_and_jax_map_over_alpha() -> None:
    x, alpha = 0.04 * X[:, [0, 1, 3]], np.array([1.0, 1.6, 3.0])
    expected = np.stack([tm.entmax(row, one) for row, one in zip(x, alpha, strict=True)])
    close(torch.func.vmap(tm.entmax)(torch.tensor(x), torch.tensor(alpha)), expected)
    with jax.enable_x64(True):
        close(jax.vmap(tm.entmax)(x, alpha), expected)


class Layer(torch.nn.Module):
    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


@pytest.mark.parametrize(
    ("name", "strict"),
    [(name, False) for name in TRACED] + [(name, True) for name in ("entmax15", "entmax(3.5)", "soft_rank")],
)
def test_exports_with_a_dynamic_batch(name: str, strict: bool) -> None:
    case, x = CASES[name], point(CASES[name].exponent)
    batch = {"x": {0: torch.export.Dim("batch", min=2, max=1024)}}
    example = (torch.zeros(4, 6, dtype=torch.float64),)
    exported = torch.export.export(Layer(case.function), example, dynamic_shapes=batch, strict=strict)
    agrees(case, exported.module()(torch.tensor(x)), x)
    twice = np.tile(x, (3, 1))
    agrees(case, exported.module()(torch.tensor(twice)), twice)


@traced
def test_jax_compiles_maps_and_differentiates(name: str) -> None:
    case, x = CASES[name], point(CASES[name].exponent)
    masked = with_a_masked_row(case)
    with jax.enable_x64(True):
        agrees(case, jax.jit(case.function)(masked), masked)
        agrees(case, jax.jit(jax.vmap(case.function))(masked), masked)
        gradient = jax.jit(jax.grad(lambda x: (case.function(x) * COTANGENT).sum()))(x)
    close(gradient, pulled_back(case.function, x))
