"""Modules to compare: ours, the published layer's way, the authors' own code, and the MLP replaced."""

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import entmax  # type: ignore[import-untyped]
import torch
from einops import einsum
from torch import nn

import tensormoe as tm
from tensormoe.benching.timing import Call
from tensormoe.layers.stage import Stage

from ..suite import Settings

Tensors = Sequence[torch.Tensor]


def ours(spec: tm.Spec, settings: Settings, **options: Any) -> nn.Module:
    """Our module, with a gate that tells inputs apart: at its initial zeros all coefficients are equal."""
    module: nn.Module = tm.build(spec, "torch", seed=settings.seed, device=settings.device, **options)
    generator = torch.Generator().manual_seed(settings.seed)
    with torch.no_grad():
        for weight in gates(module):
            values = torch.randn(*weight.shape, generator=generator) * spec.in_features**-0.5
            weight.copy_(values)
    return module


def compiled(module: nn.Module) -> nn.Module:
    """The same module, compiled; its parameters are shared."""
    result: nn.Module = torch.compile(module, fullgraph=True)  # type: ignore[assignment]
    return result


def gates(module: nn.Module) -> list[nn.Parameter]:
    """The gate's weights of our module, by level."""
    return list(module.gate_weights)  # type: ignore[arg-type]


def cores(module: Any) -> list[list[nn.Parameter]]:
    """The cores of our module, for each of its layers, in the network's order."""
    layers: dict[str, Stage] = module.spec.layers
    return [
        [getattr(module, prefix)[name] for name in layer.network.shapes] for prefix, layer in layers.items()
    ]


def forward(module: nn.Module, x: torch.Tensor) -> Call:
    """A call of the module."""
    return lambda: module(x)


def training_step(module: nn.Module, x: torch.Tensor, cotangent: torch.Tensor) -> Call:
    """Forward and backward as inside a network: gradients of all parameters and of the input, returned."""
    x = x.detach().clone().requires_grad_()
    leaves = [x, *module.parameters()]

    def run() -> torch.Tensor | None:
        for leaf in leaves:
            leaf.grad = None
        module(x).backward(cotangent)
        return x.grad

    return run


def copies(tensors: Tensors) -> nn.ParameterList:
    """Parameters with the same values."""
    return nn.ParameterList(nn.Parameter(t.detach().clone()) for t in tensors)


def coefficients(x: torch.Tensor, weights: Tensors) -> list[torch.Tensor]:
    """The gate as published: 1.5-entmax, from the package, of logits after LayerNorm without affine."""
    logits = (x @ weight for weight in weights)
    return [entmax.entmax15(nn.functional.layer_norm(z, z.shape[-1:])) for z in logits]


def with_one(x: torch.Tensor) -> torch.Tensor:
    """The input followed by a constant 1, whose products are the biases."""
    return torch.cat([x, torch.ones(*x.shape[:-1], 1, device=x.device)], dim=-1)


def cp_as_published(factors: Tensors, a: Tensors, x: torch.Tensor) -> torch.Tensor:
    """A CP layer: the product over the rank and the sum over it in one einsum."""
    levels = [einsum(a_e, u, "b t n, n r -> b t r") for a_e, u in zip(a, factors, strict=False)]
    last = einsum(with_one(x), factors[-2], "b t i, i r -> b t r")
    terms = ", ".join(["b t r"] * (len(levels) + 1))
    operands: list[Any] = [*levels, last, factors[-1], f"{terms}, r o -> b t o"]
    y: torch.Tensor = einsum(*operands)
    return y


def ring_as_published(factors: Tensors, a: Tensors, x: torch.Tensor) -> torch.Tensor:
    """A tensor ring layer: every core with its vector, then the matrices one after the other."""
    chain = [einsum(a_e, g, "b t n, n p q -> b t p q") for a_e, g in zip(a, factors, strict=False)]
    product = chain[0]
    for following in chain[1:]:
        product = einsum(product, following, "b t p q, b t q s -> b t p s")
    last = einsum(with_one(x), factors[-2], "b t i, i q s -> b t q s")
    product = einsum(last, product, "b t q s, b t p q -> b t p s")
    return einsum(factors[-1], product, "p s o, b t p s -> b t o")


