"""What raises inside a verification is a failed check that names backend, method and step."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from support.frameworks import optional

import tensormoe as tm
from tensormoe.verification.attempt import guard

torch = optional("torch")

CP = tm.MuMoESpec(7, 6, 4, tm.CP(5))


def softmax_of_torch(logits: torch.Tensor) -> torch.Tensor:
    return torch.softmax(logits, -1)


def test_a_gate_of_one_framework_is_verified_there_and_named_elsewhere() -> None:
    spec = CP.replace(gate=tm.Gate(softmax_of_torch, norm="batch"))
    assert tm.verify(spec, ("torch",)).passed
    report = tm.verify(spec, ("torch", "numpy"))
    assert {check.subject for check in report.checks if not check.passed} == {"numpy"}
    assert "frameworks: numpy, layer in training and evaluation: TypeError: softmax" in str(report)


@dataclass(frozen=True)
class EvenRouter(tm.Router):
    """A router that ignores its weights: their gradient is 0."""

    def logits(self, ops: Any, x: Any, parameters: Any, state: Any, call: Any) -> tuple[Any, dict[str, Any]]:
        return ops.matmul(x, ops.zeros_like(parameters["weights"])), {}


def test_a_router_that_ignores_its_weights_is_verified() -> None:
    assert tm.verify(
        CP.replace(gate=tm.Gate(router=EvenRouter())), ("numpy", "torch"), methods="frameworks"
    ).passed


def test_a_backend_that_raises_is_named() -> None:
    class Broken(type(tm.get_backend("numpy")), backend_name="broken"):
        tensormoe_name = "broken"

        def matmul(self, a, b):
            raise ValueError("no products today")

    report = tm.verify(CP, ("numpy", Broken()), methods=("float", "frameworks"))
    failed = [check for check in report.checks if not check.passed]
    assert {check.subject.split()[0] for check in failed} == {"broken"}
    assert {check.reason for check in failed} == {"ValueError: no products today"}
    for place in ("broken float16, output and gradients", "broken, layer in training and evaluation"):
        assert f"{place}: ValueError: no products today" in str(report)
    assert json.loads(report.to_json())["checks"][-1]["reason"] == "ValueError: no products today"


def test_what_raises_in_each_method_is_a_failed_check_of_that_method(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The plans themselves raise here: nothing can be proved, computed or compared."""

    def raises(self: Any, *given: Any) -> Any:
        raise KeyError("no program today")

    monkeypatch.setattr("tensormoe.programs.program.Program.run", raises)
    methods = ("proof", "exact", "float", "frameworks")
    report = tm.verify(CP, ("numpy",), methods=methods)
    failed = [check for check in report.checks if not check.passed]
    assert {check.method for check in failed} == {*methods}
    assert all("KeyError: 'no program today'" in check.reason for check in failed)
    for method in methods:
        assert f"{method}: " in str(report)


def test_a_guard_keeps_the_checks_made_before() -> None:
    def checks() -> Any:
        yield tm.verify(CP, "numpy", methods="proof").checks[0]
        raise ValueError("no  more\ntoday")

    before, after = guard("float", checks(), "numpy")
    assert before.passed
    assert (after.method, after.subject, after.reason) == ("float", "numpy", "ValueError: no more today")
    assert not after.passed
