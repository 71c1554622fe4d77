import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import ACTIVATIONS, BACKENDS, close

import tensormoe as tm

floats = st.floats(-50, 50, allow_nan=False)
logits = st.lists(floats, min_size=1, max_size=12).map(np.array)


def entmax15_by_bisection(x: np.ndarray) -> np.ndarray:
    """[x/2 − τ]₊² summing to 1, with τ by bisection to the last bit."""
    z = x / 2
    low, high = z.max() - 1, z.max()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if (np.maximum(z - middle, 0) ** 2).sum() > 1 else (low, middle)
    return np.maximum(z - low, 0) ** 2


def softmax_by_definition(x: np.ndarray) -> np.ndarray:
    exponentials = np.exp(x - x.max())
    return exponentials / exponentials.sum()


ORACLES = {"softmax": softmax_by_definition, "entmax15": entmax15_by_bisection}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ACTIVATIONS)
@given(logits)
def test_values_equal_the_definition(backend: str, name: str, x: np.ndarray) -> None:
    tl = tm.get_backend(backend)
    with tl.double_precision():
        found = tl.to_numpy(getattr(tm, name)(tl.from_numpy(x)))
    assert abs(found.sum() - 1) < 1e-14
    assert (found >= 0).all()
    close(found, ORACLES[name](x), 1e-12)


@pytest.mark.parametrize("width", [1, 2, 64, 1024, 1_000_000])
@pytest.mark.parametrize("kind", ["normal", "flat", "ramp", "geometric", "spike", "slow"])
def test_entmax15_converges_at_any_width(width: int, kind: str) -> None:
    steps = np.arange(width)
    x = {
        "normal": np.random.default_rng(0).normal(size=width),
        "flat": np.zeros(width),
        "ramp": steps / max(width - 1, 1) * 2,
        "geometric": -2 * 1.01 ** -steps.astype(float),
        # What takes Newton's iteration the most steps: ten at a million.
        "slow": -np.log1p(steps / width * (np.exp(28) - 1)) / 14,
        "spike": np.where(steps == 0, 2.0, 0.0),
    }[kind]
    close(tm.entmax15(x), entmax15_by_bisection(x), 1e-12)


