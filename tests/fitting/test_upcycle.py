"""Experts that start as a dense layer, against the dense layer's own products."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.special import erf
from support.frameworks import optional
from support.strategies import BACKENDS, EVERY, close

import tensormoe as tm
from tensormoe.verification import capacity

torch = optional("torch")

CASES: list[tuple[Any, tm.Factorization, int]] = [
    # Counts of experts, and ranks that reach any 8 by 6 matrix.
    (5, tm.CP(6), 6),
    (5, tm.CP(11), 6),
    ((4, 3), tm.CP(7), 6),
    (5, tm.Tucker((3, 7, 6)), 6),
    ((4, 3), tm.Tucker((2, 3, 6, 8)), 6),
    (5, tm.TensorTrain((3, 6)), 6),
    ((4, 3), tm.TensorTrain((2, 3, 7)), 6),
    (5, tm.TensorRing((3, 2, 3)), 6),
    ((4, 3), tm.TensorRing((2, 3, 2, 3)), 6),
    ((2, 3, 2), tm.TensorNetwork("n1 a b, n2 b a, n3 r, i r, r o", a=2, b=2, r=6), 6),
    (5, tm.Dense(), 6),
    ((4, 3), tm.Dense(), 6),
    (5, tm.TensorNetwork("n o, i o"), 6),
    (5, tm.TensorNetwork("n i r, n r o", r=6), 6),
    (5, tm.TensorNetwork("i a, a b, n b c, c o", a=9, b=8, c=7), 6),
    (5, tm.TensorNetwork("g n p, g i q, g o s, g p q s", g=2, p=3, q=4, s=3), 6),
    # And lower ones.
    (5, tm.CP(3), 3),
    ((4, 3), tm.TensorRing((2, 3, 2, 1)), 2),
    (5, tm.Tucker((2, 4, 3)), 3),
]
every_case = pytest.mark.parametrize(("counts", "family", "rank"), CASES, ids=str)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


WEIGHT, BIAS, X = normal(7, 6), normal(6, seed=1), normal(9, 7, seed=2)
WHOLE = np.concatenate([WEIGHT, BIAS[None]])


def best(matrix: np.ndarray, rank: int) -> np.ndarray:
    u, values, v = np.linalg.svd(matrix, full_matrices=False)
    return (u[:, :rank] * values[:rank]) @ v[:rank]


def experts_of(spec: tm.MuMoESpec, parameters: dict[str, Any]) -> np.ndarray:
    """Every expert's matrix."""
    weight = tm.materialize(spec, tm.cores_of(spec, parameters))
    return weight.reshape(-1, *weight.shape[-2:])


@every_case
def test_a_layer_starts_as_the_dense_one(counts: Any, family: tm.Factorization, rank: int) -> None:
    spec = tm.MuMoESpec(7, 6, counts, family)
    parameters, state = tm.upcycle(WEIGHT, spec, bias=BIAS, dtype="float64")
    expected = best(WHOLE, rank)
    y = tm.apply(spec, parameters, X, state=state).y
    close(y, X @ expected[:-1] + expected[-1], 1e-12)
    close(experts_of(spec, parameters).mean(axis=0), expected, 1e-12)


@every_case
def test_experts_differ_as_much_as_the_noise(counts: Any, family: tm.Factorization, rank: int) -> None:
    spec = tm.MuMoESpec(7, 6, counts, family)
    for noise in (1e-3, 0.1):
        parameters, _ = tm.upcycle(WEIGHT, spec, bias=BIAS, noise=noise, dtype="float64")
        experts = experts_of(spec, parameters)
        spread = np.sqrt(np.mean(np.sum((experts - experts.mean(axis=0)) ** 2, axis=(1, 2))))
        assert spread / np.linalg.norm(experts.mean(axis=0)) == pytest.approx(noise, rel=0.02)
    # On every level.
    stacked = experts.reshape(*spec.experts, 8, 6)
    for level in range(spec.levels):
        assert np.all(np.linalg.norm(np.diff(stacked, axis=level), axis=(-1, -2)) > 1e-3)
    equal, _ = tm.upcycle(WEIGHT, spec, bias=BIAS, noise=0, dtype="float64")
    close(experts_of(spec, equal), np.broadcast_to(best(WHOLE, rank), experts.shape), 1e-12)


