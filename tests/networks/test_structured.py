"""The families of structured matrices, against the formulas of their papers."""

import numpy as np
import pytest
from support.strategies import close

import tensormoe as tm

KRONECKER = tm.Kronecker(i=(2, 3), o=(4, 2), rank=2)
MONARCH = tm.Monarch(i=(2, 3), o=(4, 2))
BTT = tm.BTT(i=(2, 3), o=(4, 2), rank=3)
TRAIN = tm.TTMatrix(i=(2, 3), o=(4, 2), ranks=(3,))
BUTTERFLY = tm.Butterfly(i=(2, 3), o=(4, 2))
EACH = [
    KRONECKER,
    MONARCH,
    BTT,
    TRAIN,
    BUTTERFLY,
    tm.Kronecker(i=(2, 3), o=(4, 2), rank=2, shared=True),
    tm.Monarch(i=(2, 3), o=(4, 2), shared=True),
    tm.BTT(i=(2, 3), o=(4, 2), rank=3, shared=True),
    tm.TTMatrix(i=(2, 3), o=(4, 2), ranks=(2, 3), shared=True),
]


def weights_of(family: tm.Factorization) -> tuple[np.ndarray, list[np.ndarray]]:
    """The weight tensor of two experts, and the cores that it was multiplied out from."""
    spec = tm.MuMoESpec(6, 8, 2, family, bias=False)
    cores = [np.random.default_rng(0).normal(size=shape) for shape in spec.network.shapes.values()]
    return tm.materialize(spec, cores), cores


@pytest.mark.parametrize("family", EACH, ids=str)
@pytest.mark.parametrize("levels", [1, 2])
def test_every_family_is_proved_and_exact(family: tm.Factorization, levels: int) -> None:
    spec = tm.MuMoESpec(6, 8, (3, 2)[:levels], family, bias=levels == 2)
    assert tm.verify(spec, methods=("proof", "exact")).passed
    assert tm.MuMoESpec.from_json(spec.to_json()) == spec
    assert tm.Factorization.from_dict(family.to_dict()) == family


@pytest.mark.parametrize("family", EACH, ids=str)
def test_layers_of_every_family_start_at_the_scale_of_a_linear_layer(family: tm.Factorization) -> None:
    large = {"i": (8, 8), "o": (8, 8), **({"rank": 8} if hasattr(family, "rank") else {})}
    if isinstance(family, tm.TTMatrix):
        large["ranks"] = (8, 8)[: len(family.ranks)]
    spec = tm.MuMoESpec(64, 64, 3, type(family)(**{**family.arguments, **large}), bias=False)
    squares = []
    for seed in range(12):
        parameters, _ = tm.initialize(spec, seed, "float64")
        squares.append(np.mean(tm.materialize(spec, tm.cores_of(spec, parameters)).mean(axis=0) ** 2))
    assert 0.6 < 3 * 64 * np.mean(squares) < 1.6


def test_kronecker_products_are_added() -> None:
    weight, (left, right) = weights_of(KRONECKER)
    for expert in range(2):
        products = [np.kron(left[expert, :, r], right[expert, :, :, r]) for r in range(2)]
        close(weight[expert], sum(products))


def test_monarch_is_two_block_diagonal_matrices_and_permutations() -> None:
    weight, (left, right) = weights_of(MONARCH)
    for expert in range(2):
        # x in 2 blocks of 3; 2 blocks of 4 results; these in 4 blocks of 2, one for each of 2 blocks.
        first = np.zeros((6, 8))
        second = np.zeros((8, 8))
        for block in range(2):
            first[3 * block : 3 * block + 3, 4 * block : 4 * block + 4] = left[expert, block]
        for block in range(4):
            second[2 * block : 2 * block + 2, 2 * block : 2 * block + 2] = right[block, expert]
        permutation = np.arange(8).reshape(2, 4).T.ravel()
        close(weight[expert], first[:, permutation] @ second)


