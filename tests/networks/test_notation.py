import pytest

import tensormoe as tm


def network(notation: str, experts=4, **bonds: int) -> tm.Network:
    return tm.MuMoESpec(5, 3, experts, tm.TensorNetwork(notation, **bonds), bias=False).network


def test_cores_are_numbered_in_the_notations_order_with_axes_in_its_index_order() -> None:
    found = network("i r s, s o, r n", r=2, s=6)
    assert found.shapes == {"core1": (5, 2, 6), "core2": (6, 3), "core3": (2, 4)}
    assert found.num_parameters == 5 * 2 * 6 + 6 * 3 + 2 * 4


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
        ("n-r, i r, o r", {"r": 2}, "'n-r' of core 1 is no name"),
        ("n r; i r; o r", {"r": 2}, "is no name"),
        ("n 2, i 2, o 2", {}, "'2' of core 1 is no name"),
        ("n r r, i r, o r", {"r": 2}, "'r' of core 1 occurs twice"),
        ("n r, i r, o r", {}, "bond 'r' has no size: pass r="),
        ("n r, i r, out r", {"r": 2}, "bond 'out' has no size"),
        ("n r, i r, o r", {"r": 2, "s": 3}, "'s' is no index"),
        ("n r, i r, o r", {"r": 2, "i": 3}, "'i' is a mode"),
        ("n r, i r, o r", {"r": 0}, "positive integer"),
        ("n r, i r, o r", {"r": -3}, "positive integer"),
        ("n r, i r, o r", {"r": 2.0}, "positive integer"),
        ("n r, i r, o r", {"r": True}, "positive integer"),
        (None, {}, "pass a text"),
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