def test_entmax15_is_sparse_exactly() -> None:
    assert (tm.entmax15(np.array([0.0, 3.0, 0.5])) == [0.0, 1.0, 0.0]).all()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients_are_exact_to_second_order(name: str) -> None:
    function = getattr(tm, name)
    x = torch.randn(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x.requires_grad_()
    assert torch.autograd.gradcheck(function, x)
    assert torch.autograd.gradgradcheck(function, x)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_jax_gradients_are_exact_in_both_modes(name: str) -> None:
    import jax
    from jax.test_util import check_grads

    with jax.enable_x64(True):
        x = jax.random.normal(jax.random.key(0), (3, 6), dtype="float64")
        check_grads(getattr(tm, name), (x,), order=2, modes=("fwd", "rev"), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_axis_and_types(backend: str, name: str) -> None:
    tl = tm.get_backend(backend)
    x = np.random.default_rng(0).normal(size=(3, 4, 5)).astype("float32")
    for axis in (0, 1, 2, -1, -3):
        found = getattr(tm, name)(tl.from_numpy(x), axis=axis)
        assert tl.dtype_name(found) == "float32"
        close(tl.to_numpy(found), np.apply_along_axis(ORACLES[name], axis, x.astype("float64")), 2e-6)
    with pytest.raises(tm.TensorMoEError, match="axis: received 3"):
        getattr(tm, name)(tl.from_numpy(x), axis=3)
    with pytest.raises(tm.TensorMoEError, match="floating-point"):
        getattr(tm, name)(tl.from_numpy(np.arange(3)))


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_computes_in_float32(name: str, dtype: torch.dtype) -> None:
    x = torch.tensor([[60.0, -60.0, 59.5], [0.0, 0.0, 0.0]], dtype=dtype)
    found = getattr(tm, name)(x)
    assert found.dtype == dtype
    expected = np.stack([ORACLES[name](row) for row in x.double().numpy()])
    close(found.double().numpy(), expected, 2**-8)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_nan_in_is_nan_out(name: str) -> None:
    found = getattr(tm, name)(np.array([[0.0, np.nan, 1.0], [0.0, 1.0, 2.0]]))
    assert np.isnan(found[0]).all()
    assert not np.isnan(found[1]).any()


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(tm.TensorMoEError, match=r"'entmx'.*'softmax', 'entmax15'"):
        tm.Gate(activation="entmx")
    with pytest.raises(tm.TensorMoEError, match=r"'group'.*'batch', 'layer', None"):
        tm.Gate(norm="group")


def gate_and_values(norm: str | None, tokens: int) -> tuple:
    spec = tm.MuMoESpec(6, 3, (5, 4), tm.CP(2), tm.Gate(norm=norm))
    parameters, state = tm.initialize(spec, 0, "float64")
    generator = np.random.default_rng(1)
    parameters = {k: generator.normal(size=v.shape) for k, v in parameters.items()}
    return spec, parameters, state, generator.normal(size=(tokens, 6))


@pytest.mark.parametrize("backend", BACKENDS)
def test_batch_norm_is_pytorchs(backend: str) -> None:
    """Outputs and running statistics of three training steps and an evaluation."""
    tl = tm.get_backend(backend)
    spec, parameters, state, x = gate_and_values("batch", 12)
    theirs = [torch.nn.BatchNorm1d(n, affine=False, dtype=torch.float64) for n in spec.counts]
    with tl.double_precision():
        ours = {k: tl.from_numpy(v) for k, v in state.items()}
        weights = {k: tl.from_numpy(v) for k, v in parameters.items()}
        for batch, training in ((x[:5], True), (x[5:9], True), (x[2:], True), (x, False)):
            (_, coefficients), ours = tm.apply(
                spec,
                weights,
                tl.from_numpy(batch),
                state=ours,
                training=training,
                return_coefficients=True,
            )
            for level, norm in enumerate(theirs):
                norm.train(training)
                normalized = norm(torch.tensor(batch @ parameters[f"gate_weights.{level}"])).numpy()
                expected = np.stack([entmax15_by_bisection(row) for row in normalized])
                close(tl.to_numpy(coefficients[level]), expected)
                close(tl.to_numpy(ours[f"gate_mean.{level}"]), norm.running_mean.numpy())
                close(tl.to_numpy(ours[f"gate_variance.{level}"]), norm.running_var.numpy())


def test_layer_norm_is_pytorchs_and_keeps_tokens_apart() -> None:
    spec, parameters, state, x = gate_and_values("layer", 7)
    (y, coefficients), _ = tm.apply(spec, parameters, x, state=state, return_coefficients=True)
    raw = torch.tensor(x @ parameters["gate_weights.0"])
    normalized = torch.nn.functional.layer_norm(raw, (5,)).numpy()
    close(coefficients[0], np.stack([entmax15_by_bisection(row) for row in normalized]))
    alone, _ = tm.apply(spec, parameters, x[3], state=state)
    close(alone, y[3])


def test_without_a_norm_the_logits_are_the_gates_own() -> None:
    spec, parameters, _, x = gate_and_values(None, 7)
    (_, coefficients), _ = tm.apply(spec, parameters, x, return_coefficients=True)
    expected = np.stack([entmax15_by_bisection(row) for row in x @ parameters["gate_weights.1"]])
    close(coefficients[1], expected)


def test_one_token_and_none_leave_the_variance_alone() -> None:
    spec, parameters, state, x = gate_and_values("batch", 1)
    (y, (coefficients, _)), moved = tm.apply(
        spec, parameters, x, state=state, training=True, return_coefficients=True
    )
    assert np.isfinite(y).all()
    close(coefficients, np.full((1, 5), 1 / 5))
    close(moved["gate_mean.0"], 0.1 * (x @ parameters["gate_weights.0"])[0])
    close(moved["gate_variance.0"], np.ones(5))
    y, moved = tm.apply(spec, parameters, x[:0], state=state, training=True)
    assert y.shape == (0, 3)
    assert all((moved[name] == state[name]).all() for name in state)


def test_unfit_arguments_are_refused() -> None:
    for axis in (None, 1.0, 2, -3):
        with pytest.raises(tm.TensorMoEError, match="axis"):
            tm.softmax(np.ones((2, 3)), axis=axis)
    with pytest.raises(tm.TensorMoEError, match="no entries"):
        tm.entmax15(np.ones((3, 0)))
    for norm in (np.array([1, 2]), "Layer", 0):
        with pytest.raises(tm.TensorMoEError, match="gate norm"):
            tm.Gate(norm=norm)


def test_wider_types_are_not_narrowed() -> None:
    x = np.linspace(0, 1, 5, dtype=np.longdouble)
    found = tm.softmax(x)
    assert found.dtype == np.longdouble
    assert abs(found - softmax_by_definition(x)).max() < 1e-17


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_pytorch_differentiates_forwards_too(name: str) -> None:
    function = getattr(tm, name)
    x = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    close(torch.func.jacfwd(function)(x), torch.func.jacrev(function)(x))
