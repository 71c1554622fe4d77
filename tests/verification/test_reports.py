"""What a report says: nothing passes that is not known to be right, and options reach what is computed."""

from importlib import import_module
from math import inf, nan
from typing import Any

import numpy as np
import pytest

import tensormoe as tm
from tensormoe.programs.program import Program
from tensormoe.verification import Check, VerificationReport
from tensormoe.verification.inputs import draw_sample

LAYER = tm.MuMoESpec(5, 4, 3, tm.CP(3), tm.Gate("softmax"))
RIGHT = Check("float", "numpy", "output", 0.5, 1.0)


def test_what_is_not_known_to_be_right_is_not_a_pass() -> None:
    assert VerificationReport(LAYER, (RIGHT, RIGHT)).passed
    assert not VerificationReport(LAYER, ()).passed
    for error, bound in ((nan, 1.0), (0.5, nan), (0.5, inf), (2.0, 1.0)):
        assert not VerificationReport(LAYER, (RIGHT, Check("float", "numpy", "output", error, bound))).passed


def test_what_raises_is_a_check_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(self: Program, ops: Any, operands: Any) -> Any:
        raise ValueError("no products today")

    monkeypatch.setattr(Program, "run", run)
    for method in ("exact", "float", "frameworks"):
        report = tm.verify(LAYER, "numpy", methods=method)
        assert not report.passed
        assert "no products today" in str(report)


def test_a_method_that_compares_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    # The package has a function of the module's name.
    module = import_module("tensormoe.verification.verify")
    monkeypatch.setattr(module, "_proof_checks", lambda *_: iter(()))
    report = tm.verify(LAYER, "numpy", methods=("proof", "exact"))
    assert not report.passed
    assert [check.method for check in report.checks if not check.passed] == ["proof"]


def test_a_seed_draws_other_values_and_is_reported() -> None:
    reports = [tm.verify(LAYER, "numpy", seed, methods="float") for seed in (3, 3, 4)]
    assert [report.seed for report in reports] == [3, 3, 4]
    first, again, other = ([check.error for check in report.checks] for report in reports)
    assert first == again != other


def test_a_batch_size_is_that_of_what_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gates and exact arithmetic have a least number of their own; whole layers and programs have not."""
    seen: set[int] = set()
    right = Program.run

    def run(self: Program, ops: Any, operands: Any) -> Any:
        seen.add(operands[0].shape[0])
        return right(self, ops, operands)

    monkeypatch.setattr(Program, "run", run)
    for method in ("float", "frameworks"):
        seen.clear()
        tm.verify(LAYER, "numpy", methods=method, batch_size=11)
        assert 11 in seen
        assert 5 not in seen - {LAYER.network.shapes["input"][0], 3}


def test_the_bias_row_is_always_sampled() -> None:
    layer = tm.MuMoESpec(40, 30, 20, tm.CP(3)).stage
    for seed in range(20):
        sample = draw_sample(layer, np.random.default_rng(seed), 500)
        assert len(sample["i"]) < 20
        assert 40 in sample["i"]
