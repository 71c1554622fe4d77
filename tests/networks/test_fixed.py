"""Fixed cores: names and arrays, what they are, where they fit, and how they are written."""

import json

import numpy as np
import pytest

import tensormoe as tm
from tensormoe.networks.recipes import RECIPES

WEIGHT = np.random.default_rng(0).normal(size=(8, 6))


def values_of(recipe: str, *shape: int) -> np.ndarray:
    """A core's values in a layer of features that fit."""
    network = tm.TensorNetwork("F: i o, n o", fixed={"F": recipe}).network((2,), *shape)
    return network.fixed_values()["F"]


def test_hadamard_is_orthogonal_up_to_its_size_and_has_only_signs() -> None:
    matrix = values_of("hadamard", 16, 16)
    assert {*matrix.ravel()} == {1.0, -1.0}
    assert (matrix @ matrix.T == 16 * np.eye(16)).all()


@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_dft_is_the_real_basis_of_the_fourier_transform(size: int) -> None:
    basis = values_of("dft", size, size)
    np.testing.assert_allclose(basis @ basis.T, np.eye(size), atol=1e-12)
    x = np.random.default_rng(1).normal(size=size)
    spectrum = np.fft.rfft(x, norm="ortho")
    energy = np.abs(spectrum) ** 2 * [1, *[2] * ((size - 1) // 2), *[1] * (1 - size % 2)][: len(spectrum)]
    ours = (x @ basis) ** 2
    pairs = [ours[0], *(ours[k : k + 2].sum() for k in range(1, size, 2))]
    np.testing.assert_allclose(pairs, energy, atol=1e-12)


def test_dct_is_that_of_scipy() -> None:
    from scipy.fft import dct

    x = np.random.default_rng(1).normal(size=7)
    np.testing.assert_allclose(x @ values_of("dct", 7, 7), dct(x, norm="ortho"), atol=1e-12)


def test_blocks_are_a_mask_of_diagonal_blocks() -> None:
    assert (values_of("blocks 2", 4, 6) == np.kron(np.eye(2), np.ones((2, 3)))).all()


def test_a_hash_has_one_sign_in_each_row_and_seeds_differ() -> None:
    values = values_of("hash 7", 50, 6)
    assert (np.abs(values).sum(axis=1) == 1).all()
    assert {*values.ravel()} == {-1.0, 0.0, 1.0}
    assert (values == values_of("hash 7", 50, 6)).all()
    for recipe in ("hash", "signs", "gaussian"):
        assert (values_of(recipe, 50, 6) == values_of(f"{recipe} 0", 50, 6)).all()
        assert (values_of(recipe, 50, 6) != values_of(f"{recipe} 1", 50, 6)).any()


@pytest.mark.parametrize("recipe", [*RECIPES])
def test_what_is_said_to_be_whole_has_integers(recipe: str) -> None:
    name = f"{recipe} 2" if recipe == "blocks" else recipe
    values = values_of(name, 8, 8)
    assert bool((values == np.rint(values)).all()) == RECIPES[recipe].whole


def test_fixed_cores_are_counted_apart() -> None:
    spec = tm.MuMoESpec(8, 6, 5, tm.TensorNetwork("W: i o + n o", fixed={"W": WEIGHT}), bias=False)
    assert (spec.network.num_parameters, spec.network.num_fixed) == (30, 48)
    assert (spec.num_parameters, spec.num_fixed) == (30 + 8 * 5, 48)
    assert (spec.plan().parameters, spec.plan().fixed) == (30, 48)
    assert "fixed elements" in str(spec.plan())
    assert "fixed elements" not in str(spec.replace(factorization=tm.CP(2)).plan())


@pytest.mark.parametrize(
    "values",
    [
        "hadamard",
        "blocks 3",
        "gaussian 7",
        "identity",
        np.arange(48).reshape(8, 6),
        WEIGHT,
        np.ones((40, 40)),
    ],
    ids=str,
)
def test_json_keeps_what_is_fixed(values: object) -> None:
    network = tm.TensorNetwork("W: i o, n i", fixed={"W": values})
    text = json.dumps(network.to_dict())
    again = tm.Factorization.from_dict(json.loads(text))
    assert again == network
    assert hash(again) == hash(network)
    assert json.dumps(again.to_dict()) == text


def test_a_large_array_is_a_digest_in_json_and_its_values_are_given_again() -> None:
    large = np.random.default_rng(0).normal(size=(40, 40))
    network = tm.TensorNetwork("W: i o, n i", fixed={"W": large})
    text = json.dumps(network.to_dict())
    assert len(text) < 300
    read = tm.Factorization.from_dict(json.loads(text))
    with pytest.raises(tm.TensorMoEError, match="JSON has only the digest"):
        read.network((2,), 40, 40).fixed_values()
    (values,) = read.with_fixed({"W": large}).network((2,), 40, 40).fixed_values().values()
    assert (values == large).all()
    with pytest.raises(tm.TensorMoEError, match="made with other values"):
        read.with_fixed({"W": large + 1})
    with pytest.raises(tm.TensorMoEError, match="given as arrays: W"):
        read.with_fixed({"A": large})
    both = tm.TensorNetwork("n o, i o") + network
    names = [*both.with_fixed({"W_2": large}).fixed_cores(1)]
    assert names == ["W_2"]


def test_a_notation_without_fixed_cores_is_written_as_before() -> None:
    assert tm.TensorNetwork("n r, i r, r o", r=2).to_dict() == {
        "type": "TensorNetwork",
        "notation": "n r, i r, r o",
        "bonds": {"r": 2},
    }


def test_equal_values_are_equal_whatever_their_type() -> None:
    whole = np.arange(48).reshape(8, 6)
    networks = [
        tm.TensorNetwork("W: i o, n i", fixed={"W": whole.astype(dtype)})
        for dtype in ("int8", "int64", "float16", "float32", "float64")
    ]
    assert len({*networks}) == 1
    assert tm.TensorNetwork("W: i o, n i", fixed={"W": whole + 1}) not in networks


def test_an_array_is_copied() -> None:
    mine = np.ones((8, 6))
    network = tm.TensorNetwork("W: i o, n i", fixed={"W": mine})
    mine[:] = 2
    (values,) = network.network((2,), 8, 6).fixed_values().values()
    assert (values == 1).all()
    with pytest.raises(ValueError, match="read-only"):
        values[:] = 2


@pytest.mark.parametrize(
    ("notation", "fixed", "message"),
    [
        ("i r, r o", {"A": "signs"}, "no core of"),
        ("A: i r, r o", {"A": "hadamar"}, "choose one of identity, hadamard"),
        ("A: i r, r o", {"A": "mask"}, "a mask is an array of 0 and 1"),
        ("A: i r, r o", {"A": "blocks"}, "blocks 4"),
        ("A: i r, r o", {"A": "hadamard 3"}, "choose one of"),
        ("A: i r, r o", {"A": "gaussian x"}, "choose one of"),
        ("A: i r, r o", {"A": ""}, "choose one of"),
        ("A: i r, r o", {"A": f"signs {10**18}"}, "choose one of"),
        ("A: i r, r o", {"A": np.ma.masked_array([[1.0, 2]], [[True, False]])}, "finite real numbers"),
        ("A: i r, r o", {"A": [[1.0, float("nan")]]}, "finite real numbers"),
        ("A: i r, r o", {"A": [[1j, 2]]}, "finite real numbers"),
        ("A: i r, r o", {"A": None}, "finite real numbers"),
        ("A: i r, r o", {"A": 3.0}, "finite real numbers"),
        ("A: i r, r o", {"A": [[2**60, 1]]}, "at most 2"),
        ("A: i r, r o", {"A": {"shape": [2], "sha256": "xyz"}}, "64 hexadecimal digits"),
        ("A: i r, r o", {"A": {"shape": [2, 2], "values": [[1, 2], [3, 4]]}}, "4 numbers in a row"),
        ("A: i r, r o", {"A": {"shape": [2, 2]}}, "two fields"),
        ("A: i r, r o", 3, "pass a mapping"),
    ],
)
def test_what_is_no_fixed_core_is_refused(notation: str, fixed: object, message: str) -> None:
    with pytest.raises(tm.TensorMoEError, match=message):
        tm.TensorNetwork(notation, fixed=fixed, r=2)


@pytest.mark.parametrize(
    ("values", "bias", "message"),
    [
        ("hadamard", True, "equal sizes; a bias adds a row"),
        ("hadamard", False, "powers of two"),
        ("dct", True, "equal sizes"),
        ("blocks 7", False, "at most 6 blocks"),
        (np.ones((5, 6)), False, r"has the shape \(6, 6\) in this layer"),
    ],
)
def test_a_core_that_cannot_have_these_values_is_refused(values: object, bias: bool, message: str) -> None:
    network = tm.TensorNetwork("F: i q, n q, q o", q=6, fixed={"F": values})
    with pytest.raises(tm.TensorMoEError, match=message):
        tm.MuMoESpec(6, 6, 5, network, bias=bias).network  # noqa: B018


def test_no_bond_is_called_by_the_keyword_of_fixed_cores() -> None:
    with pytest.raises(tm.TensorMoEError, match="call the bond by another name"):
        tm.Factorization.from_dict(
            {"type": "TensorNetwork", "notation": "n i fixed, fixed o", "bonds": {"fixed": 3}}
        )


def test_matching_grows_no_bond_whose_size_is_given() -> None:
    held = tm.TensorNetwork("n r, i r, H: r q, q o", q=8, r=8, fixed={"H": "hadamard"})
    assert held.growing_bonds(1) == ()
    assert tm.TensorNetwork("i s, s o, n r, H: r i", r=8, s=2, fixed={"H": "hadamard"}).growing_bonds(1) == (
        "s",
    )
    cosines = tm.TensorNetwork("n r, i r, H: r q, q o", q=3, r=3, fixed={"H": "dct"})
    spec = tm.MuMoESpec(8, 6, 5, cosines, bias=False).matched(parameters=400)
    assert dict(spec.network.bonds) == {"r": 18, "q": 18}
    weight = tm.TensorNetwork("W: i o + n r, i r, r o", r=2, fixed={"W": WEIGHT})
    spec = tm.MuMoESpec(8, 6, 5, weight, bias=False).matched(parameters=400)
    assert (spec.factorization.bonds(1), spec.num_parameters) == ({"r": 18}, 18 * 19 + 40)
