"""Parts that make up more than their mode, and parts of each of several levels: names, sizes, refusals."""

import re
from dataclasses import dataclass

import pytest

import tensormoe as tm
from tensormoe.networks.splits import Split

KRONECKER = tm.TensorNetwork("n i1 o1, n i2 o2", i=(2, 4), o=(3, 2), pad=True)
LEVELS = tm.TensorNetwork("n1_1 i r, n1_1 n1_2 r s, n2_1 n2_2 s o", n1=(2, 3), n2=(2, 2), r=3, s=2)


def test_cores_have_all_values_of_the_parts_and_the_weight_those_of_the_mode() -> None:
    network = KRONECKER.network((5,), 7, 5)
    assert network.shapes == {"core1": (5, 2, 3), "core2": (5, 4, 2)}
    assert network.weight_shape == (5, 7, 5)
    assert network.num_parameters == 5 * (2 * 3 + 4 * 2)


def test_padding_is_kept() -> None:
    assert eval(repr(KRONECKER), vars(tm)) == KRONECKER
    assert tm.TensorNetwork.from_dict(KRONECKER.to_dict()) == KRONECKER
    assert tm.TensorNetwork(KRONECKER.text, i=(2, 4), o=(3, 2)) != KRONECKER
    family = tm.Monarch((2, 4), (3, 2), pad=True) + tm.TensorNetwork("n i o")
    spec = tm.MuMoESpec(7, 5, 3, family)
    assert tm.MuMoESpec.from_json(spec.to_json()) == spec
    grown = tm.MuMoESpec(7, 5, 3, tm.BTT((2, 4), (3, 2), rank=1, pad=True)).matched(parameters=400)
    assert all(split.pad for split in grown.network.splits)


def test_a_field_of_a_family_of_your_own_asks_for_padding() -> None:
    @dataclass(frozen=True)
    class PaddedPairs(tm.Factorization):
        i: tuple[int, ...]
        pad: bool = True

        def notation(self, levels: int) -> str:
            return "n i1 o, i2 o"

    assert PaddedPairs((2, 4)).network((3,), 7, 5).weight_shape == (3, 7, 5)
    with pytest.raises(tm.TensorMoEError, match="pad=True"):
        PaddedPairs((2, 4), pad=False).network((3,), 7, 5)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        (
            {"i": (2, 4), "pad": False},
            "make 8 of 7 inputs: pass sizes whose product is 7, or 7 or more with pad",
        ),
        ({"i": (2, 3)}, "make 6 of 7 inputs: pass sizes whose product is 7"),
        ({"i": (3, 4)}, "make 12 of 7 inputs: with 2 in place of 3 they make enough"),
        ({"i": (1, 8)}, "make 8 of 7 inputs: i1 would always be 0; pass smaller sizes of the other parts"),
        ({"i": (2, 8)}, "make 16 of 7 inputs: i1 would always be 0"),
        ({"i": (2, 4), "pad": 1}, "pad: received 1; pass True or False"),
    ],
)
def test_sizes_that_pad_nothing_or_too_much_are_refused(sizes: dict, said: str) -> None:
    with pytest.raises(tm.TensorMoEError, match=re.escape(said)):
        tm.TensorNetwork("n i1 o, i2 o", **{"pad": True, **sizes}).network((5,), 7, 6)


def test_padding_of_nothing_is_refused() -> None:
    with pytest.raises(tm.TensorMoEError, match="has no split mode to pad: leave it out"):
        tm.TensorNetwork("n i o", pad=True)
    with pytest.raises(tm.TensorMoEError, match="this keyword is for padding: call the bond by another name"):
        tm.TensorNetwork.with_sizes("n pad, i pad, pad o", {"pad": 2})


def test_the_fewest_values_of_a_mode_use_all_values_of_its_parts() -> None:
    assert [Split.of("i", (3, 4), pad).fewest for pad in (False, True)] == [12, 9]
    assert KRONECKER.network((5,), 5, 5).weight_shape == (5, 5, 5)


def test_terms_pad_one_mode_to_one_size() -> None:
    other = tm.TensorNetwork("n i1 o, i2 o", i=(3, 3), pad=True)
    with pytest.raises(
        tm.TensorMoEError, match=re.escape("i=(2, 4) of another term makes 8 values, and this 9")
    ):
        (KRONECKER + other).network((5,), 8, 5)


def test_each_of_several_levels_has_parts_of_its_own() -> None:
    network = LEVELS.network((6, 4), 7, 5)
    assert network.shapes == {"core1": (2, 7, 3), "core2": (2, 3, 3, 2), "core3": (2, 2, 2, 5)}
    assert network.weight_shape == (6, 4, 7, 5)
    assert eval(repr(LEVELS), vars(tm)) == LEVELS
    assert tm.TensorNetwork.from_dict(LEVELS.to_dict()) == LEVELS


def test_parts_of_levels_have_other_names_in_each_term() -> None:
    family = LEVELS + tm.TensorNetwork("n1_1 o, n1_2 i o", n1=(2, 3))
    assert str(family.network((6, 4), 7, 5)).endswith("+ n1_1_2 o, n1_2_2 i o")


def test_levels_that_are_not_there_have_no_parts() -> None:
    one = tm.TensorNetwork("n1_1 i, n1_2 o", n1=(2, 3))
    with pytest.raises(
        tm.TensorMoEError, match="none is called n1: the parts of the only level are those of n"
    ):
        one.network((6,), 7, 5)
    three = tm.TensorNetwork("n1 n2 i, n3_1 n3_2 o", n3=(2, 3))
    with pytest.raises(tm.TensorMoEError, match=re.escape("has 2 level(s), and none is called n3")):
        three.network((6, 4), 7, 5)
    with pytest.raises(tm.TensorMoEError, match=re.escape("'n1_1' is a part of 'n1': pass n1=(…)")):
        tm.TensorNetwork("n1_1 i, n1_2 n2 o")
