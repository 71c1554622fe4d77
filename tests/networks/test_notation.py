from dataclasses import dataclass

import pytest

import tensormoe as tm
from tensormoe.networks.notation import Notation


def network(notation: str, experts=4, **bonds: int) -> tm.Network:
    return tm.MuMoESpec(5, 3, experts, tm.TensorNetwork(notation, **bonds), bias=False).network


def test_cores_are_numbered_in_the_notations_order_with_axes_in_its_index_order() -> None:
    numbered = network("i r s, s o, r n", r=2, s=6)
    assert numbered.shapes == {"core1": (5, 2, 6), "core2": (6, 3), "core3": (2, 4)}
    assert numbered.num_parameters == 5 * 2 * 6 + 6 * 3 + 2 * 4


def test_one_level_may_be_called_n_or_n1() -> None:
    assert network("n1 r, i r, o r", r=2) == network("n r, i r, o r", r=2)


@pytest.mark.parametrize(
    ("notation", "repeated"),
    [
        ("n r, i r, o r", "n1 r, n2 r, n3 r, i r, o r"),
        ("n i r, n r o", "n1 i r, n2 i r, n3 i r, n1 r o, n2 r o, n3 r o"),
        ("i r, o n r", "i r, o n1 r, o n2 r, o n3 r"),
    ],
)
def test_a_core_written_with_n_is_repeated_for_each_level(notation: str, repeated: str) -> None:
    assert network(notation, (4, 3, 2), r=2) == network(repeated, (4, 3, 2), r=2)


def test_spaces_do_not_matter() -> None:
    assert tm.TensorNetwork(" n  r ,i r,o r", r=2) == tm.TensorNetwork("n r, i r, o r", r=2)


@pytest.mark.parametrize(
    ("notation", "bonds", "said"),
    [
        ("n r, , o r i", {"r": 2}, "core 2 is empty"),
        ("", {}, "core 1 is empty"),
        ("n r, i r, o r,", {"r": 2}, "core 4 is empty"),
        ("n-r, i r, o r", {"r": 2}, "'n-r' in core 1 is not a valid index name; use letters"),
        ("n r; i r; o r", {"r": 2}, "is not a valid index name.*; write 'n r, i r, o r'"),
        ("n 2, i 2, o 2", {}, "'2' in core 1 is not a valid index name"),
        ("n r r, i r, o r", {"r": 2}, "'r' occurs twice in core 1"),
        ("n r, i r, o r", {}, "bond 'r' has no size: pass r="),
        ("n r, i r, out r", {"r": 2}, "bond 'out' has no size.*; write 'n r, i r, o r'"),
        ("n r, i r, o r", {"r": 2, "s": 3}, "unknown bond 's': 'n r, i r, o r' has no such index"),
        ("n r, i r, o r", {"r": 2, "i": 3}, "'i' is a mode"),
        ("n r, i r, o r", {"r": 0}, "positive integer"),
        ("n r, i r, o r", {"r": -3}, "positive integer"),
        ("n r, i r, o r", {"r": 2.0}, "positive integer"),
        ("n r, i r, o r", {"r": True}, "positive integer"),
        ("nr,ir,ro", {"r": 4}, "unknown bond 'r'.*; write 'n r, i r, r o'"),
        ("nr,ir,ro", {}, "bond 'nr' has no size.*; write 'n r, i r, r o'"),
        (None, {}, "pass a string"),
    ],
)
def test_malformed_notation_is_refused(notation: str, bonds: dict, said: str) -> None:
    with pytest.raises(tm.TensorMoEError, match=said) as caught:
        tm.TensorNetwork(notation, **bonds)
    assert caught.value.argument
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("notation", "experts", "said"),
    [
        ("n r, i r", 4, "mode 'o' is in no core"),
        ("n r, o r", 4, "mode 'i' is in no core"),
        ("i r, o r", 4, "mode 'n' is in no core"),
        ("n n1 r, i r, o r", 4, "n and n1 are the same mode"),
        ("n r, n1 r, i r, o r", 4, "n and n1 are the same mode"),
        ("n r, n1 r, i r, o r", (4, 3), "mode 'n' belongs to no expert level.*n1, n2, i, o"),
        ("n1 r, i r, o r", (4, 3), "mode 'n2' is in no core"),
        ("n1 r, n2 r, i r, o r", 4, "mode 'n2' belongs to no expert level"),
        ("n1 r, n3 r, i r, o r", (4, 3), "mode 'n3' belongs to no expert level"),
    ],
)
def test_a_missing_or_foreign_mode_is_refused(notation: str, experts, said: str) -> None:
    with pytest.raises(tm.TensorMoEError, match=said):
        network(notation, experts, r=2)


@pytest.mark.parametrize("notation", ["n r, i r, o s", "n r, i r s, o r", "s n r, i r, o r"])
def test_a_bond_in_one_core_only_is_refused_unless_its_size_is_1(notation: str) -> None:
    with pytest.raises(tm.TensorMoEError, match=r"bond 's' is in core \d only and joins nothing"):
        network(notation, r=1, s=3)
    assert network(notation, r=1, s=1).sizes["s"] == 1


def test_a_bond_that_levels_repeat_joins_cores() -> None:
    repeated = network("n s r, i r, r o", (4, 3), s=2, r=2)
    assert [core.indices for core in repeated.cores[:2]] == [("n1", "s", "r"), ("n2", "s", "r")]


def test_notation_is_read_once_and_may_be_given_as_read() -> None:
    notation = Notation.parse(" n  r,i r, r o")
    assert Notation.parse(notation) is notation
    assert str(notation) == "n r, i r, r o"
    assert (notation.indices, notation.bonds) == (("n", "r", "i", "o"), ("r",))
    assert notation.at_levels(1) is notation
    assert Notation.parse(str(notation)) == notation
    assert hash(Notation.parse("n r, i r, r o")) == hash(notation)

    @dataclass(frozen=True)
    class AsRead(tm.Factorization):
        rank: int

        def notation(self, levels: int) -> Notation:
            return notation.at_levels(levels)

    spec = tm.MuMoESpec(5, 3, (4, 2), AsRead(3))
    assert str(spec.network) == "n1 r, n2 r, i r, r o"
    assert tm.verify(spec, ("numpy",)).passed
