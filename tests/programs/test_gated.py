"""Gated blocks as programs: what they keep for reverse mode, and whose memory they compute in."""

from typing import Any

import numpy as np
import pytest
from support.blocks import in_numpy, in_torch, operands_of
from support.frameworks import optional
from support.strategies import close

import tensormoe as tm
from tensormoe.programs.instructions import Affine, Matmul, PointwiseProduct
from tensormoe.programs.program import Program, released

torch = optional("torch")
NUMPY = tm.get_backend("numpy")
TOKENS, HIDDEN = 32, 12
# One expert with whole matrices: Llama's own MLP.
DENSE = tm.MuMoEBlockSpec(
    8, HIDDEN, 6, 1, tm.TensorNetwork("i o, n"), bias=False, nonlinearity="silu", gated=True
)
CP = tm.MuMoEBlockSpec(5, 7, 6, (4, 3), tm.CP(4), nonlinearity="silu", gated=True)


def test_both_branches_are_kept_and_not_what_the_nonlinearity_gives() -> None:
    plan = tm.MuMoEBlockSpec(8, HIDDEN, 6, 4, tm.CP(3), gated=True).plan(TOKENS)
    layers = sum(layer.saved for layer in plan.layers.values())
    # u and v, and their product, which the last layer reads.
    assert plan.saved == layers + 3 * TOKENS * HIDDEN
    # Recomputing, x · input and a · expert of each layer, and u and v.
    assert plan.saved_recomputing == 3 * 2 * TOKENS * 3 + 2 * TOKENS * HIDDEN


def test_a_waiting_result_counts_to_the_peak() -> None:
    plan = CP.plan(TOKENS)
    assert plan.peak == plan.layers["up"].peak + TOKENS * 7
    assert plan.macs == sum(layer.macs for layer in plan.layers.values())
    titles = [line for line in str(plan).splitlines() if " experts on " in line]
    assert [line.partition(",")[0] for line in titles] == [
        "first layer",
        "up layer",
        "second layer",
    ]


def test_no_more_is_kept_than_by_pytorchs_own_gated_mlp() -> None:
    """In a large block, of whose parts each is as large as in the MLP: bytes for the backward pass."""
    x = torch.randn(4096, 8, requires_grad=True)
    weights = [torch.randn(8, HIDDEN), torch.randn(8, HIDDEN), torch.randn(HIDDEN, 6)]
    weights = [weight.requires_grad_() for weight in weights]

    def mlp(x: Any) -> Any:
        gate, up, down = weights
        return (torch.nn.functional.silu(x @ gate) * (x @ up)) @ down

    def bytes_kept(call: Any, *mine: Any) -> int:
        kept: dict[int, int] = {}

        def pack(tensor: Any) -> Any:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            y = call(x)
        assert y.requires_grad
        return sum(size for place, size in kept.items() if place not in {m.data_ptr() for m in mine})

    theirs = bytes_kept(mlp, x, *weights)
    assert theirs == 4 * 4 * 4096 * HIDDEN
    ones = torch.ones(4096, 1)
    operands = [ones, *(part for weight in weights for part in (weight, torch.ones(1)))]
    ops, program = tm.get_backend("torch"), DENSE.program_for(4096)

    def block(x: Any) -> Any:
        return ops.compute(program, (x, *operands), (), True)

    torch.testing.assert_close(block(x), mlp(x), rtol=1e-4, atol=1e-4)
    assert bytes_kept(block, x, *operands) <= theirs


def test_the_nonlinearity_and_the_product_overwrite_what_nothing_else_reads() -> None:
    """u is a product that only this step reads; x, which is the caller's, is not."""
    overwritten = Matmul(0, 1), Matmul(0, 2), PointwiseProduct(3, 4, "silu")
    program = Program(3, overwritten, released(3, overwritten))
    assert program.overwrites == (False, False, True)
    a, b, c = (torch.randn(3, 3, dtype=torch.float64) for _ in range(3))
    ops = tm.get_backend("torch")
    registers = [a, b, c, a @ b, a @ c]
    with torch.no_grad():
        y = overwritten[-1].overwrite(ops, registers, 3)
        assert y.data_ptr() == registers[3].data_ptr()
        torch.testing.assert_close(y, torch.nn.functional.silu(a @ b) * (a @ c))
    of_operands = Matmul(1, 2), PointwiseProduct(0, 3, "silu")
    assert Program(3, of_operands, released(3, of_operands)).overwrites == (False, False)
    before = a.clone()
    with torch.no_grad():
        Program(3, of_operands, released(3, of_operands)).run(ops, [a, b, c])
    assert torch.equal(a, before)


@pytest.mark.parametrize("recompute", [False, True])
def test_reverse_mode_leaves_the_cotangent_as_it_was(recompute: bool) -> None:
    operands = operands_of(CP)
    cotangent = np.random.default_rng(1).normal(size=(3, 6))
    given, ops = torch.tensor(cotangent), tm.get_backend("torch")
    tensors = [torch.tensor(operand) for operand in operands]
    program = CP.program_for(None)
    with torch.no_grad():
        y, registers = program.forward(ops, tensors, recompute)
        gradients = program.backward(ops, registers, given, range(program.num_operands))
    close(y, in_numpy(CP, operands))
    for gradient, expected in zip(gradients, in_torch(CP, operands, cotangent), strict=True):
        close(gradient, expected)
    assert (given.numpy() == cotangent).all()
    assert all((tensor.numpy() == operand).all() for tensor, operand in zip(tensors, operands, strict=True))


def test_one_program_computes_all_three_layers() -> None:
    program = CP.program_for(None)
    products = [each for each in program.instructions if isinstance(each, Matmul | Affine)]
    assert len(products) == 3 * 4
    assert sum(isinstance(each, PointwiseProduct) for each in program.instructions) == 1
    assert program.num_operands == 1 + 2 + 3 * 4