class Published(nn.Module):
    """The published layer or block, written with einops from its mathematics, with our module's values."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        ways: dict[type, Callable[[Tensors, Tensors, torch.Tensor], torch.Tensor]] = {
            tm.CP: cp_as_published,
            tm.TensorRing: ring_as_published,
        }
        spec: tm.Spec = module.spec  # type: ignore[assignment]
        self.contract = ways[type(spec.factorization)]
        self.gates = copies(gates(module))
        self.layers = nn.ModuleList(copies(factors) for factors in cores(module))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x if x.dim() == 3 else x.unsqueeze(1)
        a = coefficients(tokens, list(self.gates))
        for number, factors in enumerate(self.layers):
            if number:
                tokens = nn.functional.gelu(tokens)
            tokens = self.contract(list(factors), a, tokens)  # type: ignore[call-overload]
        return tokens.reshape(*x.shape[:-1], -1)


class Authors(nn.Module):
    """The authors' own code, from a clone of theirs, with our module's values."""

    def __init__(self, module: nn.Module, clone: Path) -> None:
        super().__init__()
        theirs = _imported(clone / "MuMoE.py")
        spec: Any = module.spec
        network = next(iter(spec.layers.values())).network
        ranks: Any
        if isinstance(spec.factorization, tm.CP):
            kind, ranks = theirs.CPMuMoE, spec.factorization.rank
        else:
            ring = spec.factorization.ranks
            kind, ranks = theirs.TRMuMoE, [[p, 0, q] for p, q in pairwise((*ring, ring[0]))]
        hidden = getattr(spec, "hidden_features", None)
        self.inner = theirs.MuMoE(
            kind,
            spec.in_features,
            hidden or spec.out_features,
            list(spec.experts),
            ranks,
            second_dim=spec.out_features if hidden else 0,
            normalization="ln",
            hierarchy=network.levels,
        ).to(next(module.parameters()).device)
        inner = [self.inner.MuMoE] + ([self.inner.MuMoE2] if hidden else [])
        order = spec.factorization.canonical(network.levels).cores
        axes = [[core.indices.index(i) for i in o] for core, o in zip(network.cores, order, strict=True)]
        with torch.no_grad():
            for parameter, value in zip(self.inner.projs, gates(module), strict=True):
                parameter.copy_(value)
            for layer, factors in zip(inner, cores(module), strict=True):
                for parameter, value, permutation in zip(layer.factors, factors, axes, strict=True):
                    parameter.copy_(value.permute(permutation))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.inner(x)
        return y.reshape(*x.shape[:-1], -1)


def _imported(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("authors_mumoe", file)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def as_published(module: nn.Module, settings: Settings) -> Iterator[tuple[str, nn.Module]]:
    """The published way and, where a clone is given, the authors' code, by name."""
    spec: tm.Spec = module.spec  # type: ignore[assignment]
    yield "published way", Published(module)
    # Theirs has two levels at most.
    if settings.mumoe is not None and spec.levels <= 2:
        yield "authors' code", Authors(module, settings.mumoe)


def published_compiled(modules: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """The published way, compiled; in evaluation alone: the gate's package breaks the graph in training."""
    return {"published way, compiled": compiled(modules["published way"])}


def mlp(*sizes: int, device: str, between: nn.Module | None = None) -> nn.Module:
    """Linear layers with a nonlinearity between them, by default GELU."""
    layers = [nn.Linear(i, o, device=device) for i, o in pairwise(sizes)]
    return nn.Sequential(*[part for layer in layers for part in (layer, between or nn.GELU())][:-1])
