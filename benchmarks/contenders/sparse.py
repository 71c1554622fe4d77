"""Experts of their own, of which each token takes k: a sparse mixture, with PyTorch alone."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

import tensormoe as tm

from ..suite import LARGEST


class Sparse(nn.Module):
    """Each token through k of N experts: matrices I × O, or MLPs I → h → O, of their own.

    Tokens are sorted by expert, so that each expert that any token chose takes one matrix product a layer.

    Args:
        sizes: (I, O) or (I, h, O).
        experts: N.
        chosen: k.
    """

    def __init__(self, sizes: Sequence[int], experts: int, chosen: int = 2) -> None:
        super().__init__()
        self.chosen = chosen
        self.gate = nn.Parameter(torch.randn(sizes[0], experts) * sizes[0] ** -0.5)
        shapes = list(pairwise(sizes))
        self.weights = nn.ParameterList(torch.randn(experts, i, o) * i**-0.5 for i, o in shapes)
        self.biases = nn.ParameterList(torch.zeros(experts, o) for _, o in shapes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.flatten(0, -2)
        logits, experts = torch.topk(tokens @ self.gate, self.chosen)
        shares, experts = logits.softmax(-1).flatten(), experts.flatten()
        order = experts.argsort()
        rows = order // self.chosen
        counts = torch.bincount(experts, minlength=self.gate.shape[1]).tolist()
        # Taken apart once: the gradient of a single row of a tensor is a whole tensor of zeros but for it.
        layers = zip(self.weights, self.biases, strict=True)
        own = zip(*(zip(w.unbind(), b.unbind(), strict=True) for w, b in layers), strict=True)
        parts = torch.split(tokens[rows], counts)
        outputs = [_expert(layers, part) for layers, part in zip(own, parts, strict=True) if len(part)]
        weighted = torch.cat(outputs) * shares[order, None]
        y = weighted.new_zeros(len(tokens), weighted.shape[-1]).index_add(0, rows, weighted)
        return y.reshape(*x.shape[:-1], -1)


def _expert(layers: Sequence[tuple[torch.Tensor, torch.Tensor]], tokens: torch.Tensor) -> torch.Tensor:
    """One expert on the tokens that chose it, by its weights and biases."""
    for number, (weight, bias) in enumerate(layers):
        if number:
            tokens = nn.functional.gelu(tokens)
        tokens = torch.addmm(bias, tokens, weight)
    return tokens


def hidden_size(spec: tm.MuMoEBlockSpec, chosen: int = 2) -> int:
    """The hidden size at which k experts take as many multiply-accumulates as our block."""
    plan = spec.plan()
    return round(plan.macs / plan.batch_size / chosen / (spec.in_features + spec.out_features))


def too_large(sizes: Sequence[int], experts: int) -> bool:
    """Whether experts of their own do not fit."""
    return experts * sum(i * o for i, o in pairwise(sizes)) > LARGEST
