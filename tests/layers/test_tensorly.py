"""TensorLy's decompositions as cores and back; TensorLy's own `…_to_tensor` is the oracle."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorly
from support.strategies import close, values_for
from tensorly.cp_tensor import CPTensor, cp_normalize, cp_to_tensor
from tensorly.decomposition import parafac, tensor_ring, tensor_train, tucker
from tensorly.tr_tensor import TRTensor, tr_to_tensor
from tensorly.tt_tensor import TTTensor, tt_to_tensor
from tensorly.tucker_tensor import TuckerTensor, tucker_to_tensor

import tensormoe as tm

TO_TENSOR: dict[type, Callable[[Any], Any]] = {
    tm.CP: cp_to_tensor,
    tm.Tucker: tucker_to_tensor,
    tm.TensorTrain: tt_to_tensor,
    tm.TensorRing: tr_to_tensor,
}
OBJECTS: dict[type, type] = {
    tm.CP: CPTensor,
    tm.Tucker: TuckerTensor,
    tm.TensorTrain: TTTensor,
    tm.TensorRing: TRTensor,
}


def families(levels: int) -> list[tm.Factorization]:
    ranks = (2, 3, 4, 3, 5)[: levels + 2]
    return [tm.CP(5), tm.Tucker(ranks), tm.TensorTrain(ranks[1:]), tm.TensorRing(ranks)]


CASES = [(family, levels) for levels in (1, 2, 3) for family in families(levels)]
every_case = pytest.mark.parametrize(("family", "levels"), CASES, ids=str)


def spec_of(family: tm.Factorization, levels: int, bias: bool = True) -> tm.MuMoESpec:
    return tm.MuMoESpec(6, 7, (4, 3, 2)[:levels], family, bias=bias)


def factors_of(family: tm.Factorization, dims: tuple[int, ...]) -> Any:
    """Random factors in TensorLy's structure."""
    normal = np.random.default_rng(0).normal
    if isinstance(family, tm.CP):
        return normal(size=family.rank), [normal(size=(size, family.rank)) for size in dims]
    if isinstance(family, tm.Tucker):
        factors = [normal(size=shape) for shape in zip(dims, family.ranks, strict=True)]
        return normal(size=family.ranks), factors
    closed = (1, *family.ranks, 1) if isinstance(family, tm.TensorTrain) else (*family.ranks, family.ranks[0])
    return [normal(size=shape) for shape in zip(closed, dims, closed[1:], strict=False)]


