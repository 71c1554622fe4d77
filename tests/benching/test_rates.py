"""The rates of the benchmark on learning rates by structure: what its products sum, counted by hand."""

import pytest
from support.frameworks import optional

import tensormoe as tm

rates = optional("benchmarks.rates")


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        # Of 7 inputs and a bias, 6 outputs and 3 experts.
        (tm.CP(5), {"expert1": 1, "input": 8, "output": 5}),
        (tm.Tucker((2, 3, 4)), {"expert1": 1, "input": 8, "core": 2 * 3, "output": 4}),
        (tm.TensorRing((2, 3, 4)), {"expert1": 3, "input": 8, "output": 2 * 4}),
        (tm.TensorNetwork("i r, n r o + n o", r=5), {"core1": 8, "core2": 5, "core3": 1}),
    ],
    ids=str,
)
def test_terms_are_counted_from_the_input_to_the_output(family: tm.Factorization, expected: dict) -> None:
    assert rates.terms_summed(tm.MuMoESpec(7, 6, 3, family).network) == expected


def test_terms_of_split_modes_are_those_of_their_parts() -> None:
    # n r, i1 r i2 o1, o1 i1 r o2: i2 is summed first, i1 and r with the last core.
    spec = tm.MuMoESpec(8, 6, 3, tm.BTT(i=(2, 4), o=(3, 2), rank=5, shared=True), bias=False)
    assert rates.terms_summed(spec.network) == {"core1": 1, "core2": 4, "core3": 2 * 5}


def test_a_rate_is_in_inverse_proportion_to_the_terms_and_a_gates_is_the_base() -> None:
    layer = tm.build(rates.specify("CP", 64), "torch", seed=0)
    names = {id(value): name for name, value in layer.named_parameters()}
    by_name = {
        names[id(value)]: group["lr"] for group in rates.group(True, 0.1, layer) for value in group["params"]
    }
    rank = layer.spec.factorization.rank
    assert by_name["gate_weights.0"] == 0.1
    assert by_name["first.expert1"] == pytest.approx(6.4)
    assert by_name["second.input"] == pytest.approx(0.1 * 64 / 65)
    assert by_name["second.output"] == pytest.approx(6.4 / rank)
    assert {group["lr"] for group in rates.group(False, 0.1, layer)} == {0.1}
