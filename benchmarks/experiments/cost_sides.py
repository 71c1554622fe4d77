"""Blocks to compare by cost: how each is built, and what it counts without being built."""

from typing import NamedTuple

import torch
from torch import nn

import tensormoe as tm

from ..contenders.sparse import Sparse

# A block is D → 4 D → D, as in GPT-2.
EXPANSION = 4
CHOSEN = 2
RING = (4, 4)
# μMoE with a dense gate, as published.
FACTORIZED = ("CP", "ring")
SOFT, GATHERED, SPARSE, DENSE = "soft MoE", "low-rank top-2", "sparse top-2", "MLP"
SIDES = (*FACTORIZED, GATHERED, SOFT, SPARSE, DENSE)


class Size(NamedTuple):
    """The width D of a block's input and output, its experts, and the input vectors of a call."""

    width: int
    experts: int
    batch: int

    def __str__(self) -> str:
        block = f"{self.width:,} → {self.hidden:,} → {self.width:,}"
        return f"{block}, {self.experts} experts, {self.batch:,} vectors"

    @property
    def hidden(self) -> int:
        return EXPANSION * self.width

    @property
    def dense(self) -> int:
        """The parameters of the MLP."""
        return (self.width + 1) * self.hidden + (self.hidden + 1) * self.width


class Count(NamedTuple):
    """What a forward pass of a side counts.

    Args:
        parameters: that are trained.
        macs: multiply-accumulates of matrix products.
        elements: that products and their neighbours read and write.
        operations: matrix products that are started one by one.
        coefficients: of the gate, whose activation passes over them many times.
        saved: elements that training keeps for the backward pass, without parameters.
    """

    parameters: int
    macs: int
    elements: int
    operations: float
    coefficients: int
    saved: int


def build(side: str, size: Size, seed: int, device: str) -> nn.Module:
    """The module of a side, with a gate that tells inputs apart: at its initial zeros top-k could not."""
    torch.manual_seed(seed)
    if side == DENSE:
        layers = nn.Linear(size.width, size.hidden), nn.GELU(), nn.Linear(size.hidden, size.width)
        return nn.Sequential(*layers).to(device)
    if side == SPARSE:
        return Sparse((size.width, _expert(size), size.width), size.experts, CHOSEN).to(device)
    module: nn.Module = tm.build(specify(side, size), "torch", seed=seed, device=device)
    with torch.no_grad():
        for weight in module.gate_weights:  # type: ignore[union-attr]
            weight.copy_(torch.randn(weight.shape) * size.width**-0.5)
    return module


def specify(side: str, size: Size) -> tm.MuMoEBlockSpec:
    """The block of a side that this library makes.

    CP and ring have the parameters of the MLP, their router's among them. The soft MoE's experts are as
    large as the MLP each. Of the low-rank experts, two take as many multiply-accumulates as the MLP.
    """
    sizes = size.width, size.hidden, size.width, size.experts
    gate = tm.Gate("entmax15", norm="layer")
    if side == SOFT:
        return tm.MuMoEBlockSpec(*sizes, tm.Dense(), gate=gate)
    if side == GATHERED:
        rank = round(size.hidden * size.width / CHOSEN / (size.hidden + size.width))
        top = tm.Gate(tm.Activation("top_k", k=CHOSEN), norm="layer")
        return tm.MuMoEBlockSpec(*sizes, tm.TensorNetwork("n i r, n r o", r=rank), gate=top)
    family = {"CP": tm.CP(1), "ring": tm.TensorRing((*RING, 1))}[side]
    return tm.MuMoEBlockSpec(*sizes, family, gate=gate).matched(size.dense)


def count(side: str, size: Size) -> Count:
    """What a side counts: the plan's figures where there is a plan, and the same by hand elsewhere."""
    if side == DENSE:
        between = size.batch * size.hidden
        # GELU reads and writes what is between the layers, once more each.
        elements = size.dense + 2 * size.batch * size.width + 4 * between
        macs = 2 * size.batch * size.width * size.hidden
        return Count(size.dense, macs, elements, 2, 0, size.batch * size.width + 2 * between)
    if side == SPARSE:
        return _count_sparse(size)
    spec = specify(side, size)
    plan = spec.plan(size.batch)
    routing, read = _route(size)
    return Count(
        spec.num_parameters,
        plan.macs + routing,
        plan.traffic + 2 * size.batch * size.hidden + read,
        len(plan.program.instructions),
        size.batch * size.experts,
        # Of the gate: the normed logits, the coefficients, and what the activation remembers.
        plan.saved + 3 * size.batch * size.experts,
    )


def _count_sparse(size: Size) -> Count:
    """Of tokens that choose at random, some share an expert, whose weights are then read once."""
    expert, tokens = _expert(size), CHOSEN * size.batch
    each = (size.width + 1) * expert + (expert + 1) * size.width
    used = size.experts * (1 - (1 - CHOSEN / size.experts) ** size.batch)
    routing, read = _route(size)
    between = tokens * expert
    # Sorted inputs are written and read, and so are outputs before they are added up.
    elements = round(used * each) + 4 * between + 6 * tokens * size.width + read
    macs = 2 * tokens * size.width * expert + routing
    saved = tokens * 3 * size.width + 2 * between + size.batch * size.experts
    parameters = size.experts * (each + size.width)
    return Count(parameters, macs, elements, round(2 * used, 3), size.batch * size.experts, saved)


def _expert(size: Size) -> int:
    """The hidden size at which the chosen experts together take what the MLP takes."""
    return size.hidden // CHOSEN


def _route(size: Size) -> tuple[int, int]:
    """Multiply-accumulates of the router's product, and elements that it reads and writes."""
    read = size.batch * size.width + size.width * size.experts
    return size.batch * size.width * size.experts, read + size.batch * size.experts
