"""Other ways to spend parameters: a materialized soft MoE, and the layers of tensorly-torch."""

from collections.abc import Sequence
from math import prod

import tltorch  # type: ignore[import-untyped]
import torch
from torch import nn

import tensormoe as tm

from .layers import coefficients, copies, gates, with_one


class Soft(nn.Module):
    """What our layer or block stands for: every expert on every token, from the weight tensors themselves."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        weights = module.materialize()  # type: ignore[operator]
        layers = weights if isinstance(weights, tuple) else (weights,)
        self.gates = copies(gates(module))
        self.weights = copies([weight.flatten(0, -2) for weight in layers])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.flatten(0, -2)
        (a,) = coefficients(tokens, list(self.gates))
        for number, weight in enumerate(self.weights):
            if number:
                tokens = nn.functional.gelu(tokens)
            mixed = a.unsqueeze(-1) * with_one(tokens).unsqueeze(-2)
            tokens = mixed.flatten(-2) @ weight
        return tokens.reshape(*x.shape[:-1], -1)


def soft_elements(spec: tm.Spec, tokens: int) -> int:
    """The most elements of what a materialized soft MoE has to hold: its weights, or tokens by expert."""
    experts = prod(spec.experts)
    weights = sum(prod(layer.network.weight_shape) for layer in spec.layers.values())
    return max(weights, *(tokens * experts * layer.in_features for layer in spec.layers.values()))


def tensorly_linear(inputs: Sequence[int], outputs: Sequence[int], factorization: str) -> nn.Module:
    """A factorized linear layer of tensorly-torch with about as many parameters as a dense one.

    Args:
        inputs, outputs: the modes that the features are split into.
        factorization: "cp" or "tucker". Its "blocktt" refuses a single mode, and it has no "tt".
    """
    # A rank of 1.0, a float, is tensorly's way to ask for the parameters of the dense weight.
    module: nn.Module = tltorch.FactorizedLinear(
        tuple(inputs), tuple(outputs), factorization=factorization, rank=1.0
    )
    return module
