"""Blocks of GPT-2's size with 256 experts and the parameters of the MLP that they replace."""

from collections.abc import Iterator

import torch
from torch import nn

import tensormoe as tm

from ..contenders.contractions import bare_contraction, bare_products, by_opt_einsum, by_program
from ..contenders.layers import (
    as_published,
    compiled,
    cores,
    forward,
    mlp,
    ours,
    published_compiled,
    training_step,
)
from ..memory import saved_for_backward
from ..suite import Measurement, Settings, exactly

WIDTH, HIDDEN, EXPERTS, TOKENS = 768, 3072, 256, 1024
CP, RING = tm.CP(rank=556), tm.TensorRing(ranks=(4, 4, 149))


def gpt2_cp(settings: Settings) -> Iterator[Measurement | str]:
    """CP block, 768 → 3,072 → 768, 256 experts, 1,024 tokens, against the MLP with as many parameters."""
    yield from _block(_spec(CP), settings)


def gpt2_tr(settings: Settings) -> Iterator[Measurement | str]:
    """Tensor ring block, 768 → 3,072 → 768, 256 experts, 1,024 tokens, against an MLP of its size."""
    spec = _spec(RING)
    yield from _block(spec, settings)
    first = spec.layers["first"]
    factors = cores(ours(spec, settings))[0]
    x, a = settings.normal(TOKENS, WIDTH), [settings.normal(TOKENS, EXPERTS).softmax(-1)]
    sides = {
        "ours": by_program(first, x, a, factors),
        "opt_einsum": by_opt_einsum(first, x, a, factors),
        "bare products": bare_contraction(first, x, a, factors),
    }
    yield settings.times("contraction", sides, same=("ours", "opt_einsum"))


def nonlinearities(settings: Settings) -> Iterator[Measurement | str]:
    """The CP block with other nonlinearities than GELU, against the MLP with the same."""
    x, cotangent = (settings.normal(1, TOKENS, WIDTH) for _ in range(2))
    functions = {"gelu_tanh": nn.GELU("tanh"), "relu": nn.ReLU(), "silu": nn.SiLU()}
    share = settings.seconds / len(functions)
    for name, function in functions.items():
        block = ours(_spec(CP).replace(nonlinearity=name), settings)
        dense = mlp(WIDTH, HIDDEN, WIDTH, device=settings.device, between=function)
        modules = {"ours": block, "MLP": dense}
        sides = {side: forward(module, x) for side, module in modules.items()}
        yield settings.times(f"{name}, forward", sides, seconds=share)
        sides = {side: training_step(module, x, cotangent) for side, module in modules.items()}
        yield settings.times(f"{name}, training step", sides, grad=True, seconds=share)


def one_token(settings: Settings) -> Iterator[Measurement | str]:
    """The same blocks at one token, as in generation."""
    x, dense = settings.normal(1, 1, WIDTH), mlp(WIDTH, HIDDEN, WIDTH, device=settings.device)
    replaced = {"MLP": dense, "MLP, compiled": compiled(dense)}
    for name, factorization in (("CP", CP), ("TR", RING)):
        spec = _spec(factorization)
        block = ours(spec, settings)
        same = {"ours": block, "ours, compiled": compiled(block), **dict(as_published(block, settings))}
        same |= published_compiled(same)
        sides = {side: forward(module.eval(), x) for side, module in {**same, **replaced}.items()}
        sides["bare products"] = bare_products(spec, settings, 1)
        yield settings.times(name, sides, same=list(same))


def _spec(factorization: tm.Factorization) -> tm.MuMoEBlockSpec:
    return tm.MuMoEBlockSpec(WIDTH, HIDDEN, WIDTH, EXPERTS, factorization)


def _block(spec: tm.MuMoEBlockSpec, settings: Settings) -> Iterator[Measurement | str]:
    block, dense = ours(spec, settings), mlp(WIDTH, HIDDEN, WIDTH, device=settings.device)
    same: dict[str, nn.Module] = {"ours": block, "ours, compiled": compiled(block)}
    same |= dict(as_published(block, settings))
    modules = {**same, "MLP": dense, "MLP, compiled": compiled(dense)}
    x, cotangent = (settings.normal(1, TOKENS, WIDTH) for _ in range(2))

    evaluated = {**modules, **published_compiled(same)}
    sides = {name: forward(module, x) for name, module in evaluated.items()}
    sides["bare products"] = bare_products(spec, settings, TOKENS)
    yield settings.times("forward", sides, same=[*same, "published way, compiled"])

    same["ours, recomputing"] = modules["ours, recomputing"] = ours(spec, settings, recompute=True)
    sides = {name: training_step(module, x, cotangent) for name, module in modules.items()}
    yield settings.times("training step", sides, same=list(same), grad=True)

    torch._dynamo.reset()
    eager = {name: module for name, module in modules.items() if not name.endswith("compiled")}
    saved = {name: saved_for_backward(module, x) for name, module in eager.items()}
    yield exactly("saved for backward", "B", saved, "distinct storages, parameters left out")
