"""Modules, noise, clusters and half precision: each check with a fault that it alone notices."""

from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from support.frameworks import optional
from support.strategies import BACKENDS

import tensormoe as tm
from tensormoe.arrays.registry import get_module
from tensormoe.layers import functional
from tensormoe.layers.stage import Stage
from tensormoe.verification.needs import estimate_bytes
from tensormoe.verification.noise import _measure
from tensormoe.verification.reference.layer import compute
from tensormoe.verification.whole import _take_step

torch = optional("torch")

LAYER = tm.MuMoESpec(5, 4, (3, 2), tm.CP(3), tm.Gate(norm="batch"))
BLOCK = tm.MuMoEBlockSpec(5, 6, 4, 3, tm.CP(3), input_norm=True)


def failed(spec: tm.Spec, backends: Any, method: str = "frameworks") -> set[str]:
    report = tm.verify(spec, backends, methods=method)
    return {check.quantity for check in report.checks if not check.passed}


def spoil(value: Any) -> Any:
    """A result, a tuple's first part, off by a part in a billion."""
    if isinstance(value, tuple):
        return spoil(value[0]), *value[1:]
    return value * (1 + 1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_modules_output_and_weights_are_compared(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "forward" if backend == "torch" else "__call__"
    for spec, kind in ((LAYER, "MuMoE"), (BLOCK, "MuMoEBlock")):
        module = getattr(get_module(backend), kind)
        call, materialize = getattr(module, name), module.materialize
        trains = (
            {"module in training", "module in evaluation after training"} if backend != "numpy" else set()
        )
        with monkeypatch.context() as patch:
            patch.setattr(module, name, lambda *a, call=call, **o: spoil(call(*a, **o)))
            assert failed(spec, backend) == {"module in evaluation", *trains}
        with monkeypatch.context() as patch:
            patch.setattr(module, "materialize", lambda self, right=materialize: spoil(right(self)))
            assert failed(spec, backend) == {"module's weights"}


def test_a_module_whose_statistics_stay_or_move_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = type(tm.build(LAYER, "torch", seed=0).gate)
    right = gate.forward
    for times in (0, 2):

        def forward(self: Any, x: Any, weights: Any, statistics: Any, *rest: Any, times: int = times) -> Any:
            kept = {name: buffer.clone() for name, buffer in statistics.items()}
            output = right(self, x, weights, statistics, *rest)
            for _ in range(times - 1):
                right(self, x, weights, statistics, *rest)
            for name, buffer in statistics.items() if times == 0 else ():
                buffer.copy_(kept[name])
            return output

        with monkeypatch.context() as patch:
            patch.setattr(gate, "forward", forward)
            assert failed(LAYER, "torch") == {"module in evaluation after training"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_noise_has_its_place_and_its_distribution(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = tm.MuMoESpec(5, 4, (3, 2), tm.CP(3), tm.Gate("softmax", temperature=0.5, noise=0.3))
    ops = type(tm.get_backend(backend))
    right = ops.normal
    faults = {
        "uniform": lambda self, like, source, number: abs(right(self, like, source, number)),
        "small": lambda self, like, source, number: right(self, like, source, number) * 0.9,
        "shifted": lambda self, like, source, number: right(self, like, source, number) + 0.2,
        "equal rows": lambda self, like, source, number: right(self, like, source, number)[:1] + 0 * like,
    }
    for normal in faults.values():
        with monkeypatch.context() as patch:
            patch.setattr(ops, "normal", normal)
            assert failed(noisy, backend) == {"distribution of the noise"}


def standard(values: np.ndarray) -> np.ndarray:
    """The values with mean 0 and variance 1."""
    return np.asarray((values - values.mean()) / values.std())


NORMAL = np.random.default_rng(0).standard_normal(4096)
# Numbers of which one moment is far off, and how many standard deviations that moment of a single number is.
OFF = {
    "mean": (NORMAL + 0.3, lambda x: x.mean()),
    "variance": (1.3 * (-1.0) ** np.arange(4096), lambda x: (np.square(x).mean() - 1) / 2**0.5),
    "skewness": (standard((np.arange(4096) < 1132).astype(float)), lambda x: stats.skew(x) / 15**0.5),
    "kurtosis": (standard((np.arange(4096) % 9 - 4.0) ** 5), lambda x: stats.kurtosis(x) / 96**0.5),
}


@pytest.mark.parametrize("moment", OFF)
def test_noise_is_off_by_as_many_deviations_as_its_worst_moment(moment: str) -> None:
    values, deviation = OFF[moment]
    ops = copy(tm.get_backend("numpy"))
    draws = [np.random.default_rng(number).permutation(values).reshape(64, 64) for number in range(2)]
    ops.normal = lambda like, source, number: draws[number]
    assert _measure(ops, None) == pytest.approx(abs(64 * deviation(values)), rel=1e-9)


def test_a_training_step_is_never_long_and_along_the_gradients() -> None:
    ops, gradients = tm.get_backend("numpy"), [np.array([3.0, 0.0]), np.array([[4.0]])]
    for size in (1e-9, 1.0, 1e9):
        steps = _take_step(ops, [np.zeros(2), np.zeros((1, 1))], [size * g for g in gradients])
        length = 0.1 * 5 * size / np.hypot(1, 5 * size)
        for step, g in zip(steps, gradients, strict=True):
            np.testing.assert_allclose(step, -length * g / 5, rtol=1e-12)


def test_all_levels_with_one_noise_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn from a generator of its own at every call, as JAX's would be without the level's number."""
    spec = tm.MuMoESpec(5, 4, (3, 2), tm.CP(3), tm.Gate("softmax", noise=0.3))

    def normal(self: Any, like: np.ndarray, source: Any, number: int) -> np.ndarray:
        return np.random.default_rng(0).standard_normal(like.shape)

    monkeypatch.setattr(type(tm.get_backend("numpy")), "normal", normal)
    assert failed(spec, "numpy") == {"distribution of the noise"}


def test_noise_before_the_norm_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = tm.Gate._normalize

    def normalize(self: tm.Gate, ops: Any, logits: Any, state: Any, moved: Any, call: Any) -> Any:
        if self.noise and call.training:
            logits = logits + self.noise * ops.normal(logits, None, call.level)
        return right(self, ops, logits, state, moved, call)

    monkeypatch.setattr(tm.Gate, "_normalize", normalize)
    noisy = LAYER.replace(gate=tm.Gate("softmax", noise=0.3))
    assert failed(noisy, "torch") == {"coefficients at given noise"}


routers = st.builds(
    tm.AdaptiveClustering,
    preset=st.sampled_from(["language", "vision"]),
    dispersion=st.sampled_from(["mad", "std"]),
    assignment=st.sampled_from(["soft", "hard"]),
    statistics=st.sampled_from(["running", "batch"]),
    evaluation=st.sampled_from(["running", "batch"]),
    clamp=st.sampled_from([None, 1.0, 3.0]),
    normalization=st.sampled_from([None, "feature", "global"]),
    eps=st.sampled_from([1e-4, 0.1]),
    shrinkage=st.sampled_from([0.0, 2.0, 20.0]),
    momentum=st.sampled_from([0.1, 0.7, 1.0]),
)


@given(routers, st.sampled_from([None, (4, 3)]), st.integers(0, 2**32), st.booleans())
def test_clusters_are_those_of_their_definition(
    router: tm.AdaptiveClustering, clusters: tuple[int, int] | None, seed: int, training: bool
) -> None:
    """Every option, over two calls, so that running statistics are used that have moved."""
    gate = tm.Gate("softmax", None, router)
    gates = [replace(gate, router=replace(router, clusters=each)) for each in clusters or ()]
    spec = LAYER.replace(gate=gates or gate)
    generator = np.random.default_rng(seed)
    parameters, state = tm.initialize(spec, seed % 1000, "float64")
    parameters = {name: value + generator.normal(size=value.shape) for name, value in parameters.items()}
    expected = state
    for mode in (True, training):
        x = generator.normal(size=(6, 5))
        previous = [generator.dirichlet(np.ones(k), 6) for k in spec.previous_experts]
        actual = tm.apply(spec, parameters, x, state=state, training=mode, previous=previous)
        right = compute(spec, parameters, expected, x, training=mode, previous=previous)
        state, expected = actual.state, right.state
        np.testing.assert_allclose(actual.y, right.y, atol=1e-11)
        assert state.keys() == expected.keys()
        for name, value in state.items():
            np.testing.assert_allclose(value, expected[name], atol=1e-11)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_an_input_norm_in_half_precision_is_found(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert failed(BLOCK, backend, "float") == set()
    with monkeypatch.context() as patch:
        patch.setattr(functional, "at_least_float32", lambda dtype: dtype)
        patch.setattr(functional, "layer_norm", naive_norm)
        assert failed(BLOCK, backend, "float") == {"block's output"}


def naive_norm(ops: Any, x: Any) -> Any:
    """A norm that computes in the type of x."""
    centred = x - ops.sum(x, axis=-1, keepdims=True) / x.shape[-1]
    variance = ops.sum(centred * centred, axis=-1, keepdims=True) / x.shape[-1]
    return centred / ops.sqrt(variance + 1e-5)


def test_a_wrong_program_for_small_batches_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every method but the last, which runs few tokens, looks at both programs."""
    network = tm.TensorNetwork("n a b, b i c, c o a", a=4, b=16, c=4)
    spec = tm.MuMoESpec(16, 8, 4, network, bias=False)
    other = Stage(16, 8, (4,), tm.TensorNetwork("n a b, b i c, c o a", a=4, b=16, c=4), False)
    wrong = replace(other.default_plan.program, instructions=other.default_plan.program.instructions[:-1])
    first = spec.stage.programs[0]
    for programs in (((9, first[1]), (0, wrong)), ((9, wrong), (0, first[1]))):
        vars(spec.stage)["programs"] = programs
        for method in ("proof", "exact", "float"):
            assert failed(spec, "numpy", method), method


def test_sizes_beyond_the_machine_are_refused_by_what_they_need() -> None:
    for spec in (
        tm.MuMoESpec(10**9, 4, 2, tm.CP(2)),
        tm.MuMoEBlockSpec(4, 10**12, 4, 2, tm.CP(2)),
        tm.MuMoESpec(4, 4, 10**15, tm.CP(1)),
    ):
        for method in ("float", "frameworks"):
            with pytest.raises(tm.TensorMoEError, match=r"that verification makes, need [\d,]+ (G|T|P|E)iB"):
                tm.verify(spec, ("numpy",), methods=method)
    with pytest.raises(tm.TensorMoEError, match=r"1,000,000,000,000 input vectors, .*need 1 PiB"):
        tm.verify(LAYER, ("numpy",), methods="float", batch_size=10**12)
    assert 10**4 < estimate_bytes(LAYER, 5) < 10**6
