"""The contraction alone, for given coefficients: ours, opt_einsum's, and its bare matrix products."""

from collections.abc import Callable, Sequence

import opt_einsum
import torch

import tensormoe as tm
from tensormoe.benching.floor import find_products
from tensormoe.benching.inputs import Sampler, draw_arguments
from tensormoe.benching.recording import Product, record_products
from tensormoe.benching.timing import Call
from tensormoe.layers.stage import Stage
from tensormoe.networks.notation import BATCH
from tensormoe.programs.program import Program

from ..suite import Settings
from .layers import with_one

Tensors = Sequence[torch.Tensor]


def by_program(spec: tm.MuMoESpec | Stage, x: torch.Tensor, a: Tensors, cores: Tensors) -> Call:
    """The layer's program for this batch, on operands as they lie in memory."""
    return by_plan(spec.program_for(len(x)), x, a, cores)


def by_plan(program: Program, x: torch.Tensor, a: Tensors, cores: Tensors) -> Callable[[], torch.Tensor]:
    """A given program."""
    ops, operands = tm.get_backend("torch"), (x, *a, *cores)
    return lambda: program.run(ops, operands)


def by_opt_einsum(spec: tm.MuMoESpec | Stage, x: torch.Tensor, a: Tensors, cores: Tensors) -> Call:
    """opt_einsum's expression on the cheapest path. The bias's 1 is appended beforehand, at no cost to it."""
    contraction = spec.contraction
    indices = {index: opt_einsum.get_symbol(n) for n, index in enumerate([BATCH, *dict(contraction.sizes)])}
    terms = ["".join(indices[index] for index in operand.indices) for operand in contraction.operands]
    equation = f"{','.join(terms)}->{''.join(indices[index] for index in contraction.output)}"
    operands = [with_one(x) if spec.bias else x, *a, *(core.detach().contiguous() for core in cores)]
    shapes = [tuple(operand.shape) for operand in operands]
    search = "optimal" if len(operands) <= 6 else "dp"
    expression = opt_einsum.contract_expression(equation, *shapes, optimize=search)
    return lambda: expression(*operands)


def bare_products(spec: tm.Spec, settings: Settings, tokens: int) -> Call:
    """The matrix products of the layer or block and of its gate, and nothing else."""
    ops = tm.get_backend("torch")
    sampler = Sampler(ops, settings.device, settings.seed)
    return _multiplied(find_products(ops, spec, draw_arguments(sampler, spec, tokens)))


def bare_contraction(spec: tm.MuMoESpec | Stage, x: torch.Tensor, a: Tensors, cores: Tensors) -> Call:
    """The same for a layer's contraction alone."""
    program, operands = spec.program_for(len(x)), (x, *a, *cores)
    return _multiplied(record_products(tm.get_backend("torch"), program, operands))


def _multiplied(pairs: Sequence[Product]) -> Call:
    def run() -> torch.Tensor:
        for a, b in pairs:
            result = torch.matmul(a, b)
        return result

    return run
