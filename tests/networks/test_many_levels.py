"""Names of ten and more expert levels are names of modes, as those of one digit are."""

import numpy as np
import pytest

import tensormoe as tm
from tensormoe.networks.notation import is_mode


@pytest.mark.parametrize("name", ["n", "n1", "n9", "n10", "n12", "n24", "i", "o"])
def test_modes_have_their_names(name: str) -> None:
    assert is_mode(name)


@pytest.mark.parametrize("name", ["r1", "nn", "n1a", "io", "m"])
def test_bonds_have_all_other_names(name: str) -> None:
    assert not is_mode(name)


def test_a_layer_of_twelve_levels_is_its_definition() -> None:
    levels = 12
    spec = tm.MuMoESpec(2, 2, (2,) * levels, tm.CP(2), bias=False)
    assert spec.network.modes == (*(f"n{level}" for level in range(1, levels + 1)), "i", "o")
    generator = np.random.default_rng(0)
    cores = [generator.normal(size=shape) for shape in spec.network.shapes.values()]
    coefficients = [generator.normal(size=(3, 2)) for _ in range(levels)]
    x = generator.normal(size=(3, 2))
    rank = np.prod([a @ core for a, core in zip(coefficients, cores[:levels], strict=True)], axis=0)
    expected = (rank * (x @ cores[-2])) @ np.reshape(cores[-1], (2, 2))
    np.testing.assert_allclose(tm.contract(spec, cores, coefficients, x), expected, rtol=1e-10)
