import numpy as np
import pytest
from strategies import BACKENDS

import tensormoe as tm
from tensormoe.program import Matmul, Multiply
from tensormoe.verification import Check


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("norm", ["batch", "layer", None])
def test_every_family_verifies(levels: int, norm: str | None) -> None:
    experts, ranks = (4, 3, 2)[:levels], (2, 3, 4, 3, 2)[: levels + 2]
    for family in (tm.CP(5), tm.Tucker(ranks), tm.TensorRing(ranks), tm.TensorTrain(ranks[1:]), tm.Dense()):
        report = tm.verify(tm.MuMoESpec(7, 6, experts, family, tm.Gate(norm=norm)), BACKENDS)
        assert report.passed, str(report)
        # Five comparisons for each backend; across them output, coefficients and, where there are any,
        # statistics for two, and two gradients for one.
        assert len(report.checks) == 5 * 3 + 2 * (3 if norm == "batch" else 2) + 2


def test_a_report_reads() -> None:
    shown = str(tm.verify(tm.MuMoESpec(7, 6, 4, tm.CP(5)), BACKENDS))
    for word in ("numpy", "torch", "jax", "gradient of cores", "jax = torch", "21 of 21 comparisons hold"):
        assert word in shown


def test_a_block_compares_both_layers() -> None:
    report = tm.verify(tm.MuMoEBlockSpec(7, 8, 6, 4, tm.CP(5)), ("numpy",))
    assert {check.quantity.split(",")[0] for check in report.checks} >= {"first layer", "second layer"}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("fault", ["run", "pull"])
def test_faults_are_found(backend: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A product off by a millionth of a millionth in one operand, and a wrong reverse mode."""
    right = getattr(Multiply, fault)

    def run(self, tl, registers, batch):
        return right(self, tl, registers, batch) * (1 + 3e-12)

    def pull(self, tl, registers, gradient):
        yield from (
            (register, share * (1 + 3e-12)) for register, share in right(self, tl, registers, gradient)
        )

    monkeypatch.setattr(Multiply, fault, {"run": run, "pull": pull}[fault])
    report = tm.verify(tm.MuMoESpec(7, 6, 4, tm.CP(5)), (backend,))
    # Automatic differentiation does not use `pull`; NumPy's gradients do.
    assert report.passed == (fault == "pull" and backend != "numpy")


def test_a_fault_in_one_framework_is_found_across(monkeypatch: pytest.MonkeyPatch) -> None:
    torch_backend = type(tm.get_backend("torch"))
    monkeypatch.setattr(torch_backend, "softmax", lambda self, x: 1.001 * x.softmax(-1))
    spec = tm.MuMoESpec(7, 6, 4, tm.CP(5), tm.Gate("softmax"))
    failed = [check for check in tm.verify(spec, BACKENDS).checks if not check.passed]
    assert failed
    assert all("=" in check.backend for check in failed)


def test_nan_and_a_wrong_shape_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Check("numpy", "output", float("nan"), 1e-12).passed
    right = Matmul.run
    for wrong in (lambda y: y * np.nan, lambda y: y[..., :1]):
        monkeypatch.setattr(Matmul, "run", lambda *args, wrong=wrong: wrong(right(*args)))
        try:
            report = tm.verify(tm.MuMoESpec(7, 6, 4, tm.Dense()), ("numpy",))
        except ValueError:
            continue
        assert not report.passed
        assert "FAIL" in str(report)


def test_what_cannot_be_materialized_is_refused_before_anything_is_computed() -> None:
    huge = tm.MuMoESpec(768, 3072, (100, 100), tm.CP(5))
    with pytest.raises(tm.TensorMoEError, match=r"spec: received \(100, 100, 769, 3072\).*smaller sizes"):
        tm.verify(huge, ("numpy",))
    with pytest.raises(tm.TensorMoEError, match="tokens"):
        tm.verify(tm.MuMoESpec(7, 6, 4, tm.CP(5)), tokens=0)
