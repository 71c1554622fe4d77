"""The implicit computation is the soft MoE: over random networks, on every backend."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import BACKENDS, Truth, close, dtypes, layers, on_every_backend, truth, values_for

import tensormoe as tm
from tensormoe.testing import Inputs, inputs_for, specs

Layer = tuple[tm.MuMoESpec, Inputs]
# Values that each network meets.
MANY = 20


def evaluator(backend: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of a framework's arrays as one of NumPy's; compiled where that is the way."""
    ops = tm.get_backend(backend)
    compiled = ops.compile(function)

    def compute(*inputs: np.ndarray) -> Any:
        with ops.double_precision():
            actual = compiled(*map(ops.from_numpy, inputs))
            return (
                [ops.to_numpy(a) for a in actual]
                if isinstance(actual, list | tuple)
                else ops.to_numpy(actual)
            )

    return compute


def evaluated(backend: str, function: Callable[..., Any], *inputs: np.ndarray) -> Any:
    return evaluator(backend, function)(*inputs)


@st.composite
def networks_with_inputs(draw: st.DrawFn) -> tuple[tm.MuMoESpec, list[Inputs]]:
    """A random layer, and random values of one shape: what is compiled once may meet many."""
    spec, count = draw(specs()), draw(st.integers(0, 3))
    return spec, [draw(inputs_for(spec, batch_size=st.just(count))) for _ in range(MANY)]


@on_every_backend(networks_with_inputs())
def test_output_and_gradients_equal_the_soft_moes(
    backend: str, layer: tuple[tm.MuMoESpec, list[Inputs]]
) -> None:
    spec, inputs = layer
    ops, program, levels = tm.get_backend(backend), spec.default_plan.program, spec.levels

    def run(cotangent: Any, x: Any, *rest: Any) -> Any:
        operands = x, *rest
        actual = ops.gradients(lambda *leaves: program.run(ops, leaves), operands, cotangent)
        assert (actual is None) == (backend == "numpy")
        y = tm.contract(spec, rest[levels:], rest[:levels], x)
        return [y, *(actual or program.vjp(ops, operands, cotangent))]

    compute = evaluator(backend, run)
    for values in inputs:
        expected = truth(spec, values)
        actual = compute(values.cotangent, *values.operands)
        for array, right in zip(actual, (expected.y, *expected.gradients), strict=True):
            close(array, right)


@on_every_backend(layers(max_levels=2), backends=["torch", "jax"])
def test_the_programs_own_reverse_mode_agrees(backend: str, layer: Layer) -> None:
    spec, values = layer
    ops, program = tm.get_backend(backend), spec.default_plan.program
    inputs = values.cotangent, *values.operands
    actual = evaluated(backend, lambda cotangent, *operands: program.vjp(ops, operands, cotangent), *inputs)
    for gradient, expected in zip(actual, truth(spec, values).gradients, strict=True):
        close(gradient, expected)


@on_every_backend(layers())
def test_materialization_is_the_sum_over_bonds(backend: str, layer: Layer) -> None:
    spec, values = layer
    weight = evaluated(backend, lambda *cores: tm.materialize(spec, cores), *values.cores)
    close(weight, truth(spec, values).weight)


@on_every_backend(layers())
def test_soft_moe_is_the_definition(backend: str, layer: Layer) -> None:
    spec, values = layer
    expected: Truth = truth(spec, values)
    inputs = expected.weight, values.x, *values.coefficients
    y = evaluated(backend, lambda weight, x, *coefficients: tm.soft_moe(weight, coefficients, x), *inputs)
    close(y, expected.y)


@on_every_backend(layers(max_levels=3), dtypes)
def test_both_precisions_keep_their_accuracy(backend: str, layer: Layer, dtype: tuple[str, float]) -> None:
    """Output and gradients against float64, by the same sums over absolute values."""
    spec, values = layer
    name, tolerance = dtype
    ops, program = tm.get_backend(backend), spec.default_plan.program
    rounded = values.map(lambda value: value.astype(name).astype("float64"))
    expected, magnitude = truth(spec, rounded), truth(spec, rounded.map(np.abs))

    def run(cotangent: Any, *operands: Any) -> list[Any]:
        y = program.run(ops, operands)
        assert ops.dtype_name(y) == name
        actual = ops.gradients(lambda *inputs: program.run(ops, inputs), operands, cotangent)
        return [y, *(actual or program.vjp(ops, operands, cotangent))]

    inputs = [value.astype(name) for value in (rounded.cotangent, *rounded.operands)]
    actual = evaluated(backend, run, *inputs)
    for array, right, size in zip(
        actual, (expected.y, *expected.gradients), (magnitude.y, *magnitude.gradients), strict=True
    ):
        assert (np.abs(array - right) <= tolerance * size).all()


