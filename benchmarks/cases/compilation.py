"""How often torch.compile compiles: a count, not a time."""

from collections.abc import Iterator

import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

import tensormoe as tm

from ..contenders.layers import ours
from ..suite import Measurement, Settings, exactly

BATCHES = (2, 3, 8, 31, 257, 1024)


def compilation(settings: Settings) -> Iterator[Measurement | str]:
    """One graph under fullgraph, for batches of 2 to 1,024."""
    families: dict[str, tuple[tm.Factorization, int | tuple[int, ...]]] = {
        "CP": (tm.CP(rank=24), 16),
        "TR": (tm.TensorRing(ranks=(4, 4, 16)), 16),
        "CP, 2 levels": (tm.CP(rank=24), (8, 8)),
        "Tucker": (tm.Tucker(ranks=(4, 16, 16)), 16),
    }
    layers: dict[str, nn.Module] = {
        name: ours(tm.MuMoESpec(32, 48, experts, factorization), settings)
        for name, (factorization, experts) in families.items()
    }
    block = tm.MuMoEBlockSpec(32, 48, 32, 16, tm.CP(rank=24))
    layers["CP block"] = ours(block, settings)
    for mode, grad in (("evaluation", False), ("training", True)):
        with torch.set_grad_enabled(grad):
            known = {name: _graphs(layer.train(grad), settings, True) for name, layer in layers.items()}
            learned = {name: _graphs(layer, settings, False) for name, layer in layers.items()}
        yield exactly(f"graphs in {mode}, batch marked dynamic", "", known)
        yield exactly(f"graphs in {mode}, batch learned to be dynamic", "", learned)


def _graphs(layer: nn.Module, settings: Settings, marked: bool) -> int:
    """How many graphs all batches take; a graph break is an error."""
    torch._dynamo.reset()
    counter = CompileCounter()
    function = torch.compile(layer, fullgraph=True, backend=counter)
    for batch in BATCHES:
        x = settings.normal(batch, 32)
        if marked:
            torch._dynamo.mark_dynamic(x, 0)
        function(x)
    return int(counter.frame_count)
