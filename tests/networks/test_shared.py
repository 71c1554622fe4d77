"""Names of cores in the notation: one name is one core."""

import pytest

import tensormoe as tm
from tensormoe.networks.notation import Notation

TIED = tm.TensorNetwork("n r, A: i r, A: o r", r=4)


def test_a_name_before_a_colon_is_a_cores() -> None:
    notation = Notation.parse("n r,A:i r , A : o r")
    assert notation.cores == (("n", "r"), ("i", "r"), ("o", "r"))
    assert notation.names == ("", "A", "A")
    assert str(notation) == "n r, A: i r, A: o r"
    assert Notation.parse(str(notation)) == notation


def test_names_stay_with_levels_and_in_sums() -> None:
    assert str(Notation.parse("A: n r, i r, B: r o").at_levels(2)) == "A: n1 r, A: n2 r, i r, B: r o"
    assert str(Notation.parse("A: n1 i, A: o n1").for_levels(1)) == "A: n i, A: o n"
    both = TIED + TIED
    assert str(both.notation(1)) == "n r, A: i r, A: o r + n r_2, A_2: i r_2, A_2: o r_2"
    assert [*both.network((3,), 5, 5).shapes] == ["core1", "A", "core1_2", "A_2"]


def test_a_shared_core_is_one_core() -> None:
    network = TIED.network((3,), 5, 5)
    assert network.shapes == {"core1": (3, 4), "A": (5, 4)}
    assert network.num_parameters == 3 * 4 + 5 * 4
    assert network.shared == ("A",)
    assert str(network) == "n r, A: i r, A: o r"
    assert [core.name for core in network.unshare().cores] == ["core1", "A", "A(2)"]


def test_a_network_with_names_comes_back_from_its_repr_and_json() -> None:
    assert eval(repr(TIED), vars(tm)) == TIED
    assert tm.Factorization.from_dict(TIED.to_dict()) == TIED
    assert tm.TensorNetwork("n r, i r, o r", r=4) != TIED


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n r, a: i r, a: o r", "a capital first, as in A"),
        ("n r, A B: i r, o r", "a capital first, as in A"),
        ("n r, A: B: i r, o r", "a capital first, as in A"),
        ("n r, : i r, o r", "put a core's name before ':'"),
        ("n r, A:, o i r", "core 2 is empty"),
        ("n r, A: i r, A: o", "has 2 indices in one place and 1 in another"),
    ],
)
def test_malformed_names_are_refused(text: str, message: str) -> None:
    with pytest.raises(tm.TensorMoEError, match=message):
        tm.TensorNetwork(text, r=4)


def test_uses_of_different_shapes_are_refused_with_both() -> None:
    with pytest.raises(tm.TensorMoEError, match=r"has the shape \(8, 4\) as 'i r' and \(6, 4\) as 'o r'"):
        tm.MuMoESpec(8, 6, experts=5, factorization=TIED, bias=False)
    with pytest.raises(tm.TensorMoEError, match="a bias adds a row to i"):
        tm.MuMoESpec(6, 6, experts=5, factorization=TIED)


def test_bonds_that_a_shared_core_ties_grow_together() -> None:
    chain = tm.TensorNetwork("i r, A: r s, A: s t, n o t", r=1, s=1, t=1)
    assert chain.growing_bonds(1) == ("r", "s", "t")
    # One more than with this rank would be over the budget.
    count = lambda r: 5 * 6 * r + 8 * r + r * r  # noqa: E731
    matched = tm.MuMoESpec(8, 6, 5, chain, tm.Gate(), bias=False).matched(parameters=400).factorization
    rank = matched.bonds(1)["r"]
    assert {*matched.bonds(1).values()} == {rank}
    assert count(rank) + 40 <= 400 < count(rank + 1) + 40
    assert tm.TensorNetwork("n r, A: i r, A: r o", r=8).growing_bonds(1) == ()
