"""The layer as algebra: a multilinear map, whose tensor network is one of many that stand for it.

A symmetry is tested on two evaluations of the layer; anything else meets the oracle or plain NumPy.
"""

from collections.abc import Callable, Iterable
from functools import reduce
from math import prod
from typing import Any

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from support.strategies import close, layers, on_every_backend, truth, values_for

import tensormoe as tm
from tensormoe.programs.lowering import lower
from tensormoe.testing import Inputs, specs

Array = np.ndarray
Layer = tuple[tm.MuMoESpec, Inputs]
Path = list[tuple[int, ...]]
Place = tuple[int, int]  # an operand's position and one of its axes

# An empty batch would satisfy any law. In a core that is used twice, a layer is not linear.
inhabited = layers(max_levels=3, shared=False, fixed=False).filter(lambda layer: len(layer[1].x) > 0)
products = inhabited.filter(lambda layer: not layer[0].network.counts)
seeds = st.integers(0, 2**32)


def has_whole_experts(spec: tm.MuMoESpec) -> bool:
    """Whether another number of experts fits: parts of a mode make up one size only."""
    return not any(split.mode.startswith("n") for split in spec.network.splits)


def wrap(backend: str, function: Callable[..., Any]) -> Callable[..., Array]:
    """A function of a framework's arrays, as one of NumPy's in float64; it is compiled once a shape."""
    ops = tm.get_backend(backend)
    compiled = ops.compile(function)

    def compute(arrays: Iterable[Array]) -> Array:
        with ops.double_precision():
            return ops.to_numpy(compiled(*map(ops.from_numpy, arrays)))

    return compute


def layer_of(backend: str, spec: tm.MuMoESpec) -> Callable[[Inputs], Array]:
    levels = spec.levels
    compute = wrap(backend, lambda x, *rest: tm.contract(spec, rest[levels:], rest[:levels], x))
    return lambda values: compute(values.operands)


def places(spec: tm.MuMoESpec, index: str) -> list[Place]:
    """Where an index occurs among the operands: x, the coefficients, the cores."""
    data = [("batch", mode) for mode in ("i", *tm.expert_modes(spec.levels))]
    operands = [*data, *(core.indices for core in spec.network.cores)]
    return [(k, indices.index(index)) for k, indices in enumerate(operands) if index in indices]


def weight_of(backend: str, spec: tm.MuMoESpec, values: Inputs) -> Array:
    return wrap(backend, lambda *cores: tm.materialize(spec, cores))(values.cores)


def size_of(spec: tm.MuMoESpec, values: Inputs) -> float:
    """The size of what is summed: where terms cancel, rounding errors of this size are left."""
    return max(float(truth(spec, values.map(np.abs)).y.max()), 1.0)


def change_axes(
    values: Inputs, where: Iterable[Place], change: Callable[..., Array], *arguments: Any
) -> Inputs:
    """The values with `change(operand, axis, *arguments)` in the place of these operands."""
    operands = values.operands
    for position, axis in where:
        operands[position] = change(operands[position], axis, *arguments)
    first_core = 1 + len(values.coefficients)
    return Inputs(operands[0], operands[1:first_core], operands[first_core:], values.cotangent)


def replace_operand(values: Inputs, position: int, operand: Array) -> Inputs:
    return change_axes(values, [(position, 0)], lambda *_: operand)


def multiply_axis(array: Array, axis: int, matrix: Array) -> Array:
    """A matrix's rows summed against one axis of an array; its columns take the axis's place."""
    return np.moveaxis(np.tensordot(array, matrix, (axis, 0)), -1, axis)


def taken(array: Array, axis: int, order: Array) -> Array:
    """An array's entries in this order along one axis; x has no entry for the bias, which comes last."""
    return array.take(order[: array.shape[axis]], axis)


@on_every_backend(inhabited, seeds)
def test_the_layer_is_linear_in_every_operand(backend: str, layer: Layer, seed: int) -> None:
    """Or affine, in x with a bias and in a sum's cores: scales that do not sum to 1 leave it to f(0)."""
    spec, values = layer
    generator, f = np.random.default_rng(seed), layer_of(backend, spec)
    y, size = f(values), size_of(spec, values)
    for position, operand in enumerate(values.operands):
        s, t = generator.normal(size=2)
        other = generator.normal(size=operand.shape)
        points = 0 * operand, other, s * operand + t * other
        origin, second, combined = (f(replace_operand(values, position, point)) for point in points)
        close(combined / size, (s * y + t * second + (1 - s - t) * origin) / size)
        is_core, is_sum = position > spec.levels, bool(spec.network.counts)
        if not (is_sum if is_core else spec.network.has_bias and position == 0):
            assert not origin.any()


@on_every_backend(inhabited, seeds)
def test_the_order_along_an_index_is_arbitrary(backend: str, layer: Layer, seed: int) -> None:
    """Of experts, inputs, outputs and of a bond's terms, hyperedges and dangling bonds among them."""
    spec, values = layer
    generator, f = np.random.default_rng(seed), layer_of(backend, spec)
    y = f(values)
    # A split mode's order is that of its parts.
    split = {each for one in spec.network.splits for each in (one.mode, *one.parts)}
    for index, size in spec.network.sizes.items():
        if index in split:
            continue
        bias = [size - 1] if index == "i" and spec.bias else []
        order = np.array([*generator.permutation(size - len(bias)), *bias])
        actual = f(change_axes(values, places(spec, index), taken, order))
        close(actual, y[:, order] if index == "o" else y)


