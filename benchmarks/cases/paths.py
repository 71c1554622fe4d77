"""Contraction paths for small batches: what the operations that a path saves are worth in time."""

from collections.abc import Iterator

import tensormoe as tm

from ..contenders.contractions import by_plan
from ..contenders.layers import cores, ours
from ..suite import Measurement, Settings

RING = tm.TensorRing(ranks=(4, 4, 149))
SPECS = {
    "TR, 768 → 10": tm.MuMoESpec(768, 10, 256, RING),
    "TR, 2 levels, 768 → 10": tm.MuMoESpec(768, 10, (16, 16), tm.TensorRing(ranks=(4, 4, 4, 64))),
    "Tucker, 768 → 16": tm.MuMoESpec(768, 16, 64, tm.Tucker(ranks=(16, 128, 128))),
}
BATCHES = (1, 8, 64, 1024)


def paths(settings: Settings) -> Iterator[Measurement | str]:
    """The contraction by each path that a layer keeps, the one it takes first, at batches of 1 to 1,024."""
    for name, spec in SPECS.items():
        if len(spec.plans) == 1:
            yield f"{name}: one path for all batches"
            continue
        factors = cores(ours(spec, settings))[0]
        for batch in BATCHES:
            x = settings.normal(batch, spec.in_features)
            a = [settings.normal(batch, count).softmax(-1) for count in spec.experts]
            chosen = spec.program_for(batch)
            sides = {"ours": by_plan(chosen, x, a, factors)}
            for least, plan in spec.plans:
                if plan.program is not chosen:
                    sides[f"path from batch {least} on"] = by_plan(plan.program, x, a, factors)
            yield settings.times(
                f"{name}, batch {batch}", sides, same=list(sides), seconds=settings.seconds / 3
            )
