"""Coq in tests: files are compiled as a user compiles them, and skipped where it is not installed."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import tensormoe as tm
from tensormoe.networks.factorization import Factorization
from tensormoe.verification.coq.export import export

# The named families at one to three levels, and networks that differ in kind.
FAMILIES: dict[str, tuple[Factorization, tuple[int, ...]]] = {
    "cp 1": (tm.CP(5), (4,)),
    "cp 2": (tm.CP(5), (4, 3)),
    "cp 3": (tm.CP(5), (4, 3, 2)),
    "tucker 1": (tm.Tucker((2, 3, 4)), (5,)),
    "tucker 2": (tm.Tucker((2, 3, 4, 5)), (5, 3)),
    "tucker 3": (tm.Tucker((2, 3, 4, 5, 6)), (5, 3, 2)),
    "tensor train 1": (tm.TensorTrain((3, 4)), (4,)),
    "tensor train 2": (tm.TensorTrain((3, 4, 5)), (4, 5)),
    "tensor train 3": (tm.TensorTrain((3, 4, 5, 6)), (4, 5, 6)),
    "tensor ring 1": (tm.TensorRing((2, 3, 4)), (4,)),
    "tensor ring 2": (tm.TensorRing((2, 3, 4, 5)), (4, 5)),
    "tensor ring 3": (tm.TensorRing((2, 3, 4, 5, 64)), (16, 16, 16)),
    "hadamard": (tm.TensorNetwork("n o, i o"), (4,)),
    "block term": (tm.TensorNetwork("g n p, g i q, g o s, g p q s", g=2, p=3, q=4, s=5), (6,)),
    "dense 1": (tm.Dense(), (4,)),
    "dense 2": (tm.Dense(), (4, 3)),
    "dense 3": (tm.Dense(), (4, 3, 2)),
}


def specs() -> Iterator[tuple[str, tm.MuMoESpec]]:
    """Layers of the families by name, with and without bias."""
    for name, (family, experts) in FAMILIES.items():
        for bias in (True, False):
            yield f"{name}, {'a' if bias else 'no'} bias", tm.MuMoESpec(8, 6, experts, family, bias=bias)


def certificate(spec: tm.MuMoESpec, gradients: bool = True) -> str:
    """The certificate of a layer's program for large batches."""
    plan = spec.plan()
    return export(plan.contraction, plan.program, gradients)


def theorems(text: str) -> list[str]:
    """What a certificate claims, by name."""
    (names,) = re.findall(r"^Definition certificate := \((.*)\)\.$", text, re.MULTILINE)
    return names.split(", ")


def one_size(text: str) -> str:
    """A certificate with one size for all indices, so that no shape tells axes apart; without what fits."""
    text = re.sub(r"Variables N_\w.*? : nat\.", "Variables N_N : nat.", text)
    text = re.sub(r"\bN_\w+", "N_N", text)
    return text[: text.index("(* Every operation, reverse")] + "End Program.\nEnd Certificate.\n"


def refusal(text: str) -> str:
    """What coqc objects to in a file; "" if it accepts it."""
    with TemporaryDirectory(prefix="tensormoe-") as folder:
        Path(folder, "file.v").write_text(text, encoding="utf-8")
        done = subprocess.run(["coqc", "-q", "file.v"], cwd=folder, capture_output=True, text=True)
        return "" if done.returncode == 0 else f"{done.stderr}\nstatus {done.returncode}"


def lemma_of(text: str, message: str) -> str:
    """The lemma or theorem of a file that a message of coqc is about."""
    line = int(message.split("line ", 1)[1].split(",", 1)[0])
    stated = [
        words[1]
        for words in map(str.split, text.split("\n")[:line])
        if words[:1] in (["Lemma"], ["Theorem"]) and len(words) > 1
    ]
    return stated[-1]
