"""Two of many experts: the dense program, the one that reads slices, and a gather written by hand."""

from collections.abc import Callable, Iterator

import torch

import tensormoe as tm
from tensormoe.benching.timing import Call

from ..contenders.contractions import by_plan
from ..suite import Measurement, Settings

WIDTH, HIDDEN, EXPERTS, ACTIVE, RANK = 256, 256, 256, 2, 16
BATCHES = (1, 4, 16, 64)
FAMILIES: dict[str, tm.Factorization] = {
    "dense": tm.Dense(),
    "low-rank": tm.TensorNetwork("n i r, n r o", r=RANK),
    "CP": tm.CP(rank=8 * RANK),
}


def sparse(settings: Settings) -> Iterator[Measurement | str]:
    """256 → 256, 256 experts of which two have coefficients: 1 to 64 tokens, forward and with gradients."""
    for name, family in FAMILIES.items():
        spec = tm.MuMoESpec(WIDTH, HIDDEN, EXPERTS, family, bias=False)
        cores = [settings.normal(*shape) for shape in spec.network.shapes.values()]
        for batch in BATCHES:
            x, a = settings.normal(batch, WIDTH), _coefficients(batch, settings)
            sides = {
                "dense program": by_plan(spec.stage.plan(batch).program, x, [a], cores),
                "gathered": by_plan(spec.stage.plan(batch, active=ACTIVE).program, x, [a], cores),
                "by hand": _by_hand(name, x, a, cores),
            }
            share = settings.seconds / len(FAMILIES) / len(BATCHES)
            label = f"{name}, {batch} tokens"
            yield settings.times(label, sides, same=[*sides], seconds=share / 2)
            for core in cores:
                core.requires_grad_()
            steps = {side: _with_gradients(call, cores) for side, call in sides.items()}
            yield settings.times(f"{label}, with gradients", steps, grad=True, seconds=share / 2)
            for core in cores:
                core.requires_grad_(False)


def _coefficients(batch: int, settings: Settings) -> torch.Tensor:
    logits = settings.normal(batch, EXPERTS)
    values, places = torch.topk(logits, ACTIVE)
    return torch.zeros_like(logits).scatter(1, places, values.softmax(-1))


def _by_hand(
    name: str, x: torch.Tensor, a: torch.Tensor, cores: list[torch.Tensor]
) -> Callable[[], torch.Tensor]:
    """What one would write: the slices of the largest coefficients, and batched products with them."""

    def low_rank() -> torch.Tensor:
        values, places = torch.topk(a, ACTIVE)
        down, up = (core[places] for core in cores)
        inner = torch.einsum("ti,tkir->tkr", x, down) * values[..., None]
        return torch.einsum("tkr,tkro->to", inner, up)

    def dense() -> torch.Tensor:
        values, places = torch.topk(a, ACTIVE)
        slices = cores[0][places]
        return torch.bmm((values[..., None] * x[:, None]).flatten(1)[:, None], slices.flatten(1, 2))[:, 0]

    def cp() -> torch.Tensor:
        values, places = torch.topk(a, ACTIVE)
        experts, inputs, outputs = cores
        return ((values[..., None] * experts[places]).sum(1) * (x @ inputs)) @ outputs

    return {"dense": dense, "low-rank": low_rank, "CP": cp}[name]


def _with_gradients(call: Callable[[], torch.Tensor], cores: list[torch.Tensor]) -> Call:
    return lambda: torch.autograd.grad(call().sum(), cores)
