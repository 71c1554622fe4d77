"""PyTorch modules that differentiate by PyTorch's reverse mode or by our own, and what they give."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from support.strategies import close
from torch.autograd.graph import Node

import tensormoe as tm
import tensormoe_torch
from tensormoe_torch import _programs

Module = torch.nn.Module

FAMILIES = {"CP": tm.CP(4), "ring": tm.TensorRing((3, 2, 4, 3)), "Tucker": tm.Tucker((2, 3, 4, 3))}
families = pytest.mark.parametrize("family", FAMILIES)
# The two ways to our own reverse mode.
ways = pytest.mark.parametrize("way", ["large", "recompute"])


def spec_of(kind: str, family: str = "CP", gate: tm.Gate = tm.Gate("softmax"), **options: Any) -> tm.Spec:
    if kind == "layer":
        return tm.MuMoESpec(5, 6, (4, 8), FAMILIES[family], gate, **options)
    return tm.MuMoEBlockSpec(
        5,
        7,
        6,
        (4, 8),
        FAMILIES[family],
        gate,
        gated=kind == "gated block",
        input_norm=kind == "normed block",
        **options,
    )


def module_of(spec: tm.Spec, recompute: bool = False, dtype: torch.dtype = torch.float64) -> Module:
    kind = tensormoe_torch.MuMoE if isinstance(spec, tm.MuMoESpec) else tensormoe_torch.MuMoEBlock
    module = kind.from_spec(spec, seed=0, dtype=dtype, recompute=recompute)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        # At their initial values gates give the same to all experts.
        for parameter in module.parameters():
            parameter += torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 4
    return module


def tokens(count: int = 3, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(count, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def owns(y: torch.Tensor) -> bool:
    """Whether reverse mode from this tensor is our own somewhere."""

    def nodes(node: Node | None) -> Iterator[Node]:
        if node is not None:
            yield node
            for following, _ in node.next_functions:
                yield from nodes(following)

    return any("_Program" in node.name() for node in nodes(y.grad_fn))


@contextmanager
def large(elements: float) -> Iterator[None]:
    """Layers are large from so many elements on."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(_programs, "_LARGE", elements)
        yield


def differentiated(
    call: Callable[[torch.Tensor], torch.Tensor], module: Module, x: torch.Tensor
) -> tuple[torch.Tensor, list[torch.Tensor | None]]:
    """The output, and the gradients of the sum of its squares with respect to x and the parameters."""
    module.zero_grad()
    x = x.detach().requires_grad_(x.requires_grad)
    y = call(x)
    y.double().square().sum().backward()
    return y.detach(), [x.grad, *(parameter.grad for parameter in module.parameters())]


def same(
    actual: tuple[torch.Tensor, list[torch.Tensor | None]],
    expected: tuple[torch.Tensor, list[torch.Tensor | None]],
    tolerance: float = 1e-12,
) -> None:
    for ours, theirs in zip([actual[0], *actual[1]], [expected[0], *expected[1]], strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            close(ours.double(), theirs.double(), tolerance)
