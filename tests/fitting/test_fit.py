"""Fits against TensorLy's own reconstructions, singular value decompositions and products written out."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorly
from hypothesis import given, settings
from hypothesis import strategies as st
from support.frameworks import optional
from support.strategies import BACKENDS, EVERY, close
from tensorly.cp_tensor import cp_to_tensor
from tensorly.decomposition import parafac, tensor_ring, tensor_train, tucker
from tensorly.tr_tensor import tr_to_tensor
from tensorly.tt_tensor import tt_to_tensor
from tensorly.tucker_tensor import tucker_to_tensor

import tensormoe as tm
from tensormoe.fitting import starts
from tensormoe.testing import networks

torch = optional("torch")

SEVERAL = "i a, i c, n a c, a c o"


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def correlated(count: int, size: int, seed: int = 1) -> np.ndarray:
    """Samples with a second moment far from the identity."""
    return normal(count, size, seed=seed) @ (normal(size, size, seed=seed + 1) * 3.0 ** -np.arange(size))


def experts(*shape: int) -> np.ndarray:
    """Experts that share something, as trained ones do."""
    return normal(*shape[-2:], seed=3) + 0.7 * normal(*shape, seed=4)


def error(weight: np.ndarray, fitted: np.ndarray) -> float:
    return float(np.linalg.norm(fitted - weight) / np.linalg.norm(np.broadcast_to(weight, fitted.shape)))


def lowest(matrix: np.ndarray, rank: int) -> float:
    """The least relative error of any matrix of a rank: Eckart and Young."""
    values = np.linalg.svd(matrix, compute_uv=False)
    return float(np.linalg.norm(values[rank:]) / np.linalg.norm(values))


# The largest rank of one expert's matrix.
RANKS = [
    ((5,), tm.CP(4), 4),
    ((4, 3), tm.CP(4), 4),
    ((5,), tm.CP(20), 9),
    ((5,), tm.Tucker((3, 4, 6)), 4),
    ((4, 3), tm.Tucker((2, 3, 6, 4)), 4),
    ((5,), tm.TensorTrain((3, 4)), 4),
    ((4, 3), tm.TensorTrain((2, 3, 4)), 4),
    ((5,), tm.TensorRing((2, 3, 2)), 4),
    ((4, 3), tm.TensorRing((3, 2, 2, 2)), 4),
    ((5,), tm.Dense(), 9),
    ((5,), tm.TensorNetwork("n o, i o"), 9),
    ((5,), tm.TensorNetwork("n i r, n r o", r=3), 3),
    ((5,), tm.TensorNetwork("i a, a b, n b c, c o", a=7, b=4, c=6), 4),
    ((5,), tm.TensorNetwork("g n p, g i q, g o s, g p q s", g=2, p=3, q=2, s=4), 4),
]


@pytest.mark.parametrize(("counts", "family", "rank"), RANKS, ids=str)
def test_one_matrix_is_fitted_as_well_as_its_rank_allows(counts: Any, family: Any, rank: int) -> None:
    spec, weight, bias = tm.MuMoESpec(10, 9, counts, family), normal(10, 9), normal(9)
    fitted = tm.fit(weight, spec, bias=bias)
    whole = np.concatenate([weight, bias[None]])
    product = tm.materialize(spec, fitted.cores)
    assert fitted.method == "closed form"
    assert fitted.weight_error == pytest.approx(lowest(whole, rank), abs=1e-12)
    assert error(whole, product) == pytest.approx(lowest(whole, rank), abs=1e-12)
    close(product, np.broadcast_to(product.reshape(-1, 11, 9)[0], product.shape))


@settings(max_examples=20 if settings.default.max_examples < 1_000 else 1_000)
@given(networks(levels=1, max_rank=3), st.integers(0, 99))
def test_no_descent_beats_the_closed_form(family: tm.Factorization, seed: int) -> None:
    spec = tm.MuMoESpec(4, 3, 1, family, bias=False)
    weight = normal(4, 3, seed=seed)
    fitted = tm.fit(weight, spec)
    stack = tm.fitting.descent.Descent(spec.stage, weight[None], {})
    for _, cores in starts.starts(spec.stage, weight[None], seed):
        assert fitted.weight_error <= stack.minimize(cores, 300, lambda *_: None)[1] + 1e-6


def test_a_mode_in_several_cores_is_fitted_further_by_descent() -> None:
    spec = tm.MuMoESpec(6, 5, 3, tm.TensorNetwork(SEVERAL, a=2, c=2), bias=False)
    weight = tm.materialize(spec, [normal(*shape) for shape in spec.network.shapes.values()])[0]
    before, after = tm.fit(weight, spec, iterations=0), tm.fit(weight, spec)
    assert after.weight_error < 0.1 * before.weight_error
    assert (before.iterations, before.method) == (0, "closed form")
    assert after.method == "L-BFGS from the closed form"
    assert 0 < after.iterations <= 1000


STACKED = [
    tm.CP(12),
    tm.Tucker((3, 5, 4)),
    tm.Tucker((4, 6, 5)),
    tm.TensorTrain((3, 4)),
    tm.TensorTrain((4, 5)),
    tm.TensorRing((3, 3, 4)),
    tm.Dense(),
    tm.TensorNetwork("n i r, n r o", r=4),
    tm.TensorNetwork("a n p, a i q, a o s, a p q s", a=2, p=3, q=5, s=4),
]


@pytest.mark.parametrize("family", STACKED, ids=str)
def test_a_stack_is_fitted_exactly_where_the_ranks_allow(family: tm.Factorization) -> None:
    spec, weight = tm.MuMoESpec(5, 4, 3, family, bias=False), normal(3, 5, 4)
    fitted = tm.fit(weight, spec)
    assert error(weight, tm.materialize(spec, fitted.cores)) <= 1e-10
    assert fitted.weight_error <= 1e-10


WEIGHT = experts(6, 12, 10)
THEIRS: dict[tm.Factorization, Callable[[], Any]] = {
    tm.CP(4): lambda: cp_to_tensor(parafac(WEIGHT, 4, n_iter_max=2000, tol=1e-10)),
    tm.Tucker((3, 6, 5)): lambda: tucker_to_tensor(tucker(WEIGHT, rank=[3, 6, 5], tol=1e-10)),
    tm.TensorTrain((4, 6)): lambda: tt_to_tensor(tensor_train(WEIGHT, rank=[1, 4, 6, 1])),
    tm.TensorRing((2, 3, 5)): lambda: tr_to_tensor(tensor_ring(WEIGHT, rank=[2, 3, 5, 2])),
}


@pytest.mark.parametrize("family", THEIRS, ids=str)
@pytest.mark.parametrize("alone", [False, True], ids=["from TensorLy", "by gradient alone"])
def test_fits_equal_tensorlys_and_beat_its_ring(
    family: tm.Factorization, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if alone:
        monkeypatch.setattr(starts, "decompose", lambda *_: None)
    theirs = error(WEIGHT, THEIRS[family]())
    fitted = tm.fit(WEIGHT, tm.MuMoESpec(12, 10, 6, family, bias=False))
    assert fitted.weight_error <= theirs * (1.01 if alone else 1 + 1e-6)
    assert ("random" in fitted.method) == (alone or isinstance(family, tm.TensorRing))
    if isinstance(family, tm.TensorRing):
        assert fitted.weight_error <= 0.8 * theirs


@pytest.mark.parametrize("notation", ["n r, i r, r o", "x o, x n, i x"])
@pytest.mark.parametrize("bias", [False, True])
def test_cp_in_other_words_is_fitted_as_cp(notation: str, bias: bool) -> None:
    bond = "x" if "x" in notation else "r"
    named = tm.MuMoESpec(12, 10, 6, tm.CP(4), bias=bias)
    written = named.replace(factorization=tm.TensorNetwork(notation, **{bond: 4}))
    weight = np.concatenate([WEIGHT, np.ones((6, 1, 10))], axis=1) if bias else WEIGHT
    one, other = (starts.decompose(spec.stage, weight, 0) for spec in (named, written))
    close(tm.materialize(written, other), tm.materialize(named, one))
    assert {name: core.shape for name, core in other.items()} == written.network.shapes
    errors = [tm.fit(weight, spec).weight_error for spec in (named, written)]
    assert errors[1] == pytest.approx(errors[0], rel=1e-3)


@pytest.mark.parametrize(
    "network",
    [
        tm.TensorNetwork("n r, i r, r n o", r=4),
        tm.TensorNetwork("n r, i r s, r o", r=4, s=1),
        tm.TensorNetwork("n r, i r, r o + n o", r=4),
    ],
    ids=str,
)
def test_what_is_not_cp_is_not_fitted_as_cp(network: tm.TensorNetwork) -> None:
    spec = tm.MuMoESpec(12, 10, 6, network, bias=False)
    assert starts.decompose(spec.stage, WEIGHT, 0) is None


@pytest.mark.parametrize("family", EVERY, ids=str)
@pytest.mark.parametrize("stacked", [True, False], ids=["stack", "matrix"])
def test_with_inputs_outputs_are_closer(family: tm.Factorization, stacked: bool) -> None:
    weight, x = experts(*((6,) if stacked else ()), 12, 10), correlated(40, 12)
    spec = tm.MuMoESpec(12, 10, 6, family)
    plain, whitened = tm.fit(weight, spec), tm.fit(weight, spec, inputs=x)
    samples = np.concatenate([x, np.ones((40, 1))], axis=1)
    wanted = x @ weight
    errors = [error(wanted, samples @ tm.materialize(spec, each.cores)) for each in (plain, whitened)]
    assert whitened.output_error == pytest.approx(errors[1], abs=1e-10)
    assert plain.output_error is None
    assert errors[1] < 0.95 * errors[0] or max(errors) < 1e-10
    assert whitened.weight_error >= plain.weight_error - 1e-6


def test_inputs_and_outputs_weigh_both_sides() -> None:
    """The best approximation of X W G, for samples X of inputs and G of gradients."""
    spec, weight = tm.MuMoESpec(12, 10, 3, tm.CP(4), bias=False), normal(12, 10)
    x, g = correlated(40, 12), correlated(30, 10, seed=5)
    seen = x @ weight @ g.T
    for given_, matrix in (({"inputs": x, "outputs": g}, seen), ({"outputs": g}, weight @ g.T)):
        product = tm.materialize(spec, tm.fit(weight, spec, **given_).cores)[0]
        reached = product @ g.T if "inputs" not in given_ else x @ product @ g.T
        assert error(matrix, reached) == pytest.approx(lowest(matrix, 4), rel=1e-3)
        assert error(matrix, reached) >= lowest(matrix, 4) - 1e-12
    assert error(weight, product) > 1.2 * lowest(weight, 4)


def test_few_inputs_are_enough() -> None:
    spec, weight, x = tm.MuMoESpec(12, 10, 3, tm.CP(3), bias=False), normal(12, 10), normal(3, 12, seed=2)
    fitted = tm.fit(weight, spec, inputs=x)
    assert error(x @ weight, x @ tm.materialize(spec, fitted.cores)[0]) < 1e-3
    assert np.isfinite(tm.materialize(spec, fitted.cores)).all()


def test_metrics_are_right_where_several_cores_carry_a_mode() -> None:
    spec = tm.MuMoESpec(6, 5, 3, tm.TensorNetwork("n i r, i r, r o", r=2), bias=False)
    weight, x = experts(3, 6, 5), correlated(50, 6)
    plain, whitened = tm.fit(weight, spec), tm.fit(weight, spec, inputs=x)
    errors = [error(x @ weight, x @ tm.materialize(spec, each.cores)) for each in (plain, whitened)]
    assert errors[1] < 0.95 * errors[0]


@pytest.mark.parametrize("counts", [(6,), (3, 2)])
def test_weights_and_biases_of_every_shape_are_taken(counts: tuple[int, ...]) -> None:
    spec = tm.MuMoESpec(4, 3, counts, tm.Dense())
    weight, bias = normal(6, 4, 3), normal(6, 3, seed=1)
    whole = np.concatenate([weight, bias[:, None]], axis=1)
    shaped = weight.reshape(*counts, 4, 3), bias.reshape(*counts, 3)
    zeros = np.concatenate([weight, np.zeros((6, 1, 3))], axis=1)
    one = np.concatenate([np.tile(weight[:1], (6, 1, 1)), bias[:, None]], axis=1)
    for given_, wanted in (
        ((weight, bias), whole),
        (shaped, whole),
        ((whole, None), whole),
        ((whole.reshape(*counts, 5, 3), None), whole),
        ((weight, None), zeros),
        ((weight[0], bias), one),
        ((weight[0], bias[0]), np.tile(whole[0], (6, 1, 1))),
        ((whole[0], None), np.tile(whole[0], (6, 1, 1))),
        ((weight, bias[0]), np.concatenate([weight, np.tile(bias[0], (6, 1, 1))], axis=1)),
    ):
        fitted = tm.fit(given_[0], spec, bias=given_[1])
        close(tm.materialize(spec, fitted.cores).reshape(6, 5, 3), wanted, 1e-10)


def test_one_of_a_blocks_layers_is_fitted() -> None:
    second = tm.MuMoEBlockSpec(4, 6, 3, 5, tm.CP(3)).layers["second"]
    fitted = tm.fit(normal(6, 3), second)
    close(tm.materialize(second, fitted.cores)[2, :-1], normal(6, 3), 1e-12)
    with pytest.raises(tm.TensorMoEError, match=r"it has no gate: fit the layers of a block by tm\.upcycle"):
        fitted.initialize()


@pytest.mark.parametrize("backend", BACKENDS)
def test_arrays_of_every_framework_give_the_same_fit(backend: str) -> None:
    ops, spec = tm.get_backend(backend), tm.MuMoESpec(5, 4, 3, tm.CP(3))
    weight, bias, x = normal(3, 5, 4).astype("f"), normal(4).astype("f"), normal(7, 5).astype("f")
    given_ = [ops.from_float64(array, "float32") for array in (weight, bias, x)]
    theirs = tm.fit(given_[0], spec, bias=given_[1], inputs=given_[2])
    ours = tm.fit(weight, spec, bias=bias, inputs=x)
    for name, core in ours.cores.items():
        assert isinstance(theirs.cores[name], np.ndarray)
        close(theirs.cores[name], core, 1e-9)


@pytest.mark.skipif("torch" not in BACKENDS, reason="needs torch")
def test_a_parameter_of_a_linear_layer_is_taken_transposed() -> None:
    linear = torch.nn.Linear(5, 4)
    spec = tm.MuMoESpec(5, 4, 3, tm.CP(5))
    layer = tm.build(spec, "torch", seed=0)
    parameters, state = tm.fit(linear.weight.T, spec, bias=linear.bias).initialize()
    layer.load_arrays(parameters | state)
    x = torch.randn(7, 5)
    close(layer(x).detach(), linear(x).detach(), 1e-5)
    with pytest.raises(tm.TensorMoEError, match=r"transposed, as nn\.Linear keeps it: pass weight\.T"):
        tm.fit(linear.weight, spec)


def test_initial_values_hold_the_cores_and_a_gate_that_is_uniform() -> None:
    spec = tm.MuMoESpec(5, 4, (3, 2), tm.CP(4), tm.Gate(norm="batch"))
    fitted = tm.fit(normal(5, 4), spec)
    for dtype in ("float32", "float64"):
        parameters, state = fitted.initialize(dtype)
        expected, statistics = tm.initialize(spec, dtype=dtype)
        assert [(k, v.shape, v.dtype) for k, v in sorted(parameters.items())] == [
            (k, v.shape, v.dtype) for k, v in sorted(expected.items())
        ]
        assert state.keys() == statistics.keys()
    x = normal(6, 5, seed=7)
    close(tm.apply(spec, parameters, x, state=state).y, x @ normal(5, 4), 1e-12)


def test_a_seed_decides_what_is_random() -> None:
    spec = tm.MuMoESpec(5, 4, 3, tm.TensorNetwork("n i r, r o", r=2))
    weight = normal(3, 5, 4)
    one, same, other = (tm.fit(weight, spec, seed=seed, iterations=2) for seed in (0, 0, 9))
    for name, core in one.cores.items():
        np.testing.assert_array_equal(core, same.cores[name])
        assert not np.array_equal(core, other.cores[name])


def test_the_best_of_all_starts_is_kept() -> None:
    spec, seed = tm.MuMoESpec(12, 10, 6, tm.TensorRing((2, 3, 5)), bias=False), 2
    descent = tm.fitting.descent.Descent(spec.stage, WEIGHT, {})
    ends = [
        descent.minimize(cores, 200, lambda *_: None) for _, cores in starts.starts(spec.stage, WEIGHT, seed)
    ]
    errors = [error(WEIGHT, tm.materialize(spec, cores)) for cores, _, _ in ends]
    fitted = tm.fit(WEIGHT, spec, seed=seed, iterations=200)
    assert len(errors) == 3
    assert max(errors) > 1.001 * min(errors)
    assert errors[-1] > min(errors)
    assert fitted.weight_error == pytest.approx(min(errors), rel=1e-9)
    assert fitted.iterations == sum(steps for _, _, steps in ends)


def test_each_descent_takes_at_most_the_steps_allowed() -> None:
    spec = tm.MuMoESpec(5, 4, 3, tm.TensorNetwork("n i r, r o", r=2))
    assert tm.fit(normal(3, 5, 4), spec, iterations=2).iterations == 6
    started = tm.fit(normal(3, 5, 4), spec, iterations=0)
    assert (started.iterations, started.method) == (0, "a random start")


@pytest.mark.skipif("torch" not in BACKENDS, reason="needs torch")
def test_tensorlys_own_backend_is_neither_used_nor_changed() -> None:
    spec = tm.MuMoESpec(12, 10, 6, tm.TensorTrain((4, 6)), bias=False)
    expected = tm.fit(WEIGHT, spec)
    assert "TensorLy" in expected.method
    before = tensorly.get_backend()
    try:
        tensorly.set_backend("pytorch")
        fitted = tm.fit(WEIGHT, spec)
        assert tensorly.get_backend() == "pytorch"
    finally:
        tensorly.set_backend(before)
    for name, core in expected.cores.items():
        np.testing.assert_array_equal(fitted.cores[name], core)


def test_a_fit_prints_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    spec = tm.MuMoESpec(5, 4, 3, tm.TensorNetwork("n i r, r o", r=2))
    fitted = tm.fit(normal(3, 5, 4), spec, inputs=normal(9, 5), progress=True)
    assert "relative error" in capsys.readouterr().out
    lines = str(fitted).splitlines()
    assert lines[0].endswith("5 → 4, experts=(3,): 44 parameters in cores")
    shown = rf"weight {fitted.weight_error:.3g}, of outputs {fitted.output_error:.3g} \(L-BFGS from a random"
    assert re.search(shown, lines[1])
    tm.fit(normal(3, 5, 4), spec, iterations=1)
    assert not capsys.readouterr().out


LAYER = tm.MuMoESpec(5, 4, (3, 2), tm.CP(2))
PLAIN = LAYER.replace(bias=False)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: tm.fit(normal(4, 5), LAYER), r"target: received \(4, 5\); it is transposed"),
        (lambda: tm.fit(normal(5, 5), LAYER), r"pass .* \(5, 4\) or \(6, 5, 4\) or \(3, 2, 5, 4\)"),
        (lambda: tm.fit(normal(2, 5, 4), LAYER), r"target: received \(2, 5, 4\)"),
        (lambda: tm.fit(normal(6, 4), PLAIN), r"target: received \(6, 4\)"),
        (lambda: tm.fit(normal(6, 4), LAYER, bias=normal(4)), r"target: received \(6, 4\)"),
        (lambda: tm.fit(normal(5, 4), PLAIN, bias=normal(4)), "bias: .*bias=False: leave the bias out"),
        (lambda: tm.fit(normal(5, 4), LAYER, bias=normal(5)), r"bias: received \(5,\); .*\(4,\) or \(6, 4\)"),
        (lambda: tm.fit(normal(5, 4) * np.nan, LAYER), "target: received nan"),
        (lambda: tm.fit(np.ones((5, 4), int), LAYER), "target: received 'int64'"),
        (lambda: tm.fit([[1.0]], LAYER), "target: received"),
        (lambda: tm.fit(np.float32(1), LAYER), "target: received"),
        (lambda: tm.fit(normal(4), LAYER), r"target: received \(4,\)"),
        (lambda: tm.fit(np.array(1.0), LAYER), r"target: received \(\)"),
        (lambda: tm.fit(np.ndarray, LAYER), "target: received"),
        (lambda: tm.fit(normal(5, 4), LAYER, bias=np.array(1.0)), r"bias: received \(\)"),
        (lambda: tm.fit(normal(5, 4), LAYER, inputs=normal(9, 4)), r"inputs: .*shape \(T, 5\)"),
        (lambda: tm.fit(normal(5, 4), LAYER, inputs=normal(0, 5)), r"inputs: .*at least one"),
        (lambda: tm.fit(normal(5, 4), LAYER, outputs=np.zeros((9, 4))), "outputs: .*all are zero"),
        (lambda: tm.fit(normal(5, 4), LAYER, inputs=1e200 * normal(9, 5)), "inputs: .*too large to square"),
        (lambda: tm.fit(normal(5, 4), LAYER, outputs=normal(9, 5)), r"outputs: .*shape \(T, 4\)"),
        (lambda: tm.fit(normal(5, 4), LAYER, seed=-1), "seed: received -1"),
        (lambda: tm.fit(normal(5, 4), LAYER, iterations=1.5), "iterations: received 1.5"),
        (lambda: tm.fit(normal(5, 4), LAYER, progress=1), "progress: received 1"),
        (lambda: tm.fit(normal(5, 4), tm.MuMoEBlockSpec(5, 4, 4, 3, tm.CP(2))), "spec: .*block.layers"),
        (lambda: tm.fit(normal(5, 4), LAYER).initialize("half"), "dtype: received 'half'"),
    ],
)
def test_what_does_not_fit_is_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(tm.TensorMoEError, match=said):
        make()


def test_families_are_compared_at_equal_parameters() -> None:
    specs = [
        tm.MuMoESpec(12, 10, 6, family)
        for family in (tm.CP(1), tm.TensorTrain((4, 1)), tm.TensorRing((2, 2, 1)))
    ]
    comparison = tm.fitting.compare(WEIGHT, specs, parameters=300, inputs=correlated(40, 12), iterations=50)
    for spec, fitted in zip(specs, comparison.fits, strict=True):
        assert fitted.spec == spec.matched(300)
        alone = tm.fit(WEIGHT, spec.matched(300), inputs=correlated(40, 12), iterations=50)
        assert alone.output_error == fitted.output_error
    assert comparison.best.output_error == min(each.output_error or 0 for each in comparison.fits)
    text = str(comparison)
    for fitted in comparison.fits:
        assert f"{fitted.weight_error:.4f}" in text
        assert f"{fitted.output_error:.4f}" in text
    assert "output error" in text.splitlines()[1]
    plain = tm.fitting.compare(WEIGHT, specs[:1])
    assert plain.fits[0].spec == specs[0]
    assert "–" in str(plain)
    for wrong in ([], [tm.CP(2)], specs[0]):
        with pytest.raises(tm.TensorMoEError, match=r"specs: .*at least one"):
            tm.fitting.compare(WEIGHT, wrong)
