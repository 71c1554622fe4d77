"""Identities between indices: gone from the network, with the same weight."""

import numpy as np
import pytest

import tensormoe as tm

# A notation with an identity D, its bonds, and the network without it.
CASES = [
    ("i q, D: q r, n r, r o", {"q": 3, "r": 3}, "i q, n q, q o"),
    ("D: i q, n q, q o", {"q": 4}, "n i, i o"),
    ("i r, n r, D: o r", {"r": 3}, "i o, n o"),
    ("D: n r, i r, r o", {"r": 2}, "i n, n o"),
    ("i q, D: q r, D: r s, n s, s o", {"q": 3, "r": 3, "s": 3}, "i q, n q, q o"),
    ("i p, n q, r o, D: p q r", {"p": 3, "q": 3, "r": 3}, "i p, n p, p o"),
    ("A: i q, D: q r, n r, A: i r, r o", {"q": 3, "r": 3}, "A: i q, n q, A: i q, q o"),
    ("i o + n q, D: q r, i r, r o", {"q": 3, "r": 3}, "i o + n q, i q, q o"),
]


@pytest.mark.parametrize(("notation", "bonds", "shorter"), CASES)
def test_an_identity_is_the_same_index(notation: str, bonds: dict[str, int], shorter: str) -> None:
    free = tm.TensorNetwork(notation, fixed={"D": "identity"}, **bonds)
    spec = tm.MuMoESpec(4, 3, 2, free, bias=False)
    assert str(spec.network) == shorter
    assert "D" not in str(spec.plan())
    assert spec.num_fixed == 0
    generator = np.random.default_rng(0)
    cores = [generator.normal(size=shape) for shape in spec.network.shapes.values()]
    # The same with the identity as an ordinary core.
    full = tm.MuMoESpec(4, 3, 2, tm.TensorNetwork(notation, **bonds), bias=False)
    axes = len(full.network.shapes["D"])
    identity = np.zeros(full.network.shapes["D"])
    np.einsum(f"{'a' * axes}->a", identity)[:] = 1
    rest = iter(cores)
    every = [identity if name == "D" else next(rest) for name in full.network.shapes]
    np.testing.assert_allclose(tm.materialize(spec, cores), tm.materialize(full, every), atol=1e-12)


@pytest.mark.parametrize(
    ("notation", "bonds"),
    [("D: i o, n o", {}), ("i q r, D: q r, n r, r o", {"q": 3, "r": 3}), ("D: n i, i o", {})],
)
def test_an_identity_stays_where_its_array_is_needed(notation: str, bonds: dict[str, int]) -> None:
    spec = tm.MuMoESpec(4, 4, 4, tm.TensorNetwork(notation, fixed={"D": "identity"}, **bonds), bias=False)
    assert "D" in spec.network.shapes
    values = spec.network.fixed_values()["D"]
    assert (values == np.eye(len(values))).all()


def test_an_identity_has_one_size() -> None:
    network = tm.TensorNetwork("i q, D: q r, n r, r o", q=3, r=4, fixed={"D": "identity"})
    with pytest.raises(tm.TensorMoEError, match="an identity makes r and q one index, of sizes 4 and 3"):
        network.network((2,), 4, 3)
    wide = tm.TensorNetwork("D: i q, n q, q o", q=4, fixed={"D": "identity"})
    with pytest.raises(tm.TensorMoEError, match="a bias adds a row to i"):
        tm.MuMoESpec(4, 3, 2, wide).network  # noqa: B018


def test_bonds_that_an_identity_ties_grow_together() -> None:
    network = tm.TensorNetwork("i q, D: q r, n r, r o", q=3, r=3, fixed={"D": "identity"})
    assert network.bonds(1) == {"q": 3}
    assert network.with_bonds({"q": 5}).ranks == (("q", 5), ("r", 5))
    spec = tm.MuMoESpec(8, 6, 5, network, bias=False).matched(parameters=400)
    assert spec.factorization.ranks == (("q", 18), ("r", 18))
    held = tm.TensorNetwork("D: i q, n q s, q s o", q=8, s=2, fixed={"D": "identity"})
    assert held.growing_bonds(1) == ("s",)
    assert held.with_bonds({"s": 4}).ranks == (("q", 8), ("s", 4))


def test_with_several_levels_each_core_of_experts_is_an_identity() -> None:
    network = tm.TensorNetwork("D: n r, i r, r o", r=3, fixed={"D": "identity"})
    spec = tm.MuMoESpec(4, 5, (3, 3), network, bias=False)
    # The bond is one mode; that two modes are equal is an array.
    assert str(spec.network) == "D: n1 n2, i n2, n2 o"
    cores = {
        name: np.ones(shape) for name, shape in spec.network.shapes.items()
    } | spec.network.fixed_values()
    weight = tm.materialize(spec, cores)
    assert (weight == np.eye(3)[:, :, None, None] * np.ones((4, 5))).all()


def test_identities_prove_and_verify() -> None:
    for notation, bonds, _ in CASES[::3]:
        network = tm.TensorNetwork(notation, fixed={"D": "identity"}, **bonds)
        spec = tm.MuMoESpec(4, 3, 2, network, bias=False)
        assert tm.verify(spec, methods=("proof", "exact")).passed
