"""Certificates of edits that Coq checks: what the other experts make of an input is the only premise."""

import os

import pytest
from support.coq import lemma_of, refusal
from support.coqc import needs_coq

import tensormoe as tm
from tensormoe.editing.edits import Edit
from tensormoe.verification.coq.check import check_certificate

DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
PADDED = tm.TensorNetwork("n r, i1 i2 r, o1 o2 r", r=3, i=(2, 5), o=(2, 3), pad=True)
SUM = tm.TensorNetwork("n r, i r, o r + n o", r=3)


def files(spec: tm.MuMoESpec | tm.MuMoEBlockSpec, edit: Edit) -> dict[str, str]:
    layer = tm.build(spec, "numpy", seed=0)
    return tm.editing.edit(layer, edit).certificate().to_coq()


CASES: dict[str, tuple[tm.MuMoESpec, Edit]] = {
    "another factor": (tm.MuMoESpec(8, 6, 4, tm.CP(5)), tm.editing.Ablate(2)),
    "a term more, at two levels": (tm.MuMoESpec(8, 6, (4, 3), tm.CP(3)), tm.editing.Scale((1, 2), 0.5)),
    "a sum with biases": (tm.MuMoESpec(8, 6, 4, SUM, bias=False), tm.editing.AddBias(0, 5, 0.5)),
    "padded parts": (tm.MuMoESpec(8, 6, 4, PADDED, bias=False), tm.editing.Ablate(1)),
}


@needs_coq
@pytest.mark.parametrize("name", CASES if DEEP else [*CASES][:1])
def test_the_certificate_of_an_edit_holds(name: str) -> None:
    (text,) = files(*CASES[name]).values()
    verdict = check_certificate(text)
    assert verdict.passed, str(verdict)
    assert {"edit_changes_these_experts", "edit_changes_nothing_else"} < {*verdict.theorems}


ABLATED = files(*CASES["another factor"])["cores"]
# An edit that reaches another expert than the theorem says, as changes of what the theorem says.
WRONG = {
    "another expert's coefficient is 0": (
        "edited n = true -> (a1 [b; n])",
        "edited n = true -> (a1 [b; S n])",
    ),
    "some other experts have changed": ("n < N_n -> edited n = false ->", "S n < N_n -> edited n = false ->"),
    "the shares of other experts differ": (
        "if edited n then of_expert x",
        "if edited (S n) then of_expert x",
    ),
}


@needs_coq
@pytest.mark.parametrize("name", WRONG if DEEP else [*WRONG][:1])
def test_an_edit_that_reaches_another_expert_is_refused(name: str) -> None:
    before, after = WRONG[name]
    assert before in ABLATED
    wrong = ABLATED.replace(before, after)
    assert lemma_of(wrong, refusal(wrong)).startswith("edit_changes_")


def test_weights_of_another_expert_have_no_certificate() -> None:
    layer = tm.build(CASES["another factor"][0], "numpy", seed=0)
    edited = tm.editing.edit(layer, [tm.editing.Ablate(2), tm.editing.Ablate(0)])
    with pytest.raises(tm.TensorMoEError, match="expert 0: received 'another weight'"):
        tm.editing.certify(layer, edited.layer, 2)


def test_coefficients_that_an_edit_changes_have_no_file() -> None:
    with pytest.raises(tm.TensorMoEError, match="only edits of weights are exported to Coq"):
        files(tm.MuMoESpec(8, 6, 4, tm.CP(5)), tm.editing.Steer(2, 0.5))


def test_a_file_says_in_words_what_it_proves_and_a_block_has_one_for_each_layer() -> None:
    heading = " ".join(ABLATED[: ABLATED.index("From Coq")].split())
    assert "y plus their shares before is y_before plus their shares after" in heading
    assert "A CERTIFICATE THAT AN EDIT CHANGES SOME EXPERTS ALONE" in heading
    block = tm.MuMoEBlockSpec(4, 4, 3, 3, tm.CP(2))
    made = files(block, tm.editing.Ablate(1, layer="first"))
    assert [*made] == ["first", "second"]
    assert made == files(block, tm.editing.Ablate(1, layer="first"))
