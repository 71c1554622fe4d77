"""Changes of ranks beside cores that are fixed: these keep their bits, and the weight is what is promised."""

from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from editing.oracle import saved, weight_of
from hypothesis import given
from hypothesis import strategies as st
from support.fixed import fixed_layers

import tensormoe as tm

FROZEN = np.random.default_rng(0).normal(size=(5, 6))
BESIDE = tm.MuMoESpec(
    5,
    6,
    4,
    tm.TensorNetwork("H: i o + n i r, r s, s o", r=4, s=5, fixed={"H": FROZEN}),
    bias=False,
)


@given(fixed_layers(), st.integers(0, 99))
def test_random_layers_keep_their_fixed_cores_and_what_is_promised(spec: tm.MuMoESpec, seed: int) -> None:
    layer = saved(spec, seed)
    before = weight_of(layer)
    changes: list[tm.RankChange] = [tm.simplify(layer)]
    for bond, size in layer.spec.network.bonds:
        with suppress(tm.TensorMoEError):  # one that a fixed core carries
            changes.append(tm.grow(layer, **{bond: size + 1}))
    with suppress(tm.TensorMoEError):  # no tree
        changes.append(tm.canonicalize(layer))
    for change in changes:
        after = weight_of(change.layer)
        assert np.abs(after - before).max() <= 1e-11 * max(1, np.abs(before).max())
        for name, _ in change.spec.layers["cores"].network.fixed:
            np.testing.assert_array_equal(change.layer.state[f"cores.{name}"], layer.state[f"cores.{name}"])


def test_a_term_beside_a_frozen_weight_is_cut_as_well_as_singular_values_allow() -> None:
    layer = saved(BESIDE)
    cut = tm.truncate(layer, s=3)
    before, after = weight_of(layer), weight_of(cut.layer)
    term = (before - FROZEN).reshape(-1, 6)
    best = np.linalg.norm(np.linalg.svd(term, compute_uv=False)[3:])
    assert np.linalg.norm(before - after) == pytest.approx(best, rel=1e-9)
    fitted = tm.truncate(layer, s=3, iterations=50)
    assert fitted.error <= cut.error * (1 + 1e-9)
    np.testing.assert_array_equal(fitted.layer.state["cores.H"], FROZEN)


def test_what_is_simplified_beside_a_frozen_weight_stays_frozen() -> None:
    layer = saved(BESIDE)
    simple = tm.simplify(layer)
    assert simple.spec.num_parameters < BESIDE.num_parameters
    network = simple.spec.layers["cores"].network
    assert [name for name, _ in network.fixed] == ["H"]
    np.testing.assert_allclose(weight_of(simple.layer), weight_of(layer), atol=1e-12)


@pytest.mark.parametrize("function", [tm.grow, tm.truncate])
def test_a_bond_of_a_fixed_core_keeps_its_size(function: Any) -> None:
    network = tm.TensorNetwork("n i r, H: r s, s o", r=4, s=4, fixed={"H": "gaussian 1"})
    size = 5 if function is tm.grow else 3
    with pytest.raises(tm.TensorMoEError, match="a fixed core carries it"):
        function(saved(tm.MuMoESpec(5, 6, 4, network)), s=size)
