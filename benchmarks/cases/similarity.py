"""What it costs to compare experts: the Gram matrix of all pairs, from the cores."""

from collections.abc import Iterator

from ..suite import Measurement, Settings, exactly, output_of

INPUTS, OUTPUTS, EXPERTS, RANK = 768, 3072, 4096, 512
# Prints the seconds that the measure took, and the bytes that the process held at most.
PROGRAM = """
import resource, time
import tensormoe as tm
layer = tm.build(tm.MuMoESpec({inputs}, {outputs}, {experts}, tm.CP({rank})), "numpy", seed=0)
measure = tm.analysis.{measure}
start = time.perf_counter()
measure(layer)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def similarity(settings: Settings) -> Iterator[Measurement | str]:
    """CP of rank 512, 768 → 3,072, 4,096 experts: all inner products, cosines and norms, NumPy, float64."""
    measured = {name: _run(name) for name in ("gram", "cosines", "norms")}
    detail = "one fresh process each"
    yield exactly("time", "s", {name: seconds for name, (seconds, _) in measured.items()}, detail)
    yield exactly("memory", "B", {name: held for name, (_, held) in measured.items()}, "the process's peak")
    yield exactly("materialized", "B", {"weight": 4.0 * EXPERTS * (INPUTS + 1) * OUTPUTS}, "float32")


def _run(measure: str) -> tuple[float, float]:
    """Seconds and the peak in bytes."""
    sizes = {"inputs": INPUTS, "outputs": OUTPUTS, "experts": EXPERTS, "rank": RANK}
    seconds, held = output_of(PROGRAM.format(measure=measure, **sizes)).split()
    return float(seconds), float(held)