def convert(structure: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(structure, tuple | list):
        return type(structure)(convert(part, change) for part in structure)
    return change(structure)


@every_case
@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("bias", [True, False])
def test_factors_become_cores_of_the_same_weight(
    family: tm.Factorization, levels: int, backend: str, bias: bool
) -> None:
    spec, ops = spec_of(family, levels, bias), tm.get_backend(backend)
    factors = factors_of(family, spec.network.weight_shape)
    cores = tm.from_tensorly(spec, convert(factors, ops.from_numpy))
    assert list(cores) == [f"cores.{name}" for name in spec.network.shapes]
    weight = tm.materialize(spec, list(cores.values()))
    close(ops.to_numpy(weight), TO_TENSOR[type(family)](factors))
    for core in cores.values():
        assert core.is_contiguous() if backend == "torch" else core.flags.c_contiguous
    # And back: the same tensor, and the same factors but for CP's weights.
    back = tm.to_tensorly(spec, cores)
    close(TO_TENSOR[type(family)](convert(back, ops.to_numpy)), TO_TENSOR[type(family)](factors))
    close(
        ops.to_numpy(tm.materialize(spec, list(tm.from_tensorly(spec, back).values()))), ops.to_numpy(weight)
    )


@every_case
def test_tensorlys_objects_are_taken(family: tm.Factorization, levels: int) -> None:
    spec = spec_of(family, levels)
    factors = factors_of(family, spec.network.weight_shape)
    for name, core in tm.from_tensorly(spec, OBJECTS[type(family)](factors)).items():
        np.testing.assert_array_equal(core, tm.from_tensorly(spec, factors)[name])


@every_case
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_a_module_is_translated_whole(family: tm.Factorization, levels: int, backend: str) -> None:
    spec, ops = spec_of(family, levels), tm.get_backend(backend)
    layer = tm.build(spec, backend, seed=0)

    def plain(array: Any) -> Any:
        return ops.to_numpy(array.detach() if backend == "torch" else array)

    actual = TO_TENSOR[type(family)](convert(tm.to_tensorly(layer), plain))
    close(actual, plain(layer.materialize()), 1e-5)


def test_the_weights_of_a_normalized_decomposition_are_kept() -> None:
    spec = spec_of(tm.CP(5), 1)
    dense = factors_of(spec.factorization, spec.network.weight_shape)
    weights, factors = cp_normalize(CPTensor(dense))
    assert not np.allclose(weights, 1)
    cores = tm.from_tensorly(spec, (weights, factors))
    close(tm.materialize(spec, list(cores.values())), cp_to_tensor(dense))
    without = tm.from_tensorly(spec, (None, factors))
    assert not np.allclose(without["cores.output"], cores["cores.output"])


@pytest.mark.parametrize(
    "family", [tm.CP(5), tm.Tucker((2, 3, 4)), tm.TensorTrain((3, 4)), tm.TensorRing((2, 3, 4))]
)
def test_a_decomposition_of_a_dense_layer_fits(family: tm.Factorization) -> None:
    spec = spec_of(family, 1)
    weight = tensorly.tensor(np.random.default_rng(0).normal(size=spec.network.weight_shape))
    decompositions: dict[type, Callable[[], Any]] = {
        tm.CP: lambda: parafac(weight, 5, n_iter_max=3, normalize_factors=True),
        tm.Tucker: lambda: tucker(weight, rank=[2, 3, 4], n_iter_max=3),
        tm.TensorTrain: lambda: tensor_train(weight, rank=[1, 3, 4, 1]),
        tm.TensorRing: lambda: tensor_ring(weight, rank=[2, 2, 4, 2]),
    }
    theirs = decompositions[type(family)]()
    if isinstance(family, tm.TensorRing):
        spec = spec_of(tm.TensorRing((2, 2, 4)), 1)
    cores = tm.from_tensorly(spec, theirs)
    close(tm.materialize(spec, list(cores.values())), TO_TENSOR[type(family)](theirs))


def test_a_blocks_layers_have_their_prefix() -> None:
    block = tm.MuMoEBlockSpec(6, 8, 7, 4, tm.TensorRing((2, 3, 4)))
    parameters, _ = tm.initialize(block, seed=0)
    for prefix, stage in block.layers.items():
        theirs = tm.to_tensorly(stage, {n: parameters[f"{prefix}.{n}"] for n in stage.network.shapes})
        for name, core in tm.from_tensorly(stage, theirs, prefix=prefix).items():
            np.testing.assert_array_equal(core, parameters[name])


CP, RING = spec_of(tm.CP(5), 1), spec_of(tm.TensorRing((2, 3, 4)), 1)
WEIGHTS, FACTORS = factors_of(tm.CP(5), CP.network.weight_shape)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: tm.from_tensorly(CP, FACTORS), r"pass \(weights, factors\)"),
        (
            lambda: tm.from_tensorly(CP, (WEIGHTS, FACTORS[:2])),
            "factors: received 2; .*expert1, input, output",
        ),
        (lambda: tm.from_tensorly(CP, (WEIGHTS[:3], FACTORS)), r"weights: received \(3,\); .*\(5,\)"),
        (lambda: tm.from_tensorly(CP, 3), "weights, factors"),
        (
            lambda: tm.from_tensorly(CP, (WEIGHTS, [FACTORS[0], FACTORS[1][:6], FACTORS[2]])),
            r"factors, input: received \(6, 5\); pass an array of shape \(7, 5\), i r; with .* last row",
        ),
        (
            lambda: tm.from_tensorly(RING, FACTORS),
            r"factors, expert1: received \(4, 5\); .*\(2, 4, 3\), r1 n r2",
        ),
        (lambda: tm.from_tensorly(spec_of(tm.Dense(), 1), [FACTORS[0]]), "TensorLy supports CP, Tucker"),
        (lambda: tm.to_tensorly(spec_of(tm.Dense(), 1), [FACTORS[0]]), "TensorLy supports CP, Tucker"),
        (lambda: tm.to_tensorly(CP), "pass a layer's module, or a spec and its cores"),
        (lambda: tm.to_tensorly(CP, FACTORS[:2]), "pass exactly these arrays: expert1, input, output"),
        (lambda: tm.to_tensorly(CP, FACTORS), r"cores\['output'\]: received \(7, 5\); pass .* \(5, 7\)"),
    ],
)
def test_unfit_factors_are_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(tm.TensorMoEError, match=said):
        make()


def test_cores_are_copies() -> None:
    factors = [factor.copy() for factor in FACTORS]
    cores = tm.from_tensorly(CP, (None, factors))
    for core in cores.values():
        core[...] = 0
    for before, after in zip(FACTORS, factors, strict=True):
        np.testing.assert_array_equal(before, after)
    values = values_for(CP, 0, 3)
    assert tm.contract(CP, list(cores.values()), values.coefficients, values.x).any() == np.False_
