"""10,000 candidates of `tm.explore.sweep`: planned, counted, proved and written."""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import tensormoe as tm

from ..suite import Measurement, Settings

COUNT = 10_000
# Processes, each of one thread.
JOBS = 2
LAYER = tm.MuMoESpec(64, 64, 16, tm.Dense())


def candidates(settings: Settings) -> Iterator[Measurement | str]:
    """10,000 networks of 3 to 6 cores, no two of which are isomorphic, by costs and proofs alone."""
    families = draw(COUNT, settings.seed)
    with TemporaryDirectory() as folder:
        start = time.perf_counter()
        study = tm.explore.sweep(families, like=LAYER, jobs=JOBS, path=Path(folder) / "candidates.jsonl")
        seconds = time.perf_counter() - start
    yield f"{sum(trial.proved for trial in study.trials):,} of {len(study.trials):,} candidates are proved"
    yield Measurement("10,000 candidates", "s", {"sweep": (seconds,) * 3}, f"{JOBS} processes")


def draw(count: int, seed: int) -> list[tm.TensorNetwork]:
    """Random connected networks, each isomorphism class once: a tree of bonds, and up to three more."""
    source = random.Random(seed)
    known: dict[str, tm.TensorNetwork] = {}
    while len(known) < count:
        family = _draw(source)
        known.setdefault(tm.explore.canonical_key(LAYER.replace(factorization=family).network), family)
    return [*known.values()]


def _draw(source: random.Random) -> tm.TensorNetwork:
    cores: list[list[str]] = [[] for _ in range(source.randint(3, 6))]
    for mode in "nio":
        source.choice(cores).append(mode)
    joined = [[core, source.choice(cores[:place])] for place, core in enumerate(cores) if place]
    joined += [source.sample(cores, source.choice((2, 2, 3))) for _ in range(source.randint(0, 3))]
    sizes = {f"b{number}": source.choice((2, 4, 8, 16)) for number in range(len(joined))}
    for bond, chosen in zip(sizes, joined, strict=True):
        for core in chosen:
            core.append(bond)
    return tm.TensorNetwork.with_sizes(", ".join(map(" ".join, cores)), sizes)
