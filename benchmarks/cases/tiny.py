"""A tiny layer: arithmetic is free there, and what is measured is the cost of getting to it."""

from collections.abc import Iterator

import tensormoe as tm

from ..contenders.contractions import bare_contraction, by_opt_einsum, by_program
from ..contenders.layers import as_published, compiled, forward, mlp, ours, published_compiled
from ..suite import Measurement, Settings

BATCH, INPUTS, OUTPUTS, EXPERTS, RANK = 32, 33, 24, 16, 8


def tiny(settings: Settings) -> Iterator[Measurement | str]:
    """CP of rank 8, 33 → 24, 16 experts, batch 32: what a call costs besides arithmetic."""
    spec = tm.MuMoESpec(INPUTS, OUTPUTS, EXPERTS, tm.CP(RANK), bias=False)
    a, x = settings.normal(BATCH, EXPERTS).softmax(-1), settings.normal(BATCH, INPUTS)
    u0, u1, u2 = cores = [settings.normal(*shape) for shape in spec.network.shapes.values()]
    named = dict(zip(spec.network.shapes, cores, strict=True))
    sides = {
        "by hand": lambda: ((a @ u0) * (x @ u1)) @ u2,
        "ours": by_program(spec, x, [a], cores),
        "ours, arguments checked": lambda: tm.contract(spec, named, [a], x),
        "opt_einsum": by_opt_einsum(spec, x, [a], cores),
        "bare products": bare_contraction(spec, x, [a], cores),
    }
    yield settings.times("contraction", sides, same=list(sides)[:-1])

    layer = ours(spec.replace(bias=True), settings)
    modules = {"ours": layer, "ours, compiled": compiled(layer), **dict(as_published(layer, settings))}
    modules |= published_compiled(modules)
    others = {
        "ours, softmax without norm": ours(spec.replace(gate=tm.Gate("softmax", None)), settings),
        "nn.Linear": mlp(INPUTS, OUTPUTS, device=settings.device),
    }
    sides = {name: forward(module, x) for name, module in {**modules, **others}.items()}
    yield settings.times("layer", sides, same=list(modules))
