"""Whether a layer on the command line has biases."""

import pytest

import tensormoe as tm
from tensormoe.cli import main


def test_a_layer_has_biases_unless_told_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    for words, bias in (([], True), (["--no-bias"], False)):
        assert main(["plan", "n r, i r, r o", "--r=3", "--experts=4", "--in=8", "--out=6", *words]) == 0
        spec = tm.MuMoESpec(8, 6, 4, tm.TensorNetwork("n r, i r, r o", r=3), bias=bias)
        assert capsys.readouterr().out == f"{spec.plan()}\n"
    assert str(spec.plan()) != str(spec.replace(bias=True).plan())
