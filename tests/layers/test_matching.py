"""Matching: ranks within a budget, in proportion, and none that can't matter."""

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensormoe as tm
from tensormoe.layers.limits import rank_limit
from tensormoe.testing import specs


def test_the_second_layer_of_a_block_gets_no_rank_that_it_cannot_use() -> None:
    """At 40,000 parameters, both layers had TT(4, 113): 17,614 parameters in the second, 2,764 of use."""
    block = tm.MuMoEBlockSpec(64, 64, 10, 8, tm.TensorTrain((4, 65)))
    with pytest.warns(UserWarning, match="r3 of second is 10: cores have no use for more"):
        matched = block.matched(parameters=40_000)
    assert matched.factorization == (tm.TensorTrain((4, 64)), tm.TensorTrain((4, 10)))
    assert matched.layers["second"].num_parameters < 2_764


def test_what_one_layer_cannot_use_another_gets() -> None:
    block = tm.MuMoEBlockSpec(64, 64, 10, 8, tm.CP(1))
    with pytest.warns(UserWarning, match=r"r of second is 80: cores have no use for more$"):
        first, second = block.matched(parameters=40_000).factorization
    assert second.rank == 80
    larger = block.replace(factorization=(tm.CP(first.rank + 1), second))
    assert block.replace(factorization=(first, second)).num_parameters <= 40_000 < larger.num_parameters


PAIRS = [
    (tm.TensorTrain((3, 4)), "r2"),
    (tm.TensorTrain((3, 4)), "r3"),
    (tm.TensorTrain((9, 4)), "r3"),
    (tm.Tucker((2, 3, 4)), "q"),
    (tm.Tucker((2, 3, 4)), "p"),
    (tm.TensorRing((2, 3, 1)), "r3"),
    (tm.TensorNetwork("n i r, n r o", r=2), "r"),
    (tm.TensorNetwork("n i r s, r s o", r=2, s=2), "r"),
]


@pytest.mark.parametrize(("family", "bond"), PAIRS)
def test_the_limit_of_a_bond_of_two_cores_is_the_largest_rank_of_their_product(
    family: tm.Factorization, bond: str
) -> None:
    """Measured: the rank of the product over the bond alone, for each value of what both carry."""
    generator = np.random.default_rng(0)
    network = family.network((5,), 4, 6)
    limit = rank_limit(network, network.sizes, bond)
    one, other = (core for core in network.cores if bond in core.indices)
    common = [index for index in one.indices if index in other.indices and index != bond]
    sizes = network.sizes | {bond: 50} | dict.fromkeys(common, 1)
    sides = []
    for core in (one, other):
        array = generator.normal(size=[sizes[index] for index in core.indices])
        sides.append(np.moveaxis(array, core.indices.index(bond), -1).reshape(-1, 50))
    assert limit == np.linalg.matrix_rank(sides[0] @ sides[1].T)


@pytest.mark.parametrize("experts", [3, (2, 3)])
def test_a_bond_of_many_cores_reaches_every_weight_at_its_limit(experts: Any) -> None:
    """With one value for every entry of all cores but the largest, whose rows are the weight's."""
    spec = tm.MuMoESpec(4, 9, experts, tm.CP(1), bias=False)
    limit = rank_limit(spec.network, spec.network.sizes, "r")
    weight = np.random.default_rng(0).normal(size=spec.network.weight_shape)
    rows = weight.reshape(-1, 9)
    assert limit == len(rows)
    places = np.indices(weight.shape[:-1]).reshape(weight.ndim - 1, -1)
    cores = [np.eye(size)[:, place] for size, place in zip(weight.shape, places, strict=False)]
    whole = spec.replace(factorization=tm.CP(limit))
    np.testing.assert_array_equal(tm.materialize(whole, [*cores, rows]), weight)


@given(specs(max_levels=2), st.integers(1, 3), st.integers(0, 99))
def test_no_core_has_use_for_less_of_what_was_bought(spec: tm.MuMoESpec, unit: int, seed: int) -> None:
    """Each bought rank is used: a random core is of full rank for each value of what its neighbours share."""
    if not spec.factorization.growing_bonds(spec.levels):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            matched = spec.matched(parameters=spec.num_parameters + 300, multiple_of=unit)
        except tm.TensorMoEError:  # a train's closing rank, a bond in one core
            return
    network, generator = matched.network, np.random.default_rng(seed)
    for bond in spec.factorization.growing_bonds(spec.levels):
        carriers = [core for core in network.cores if bond in core.indices]
        common = set.intersection(*({*core.indices} for core in carriers)) - {bond}
        # What multiplies a fixed core can make use of more.
        held = any(core.name in network.held for core in carriers)
        for core in carriers if len(carriers) == 2 and not held else ():
            shape = [1 if index in common else network.sizes[index] for index in core.indices]
            matrix = np.moveaxis(generator.normal(size=shape), core.indices.index(bond), -1)
            rank = np.linalg.matrix_rank(matrix.reshape(-1, matrix.shape[-1]))
            assert rank == matrix.shape[-1]


def test_bonds_grow_in_proportion() -> None:
    spec = tm.MuMoESpec(200, 300, 64, tm.Tucker((4, 1, 1)))
    with warnings.catch_warnings(action="error"):
        _, q, s = spec.matched(parameters=40_000, bond={"q": 1, "s": 2}).factorization.ranks
        p, same, third = spec.matched(
            parameters=40_000, bond=("p", "q", "s"), multiple_of=2
        ).factorization.ranks
        _, fine, coarse = spec.matched(macs=40_000, bond={"q": 0.3, "s": 0.1}).factorization.ranks
    assert abs(2 * q - s) <= 1 < q
    assert p == same == third
    assert p % 2 == 0 < p
    assert abs(fine - 3 * coarse) <= 2 < fine
    larger = spec.replace(factorization=tm.Tucker((4, q + 1, s + 2)))
    assert larger.num_parameters > 40_000


def test_limits_keep_to_multiples_where_there_are_any() -> None:
    block = tm.MuMoEBlockSpec(64, 64, 10, 8, tm.TensorTrain((4, 65)))
    for unit, second in ((4, 8), (16, 10)):
        with pytest.warns(UserWarning, match=f"r3 of second is {second}"):
            matched = block.matched(parameters=40_000, multiple_of=unit)
        assert matched.factorization[1].ranks == (4, second)


@pytest.mark.parametrize(
    ("bond", "told"),
    [
        ("t", "choose one of 'p', 'q', 's'"),
        (["q", "t"], "choose one of 'p', 'q', 's'"),
        ([], "name one or several of p, q, s"),
        (3, "name one or several of p, q, s"),
        ({"q": -1}, "proportion of q: received -1; pass a positive number"),
        ({"t": 1}, "choose one of 'p', 'q', 's'"),
    ],
)
def test_what_cannot_grow_is_refused(bond: Any, told: str) -> None:
    with pytest.raises(tm.TensorMoEError, match=told):
        tm.MuMoESpec(20, 30, 6, tm.Tucker((4, 1, 1))).matched(parameters=3_000, bond=bond)
