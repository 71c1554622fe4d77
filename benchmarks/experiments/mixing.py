"""MLP-Mixer, whose MLPs are dense or μMoE blocks.

Source: Tolstikhin et al., "MLP-Mixer: An All-MLP Architecture for Vision", 2021.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

import tensormoe as tm
from tensormoe_torch import MuMoEBlock

KINDS = ("token", "channel")


@dataclass(frozen=True)
class Sizes:
    """Sizes of a mixer.

    Args:
        tokens, values: patches of an input, and the numbers of each.
        layers, width: how many, and how many channels they have.
        hidden: of the MLPs over tokens, and of those over channels.
        classes: outputs.
    """

    tokens: int
    values: int
    layers: int
    width: int
    hidden: tuple[int, int]
    classes: int

    @property
    def mixed(self) -> tuple[int, int]:
        """How long the vectors are that are mixed: tokens, and channels."""
        return self.tokens, self.width


class Mixer(nn.Module):
    """Logits of patches (B, tokens, values): each layer has an MLP over tokens, then one over channels.

    Args:
        sizes: of everything.
        specs: of the block over tokens and of the one over channels, in every layer; None for dense MLPs.
    """

    def __init__(self, sizes: Sizes, specs: Sequence[tm.MuMoEBlockSpec] | None) -> None:
        super().__init__()
        self.embed = nn.Linear(sizes.values, sizes.width)
        self.norms = nn.ModuleList(nn.LayerNorm(sizes.width) for _ in range(2 * sizes.layers))
        self.mlps = nn.ModuleList(
            _dense(mixed, hidden) if specs is None else MuMoEBlock.from_spec(specs[place])
            for _ in range(sizes.layers)
            for place, (mixed, hidden) in enumerate(zip(sizes.mixed, sizes.hidden, strict=True))
        )
        self.last = nn.LayerNorm(sizes.width)
        self.read = nn.Linear(sizes.width, sizes.classes)

    def forward(self, x: Tensor) -> Tensor:
        return self._mix(x, lambda mlp, seen: mlp(seen))

    def route(self, x: Tensor) -> list[Tensor]:
        """Each block's coefficients (B, N), means over the vectors that it sees of an input."""
        means: list[Tensor] = []

        def mix(block: nn.Module, seen: Tensor) -> Tensor:
            y: Tensor
            y, (coefficients,) = block(seen, return_coefficients=True)
            means.append(coefficients.mean(dim=1))
            return y

        self._mix(x, mix)
        return means

    def _mix(self, x: Tensor, mix: Callable[[nn.Module, Tensor], Tensor]) -> Tensor:
        h = self.embed(x)
        for number, (norm, mlp) in enumerate(zip(self.norms, self.mlps, strict=True)):
            seen = norm(h)
            h = h + (mix(mlp, seen) if number % 2 else mix(mlp, seen.mT).mT)
        y: Tensor = self.read(self.last(h).mean(dim=1))
        return y


def _dense(features: int, hidden: int) -> nn.Module:
    return nn.Sequential(nn.Linear(features, hidden), nn.GELU(), nn.Linear(hidden, features))


def cut(x: Tensor, patch: int) -> Tensor:
    """Patches (B, tokens, values) of signals (B, length), or of images (B, side, side) that may have colours.

    Args:
        x: with colours, (B, colours, side, side).
        patch: the side of a patch, or its length.

    Raises:
        TensorMoEError: patches that do not fill the side.
    """
    if x.shape[-1] % patch:
        raise tm.TensorMoEError("patch", patch, f"it must divide {x.shape[-1]}, the side of the data")
    if x.ndim == 2:
        return x.reshape(len(x), -1, patch)
    pieces = (x if x.ndim == 4 else x[:, None]).unfold(2, patch, patch).unfold(3, patch, patch)
    return pieces.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)


def fit_blocks(
    sizes: Sizes, family: str, experts: int, gate: tm.Gate, share: float | None
) -> list[tm.MuMoEBlockSpec]:
    """Blocks over tokens and channels, whose ranks are one share of the vectors' length, as published.

    Args:
        sizes: of the mixer.
        family: "CP", or "ring" with 4 and 4 for its other ranks.
        experts, gate: of all blocks.
        share: of the length; None for the largest, in hundredths, with which a layer has at most the
            parameters of dense MLPs, gates included. What then is left goes to the block over channels.

    Raises:
        TensorMoEError: another family, or more experts than the parameters allow.
    """
    if share is not None:
        return _blocks(sizes, family, experts, gate, share)
    pairs = tuple(zip(sizes.mixed, sizes.hidden, strict=True))
    budget = sum(2 * mixed * hidden + mixed + hidden for mixed, hidden in pairs)
    hundredths = 1
    while _count(_blocks(sizes, family, experts, gate, hundredths / 100)) <= budget:
        hundredths += 1
    if hundredths == 1:
        raise tm.TensorMoEError("experts", experts, f"pass fewer: rank 1 does not fit in {budget} parameters")
    tokens, channels = _blocks(sizes, family, experts, gate, (hundredths - 1) / 100)
    return [tokens, channels.matched(budget - tokens.num_parameters)]


def _count(specs: Sequence[tm.MuMoEBlockSpec]) -> int:
    return sum(spec.num_parameters for spec in specs)


def _blocks(sizes: Sizes, family: str, experts: int, gate: tm.Gate, share: float) -> list[tm.MuMoEBlockSpec]:
    return [
        tm.MuMoEBlockSpec(mixed, hidden, mixed, experts, _factorization(family, share, mixed), gate)
        for mixed, hidden in zip(sizes.mixed, sizes.hidden, strict=True)
    ]


def _factorization(family: str, share: float, mixed: int) -> tm.Factorization:
    rank = max(1, int(share * mixed))
    if family == "CP":
        return tm.CP(rank)
    if family == "ring":
        return tm.TensorRing((4, 4, rank))
    raise tm.TensorMoEError("families", family, "choose of CP, ring")
