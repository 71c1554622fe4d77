"""The contraction alone, for given coefficients: ours, opt_einsum's, and its bare matrix products."""

import re
from collections.abc import Sequence
from math import prod

import opt_einsum
import torch

import tensormoe as tm
from tensormoe.notation import BATCH, INPUT
from tensormoe.program import Program
from tensormoe.timing import Side

from .contenders import with_one
from .suite import Settings

Tensors = Sequence[torch.Tensor]
Pair = tuple[torch.Tensor, torch.Tensor]


def by_program(spec: tm.MuMoESpec, x: torch.Tensor, a: Tensors, cores: Tensors) -> Side:
    """The layer's program for this batch, on operands as they lie in memory."""
    return by_plan(spec.program_for(len(x)), x, a, cores)


def by_plan(program: Program, x: torch.Tensor, a: Tensors, cores: Tensors) -> Side:
    """A given program."""
    tl, operands = tm.get_backend("torch"), (x, *a, *cores)
    return lambda: program.run(tl, operands)


def by_opt_einsum(spec: tm.MuMoESpec, x: torch.Tensor, a: Tensors, cores: Tensors) -> Side:
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


def products(layers: Sequence[tm.MuMoESpec], settings: Settings, tokens: int) -> list[Pair]:
    """Operands for the matrix products of the layers' plans, each contiguous, and of the gate's x · G."""
    gate = [(tokens, layers[0].in_features, count) for count in layers[0].counts]
    pairs = [(settings.normal(t, i), settings.normal(i, n)) for t, i, n in gate]
    return pairs + [pair for layer in layers for pair in contraction_products(layer, settings, tokens)]


def contraction_products(spec: tm.MuMoESpec, settings: Settings, tokens: int) -> list[Pair]:
    """The same for one layer without a gate."""
    plan = next(plan for least, plan in spec.plans if tokens >= least)
    sizes = {**dict(plan.contraction.sizes), BATCH: tokens}
    # The bias is added to a product with x, which is not extended for it.
    sizes[INPUT] -= spec.bias

    def size(indices: list[str]) -> int:
        return prod(sizes[index] for index in indices)

    pairs = []
    for step in plan.steps:
        left, right, result = (part.split() for part in re.findall(r"\[(.*?)\]", step.expression))
        shared = [index for index in left if index in right]
        batch = [size([index for index in shared if index in result])] * (step.kind == "batched matmul")
        summed = [index for index in shared if index not in result]
        if summed:
            rows, columns = ([i for i in side if i not in shared] for side in (left, right))
            a = settings.normal(*batch, size(rows), size(summed))
            pairs.append((a, settings.normal(*batch, size(summed), size(columns))))
    return pairs


def multiplied(pairs: Sequence[Pair]) -> Side:
    """The products, one after the other, and nothing else."""

    def run() -> torch.Tensor:
        for a, b in pairs:
            result = torch.matmul(a, b)
        return result

    return run
