"""Sums of networks: notation, names, sizes, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensormoe as tm
from tensormoe.networks.notation import Notation
from tensormoe.testing import sums

SHARED = tm.TensorNetwork("i o")


def test_a_sum_is_one_line_of_notation() -> None:
    notation = Notation.parse("i o + n r, i r, r o")
    assert notation.terms == ((("i", "o"),), (("n", "r"), ("i", "r"), ("r", "o")))
    assert str(notation) == "i o + n r, i r, r o"
    assert str(notation.at_levels(2)) == "i o + n1 r, n2 r, i r, r o"
    assert notation.at_levels(2).counts == (1, 4)


def test_the_network_of_a_sum_has_terms_with_their_own_bonds() -> None:
    network = tm.TensorNetwork("n r, i r, r o + n s, i s o", r=2, s=3).network((5,), 4, 6)
    first, second = network.terms
    assert (str(first), str(second)) == ("n r, i r, r o", "n s, i s o")
    assert (first.bonds, second.bonds) == ((("r", 2),), (("s", 3),))
    assert network.num_parameters == first.num_parameters + second.num_parameters == 30 + 15 + 72
    assert [core.name for core in second.cores] == ["core4", "core5"]


def test_factorizations_add_up_and_keep_the_names_of_the_first() -> None:
    family = tm.CP(rank=4) + tm.TensorRing((2, 3, 5)) + SHARED
    assert family == tm.Sum((tm.CP(rank=4), tm.TensorRing((2, 3, 5)) + SHARED))
    network = family.network((7,), 8, 6)
    assert str(network) == "n r, i r, r o + n r1_2 r2_2, i r2_2 r3_2, r1_2 r3_2 o + i o"
    assert [*network.shapes] == ["expert1", "input", "output", "expert1_2", "input_2", "output_2", "core1_3"]
    assert eval(repr(family), vars(tm)) == family


@given(st.integers(1, 3).flatmap(lambda levels: st.tuples(st.just(levels), sums(levels))))
def test_sizes_come_back_from_bonds_and_json(drawn: tuple[int, tm.Sum]) -> None:
    levels, family = drawn
    bonds = family.bonds(levels)
    assert family.with_bonds(bonds) == family
    assert tm.Factorization.from_dict(family.to_dict()) == family
    growing = [name for name in bonds if family.network((2,) * levels, 3, 3).axes[name]]
    sizes = {name: size + 1 for name, size in bonds.items()}
    trains = any(isinstance(term, tm.TensorTrain) for term in family.terms)
    if growing and not trains:
        assert family.with_bonds(sizes).bonds(levels) == sizes


def test_matching_grows_the_first_term_that_has_bonds() -> None:
    spec = tm.MuMoESpec(16, 12, experts=8, factorization=SHARED + tm.CP(rank=1))
    matched = spec.matched(parameters=2_000)
    assert matched.factorization == SHARED + tm.CP(rank=(2_000 - 17 * 12 - 16 * 8) // (8 + 17 + 12))
    assert matched.num_parameters <= 2_000


@pytest.mark.parametrize(
    ("notation", "message"),
    [
        ("i o + n r, i r", "mode 'o' is not in term 2, which would add one number to all outputs"),
        ("n r, r o + o", "mode 'i' is in no core"),
        ("i o + i r, r o", "mode 'n' is in no core"),
        ("i o + ", "core 2 is empty"),
        ("n r, i r, r o + n r, i r, o", r"bond 'r' is in two terms.*call it r2 in term 2"),
        ("i o ++ n i o", "core 2 is empty"),
    ],
)
def test_sums_that_mean_nothing_are_refused(notation: str, message: str) -> None:
    bonds = {"r": 2} if "r" in notation else {}
    with pytest.raises(tm.TensorMoEError, match=message):
        tm.TensorNetwork(notation, **bonds).network((4,), 3, 3)


@pytest.mark.parametrize("terms", [(), (tm.Dense(),), (tm.Dense(), 3), 3])
def test_a_sum_has_two_factorizations_or_more(terms: object) -> None:
    with pytest.raises(tm.TensorMoEError, match="terms"):
        tm.Sum(terms)  # type: ignore[arg-type]


def test_only_factorizations_are_added() -> None:
    with pytest.raises(TypeError):
        tm.Dense() + 3
    with pytest.raises(tm.TensorMoEError, match="counts"):
        Notation((("i", "o"), ("n", "i", "o")), (1, 2))


@pytest.mark.parametrize(
    "data", [{}, {"terms": 3}, {"terms": [{"type": "Dense"}]}, {"terms": [3, 4]}, {"x": 1}]
)
def test_json_of_another_form_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(tm.TensorMoEError):
        tm.Factorization.from_dict({"type": "Sum", **data})


def test_a_bond_in_one_core_only_is_refused_in_each_term() -> None:
    with pytest.raises(tm.TensorMoEError, match="bond 's' is in core 2 only"):
        tm.TensorNetwork("i o + n i o s", s=2).network((4,), 3, 3)


def test_a_shared_term_is_the_same_for_all_experts() -> None:
    spec = tm.MuMoESpec(3, 2, (4, 5), SHARED + tm.CP(rank=2), bias=False)
    generator = np.random.default_rng(0)
    shared, *factors = (generator.normal(size=shape) for shape in spec.network.shapes.values())
    first, second, rows, columns = factors
    weight = tm.materialize(spec, dict(zip(spec.network.shapes, [shared, *factors], strict=True)))
    own = np.einsum("nr,mr,ir,ro->nmio", first, second, rows, columns)
    np.testing.assert_allclose(weight, own + shared, rtol=1e-12)