def test_a_block_tensor_train_at_rank_one_is_a_monarch_and_at_full_rank_any_matrix() -> None:
    weight, (left, right) = weights_of(tm.BTT(i=(2, 3), o=(4, 2), rank=1))
    spec = tm.MuMoESpec(6, 8, 2, MONARCH, bias=False)
    close(tm.materialize(spec, [left[..., 0], right[..., 0, :]]), weight)
    target = np.random.default_rng(1).normal(size=(1, 6, 8))
    full = tm.MuMoESpec(6, 8, 1, tm.BTT(i=(2, 3), o=(4, 2), rank=2), bias=False)
    assert tm.fit(target, full).weight_error < 1e-5


def test_a_train_of_matrices_multiplies_its_cores() -> None:
    weight, (left, right) = weights_of(TRAIN)
    for expert in range(2):
        expected = np.tensordot(left[expert], right[expert], 1)  # i1 o1 i2 o2
        close(weight[expert], expected.transpose(0, 2, 1, 3).reshape(6, 8))


def test_a_butterfly_holds_the_fourier_transform_but_for_its_complex_numbers() -> None:
    """The Walsh–Hadamard transform has the same factors, each a 2 × 2 matrix for every other part."""
    family = tm.Butterfly(i=(2, 2, 2), o=(2, 2, 2))
    spec = tm.MuMoESpec(8, 8, 1, family, bias=False)
    factor = np.array([[1.0, 1.0], [1.0, -1.0]])
    cores = []
    for core in spec.network.cores:
        summed, made = core.indices[-2:]
        assert (summed[0], made[0]) == ("i", "o")
        cores.append(np.broadcast_to(factor, spec.network.shapes[core.name]).copy())
    one = np.array([[1.0]])
    result = tm.contract(spec, cores, [np.ones((8, 1))], np.eye(8))
    hadamard = np.kron(np.kron(factor, factor), factor) * one
    order = np.arange(8).reshape(2, 2, 2).transpose(2, 1, 0).ravel()
    close(result[:, order], hadamard)
    assert spec.network.num_parameters == 3 * 2 * 8


def test_experts_that_share_a_structure_weigh_its_values() -> None:
    weight, (experts, left, right) = weights_of(EACH[7])
    for expert in range(2):
        middle = np.einsum("r,ario,oarp->ariop", experts[expert], left.transpose(0, 1, 2, 3), right)
        expected = middle.sum(axis=1).reshape(6, 8)
        close(weight[expert], expected)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: tm.Kronecker(i=(2, 3), o=(8,)), "pass two or more sizes for i, and as many for o"),
        (lambda: tm.Monarch(i=(2, 3, 1), o=(4, 2, 1)), "pass two sizes for i"),
        (lambda: tm.BTT(i=(2, 3), o=(4, 2), rank=0), "positive integer"),
        (lambda: tm.BTT(i=6, o=(4, 2), rank=1), "pass a tuple of integers"),
        (lambda: tm.Monarch(i=(2, 3), o=(4, 2), shared=1), "pass True or False"),
        (lambda: tm.MuMoESpec(6, 8, 2, tm.TTMatrix(i=(2, 3), o=(4, 2), ranks=(1, 2))), "takes 1 rank"),
        (lambda: tm.MuMoESpec(6, 9, 2, MONARCH), "these parts make 8 of 9 outputs"),
    ],
)
def test_what_makes_no_family_is_refused(make, said: str) -> None:
    with pytest.raises(tm.TensorMoEError, match=said):
        make()


def test_ranks_are_matched() -> None:
    spec = tm.MuMoESpec(6, 8, 2, BTT, bias=False)
    assert spec.matched(parameters=100).factorization.arguments == {**BTT.arguments, "rank": 1}
    with pytest.warns(UserWarning, match="r is 2: cores have no use for more"):
        assert spec.matched(parameters=1_000).factorization == tm.BTT(i=(2, 3), o=(4, 2), rank=2)
    with pytest.raises(tm.TensorMoEError, match="bond"):
        spec.replace(factorization=MONARCH).matched(parameters=1_000)
