"""Split modes: their parts in the notation, their sizes, the biases beside them, and what is refused."""

import re

import numpy as np
import pytest

import tensormoe as tm
from tensormoe.networks.notation import Notation, is_mode
from tensormoe.networks.splits import Split, refine

KRONECKER = tm.TensorNetwork("n i1 o1, n i2 o2", i=(2, 4), o=(3, 2))


def test_cores_carry_the_parts_and_the_weight_has_the_mode() -> None:
    network = KRONECKER.network((5,), 8, 6)
    assert network.shapes == {"core1": (5, 2, 3), "core2": (5, 4, 2)}
    assert network.weight_shape == (5, 8, 6)
    assert network.carried_modes == network.modes == ("n", "i", "o")
    assert network.num_parameters == 5 * (2 * 3 + 4 * 2)
    assert KRONECKER.bonds(1) == {}
    assert eval(repr(KRONECKER), vars(tm)) == KRONECKER
    assert tm.TensorNetwork.from_dict(KRONECKER.to_dict()) == KRONECKER


@pytest.mark.parametrize("name", ["i1", "o12", "i1_2", "n1_2", "o1_2_3"])
def test_parts_have_names_of_their_own(name: str) -> None:
    assert is_mode(name)
    assert not is_mode("r" + name)


@pytest.mark.parametrize(
    ("experts", "names"), [((5,), ["bias"]), ((5, 3), ["bias1", "bias2"]), ((), ["bias"])]
)
def test_biases_beside_a_split_input_are_terms_of_their_own(experts, names: list[str]) -> None:
    family = tm.TensorNetwork("i1 o1, i2 o2" if not experts else "n i1 o1, n i2 o2", i=(2, 4), o=(3, 2))
    network = family.network(experts, 9, 6, bias=True)
    assert [name for name in network.shapes if name.startswith("bias")] == names
    assert [network.shapes[name] for name in names] == [(n, 6) for n in experts] or [(6,)]
    assert (network.input_size, network.weight_rows, network.bias) == (8, 9, False)


def test_a_bias_that_is_a_term_already_is_the_only_one() -> None:
    family = tm.TensorNetwork("n i1 o1, n i2 o2 + o", i=(2, 4), o=(3, 2))
    assert [*family.network((5,), 9, 6, bias=True).shapes] == ["core1", "core2", "core3"]


def test_an_output_alone_leaves_the_bias_in_the_last_row_of_the_input() -> None:
    network = tm.TensorNetwork("n i r, r o1, r o2", o=(3, 2), r=4).network((5,), 9, 6, bias=True)
    assert network.bias
    assert network.shapes["core1"] == (5, 9, 4)


def test_terms_of_a_sum_have_parts_of_their_own() -> None:
    family = KRONECKER + tm.TensorNetwork("i o") + tm.TensorNetwork("n i1 o, i2 i3 o", i=(2, 2, 2))
    network = family.network((5,), 8, 6)
    assert str(network) == "n i1 o1, n i2 o2 + i o + n i1_3 o, i2_3 i3_3 o"
    assert [[split.mode for split in term.splits] for term in network.terms] == [["i", "o"], [], ["i"]]
    assert tm.Sum.from_dict(family.to_dict()) == family


def test_parts_number_the_mode_with_the_first_by_the_largest_steps() -> None:
    spec = tm.MuMoESpec(8, 6, 5, KRONECKER, bias=False)
    left, right = (np.random.default_rng(0).normal(size=shape) for shape in spec.network.shapes.values())
    expected = [np.kron(a, b) for a, b in zip(left, right, strict=True)]
    np.testing.assert_allclose(tm.materialize(spec, [left, right]), expected)


def test_nested_splits_have_a_finest_one() -> None:
    assert refine(Split.of("i", (24, 32)), Split.of("i", (4, 192))) == (4, 6, 32)
    assert refine(Split.of("i", (4, 6)), Split.of("i", (4, 6))) == (4, 6)


@pytest.mark.parametrize(
    ("notation", "sizes", "said"),
    [
        ("n i1 o, i2 o", {}, "'i1' is a part of 'i': pass i=(…)"),
        ("n i1 o, i2 o", {"i": 8}, "leave it out, or pass the sizes of two or more parts.* i1, i2"),
        ("n i1 o, i2 o", {"i": (8,)}, "two or more parts"),
        ("n i1 o, i2 o", {"i": (0, 8)}, "positive integer"),
        ("n i1 o, i3 o", {"i": (2, 4)}, "the notation lacks 'i2', and a term carries all parts of i=(2, 4)"),
        ("n i1 o, i2 o", {"i": (2, 2, 2)}, "lacks 'i3'"),
        ("n i o", {"i": (2, 4)}, "does not carry 'i1' and 'i2', the parts of 'i'"),
        ("n i1 o, i2 i o", {"i": (2, 4)}, "carries 'i' beside the parts of i=(2, 4)"),
        ("n i1 o, i2 o + i1 o", {"i": (2, 4)}, "term 2 lacks 'i2'"),
    ],
)
def test_parts_that_make_no_mode_are_refused(notation: str, sizes: dict, said: str) -> None:
    with pytest.raises(tm.TensorMoEError, match=re.escape(said).replace(r"\.\*", ".*")):
        tm.TensorNetwork(notation, **sizes)


def test_sizes_that_do_not_make_up_a_mode_are_refused() -> None:
    with pytest.raises(
        tm.TensorMoEError, match="these parts make 8 of 9 inputs: pass sizes whose product is 9"
    ):
        KRONECKER.network((5,), 9, 6)
    with pytest.raises(tm.TensorMoEError, match="make 6 of 7 outputs"):
        tm.MuMoESpec(8, 7, 5, KRONECKER)


def test_splits_that_are_not_nested_are_refused() -> None:
    across = tm.TensorNetwork("n i1 o1, n i2 o2", i=(4, 2), o=(3, 2)) + KRONECKER
    assert across.network((5,), 8, 6)
    across = tm.TensorNetwork("n i1 o1, n i2 o2", i=(2, 4), o=(2, 3)) + KRONECKER
    with pytest.raises(tm.TensorMoEError, match="its parts end within parts of the other term"):
        across.network((5,), 8, 6)


def test_no_published_start_is_known() -> None:
    with pytest.raises(
        tm.TensorMoEError, match='no start of networks with split modes is published: use "linear"'
    ):
        tm.MuMoESpec(8, 6, 5, KRONECKER, initialization="published")


def test_notation_of_levels_stays_what_it_was() -> None:
    assert str(Notation.parse("n1 r, i r, r o").for_levels(1)) == "n r, i r, r o"
