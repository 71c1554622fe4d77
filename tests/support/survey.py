"""All methods of verification for the named families and for random networks: `make verify`.

Two processes share the work; each comparison is one of `tensormoe.verify`.
"""

import os
import sys
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from time import perf_counter

# Before any framework is imported. Nearly all time goes into XLA's compilation; its older emitters take less.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import tensormoe as tm
from tensormoe.tables import table
from tensormoe.testing import networks
from tensormoe.verification import METHODS

BACKENDS = ("numpy", "torch", "jax")
NETWORKS = 200
Job = tuple[str, tm.Spec]


def list_families() -> list[Job]:
    """The named families with 1, 2 and 3 expert levels, no two sizes equal."""
    jobs = []
    for levels in (1, 2, 3):
        experts, ranks = (5, 4, 3)[:levels], (2, 3, 4, 5, 6)[: levels + 2]
        families = tm.CP(6), tm.Tucker(ranks), tm.TensorTrain(ranks[1:]), tm.TensorRing(ranks), tm.Dense()
        gate = tm.Gate(norm=("layer", "batch", None)[levels - 1])
        for family in families:
            label = f"{type(family).__name__}, {levels} level" + "s" * (levels > 1)
            jobs.append((label, tm.MuMoESpec(8, 7, experts, family, gate)))
    for family in (
        tm.CP(6),
        tm.Tucker((2, 3, 4)),
        tm.TensorTrain((3, 4)),
        tm.TensorRing((2, 3, 4)),
        tm.Dense(),
    ):
        block = tm.MuMoEBlockSpec(8, 9, 7, 5, family, nonlinearity="silu", gated=True)
        jobs.append((f"{type(family).__name__}, gated block", block))
    return jobs


@st.composite
def layers(draw: st.DrawFn) -> tm.MuMoESpec:
    """A random network in a layer with no size 1. Few gates and sizes: a gate is compiled once for each."""
    experts = draw(st.sampled_from([(3,), (4,), (2, 3), (2, 3, 2)]))
    gates = tm.Gate("softmax"), tm.Gate("softmax", "batch"), tm.Gate(), tm.Gate("sparsemax")
    network = draw(networks(len(experts), max_cores=3, max_bonds=2))
    size, gate, bias = draw(st.integers(2, 4)), draw(st.sampled_from(gates)), draw(st.booleans())
    return tm.MuMoESpec(3, size, experts, network, gate, bias)


def draw_networks(count: int) -> list[Job]:
    """Random networks, all different."""
    actual: dict[str, tm.MuMoESpec] = {}

    @seed(0)
    @settings(
        max_examples=2 * count, database=None, phases=[Phase.generate], suppress_health_check=[*HealthCheck]
    )
    @given(layers())
    def collect(spec: tm.MuMoESpec) -> None:
        actual.setdefault(str(spec.network), spec)

    collect()
    chosen = list(actual.values())[-count:]
    assert len(chosen) == count
    return [(f"{count} random networks", spec) for spec in chosen]


def verify_job(job: Job) -> tuple[str, tm.VerificationReport]:
    """The report of one job, in a process of its own."""
    import torch

    torch.set_num_threads(1)
    label, spec = job
    return label, tm.verify(spec, BACKENDS)


def main() -> int:
    """Print one line for each family, and every report that does not hold."""
    begin = perf_counter()
    jobs = list_families() + draw_networks(NETWORKS)
    held: dict[str, Counter[str]] = defaultdict(Counter)
    made: dict[str, Counter[str]] = defaultdict(Counter)
    ratio: dict[str, float] = defaultdict(float)
    failed = []
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for label, report in pool.map(verify_job, jobs):
            made[label].update(check.method for check in report.checks)
            held[label].update(check.method for check in report.checks if check.passed)
            ratios = [check.ratio for check in report.checks if check.method == "float"]
            ratio[label] = max(ratio[label], *ratios)
            failed += [] if report.passed else [report]
    rows = [
        (
            label,
            *(f"{held[label][method]} of {made[label][method]}" for method in METHODS),
            f"{ratio[label]:.3f}",
        )
        for label in made
    ]
    print(table(("comparisons that hold", *METHODS, "largest error / bound"), rows))
    for report in failed:
        print(f"\n{report.spec}\n{report}")
    every = sum(sum(counts.values()) for counts in made.values())
    good = sum(sum(counts.values()) for counts in held.values())
    print(f"{good:,} of {every:,} comparisons hold, in {perf_counter() - begin:.0f} s")
    return 0 if good == every else 1


if __name__ == "__main__":
    sys.exit(main())
