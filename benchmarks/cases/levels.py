"""Two and three levels of experts, which multiply: the layer, and the contraction alone."""

from collections.abc import Callable, Iterator

import tensormoe as tm

from ..contenders.contractions import bare_contraction, bare_products, by_opt_einsum, by_program
from ..contenders.layers import as_published, cores, forward, mlp, ours
from ..suite import Measurement, Settings

WIDTH, EXPERTS, TOKENS = 768, 16, 1024
FAMILIES: dict[str, Callable[[int], tm.Factorization]] = {
    "CP": lambda levels: tm.CP(rank=256),
    "TR": lambda levels: tm.TensorRing(ranks=(4,) * (levels + 1) + (64,)),
    "Tucker": lambda levels: tm.Tucker(ranks=(4,) * levels + (128, 128)),
}


def levels(settings: Settings) -> Iterator[Measurement | str]:
    """CP, tensor ring and Tucker, 768 → 768, 1,024 tokens, with 16 experts on each of 2 and 3 levels."""
    x = settings.normal(TOKENS, WIDTH)
    linear = mlp(WIDTH, WIDTH, device=settings.device)
    for count in (2, 3):
        a = [settings.normal(TOKENS, EXPERTS).softmax(-1) for _ in range(count)]
        for name, family in FAMILIES.items():
            spec = tm.MuMoESpec(WIDTH, WIDTH, (EXPERTS,) * count, family(count))
            layer = ours(spec, settings)
            same = {"ours": layer}
            if name != "Tucker":  # which has not been published
                same |= dict(as_published(layer, settings))
            sides = {side: forward(module, x) for side, module in {**same, "nn.Linear": linear}.items()}
            sides["bare products"] = bare_products(spec, settings, TOKENS)
            share = settings.seconds / 3
            yield settings.times(f"{name}, {count} levels", sides, same=list(same), seconds=share)
            factors = cores(layer)[0]
            alone = {
                "ours": by_program(spec, x, a, factors),
                "opt_einsum": by_opt_einsum(spec, x, a, factors),
                "bare products": bare_contraction(spec, x, a, factors),
            }
            both = ("ours", "opt_einsum")
            yield settings.times(f"{name}, {count} levels, contraction", alone, same=both, seconds=share)
