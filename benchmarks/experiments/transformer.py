"""A small transformer whose MLPs are μMoE blocks, for images in patches and for texts."""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

import tensormoe as tm
from tensormoe_torch import MuMoEBlock


class Transformer(nn.Module):
    """Attention and a μMoE block in each layer; each block's router knows the coefficients of the one before.

    Args:
        embed: from inputs to vectors (B, S, width).
        spec: of every block; D and O are the width.
        length: of the longest sequence.
        layers, heads: how many.
        outputs: of each token if `causal`, otherwise of the sequence, from the mean of its tokens.
        causal: whether a token sees those before it only.
    """

    def __init__(
        self,
        embed: nn.Module,
        spec: tm.MuMoEBlockSpec,
        *,
        length: int,
        layers: int,
        heads: int,
        outputs: int,
        causal: bool,
    ) -> None:
        super().__init__()
        width = spec.in_features
        self.embed, self.causal = embed, causal
        self.places = nn.Parameter(0.02 * torch.randn(length, width))
        self.attentions = nn.ModuleList(_Attention(width, heads, causal) for _ in range(layers))
        self.blocks = nn.ModuleList(MuMoEBlock.from_spec(spec) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.last = nn.LayerNorm(width)
        self.read = nn.Linear(width, outputs)
        for block in self.blocks.children():
            # Top-k chooses the same experts for all tokens while its logits are equal.
            for name, weights in block.named_parameters():
                if name.startswith("gate_weights"):
                    nn.init.normal_(weights, std=width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.route(x)[0]
        return logits

    def route(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The logits, and each block's coefficients (B, S, N)."""
        h = self.embed(x)
        h = h + self.places[: h.shape[1]]
        previous, all_coefficients = None, []
        for attention, norm, block in zip(self.attentions, self.norms, self.blocks, strict=True):
            h = h + attention(h)
            y, previous = block(norm(h), previous=previous, return_coefficients=True)
            h = h + y
            all_coefficients.append(previous[0])
        h = self.last(h)
        return self.read(h if self.causal else h.mean(dim=1)), all_coefficients


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norm, self.together, self.out = (
            nn.LayerNorm(width),
            nn.Linear(width, 3 * width),
            nn.Linear(width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        parts = self.together(self.norm(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        y: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return y


class Patches(nn.Module):
    """Square images (B, side, side), or with colours at last, as vectors (B, patches, width).

    Bytes are taken as from 0 to 255, and scaled to lie between −1 and 1.
    """

    def __init__(self, patch: int, width: int, colours: int = 1) -> None:
        super().__init__()
        self.patch, self.linear = patch, nn.Linear(colours * patch * patch, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x / 127.5 - 1 if x.dtype == torch.uint8 else x
        pieces = x.unfold(1, self.patch, self.patch).unfold(2, self.patch, self.patch)
        y: Tensor = self.linear(pieces.flatten(3).flatten(1, 2))
        return y