@every_case
def test_gradient_descent_can_use_all_of_it(
    counts: Any, family: tm.Factorization, rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No experts and no values of a bond start alike or at zero on both sides, ranks in excess included."""
    spec = tm.MuMoESpec(7, 6, counts, family)
    for noise, unused in ((0.01, False), (0.0, True)):

        def start(*_: object, noise: float = noise) -> Any:
            return tm.upcycle(WEIGHT, spec, bias=BIAS, noise=noise, dtype="float64")

        monkeypatch.setattr(capacity, "initialize", start)
        assert bool(capacity.find_unused(spec)) == unused


def mlp(x: np.ndarray, weights: Any, biases: Any) -> np.ndarray:
    h = x @ weights[0] + biases[0]
    return (h / 2 * (1 + erf(h / np.sqrt(2)))) @ weights[1] + biases[1]


@pytest.mark.parametrize("family", [tm.CP(12), tm.TensorRing((2, 2, 6)), tm.Dense()], ids=str)
@pytest.mark.parametrize("counts", [4, (3, 2)])
def test_a_block_starts_as_the_mlp_it_replaces(family: tm.Factorization, counts: Any) -> None:
    if isinstance(family, tm.TensorRing) and counts != 4:
        family = tm.TensorRing((2, 2, 2, 6))
    weights, biases = (normal(7, 12), normal(12, 5)), (normal(12), normal(5))
    spec = tm.MuMoEBlockSpec(7, 12, 5, counts, family)
    parameters, state = tm.upcycle(weights, spec, bias=biases, dtype="float64")
    close(tm.apply(spec, parameters, X, state=state).y, mlp(X, weights, biases), 1e-12)
    parameters, state = tm.upcycle([*weights], spec, bias=[None, biases[1]], dtype="float64")
    close(tm.apply(spec, parameters, X, state=state).y, mlp(X, weights, (0, biases[1])), 1e-12)
    parameters, state = tm.upcycle(weights, spec, dtype="float64")
    close(tm.apply(spec, parameters, X, state=state).y, mlp(X, weights, (0, 0)), 1e-12)


@pytest.mark.parametrize("family", [tm.CP(12), tm.TensorRing((2, 2, 6))], ids=str)
def test_a_gated_block_starts_as_the_gated_mlp_it_replaces(family: tm.Factorization) -> None:
    weights, biases = [normal(7, 12), normal(7, 12, seed=8), normal(12, 5)], [normal(12), None, normal(5)]
    spec = tm.MuMoEBlockSpec(7, 12, 5, 4, family, nonlinearity="silu", gated=True)
    parameters, state = tm.upcycle(weights, spec, bias=biases, dtype="float64")
    h = X @ weights[0] + biases[0]
    expected = (h / (1 + np.exp(-h)) * (X @ weights[1])) @ weights[2] + biases[2]
    close(tm.apply(spec, parameters, X, state=state).y, expected, 1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_module_takes_the_values(backend: str) -> None:
    ops = tm.get_backend(backend)
    for spec, weight, bias in (
        (tm.MuMoESpec(7, 6, (3, 2), tm.CP(7), tm.Gate(norm="batch")), WEIGHT, BIAS),
        (tm.MuMoEBlockSpec(7, 6, 7, 3, tm.CP(7)), [WEIGHT, WEIGHT.T], [BIAS, None]),
    ):
        parameters, state = tm.upcycle(weight, spec, bias=bias)
        assert {name: value.dtype for name, value in parameters.items()} == dict.fromkeys(
            spec.parameter_shapes, np.dtype("float32")
        )
        assert all(value.flags.c_contiguous and value.flags.owndata for value in parameters.values())
        layer = tm.build(spec, backend, seed=0)
        layer.load_arrays(parameters | state)
        x = ops.from_float64(X, "float32")
        with ops.without_warnings() if backend == "numpy" else torch.no_grad():
            y = layer(x)
        expected = tm.apply(spec, parameters, X.astype("f"), state=state).y
        close(ops.to_float64(y), expected, 1e-5)


@pytest.mark.skipif("torch" not in BACKENDS, reason="needs torch")
def test_a_trained_linear_layer_is_upcycled() -> None:
    linear, spec = torch.nn.Linear(7, 6), tm.MuMoESpec(7, 6, 4, tm.CP(6))
    layer = tm.build(spec, "torch", seed=0)
    parameters, state = tm.upcycle(linear.weight.T, spec, bias=linear.bias)
    layer.load_arrays(parameters | state)
    x = torch.randn(5, 7)
    close(layer(x).detach(), linear(x).detach(), 1e-5)


def test_inputs_say_what_to_keep_where_the_rank_is_low() -> None:
    spec = tm.MuMoESpec(7, 6, 4, tm.CP(3), bias=False)
    x = normal(40, 7, seed=5) @ (normal(7, 7, seed=6) * 3.0 ** -np.arange(7))
    errors = []
    for given in (None, x):
        parameters, _ = tm.upcycle(WEIGHT, spec, inputs=given, dtype="float64")
        errors.append(np.linalg.norm(x @ (experts_of(spec, parameters).mean(axis=0) - WEIGHT)))
    least = np.linalg.norm(np.linalg.svd(x @ WEIGHT, compute_uv=False)[3:])
    assert errors[1] == pytest.approx(least, rel=1e-3)
    assert errors[1] < 0.9 * errors[0]
    block = tm.MuMoEBlockSpec(7, 6, 7, 4, tm.CP(3), bias=False)
    for inputs in (None, (x, None), (None, x @ WEIGHT)):
        parameters, _ = tm.upcycle((WEIGHT, WEIGHT.T), block, inputs=inputs)
        assert all(np.isfinite(value).all() for value in parameters.values())


@pytest.mark.parametrize("family", EVERY, ids=str)
def test_a_weight_of_zeros_leaves_a_layer_that_can_learn(family: tm.Factorization) -> None:
    spec = tm.MuMoESpec(7, 6, 4, family)
    parameters, state = tm.upcycle(0 * WEIGHT, spec, dtype="float64")
    assert all(np.isfinite(value).all() for value in parameters.values())
    close(tm.apply(spec, parameters, X, state=state).y, np.zeros((9, 6)), 1e-12)
    core = next(core for core in spec.network.cores if "n" in core.indices)
    assert np.std(parameters[f"cores.{core.name}"], axis=core.indices.index("n")).min() > 0


def test_a_level_of_one_expert_has_no_noise() -> None:
    spec = tm.MuMoESpec(7, 6, (1, 1), tm.CP(6))
    parameters, _ = tm.upcycle(WEIGHT, spec, bias=BIAS, noise=0.5, dtype="float64")
    close(experts_of(spec, parameters)[0], WHOLE, 1e-12)


def test_a_seed_decides_the_noise() -> None:
    spec = tm.MuMoESpec(7, 6, 4, tm.CP(6))
    one, same, other = (tm.upcycle(WEIGHT, spec, seed=seed)[0]["cores.expert1"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


LAYER = tm.MuMoESpec(7, 6, 4, tm.CP(6))
BLOCK = tm.MuMoEBlockSpec(7, 6, 5, 4, tm.CP(6))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: tm.upcycle(normal(4, 7, 6), LAYER), r"weight: .*one dense weight \(I, O\)"),
        (lambda: tm.upcycle(WEIGHT, LAYER, bias=normal(4, 6)), r"weight: .*one bias \(O,\)"),
        (lambda: tm.upcycle(WEIGHT.T, LAYER), r"weight: received \(6, 7\); it is transposed"),
        (lambda: tm.upcycle(WEIGHT, BLOCK), "weight: .*one for each of the layers first, second"),
        (lambda: tm.upcycle([WEIGHT] * 3, BLOCK), "weight: .*one for each of the layers first, second"),
        (lambda: tm.upcycle([WEIGHT, WEIGHT], BLOCK), r"weight: received \(7, 6\); pass .*\(6, 5\)"),
        (lambda: tm.upcycle([WEIGHT, WEIGHT.T[:, :5]], BLOCK, bias=BIAS), "bias: .*first, second"),
        (lambda: tm.upcycle(WEIGHT, LAYER, noise=-1), "noise: received -1; .*at least 0"),
        (lambda: tm.upcycle(WEIGHT, LAYER, noise=np.inf), "noise: received inf; pass a finite number"),
        (lambda: tm.upcycle(WEIGHT, LAYER, dtype="half"), "dtype: received 'half'"),
        (lambda: tm.upcycle(WEIGHT, LAYER, seed=1.0), "seed: received 1.0"),
        (lambda: tm.upcycle(None, LAYER), "weight: received"),
        (lambda: tm.upcycle(WEIGHT, LAYER.stage), "spec: .*pass a MuMoESpec or a MuMoEBlockSpec"),
    ],
)
def test_what_does_not_fit_is_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(tm.TensorMoEError, match=said):
        make()
