"""A small convolutional network, with a head of experts."""

import torch
from torch import Tensor, nn

import tensormoe as tm
from tensormoe_torch import MuMoE


class Classifier(nn.Module):
    """Features, and a μMoE layer that makes logits of them.

    Args:
        body: from inputs to features; `nn.Identity()` where these were computed before.
        spec: of the head.
        seed: of the initial values of the head; those of the body have it before.
    """

    def __init__(self, body: nn.Module, spec: tm.MuMoESpec, seed: int) -> None:
        super().__init__()
        self.body, self.head = body, MuMoE.from_spec(spec, seed=seed)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x))
        return logits


def convolve(side: int, width: int, channels: int = 16) -> nn.Module:
    """Two convolutions and a linear layer, each before a ReLU: (B, side, side) to features (B, width)."""
    halved = (side + 1) // 2
    return nn.Sequential(
        nn.Unflatten(1, (1, side)),
        nn.Conv2d(1, channels, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(channels * halved**2, width),
        nn.ReLU(),
    )


def features(body: nn.Module, x: Tensor, batch: int = 1024) -> Tensor:
    """What the body makes of inputs, in evaluation mode, a batch at a time."""
    body.eval()
    with torch.no_grad():
        return torch.cat([body(x[first : first + batch]) for first in range(0, len(x), batch)])
