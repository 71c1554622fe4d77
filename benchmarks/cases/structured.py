"""Structured experts: the contraction, beside the same products written by hand in PyTorch."""

from collections.abc import Callable, Iterator, Sequence

import torch

import tensormoe as tm

from ..contenders.contractions import bare_contraction, by_program
from ..contenders.structured import block_train, shared_block_train
from ..suite import Measurement, Settings

TOKENS = 1024
INPUT, OUTPUT = (24, 32), (48, 64)
COUNTS = (1, 4)
FAMILIES: dict[str, Callable[[], tuple[tm.Factorization, Callable[..., torch.Tensor]]]] = {
    "Monarch": lambda: (tm.Monarch(INPUT, OUTPUT), block_train),
    "BTT": lambda: (tm.BTT(INPUT, OUTPUT, rank=4), block_train),
    "shared BTT": lambda: (tm.BTT(INPUT, OUTPUT, rank=4, shared=True), shared_block_train),
}


def structured(settings: Settings) -> Iterator[Measurement | str]:
    """Monarch and BTT, 768 → 3,072, of 1 and 4 experts, 1,024 tokens: the contraction alone."""
    for name, make in FAMILIES.items():
        for count in COUNTS:
            family, by_hand = make()
            inputs, outputs = (split.size for split in family.splits())
            spec = tm.MuMoESpec(inputs, outputs, count, family, bias=False)
            x, a = settings.normal(TOKENS, inputs), settings.normal(TOKENS, count).softmax(-1)
            shapes = spec.network.shapes.values()
            cores = [settings.normal(*shape) * shape[-1] ** -0.5 for shape in shapes]
            sides = {
                "ours": by_program(spec, x, [a], cores),
                "by hand": _call(by_hand, x, a, cores),
                "bare products": bare_contraction(spec, x, [a], cores),
            }
            label, share = f"{name}, {count} expert{'s'[: count != 1]}", settings.seconds / 3
            yield settings.times(f"{label}, forward", sides, same=list(sides)[:2], seconds=share)
            named = list(spec.network.shapes)
            both = {
                "ours": _gradients(
                    lambda x, a, *own, spec=spec, named=named: tm.contract(
                        spec, dict(zip(named, own, strict=True)), [a], x
                    ),
                    [x, a, *cores],
                ),
                "by hand": _gradients(by_hand, [x, a, *cores]),
            }
            yield settings.times(f"{label}, training step", both, same=list(both), grad=True, seconds=share)


def _call(
    by_hand: Callable[..., torch.Tensor], x: torch.Tensor, a: torch.Tensor, cores: Sequence[torch.Tensor]
) -> Callable[[], torch.Tensor]:
    return lambda: by_hand(x, a, *cores)


def _gradients(
    function: Callable[..., torch.Tensor], operands: Sequence[torch.Tensor]
) -> Callable[[], torch.Tensor]:
    """Forward and backward; the gradients of all operands, one after the other."""
    leaves = [each.detach().clone().requires_grad_() for each in operands]

    def run() -> torch.Tensor:
        y = function(*leaves)
        gradients = torch.autograd.grad(y, leaves, torch.ones_like(y))
        return torch.cat([each.reshape(-1)[:64] for each in gradients])

    return run
