"""Certificates hold: of every family, with their gradients, and of networks of any form."""

import os
import re

import pytest
from support.certified import random_certificates
from support.coq import certificate, lemma_of, refusal, specs, theorems
from support.coq_session import objection
from support.coqc import needs_coq

import tensormoe as tm
from tensormoe.programs.instructions import Reshape
from tensormoe.programs.program import Program
from tensormoe.verification.coq.export import export
from tensormoe.verification.coq.forms import UnsayableError

DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
ALL = dict(specs())
# Each family, each number of levels, with and without bias; all of them together take minutes.
SHORT = (
    "cp 1, a bias",
    "cp 3, no bias",
    "tucker 2, a bias",
    "tensor train 2, no bias",
    "tensor ring 3, a bias",
    "hadamard, a bias",
    "block term, no bias",
    "dense 1, a bias",
)


@needs_coq
@pytest.mark.parametrize("name", ALL if DEEP else SHORT)
def test_the_certificate_of_a_family_holds(name: str) -> None:
    spec = ALL[name]
    text = tm.prove(spec).to_coq()
    assert objection(text) == ""
    first, *gradients, last = theorems(text)
    assert (first, last) == ("program_is_soft_moe", "program_fits")
    assert gradients == [f"gradient_of_{operand.name}" for operand in spec.contraction.operands]


# What a network may have beyond one product of cores; the same sizes of features in each.
NETWORKS: dict[str, tm.TensorNetwork | tm.TTMatrix] = {
    "a sum, with a bias of its own": tm.TensorNetwork("n r, i r, r o + n o", r=3),
    "a sum, with biases of two kinds": tm.TensorNetwork("n i o + n o"),
    "an input that several cores carry": tm.TensorNetwork("i, b o n, a i b, b i", b=3, a=1),
    "a core used twice, with the outputs in place of the inputs": tm.TensorNetwork(
        "n r, A: i r, A: o r", r=4
    ),
    "a core used in two terms": tm.TensorNetwork("A: i r, r o, n r + A: i s, s o, n s", r=4, s=4),
    "parts of inputs and outputs": tm.TTMatrix(i=(2, 4), o=(4, 2), ranks=(2,)),
    "parts within parts": tm.TensorNetwork("i1 i2 r, n r o", i=(2, 4), r=3)
    + tm.TensorNetwork("i1 s, i2 s, n s, s o", i=(4, 2), s=2),
    "a fixed core": tm.TensorNetwork("M: i o, n i o", fixed={"M": "blocks 4"}),
}


@needs_coq
def test_the_certificate_of_a_core_used_three_times_with_its_axes_permuted_holds() -> None:
    """All sizes are one, so that nothing but their places tells its sums apart."""
    spec = tm.MuMoESpec(4, 4, 4, tm.TensorNetwork("A: n r s, A: r s i, A: s o r", r=4, s=4), bias=False)
    assert objection(certificate(spec)) == ""


@needs_coq
@pytest.mark.parametrize("name", NETWORKS if DEEP else [*NETWORKS][1:5])
def test_the_certificate_of_a_network_of_any_form_holds(name: str) -> None:
    spec = tm.MuMoESpec(
        8, 8, 4, NETWORKS[name], bias=any(each in name for each in ("parts", "two kinds", "several"))
    )
    assert objection(tm.prove(spec).to_coq()) == ""


# One row beside that of the bias: the input's axis has size 1, and no variable.
SINGLE = {
    "appended": tm.MuMoESpec(1, 3, 3, tm.TensorNetwork("n o, i o")),
    "fused": tm.MuMoESpec(1, 2, (4, 2), tm.Tucker((3, 1, 3, 2))),
    "a core used along outputs, too": tm.MuMoESpec(1, 2, 2, tm.TensorNetwork("n r, A: i r, A: o r", r=3)),
    "of many inputs": tm.MuMoESpec(3, 4, 4, tm.TensorNetwork("n r, A: i r, A: o r", r=5)),
}