@given(layers(), st.integers(1, 5000))
def test_any_planned_batch_size_gives_the_same_function(layer: Layer, batch_size: int) -> None:
    spec, values = layer
    program = spec.plan(batch_size).program
    close(program.run(tm.get_backend("numpy"), values.operands), truth(spec, values).y)


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_tensor_train_is_a_ring_closed_by_rank_one(levels: int) -> None:
    experts, inner = (4, 3, 2, 3)[:levels], (2, 3, 2, 3, 4)[: levels + 1]
    train = tm.MuMoESpec(5, 6, experts, tm.TensorTrain(inner))
    ring = tm.MuMoESpec(5, 6, experts, tm.TensorRing((1, *inner)))
    assert train.network.shapes == ring.network.shapes
    values = values_for(train, 0, 7)
    for spec in (train, ring):
        actual = tm.contract(spec, values.cores, values.coefficients, values.x)
        close(actual, truth(ring, values).y)


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_cp_is_tucker_with_a_superdiagonal_core(levels: int) -> None:
    experts, rank = (4, 3, 2, 3)[:levels], 3
    cp = tm.MuMoESpec(5, 6, experts, tm.CP(rank))
    tucker = tm.MuMoESpec(5, 6, experts, tm.Tucker((rank,) * (levels + 2)))
    values = values_for(cp, 0, 7)
    core = np.zeros((rank,) * (levels + 2))
    core[(np.arange(rank),) * (levels + 2)] = 1
    factors = [*values.cores, core]
    close(
        tm.contract(tucker, factors, values.coefficients, values.x),
        tm.contract(cp, values.cores, values.coefficients, values.x),
    )
    named = dict(zip(tucker.network.shapes, factors, strict=True))
    close(tm.materialize(tucker, named), truth(cp, values).weight)


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
@pytest.mark.parametrize("bias", [True, False])
def test_materialization_is_tensorlys(levels: int, bias: bool) -> None:
    from tensorly.cp_tensor import cp_to_tensor
    from tensorly.tr_tensor import tr_to_tensor
    from tensorly.tt_tensor import tt_to_tensor
    from tensorly.tucker_tensor import tucker_to_tensor

    experts = (4, 3, 2, 3)[:levels]
    ranks = (2, 3, 2, 4, 3, 2)[: levels + 2]

    def chain(cores: list[Any]) -> list[Any]:
        *before, output = cores
        return [*(np.moveaxis(core, 0, 1) for core in before), np.moveaxis(output, 0, 2)]

    theirs = {
        tm.CP(5): lambda cores: cp_to_tensor((None, [*cores[:-1], cores[-1].T])),
        tm.Tucker(ranks): lambda cores: tucker_to_tensor(
            (np.moveaxis(cores[-1], 0, -2), [*cores[:-2], cores[-2].T])
        ),
        tm.TensorTrain(ranks[1:]): lambda cores: tt_to_tensor(chain(cores)),
        tm.TensorRing(ranks): lambda cores: tr_to_tensor(chain(cores)),
    }
    for factorization, to_tensor in theirs.items():
        spec = tm.MuMoESpec(5, 6, experts, factorization, bias=bias)
        cores = values_for(spec, 1, 0).cores
        named = dict(zip(spec.network.shapes, cores, strict=True))
        close(tm.materialize(spec, named), to_tensor(cores))


@pytest.mark.parametrize(
    "factorization",
    [
        tm.TensorNetwork("n o, i o"),
        tm.TensorNetwork("n i r, n r o", r=3),
        tm.TensorNetwork("i r, n r o", r=3),
        tm.TensorNetwork("g n p, g i q, g o s, g p q s", g=2, p=3, q=2, s=4),
    ],
    ids=str,
)
@pytest.mark.parametrize("bias", [True, False])
def test_families_that_the_library_does_not_name(factorization: tm.Factorization, bias: bool) -> None:
    spec = tm.MuMoESpec(7, 6, 5, factorization, tm.Gate(norm="batch"), bias)
    assert tm.verify(spec, BACKENDS).passed
    assert tm.MuMoESpec.from_json(spec.to_json()) == spec
    assert "soft MoE" in str(spec.plan())
    block = tm.MuMoEBlockSpec(7, 8, 6, 5, factorization, bias=bias)
    assert tm.verify(block, BACKENDS, methods="frameworks").passed
    for backend in BACKENDS:
        layer = tm.build(spec, backend, seed=0)
        assert layer.materialize().shape == spec.network.weight_shape