@on_every_backend(inhabited, seeds)
def test_the_basis_of_a_bond_is_arbitrary(backend: str, layer: Layer, seed: int) -> None:
    """Any invertible matrix where two cores meet; where more do, only a scale for every term."""
    spec, values = layer
    where = {bond: places(spec, bond) for bond, _ in spec.network.bonds}
    shared = {bond: cores for bond, cores in where.items() if len(cores) > 1}
    assume(shared)
    generator, f = np.random.default_rng(seed), layer_of(backend, spec)
    size = size_of(spec, values)
    y = f(values) / size
    for bond, (one, *others) in shared.items():
        rank = spec.network.sizes[bond]
        scale = np.diag(generator.uniform(0.5, 2, rank) * generator.choice([-1, 1], rank))
        rotation = np.linalg.qr(generator.normal(size=(rank, rank)))[0]
        for gauge in [scale] if len(others) > 1 else [scale, scale @ rotation]:
            bent = change_axes(values, [one], multiply_axis, gauge)
            actual = f(change_axes(bent, [others[-1]], multiply_axis, np.linalg.inv(gauge).T))
            close(actual / size, y)


@on_every_backend(specs(max_levels=3).filter(lambda spec: spec.levels > 1), seeds)
def test_levels_flatten_to_one_by_kronecker_products(backend: str, spec: tm.MuMoESpec, seed: int) -> None:
    values = values_for(spec, seed, batch_size=3)
    weight = weight_of(backend, spec, values).reshape(-1, *spec.network.weight_shape[-2:])
    coefficients = np.array([reduce(np.kron, token) for token in zip(*values.coefficients, strict=True)])
    bias = spec.network.has_bias
    flat = spec.replace(experts=prod(spec.experts), factorization=tm.Dense(), gate=spec.gates[0], bias=bias)
    flattened = Inputs(values.x, [coefficients], [weight], values.cotangent)
    expected = truth(spec, values).y
    close(layer_of(backend, spec)(values), expected)
    close(layer_of(backend, flat)(flattened), expected)


@on_every_backend(specs(max_levels=3, shared=False, fixed=False).filter(has_whole_experts), seeds)
def test_one_expert_is_a_linear_layer(backend: str, spec: tm.MuMoESpec, seed: int) -> None:
    spec = spec.replace(experts=(1,) * spec.levels)
    drawn = values_for(spec, seed, batch_size=3)
    values = Inputs(drawn.x, [np.ones_like(a) for a in drawn.coefficients], drawn.cores, drawn.cotangent)
    weight = weight_of(backend, spec, values)
    close(weight, truth(spec, values).weight)
    matrix, bias = np.split(weight.reshape(-1, spec.out_features), [spec.in_features])
    # Without a bias there is no row to sum.
    close(layer_of(backend, spec)(values), values.x @ matrix + bias.sum(axis=0))


@on_every_backend(
    inhabited.filter(lambda layer: max(layer[0].experts, default=0) > 1 and has_whole_experts(layer[0])),
    seeds,
)
def test_a_silent_expert_is_an_absent_one(backend: str, layer: Layer, seed: int) -> None:
    """An expert is silent whose coefficient, or whose slice of any one core of a product, is 0."""
    spec, values = layer
    generator, f = np.random.default_rng(seed), layer_of(backend, spec)
    counts = np.array(spec.experts)
    level = generator.choice(np.flatnonzero(counts > 1))
    others = np.delete(np.eye(counts[level]), generator.integers(counts[level]), axis=1)
    where = places(spec, tm.expert_modes(spec.levels)[level])
    rest = change_axes(values, where, multiply_axis, others)
    counts[level] -= 1
    fewer = spec.replace(experts=tuple(counts.tolist()))
    expected = truth(fewer, rest).y
    close(layer_of(backend, fewer)(rest), expected)
    for place in where[:1] if spec.network.counts else where:
        close(f(change_axes(values, [place], multiply_axis, others @ others.T)), expected)


@st.composite
def paths(draw: st.DrawFn) -> tuple[Layer, Path]:
    """A layer and any order in which to multiply its operands in pairs."""
    layer = draw(products)
    counts = range(len(layer[1].operands), 1, -1)
    return layer, [tuple(draw(st.permutations(range(count)))[:2]) for count in counts]


@on_every_backend(paths())
def test_every_path_computes_the_layer(backend: str, way: tuple[Layer, Path]) -> None:
    (spec, values), path = way
    program, _ = lower(spec.contraction, path)
    ops = tm.get_backend(backend)
    compute = wrap(backend, lambda *operands: program.run(ops, operands))
    close(compute(values.operands), truth(spec, values).y)


@given(paths())
def test_every_path_has_the_layers_gradients(way: tuple[Layer, Path]) -> None:
    (spec, values), path = way
    program, _ = lower(spec.contraction, path)
    actual = program.vjp(tm.get_backend("numpy"), values.operands, values.cotangent)
    for gradient, expected in zip(actual, truth(spec, values).gradients, strict=True):
        close(gradient, expected)
