"""Certificates of blocks hold, for any nonlinearity, and those of wrong programs do not."""

import os

import pytest
from support.coq import lemma_of, one_size, refusal, theorems
from support.coq_session import objection
from support.coqc import needs_coq

import tensormoe as tm
from tensormoe.verification.coq.forms import UnsayableError

DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
CP = tm.CP(5)
PARTS = tm.TTMatrix(i=(2, 4), o=(4, 2), ranks=(2,))
BLOCKS = {
    "gated, with a core that its layers share": tm.MuMoEBlockSpec(
        8, 8, 6, 4, CP, gated=True, shared="expert1"
    ),
    "of inputs in parts": tm.MuMoEBlockSpec(4, 4, 3, 2, tm.TensorNetwork("n o, i1 o, i2 o", i=(2, 2))),
    "in parts, and followed by a 1": tm.MuMoEBlockSpec(8, 8, 8, 4, (PARTS, tm.CP(2))),
    "in padded parts": tm.MuMoEBlockSpec(
        7, 7, 7, 3, tm.TTMatrix(i=(2, 4), o=(2, 4), ranks=(2,), pad=True), bias=False
    ),
    "plain": tm.MuMoEBlockSpec(8, 7, 6, 4, CP),
    "gated, in other parts before and after": tm.MuMoEBlockSpec(8, 8, 8, 2, PARTS, gated=True),
    "of single values": tm.MuMoEBlockSpec(1, 1, 2, 2, tm.CP(3), gated=True),
    "without bias, of two levels": tm.MuMoEBlockSpec(8, 7, 6, (4, 3), CP, bias=False),
    "gated rings": tm.MuMoEBlockSpec(8, 7, 6, 4, tm.TensorRing((2, 3, 4)), gated=True, nonlinearity="silu"),
}


@needs_coq
@pytest.mark.parametrize("name", BLOCKS if DEEP else [*BLOCKS][:2])
def test_the_certificate_of_a_block_holds(name: str) -> None:
    text = tm.prove(BLOCKS[name]).to_coq()
    assert objection(text) == ""
    assert {"gradient_of_h", "gradient_of_a1", "gradient_of_x"} < {*theorems(text)}


def test_the_heading_says_what_the_nonlinearity_is() -> None:
    text = tm.prove(BLOCKS["gated rings"]).to_coq()
    assert text == tm.prove(BLOCKS["gated rings"]).to_coq()
    heading = " ".join(text[: text.index("From Coq")].split())
    assert "f is any function of each element, and so is f', which stands for its derivative" in heading
    assert "the last layer's input h is f(u) times v" in heading


EDITS = {
    "the nonlinearity of up": ("pointwise_product f t4 t8", "pointwise_product f t8 t4", "t9_is"),
    "no nonlinearity": ("pointwise_product f t4 t8", "multiply t4 t8", "t9_is"),
    "the slope at up": ("pointwise_vjp f' t4", "pointwise_vjp f' t8", "_is"),
    "the slope in place of the value": ("pointwise f t4", "pointwise f' t4", "_is"),
}


@needs_coq
@pytest.mark.parametrize("name", EDITS if DEEP else [*EDITS][::2])
def test_a_wrong_nonlinearity_is_refused(name: str) -> None:
    before, after, lemma = EDITS[name]
    block = tm.MuMoEBlockSpec(4, 4, 4, 4, tm.CP(4), gated=True, bias=False)
    text = one_size(tm.prove(block).to_coq())
    assert text.count(f":= {before}") == 1
    wrong = text.replace(f":= {before}", f":= {after}")
    assert lemma_of(wrong, refusal(wrong)).endswith(lemma)


def test_hidden_values_are_numbered_by_the_finest_parts_of_both_layers() -> None:
    text = tm.prove(BLOCKS["gated, in other parts before and after"]).to_coq()
    sizes = "[N_o_up_2x4_1; N_o_up_2; N_o2_up]"
    assert f"match i0 with [b; i0] => match unflat {sizes} i0 with [o_2x4_1; o_2; o2] =>" in text


@needs_coq
def test_hidden_values_in_other_parts_are_refused() -> None:
    text = tm.prove(BLOCKS["in parts, and followed by a 1"]).to_coq()
    right = "[o1; o2] => f (u x a1 core1 core2 bias b o1 o2)"
    assert right in text
    wrong = text.replace(right, right.replace("[o1; o2]", "[o2; o1]"))
    assert lemma_of(wrong, refusal(wrong)) == "h_at"


def test_an_input_in_parts_in_one_layer_and_followed_by_a_1_in_another_is_refused() -> None:
    block = tm.MuMoEBlockSpec(8, 8, 8, 4, (PARTS, CP, CP), gated=True)
    with pytest.raises(UnsayableError, match="received 'x'; it is in parts, and followed by a 1"):
        tm.prove(block).to_coq()
    assert "Theorem program_is_soft_moe" in tm.prove(block).layers["first"].to_coq()
    padded = tm.TTMatrix(i=(2, 4), o=(2, 4), ranks=(2,), pad=True)
    with pytest.raises(UnsayableError, match="received 'h'; it is in padded parts"):
        tm.prove(tm.MuMoEBlockSpec(7, 7, 7, 3, (padded, CP))).to_coq()


@needs_coq
def test_verify_asks_coq_where_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tm.MuMoESpec(3, 2, 4, tm.TensorNetwork("n o, i o"), bias=False)
    report = tm.verify(spec, methods="coq")
    assert report.passed
    assert [check.quantity for check in report.checks] == ["output and gradients, 6 theorems"]
    assert "Coq" in str(report)
    assert "coq" not in {check.method for check in tm.verify(spec, methods="proof").checks}
    monkeypatch.setattr("tensormoe.verification.certificates.export", lambda *_: "Theorem no : 1 = 2.")
    failed = tm.verify(spec, methods="coq")
    assert not failed.passed
    assert "does not claim program_is_soft_moe" in failed.checks[0].reason
    monkeypatch.setenv("PATH", "")
    with pytest.raises(tm.TensorMoEError, match="coqc: received None; Coq is not installed"):
        tm.verify(spec, methods="coq")
