"""What any gate must do, for gates and routers of one's own: each law with a gate that breaks it alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from support.frameworks import optional

import tensormoe as tm
from tensormoe.testing import assert_equivalent

torch = optional("torch")

SIZES = 6, 5, (4, 3), tm.CP(2)


def softmax(z: np.ndarray) -> np.ndarray:
    weights = np.exp(z - z.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def broken_laws(gate: tm.Gate, backends: Any = ("numpy",)) -> set[str]:
    """The laws whose checks fail, without the mode in which they do."""
    report = tm.verify(tm.MuMoESpec(*SIZES, gate), backends, methods="frameworks")
    failed = [check for check in report.checks if not check.passed]
    assert all(check.quantity.startswith("gate: ") for check in failed), report
    return {check.quantity.removeprefix("gate: ").partition(" (")[0] for check in failed}


def own(function: Callable[[np.ndarray], np.ndarray], **stated: Any) -> tm.Gate:
    """A gate of one's own without a norm, with what it states about itself."""

    def activation(z: np.ndarray) -> np.ndarray:
        return function(z)

    vars(activation).update(stated)
    return tm.Gate(activation, norm=None)


def test_a_right_gate_breaks_no_law() -> None:
    assert broken_laws(own(softmax)) == set()
    assert broken_laws(tm.Gate("softmax", norm=lambda z: 2 * z)) == set()


def overflow(z: np.ndarray) -> np.ndarray:
    """Too large for half precision only."""
    return softmax(z) * 1e6


def lean(z: np.ndarray) -> np.ndarray:
    """Weights that sum to 1, some of them negative."""
    return softmax(z) * 2 - 1 / z.shape[-1]


def count_places(z: np.ndarray) -> np.ndarray:
    """A token's place counts, and no other token does."""
    return softmax(z * (1 + np.arange(len(z)))[:, None])


def average(z: np.ndarray) -> np.ndarray:
    """Every token sees all, in any order."""
    return softmax(z + z.mean(0, keepdims=True))