@needs_coq
@pytest.mark.parametrize("name", SINGLE if DEEP else ["appended", "a core used along outputs, too"])
def test_the_certificate_of_a_single_input_beside_a_bias_holds(name: str) -> None:
    assert objection(certificate(SINGLE[name])) == ""


def test_a_single_input_beside_a_bias_has_no_variable() -> None:
    text = certificate(SINGLE["appended"])
    assert "Variables N_b N_n N_o : nat." in text
    assert "Σ i < S 1, W core1 core2 n i o ⊗ a1 [b; n] ⊗ z 1 x b i" in text


@needs_coq
def test_certificates_of_random_networks_hold() -> None:
    count = 200 if DEEP else 50
    made = [*random_certificates(count, short=not DEEP)]
    assert len(made) >= count
    for spec, text in made:
        assert objection(text) == "", repr(spec)


def test_a_certificate_is_the_same_each_time_and_needs_no_coq(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    spec = ALL[SHORT[0]]
    assert tm.prove(spec).to_coq() == certificate(spec) == certificate(spec)


def test_a_certificate_says_in_words_what_it_proves_and_names_what_the_notation_names() -> None:
    text = certificate(tm.MuMoESpec(8, 6, 4, tm.CP(5)))
    heading = " ".join(text[: text.index("From Coq")].split())
    assert (
        "for all sizes N_b, N_n, N_i, N_o, N_r and for all values of x, a1, expert1, input, output" in heading
    )
    assert "The last row of i, number N_i, is the bias" in heading
    assert "Definition W (expert1 input output : list nat -> R) n i o :=\n" in text
    assert "  Σ r < N_r, expert1 [n; r] ⊗ input [i; r] ⊗ output [r; o]." in text
    assert len(re.findall(r"^\(\* Step \d of the program", text, re.MULTILINE)) == 4


def test_a_certificate_says_which_sizes_must_not_be_0() -> None:
    text = certificate(tm.MuMoESpec(8, 6, 4, tm.TensorNetwork("n o, i o")))
    said = "Sizes may be 0, but for N_i: the program takes the first of so many entries."
    assert ("Hypothesis some_i : 0 < N_i." in text) == (said in text)
    appending = certificate(tm.MuMoESpec(8, 6, 4, tm.Dense()))
    assert ("Hypothesis some_i : 0 < N_i." in appending) == (said in appending)
    assert said in text or said in appending


# Names that Coq has already, or that the file gives to steps; and products of more than 12 factors.
BONDS = ("S", "fun", "t1", "H1", "R", "sum17", "a", "c", "e", "f", "g", "h", "k")
CORES = ", ".join(map(" ".join, zip(("n", *BONDS), (*BONDS[:-1], "i k", "o"), strict=True)))
LONG = tm.MuMoESpec(3, 2, 4, tm.TensorNetwork(CORES, **dict.fromkeys(BONDS, 2)))


@needs_coq
def test_taken_names_are_changed_and_long_sums_have_names_of_their_own() -> None:
    text = certificate(LONG)
    (step,) = re.findall(r"^Definition sum(\d+) b h :=$", text, re.MULTILINE)
    assert f"  t{step} [b; h] = sum{step} b h.\n" in text
    assert objection(text) == ""


@needs_coq
def test_a_long_sum_that_is_not_what_the_step_gives_is_refused_there() -> None:
    text = certificate(LONG, gradients=False)
    (definition,) = re.findall(r"^Definition sum\d+ b h :=\n.*core12 \[g; h\]\.$", text, re.MULTILINE)
    wrong = text.replace(definition, definition.replace("core12", "core11"))
    assert lemma_of(wrong, refusal(wrong)) == definition.split()[1].replace("sum", "t") + "_is"


def test_what_certificates_cannot_speak_about_is_refused() -> None:
    plan = tm.MuMoESpec(8, 6, 4, tm.CP(5), bias=False).plan()
    halves = Program(5, (Reshape(0, (-2, 4)),), ((),))
    said = "certificate: received .*; an index is split; this cannot be exported to Coq yet"
    with pytest.raises(UnsayableError, match=said):
        export(plan.contraction, halves)
