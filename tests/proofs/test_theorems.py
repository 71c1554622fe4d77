"""Coq checks the theorems in proofs/, and they assume no more than its real numbers."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from house.drawing import ROOT
from support.coqc import needs_coq

import tensormoe as tm
from tensormoe.arrays.registry import backend_of
from tensormoe.gates.entmax import Entmax
from tensormoe.gates.newton import Entmax15, SoftTopK, Sparsemax

PROOFS = ROOT / "proofs"
TEXT = {path.stem: path.read_text(encoding="utf-8") for path in PROOFS.glob("*.v")}


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROOFS / "check.py"), str(folder)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False)


@needs_coq
def test_coq_accepts_the_theorems_and_they_assume_the_real_numbers() -> None:
    done = check(PROOFS)
    assert done.returncode == 0, done.stdout + done.stderr
    listed = set(re.findall(r"^  ([\w.]+)$", done.stdout, re.MULTILINE))
    assert listed == {
        "ClassicalDedekindReals.sig_forall_dec",
        "ClassicalDedekindReals.sig_not_dec",
        "FunctionalExtensionality.functional_extensionality_dep",
        "Classical_Prop.classic",
    }
    # Without real powers, nothing needs the excluded middle.
    assert "classic" not in done.stdout.partition("entmax assume")[0]


FALSE = "Lemma absurd : 0 = 1."


@needs_coq
@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("hole", f"{FALSE} Admitted.", "These may not be assumed:\n  hole.absurd"),
        (
            "used",
            f"{FALSE} Admitted.\nTheorem two : 0 = 1 /\\ 0 = 1. Proof. split; apply absurd. Qed.",
            "used.absurd",
        ),
        ("axiom", "Axiom surely : 0 = 1.\nTheorem so : 0 = 1. Proof. exact surely. Qed.", "axiom.surely"),
        ("wrong", f"{FALSE} Proof. reflexivity. Qed.", "wrong.v: Coq refuses it"),
    ],
)
def test_proofs_with_a_hole_are_refused(name: str, text: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "_CoqProject").write_text(f"-Q . TensorMoE\n{name}.v\n")
    (tmp_path / f"{name}.v").write_text(f"{text}\n")
    done = check(tmp_path)
    assert done.returncode == 1
    assert complaint in done.stderr


def test_a_file_that_is_not_listed_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "_CoqProject").write_text("-Q . TensorMoE\n")
    (tmp_path / "forgotten.v").write_text("\n")
    assert "_CoqProject lacks forgotten" in check(tmp_path).stderr


def test_the_readme_names_theorems_that_there_are() -> None:
    readme = (PROOFS / "README.md").read_text(encoding="utf-8")
    proved = {name for text in TEXT.values() for name in re.findall(r"^Theorem (\w+)", text, re.MULTILINE)}
    cited = {name for name in re.findall(r"`(\w+)`", readme) if "_" in name}
    assert cited <= proved
    # What is said for one gate is said for each, or the table has a gap there.
    kinds = {re.sub(r"^(softmax|sparsemax|entmax15|entmax|soft_top_k)_", "", name) for name in cited}
    assert {
        "nonnegative",
        "sums_to_one",
        "jacobian_symmetric",
        "jacobian_rows_sum_to_zero",
        "derivative",
    } <= kinds
    assert all(f"`{name}.v`" in readme for name in TEXT)


def test_files_are_readable_lines() -> None:
    assert max(len(line) for text in TEXT.values() for line in text.splitlines()) <= 110


# The theorems are about the library's equations: its weights fulfil these, its Jacobians have these slopes.
Z = np.random.default_rng(5).normal(size=12) * 1.5
K, EPS, ALPHA = 3, 0.7, 1.3
GATES = {
    "sparsemax": (Sparsemax(), lambda t: np.maximum(Z - t, 0), lambda p: (p > 0) * 1.0, 1.0),
    "entmax15": (Entmax15(), lambda t: np.maximum(Z / 2 - t, 0) ** 2, np.sqrt, 1.0),
    "entmax": (
        Entmax(ALPHA),
        lambda t: np.maximum((ALPHA - 1) * Z - t, 0) ** (1 / (ALPHA - 1)),
        lambda p: np.where(p > 0, p, 1) ** (2 - ALPHA) * (p > 0),
        1.0,
    ),
    "soft_top_k": (
        SoftTopK(K, EPS),
        lambda t: np.clip(Z / EPS - t, 0, 1) / K,
        lambda p: (p > 1e-12) * (p < 1 / K - 1e-12) * 1.0,
        K * EPS,
    ),
}


@pytest.mark.parametrize("name", GATES)
def test_the_equations_and_slopes_are_those_of_the_library(name: str) -> None:
    gate, weights, slope, scale = GATES[name]
    ops = backend_of(Z)
    p = gate.value(ops, Z)
    low, high = Z.min() / EPS - 5, Z.max() / EPS + 5
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if weights(middle).sum() > 1 else (low, middle)
    assert np.allclose(p, weights(low), rtol=0, atol=1e-12)
    assert 1 < (p > 0).sum() < 12
    s = slope(p)
    jacobian = (np.diag(s) - np.outer(s, s) / s.sum()) / scale
    columns = [gate.jacobian_product(ops, p, column) for column in np.eye(12)]
    assert np.allclose(jacobian, np.stack(columns, axis=-1), rtol=0, atol=1e-12)


def test_softmax_is_the_one_of_the_theorems() -> None:
    kept = np.arange(12) != 4
    shares = np.where(kept, np.exp(Z), 0)
    assert np.allclose(tm.softmax(np.where(kept, Z, -np.inf)), shares / shares.sum(), rtol=1e-14, atol=0)
