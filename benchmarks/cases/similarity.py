"""What it costs to compare experts: the Gram matrix of all pairs, from the cores."""

from collections.abc import Iterator

from ..processes import MEMORY_IS_MEASURED, output_of
from ..suite import Measurement, Settings, exactly

INPUTS, OUTPUTS, EXPERTS, RANK = 768, 3072, 4096, 512
# Prints the seconds that the measure took, and the bytes that the process held at most.
PROGRAM = """
import time
import tensormoe as tm
from benchmarks.processes import MEMORY_IS_MEASURED, peak
layer = tm.build(tm.MuMoESpec({inputs}, {outputs}, {experts}, tm.CP({rank})), "numpy", seed=0)
measure = tm.analysis.{measure}
start = time.perf_counter()
measure(layer)
print(time.perf_counter() - start, peak() if MEMORY_IS_MEASURED else 0)
"""


def similarity(settings: Settings) -> Iterator[Measurement | str]:
    """CP of rank 512, 768 → 3,072, 4,096 experts: all inner products, cosines and norms, NumPy, float64."""
    measured = {name: _run(name) for name in ("gram", "cosines", "norms")}
    detail = "one fresh process each"
    yield exactly("time", "s", {name: seconds for name, (seconds, _) in measured.items()}, detail)
    if MEMORY_IS_MEASURED:
        peaks = {name: held for name, (_, held) in measured.items()}
        yield exactly("memory", "B", peaks, "the peak of its process, Python, NumPy and the layer included")
    else:
        yield "left out: memory, which is measured on Linux"
    yield exactly("materialized", "B", {"weight": 4.0 * EXPERTS * (INPUTS + 1) * OUTPUTS}, "float32")


def _run(measure: str) -> tuple[float, float]:
    """Seconds and the peak in bytes."""
    sizes = {"inputs": INPUTS, "outputs": OUTPUTS, "experts": EXPERTS, "rank": RANK}
    seconds, held = output_of(PROGRAM.format(measure=measure, **sizes)).split()
    return float(seconds), float(held)