class Changing:
    """Right, except at one call: the third, which asks for the same as the second."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, z: np.ndarray) -> np.ndarray:
        self.calls += len(z) == 8
        # Two levels a call.
        return softmax(2 * z if self.calls in (5, 6) else z)


@pytest.mark.parametrize(
    ("gate", "law"),
    [
        (own(lambda z: softmax(z) * 7), "sums to 1"),
        (own(lambda z: softmax(z) * (1 + 1e-9)), "sums to 1"),
        (own(lambda z: softmax(z) * 7, total=5), "sums to 5"),
        (own(overflow, total=None), "finite"),
        (own(lean), "not negative"),
        (own(count_places), "each row from its own input"),
        (own(average), "no token sees another"),
        (tm.Gate(Changing(), norm=None), "the same twice"),
        (tm.Gate("softmax", norm=lambda z: z - z.mean(0)), "no token sees another"),
    ],
)
def test_a_gate_that_breaks_a_law_is_found_by_that_law(gate: tm.Gate, law: str) -> None:
    assert broken_laws(gate) == {law}


@pytest.mark.parametrize(
    "gate",
    [
        own(lambda z: softmax(z) * 7, total=7),
        own(lambda z: softmax(z) * 7, total=None),
        own(lean, signed=True),
        own(average, mixes_tokens=True),
    ],
)
def test_a_gate_may_say_what_its_weights_are(gate: tm.Gate) -> None:
    assert broken_laws(gate) == set()


def test_a_gate_without_finite_weights_is_refused_by_the_assertion() -> None:
    spec = tm.MuMoESpec(*SIZES, own(lambda z: z * np.nan))
    with pytest.raises(AssertionError, match=r"gate: finite .* FAIL"):
        assert_equivalent(spec)


@dataclass(frozen=True)
class Averaging(tm.Router):
    """A router that adds the mean of all tokens, where training is as it says."""

    when: bool
    says: bool = False

    def logits(self, ops: Any, x: Any, parameters: Any, state: Any, call: Any) -> Any:
        if call.training == self.when:
            x = x + ops.sum(x, axis=0) / x.shape[0]
        return ops.matmul(x, parameters["weights"]), {}

    def mixes_tokens(self, training: bool) -> bool:
        return self.says and training == self.when


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_a_router_that_mixes_tokens_says_so(training: bool, backend: str) -> None:
    assert broken_laws(tm.Gate(router=Averaging(training)), backend) == {"no token sees another"}
    assert broken_laws(tm.Gate(router=Averaging(training, says=True)), backend) == set()


def test_a_batch_norm_mixes_tokens_in_training_only() -> None:
    for router in (Averaging(True), tm.AdaptiveClustering(statistics="batch")):
        assert broken_laws(tm.Gate(abs_softmax, "batch", router)) == set()
    assert broken_laws(tm.Gate(abs_softmax, "batch", Averaging(False))) == {"no token sees another"}


def abs_softmax(z: np.ndarray) -> np.ndarray:
    return softmax(abs(z))


def test_coefficients_have_the_inputs_type_and_their_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    from tensormoe.layers import functional

    right = functional.compute_levels

    def narrow(ops: Any, x: Any, *rest: Any) -> Any:
        coefficients, *others = right(ops, x, *rest)
        wanted = "float32" if ops.dtype_name(x) == "float16" else ops.dtype_name(x)
        return [ops.cast(a, wanted) for a in coefficients], *others

    monkeypatch.setattr(functional, "compute_levels", narrow)
    assert broken_laws(own(softmax)) == {"shape and element type"}


def test_the_layer_of_a_gate_of_ones_own_is_compared_at_its_coefficients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tensormoe.layers import functional

    right = functional.run_mixture
    monkeypatch.setattr(functional, "run_mixture", lambda *call: right(*call) * (1 + 1e-9))
    report = tm.verify(tm.MuMoESpec(*SIZES, own(softmax)), ("numpy",), methods="frameworks")
    wrong = {check.quantity for check in report.checks if not check.passed}
    assert wrong >= {"output at its coefficients"}
    assert all(quantity.endswith("at its coefficients") for quantity in wrong)


def test_a_module_with_a_gate_of_ones_own_is_compared_at_its_coefficients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = type(tm.build(tm.MuMoESpec(*SIZES), "numpy", seed=0))
    right = module.__call__

    def call(self: Any, *given: Any, **options: Any) -> Any:
        y, coefficients = right(self, *given, **options)
        return y * (1 + 1e-9), coefficients

    monkeypatch.setattr(module, "__call__", call)
    report = tm.verify(tm.MuMoESpec(*SIZES, own(softmax)), ("numpy",), methods="frameworks")
    assert {check.quantity for check in report.checks if not check.passed} == {"module at its coefficients"}


def test_the_report_says_what_was_not_checked() -> None:
    spec = tm.MuMoESpec(*SIZES, own(softmax))
    report = tm.verify(spec, ("numpy",))
    for what in (
        "float: the errors of this gate's coefficients",
        "float: bfloat16, on numpy",
        "frameworks: which coefficients this gate should give",
        "frameworks: whether this gate is the same elsewhere",
        "frameworks: modules in training, on numpy",
        "frameworks: gradients and training, on numpy",
    ):
        assert any(line.startswith(what) for line in report.unchecked), what
        assert f"not checked: {what}" in " ".join(str(report).split())
    everything = tm.verify(tm.MuMoESpec(*SIZES), ("torch",))
    assert everything.unchecked == ()
    assert "proof, exact, float" in tm.verify(spec, ("numpy",), methods="frameworks").unchecked[0]
    large = tm.MuMoESpec(300, 200, 40, tm.CP(2), tm.Gate(noise=0.1))
    left = " ".join(tm.verify(large, ("numpy",), methods=("exact", "frameworks")).unchecked)
    assert "2,408,000 entries; a random part" in left
    assert "the weight tensor, which is too large" in left
