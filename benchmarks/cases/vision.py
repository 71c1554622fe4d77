"""Layers and blocks of the published vision models: the head of CLIP and the MLPs of MLP-Mixer S/16."""

from collections.abc import Iterator

from torch import nn

import tensormoe as tm

from ..contenders.contractions import bare_products
from ..contenders.layers import as_published, compiled, forward, mlp, ours, training_step
from ..contenders.moe import Soft, soft_elements, tensorly_linear
from ..contenders.sparse import Sparse, hidden_size, too_large
from ..suite import LARGEST, Measurement, Settings

EXPERTS, IMAGES = 64, 32
CHOSEN = 2


def clip_head(settings: Settings) -> Iterator[Measurement | str]:
    """CLIP ViT-B/32's head, 768 → 1,000, 64 experts, batch 256, against nn.Linear of its size."""
    batch, inputs, outputs = 256, 768, 1000
    x, cotangent = settings.normal(batch, inputs), settings.normal(batch, outputs)
    others: dict[str, nn.Module] = {
        "nn.Linear": mlp(inputs, outputs, device=settings.device),
        "tensorly-torch, CP": tensorly_linear([inputs], [outputs], "cp"),
        "tensorly-torch, Tucker": tensorly_linear([24, 32], [25, 40], "tucker"),
        "sparse top-2": Sparse((inputs, outputs), EXPERTS, CHOSEN),
    }
    others = {name: module.to(settings.device) for name, module in others.items()}
    for name, factorization in {"CP": tm.CP(rank=393), "TR": tm.TensorRing(ranks=(4, 4, 102))}.items():
        spec = tm.MuMoESpec(inputs, outputs, EXPERTS, factorization)
        layer = ours(spec, settings)
        same = {"ours": layer, "ours, compiled": compiled(layer), **dict(as_published(layer, settings))}
        whole = {**same, "soft MoE": Soft(layer)}
        sides = {side: forward(module, x) for side, module in {**whole, **others}.items()}
        sides["bare products"] = bare_products(spec, settings, batch)
        yield settings.times(f"{name}, forward", sides, same=list(whole))
        trained = {**same, "nn.Linear": others["nn.Linear"], "sparse top-2": others["sparse top-2"]}
        steps = {side: training_step(module, x, cotangent) for side, module in trained.items()}
        yield settings.times(f"{name}, training step", steps, same=list(same), grad=True)


def mixer_tokens(settings: Settings) -> Iterator[Measurement | str]:
    """MLP-Mixer S/16's token mixing, 196 → 256 → 196 for each of 512 channels of 32 images, 64 experts."""
    yield from _mixer((196, 256), 512, (147, 37), settings)


def mixer_channels(settings: Settings) -> Iterator[Measurement | str]:
    """MLP-Mixer S/16's channel mixing, 512 → 2,048 → 512 for each of 196 tokens of 32 images, 64 experts."""
    yield from _mixer((512, 2048), 196, (384, 97), settings)


def _mixer(
    sizes: tuple[int, int], vectors: int, ranks: tuple[int, int], settings: Settings
) -> Iterator[Measurement | str]:
    """A block at the ranks of the published model, whose parameters are matched over the whole of it."""
    width, hidden = sizes
    rank, ring = ranks
    x = settings.normal(IMAGES, vectors, width)
    dense = mlp(width, hidden, width, device=settings.device)
    for name, factorization in {"CP": tm.CP(rank), "TR": tm.TensorRing((4, 4, ring))}.items():
        spec = tm.MuMoEBlockSpec(width, hidden, width, EXPERTS, factorization)
        block = ours(spec, settings)
        same = {"ours": block, **dict(as_published(block, settings))}
        needed = soft_elements(spec, IMAGES * vectors)
        if needed <= LARGEST:
            same["soft MoE"] = Soft(block)
        else:
            yield f"left out: soft MoE, which would hold {needed:,} elements at once"
        modules = {**same, "MLP": dense}
        experts = (width, hidden_size(spec, CHOSEN), width)
        if too_large(experts, EXPERTS):
            yield "left out: sparse top-2, whose experts do not fit"
        else:
            modules["sparse top-2"] = Sparse(experts, EXPERTS, CHOSEN).to(settings.device)
        sides = {side: forward(module, x) for side, module in modules.items()}
        sides["bare products"] = bare_products(spec, settings, IMAGES * vectors)
        yield settings.times(f"{name}, forward", sides, same=list(same))
