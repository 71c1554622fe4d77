"""Programs: two layers as one, and reverse mode with what it keeps."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from support.blocks import ACTIVATIONS, in_numpy, in_torch, operands_of, parts_of
from support.frameworks import optional
from support.strategies import close

import tensormoe as tm
from tensormoe.programs.instructions import Affine, Instruction, Matmul, Multiply, Pointwise, Reshape, Sum
from tensormoe.programs.program import Program, chain, released

torch = optional("torch")
jax = optional("jax")

NUMPY = tm.get_backend("numpy")

FAMILIES: dict[str, Callable[[int], tm.Factorization]] = {
    "CP": lambda levels: tm.CP(4),
    "Tucker": lambda levels: tm.Tucker((*(2, 3, 2)[:levels], 4, 3)),
    "train": lambda levels: tm.TensorTrain((3, 2, 4, 2)[: levels + 1]),
    "ring": lambda levels: tm.TensorRing((3, 2, 4, 2, 3)[: levels + 2]),
    "dense": lambda levels: tm.Dense(),
    "shared": lambda levels: tm.TensorNetwork(f"{' '.join(tm.expert_modes(levels))} i r, o r", r=3),
}

families = pytest.mark.parametrize("family", FAMILIES)
all_levels = pytest.mark.parametrize("levels", [1, 2, 3])
plain_and_gated = pytest.mark.parametrize("gated", [False, True], ids=["plain", "gated"])


def block_of(family: str, levels: int, bias: bool = True, **options: Any) -> tm.MuMoEBlockSpec:
    experts = (4, 3, 2)[:levels]
    return tm.MuMoEBlockSpec(5, 7, 6, experts, FAMILIES[family](levels), bias=bias, **options)


def activations_for(levels: int) -> Iterable[str]:
    """All, or with more levels one: none knows of levels."""
    return ACTIVATIONS if levels == 1 else ["silu"]


def program_of(block: tm.MuMoEBlockSpec) -> Program:
    programs = [layer.default_plan.program for layer in block.layers.values()]
    levels = [layer.levels for layer in block.layers.values()]
    return chain(programs, levels, block.nonlinearity)


class Counting:
    """NumPy's backend, counting what is called."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.calls[name] += 1
            return function(*arguments, **options)

        return call

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return self.counted(name, getattr(NUMPY, name))

    @property
    def products(self) -> int:
        return self.calls["matmul"] + self.calls["affine"]


def products_of(program: Program) -> list[int]:
    """The registers that hold results of matrix products."""
    numbered = enumerate(program.instructions, start=program.num_operands)
    return [number for number, instruction in numbered if isinstance(instruction, Matmul | Affine)]


@families
@all_levels
@plain_and_gated
@pytest.mark.parametrize("bias", [True, False])
def test_a_block_is_layers_with_an_activation_before_the_last(
    family: str, levels: int, bias: bool, gated: bool
) -> None:
    for activation in activations_for(levels):
        block = block_of(family, levels, bias, nonlinearity=activation, gated=gated)
        operands = operands_of(block)
        y = program_of(block).run(NUMPY, operands)
        close(y, in_numpy(block, operands))
        x, coefficients, cores = parts_of(block, operands)
        *before, second = block.layers.values()
        pairs = zip(before, cores, strict=False)
        hidden, *factors = (tm.contract(layer, own, coefficients, x) for layer, own in pairs)
        hidden = np.prod([ACTIVATIONS[activation][0](hidden), *factors], axis=0)
        close(y, tm.contract(second, cores[-1], coefficients, hidden))


@families
@all_levels
@plain_and_gated
@pytest.mark.parametrize("bias", [True, False])
def test_reverse_mode_is_the_definitions(family: str, levels: int, bias: bool, gated: bool) -> None:
    for activation in activations_for(levels):
        block = block_of(family, levels, bias, nonlinearity=activation, gated=gated)
        operands = operands_of(block)
        cotangent = np.random.default_rng(1).normal(size=(3, block.out_features))
        actual = program_of(block).vjp(NUMPY, operands, cotangent)
        for gradient, expected in zip(actual, in_torch(block, operands, cotangent), strict=True):
            close(gradient, expected)


def program_with(*steps: Instruction, num_operands: int = 2) -> Program:
    return Program(num_operands, steps, released(num_operands, steps))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    ("program", "overwritten"),
    [
        (program_with(Matmul(0, 1), Pointwise(2, "")), True),
        (program_with(Matmul(0, 1), Pointwise(2, ""), Matmul(3, 3)), True),
        # The product is read again, is seen by another register, or was never one.
        (program_with(Matmul(0, 1), Pointwise(2, ""), Matmul(3, 2)), False),
        (program_with(Matmul(0, 1), Reshape(2, (3, 3)), Pointwise(3, ""), Multiply(4, 2)), False),
        (program_with(Matmul(0, 1), Multiply(2, 2), Pointwise(3, "")), False),
        (program_with(Pointwise(1, ""), Matmul(0, 2)), False),
        (program_with(Reshape(1, (3, 3)), Pointwise(2, ""), Matmul(3, 0)), False),
    ],
)
def test_an_activation_overwrites_a_product_alone(
    program: Program, overwritten: bool, activation: str
) -> None:
    (number,) = (n for n, step in enumerate(program.instructions) if isinstance(step, Pointwise))
    steps = list(program.instructions)
    steps[number] = replace(steps[number], function=activation)
    program = program_with(*steps)
    assert program.overwrites[number] is overwritten
    operands = [np.random.default_rng(seed).normal(size=(3, 3)) for seed in range(2)]
    tensors = [torch.tensor(operand) for operand in operands]
    ops = tm.get_backend("torch")
    with torch.no_grad():
        y = program.run(ops, tensors)
    close(y, program.run(NUMPY, operands))
    cotangent = torch.ones_like(y)
    actual = program.vjp(ops, tensors, cotangent)
    for gradient, expected in zip(actual, program.vjp(NUMPY, operands, np.ones((3, 3))), strict=True):
        close(gradient, expected)
    for tensor, operand in zip([*tensors, cotangent], [*operands, np.ones((3, 3))], strict=True):
        assert (tensor.numpy() == operand).all()


