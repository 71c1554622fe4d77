"""Mixtures of decoders, as they replace a trained MLP: an encoder without experts, and a sparse gate."""

from collections.abc import Iterator

import torch
from torch import nn

import tensormoe as tm

from ..contenders.layers import forward, ours, training_step
from ..suite import Measurement, Settings

WIDTH, HIDDEN, EXPERTS, CHOSEN, TOKENS = 768, 3072, 2048, 32, 1024


class ByHand(nn.Module):
    """The equations in PyTorch: (Cᵀ a) ∗ (Dᵀ z), with z = GELU(E x + b) and a = top-k of ReLU of G x."""

    def __init__(self, block: nn.Module, chosen: int) -> None:
        super().__init__()
        arrays = block.arrays().values()  # type: ignore[operator]
        self.values = nn.ParameterList(nn.Parameter(array.clone()) for array in arrays)
        self.chosen = chosen

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The output (…, O) of x (…, I)."""
        encoder, scales, decoder, gate = self.values
        hidden = nn.functional.gelu(nn.functional.linear(x, encoder[:-1].T, encoder[-1]))
        largest, places = torch.topk(x @ gate, self.chosen, dim=-1, sorted=False)
        a = x.new_zeros(*x.shape[:-1], gate.shape[1]).scatter(-1, places, largest.relu())
        y: torch.Tensor = (a @ scales) * (hidden @ decoder)
        return y


def decoders(settings: Settings) -> Iterator[Measurement | str]:
    """Mixture of decoders, 768 → 3,072 → 768, 2,048 experts, 32 of them at a time, 1,024 tokens."""
    spec = tm.MuMoEBlockSpec(
        WIDTH, HIDDEN, WIDTH, EXPERTS, (tm.TensorNetwork("i o"), tm.TensorNetwork("n o, i o")),
        tm.Gate(tm.Activation("relu_top_k", k=CHOSEN), norm=None), (True, False),
    )  # fmt: skip
    block = ours(spec, settings)
    modules = {"ours": block, "by hand": ByHand(block, CHOSEN)}
    x, cotangent = (settings.normal(1, TOKENS, WIDTH) for _ in range(2))
    sides = {side: forward(module, x) for side, module in modules.items()}
    yield settings.times("forward", sides, same=list(sides))
    sides = {side: training_step(module, x, cotangent) for side, module in modules.items()}
    yield settings.times("training step", sides, same=list(sides), grad=True)