def test_a_sum_gives_its_gradient_to_all_that_it_summed() -> None:
    generator = np.random.default_rng(0)
    x, cotangent = generator.normal(size=(3, 4, 2)), generator.normal(size=(3, 2))
    program = Program(1, (Sum(0, 1),), ((),))
    (gradient,) = program.vjp(NUMPY, [x], cotangent)
    np.testing.assert_array_equal(gradient, np.stack([cotangent] * 4, axis=1))


def test_registers_may_be_read_again() -> None:
    """x⁵ as ((x x) x) (x x)."""
    steps = Multiply(0, 0), Multiply(1, 0), Multiply(2, 1)
    program = Program(1, steps, released(1, steps))
    x, cotangent = np.array([2.0, -3.0]), np.array([1.0, 10.0])
    assert (program.run(NUMPY, [x]) == x**5).all()
    assert (program.vjp(NUMPY, [x], cotangent)[0] == 5 * x**4 * cotangent).all()
    assert program.releases == ((), (2,), ()) or program.releases == ((), (), (2, 1))


@families
@all_levels
@plain_and_gated
def test_recomputation_keeps_products_alone(family: str, levels: int, gated: bool) -> None:
    block = block_of(family, levels, gated=gated)
    program, operands = program_of(block), operands_of(block)
    cotangent, everything = np.ones((3, block.out_features)), range(program.num_operands)
    actual, kept, work = [], [], []
    for recompute in (False, True):
        y, registers = program.forward(NUMPY, operands, recompute)
        assert (y == program.run(NUMPY, operands)).all()
        kept.append([n for n, each in enumerate(registers) if isinstance(each, np.ndarray)])
        counting = Counting()
        actual.append(program.backward(counting, registers, cotangent, everything))
        work.append((counting.products, counting.calls["nonlinear"] + counting.calls["nonlinear_product"]))
    # What comes after the last product is not read by any.
    products = products_of(program)
    assert kept[1] == [*everything, *products[:-1]]
    assert len(kept[0]) > len(kept[1])
    # One product for each factor's gradient; what is computed again is the activation, and no product.
    assert work == [(2 * len(products), 0), (2 * len(products), 1)]
    assert all((a == b).all() for a, b in zip(*actual, strict=True))


@families
@all_levels
@plain_and_gated
def test_only_wanted_gradients_are_returned(family: str, levels: int, gated: bool) -> None:
    block = block_of(family, levels, gated=gated)
    program, operands = program_of(block), operands_of(block)
    cotangent, count = np.ones((3, block.out_features)), program.num_operands
    complete = program.vjp(NUMPY, operands, cotangent)
    subsets: Iterable[tuple[int, ...]] = [(), *((n,) for n in range(count)), (0, count - 1), (1, 2)]
    for recompute in (False, True):
        _, registers = program.forward(NUMPY, operands, recompute)
        for wanted in subsets:
            actual = program.backward(NUMPY, [*registers], cotangent, wanted)
            assert tuple(n for n, gradient in enumerate(actual) if gradient is not None) == wanted
            assert all((actual[n] == complete[n]).all() for n in wanted)


def test_what_is_not_wanted_is_not_computed() -> None:
    block = tm.MuMoEBlockSpec(5, 7, 6, 4, tm.CP(3))
    program, operands = program_of(block), operands_of(block)
    _, registers = program.forward(NUMPY, operands)
    # By operand, the products on its way to the output: the layers' own are x · input and a · expert, whose
    # results meet, and then the one with output.
    x, a, expert, source, output, *second = range(8)
    ways = {x: 4, a: 5, expert: 4, source: 4, output: 3, second[0]: 2, second[1]: 2, second[2]: 1}
    for wanted, products in ways.items():
        counting = Counting()
        program.backward(counting, [*registers], np.ones((3, 6)), [wanted])
        assert counting.products == products
    counting = Counting()
    assert program.backward(counting, [*registers], np.ones((3, 6)), []) == (None,) * 8
    assert not counting.calls


def test_jax_keeps_the_same_products() -> None:
    block, ops = block_of("ring", 1), tm.get_backend("jax")
    program, values = program_of(block), operands_of(block, 64)
    operands = [jax.numpy.asarray(value, dtype="float32") for value in values]
    actual, kept = [], []
    for recompute in (False, True):
        pulling = partial(jax.vjp, lambda *given, again=recompute: ops.compute(program, given, (), again))
        kept.append(sum(array.size for array in jax.tree.leaves(jax.eval_shape(pulling, *operands)[1])))
        y, vjp = jax.jit(pulling)(*operands)
        actual.append((y, *jax.jit(vjp)(y)))
    _, registers = program.forward(NUMPY, values, recompute=True)
    assert kept[1] == sum(each.size for each in registers if isinstance(each, np.ndarray)) < kept[0]
    for ours, theirs in zip(*actual, strict=True):
        close(ours, theirs, 1e-6)
