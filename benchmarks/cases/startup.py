"""The first seconds: what a fresh interpreter takes to import, to build and to plan."""

from collections.abc import Iterator

import numpy as np

from ..processes import output_of
from ..suite import Measurement, Settings

# Each prints the seconds that it takes.
PROGRAM = """
import time
{before}
start = time.perf_counter()
{timed}
print(time.perf_counter() - start)
"""
CHAIN = "n a, a b, b c, c d, d e, e f, f i g, g o"
# 40 cores, each joined to four others: a grid of five rows and eight columns on a torus, as code.
MODES = "{0: 'i', 39: 'o', 4: 'n1', 13: 'n2', 22: 'n3', 31: 'n4'}"
CORES = f"' '.join(['r%d c%d r%d c%d' % (n, n, (n + 1) % 40, (n + 8) % 40), {MODES}.get(n, '')])"
GRID = f"', '.join({CORES} for n in range(40)), **{{f'{{b}}{{n}}': 2 for b in 'rc' for n in range(40)}}"
NETWORKS = {
    "CP, 3 cores": "tm.MuMoESpec(768, 3072, 256, tm.CP(64))",
    "TR, 5 cores": "tm.MuMoESpec(768, 768, (16, 16, 16), tm.TensorRing((4, 4, 4, 4, 64)))",
    "chain, 8 cores": f"tm.MuMoESpec(64, 64, 16, tm.TensorNetwork({CHAIN!r}, **dict.fromkeys('abcdefg', 4)))",
    "TR, 6 levels, 8 cores": "tm.MuMoESpec(64, 64, (4,) * 6, tm.TensorRing((4,) * 7 + (8,)))",
    "CP, 6 levels, 8 cores": "tm.MuMoESpec(64, 64, (4,) * 6, tm.CP(16))",
    "grid, 4 levels, 40 cores": f"tm.MuMoESpec(64, 64, (4,) * 4, tm.TensorNetwork({GRID}))",
}
BLOCK = "tm.build(tm.MuMoEBlockSpec(768, 3072, 768, 256, tm.{}), 'torch')"


def startup(settings: Settings) -> Iterator[Measurement | str]:
    """Import beyond NumPy's, a block of GPT-2's size, and the first plan, each in fresh interpreters."""
    rounds = min(settings.rounds, 5)
    yield _measured("import", {"tensormoe": ("import numpy", "import tensormoe")}, rounds)
    framework = "import torch, tensormoe as tm, tensormoe_torch"
    blocks = {"CP": BLOCK.format("CP(556)"), "TR": BLOCK.format("TensorRing((4, 4, 149))")}
    yield _measured("build", {name: (framework, code) for name, code in blocks.items()}, rounds)
    plans = {
        name: (f"import tensormoe as tm\nspec = {code}", "spec.plan()") for name, code in NETWORKS.items()
    }
    yield _measured("first plan", plans, rounds)


def _measured(name: str, programs: dict[str, tuple[str, str]], rounds: int) -> Measurement:
    values: dict[str, list[float]] = {side: [] for side in programs}
    for _ in range(rounds):
        for side, (before, timed) in programs.items():
            values[side].append(float(output_of(PROGRAM.format(before=before, timed=timed))))
    quartiles = {side: np.quantile(seconds, (0.25, 0.5, 0.75)) for side, seconds in values.items()}
    ordered = {side: (float(q[0]), float(q[1]), float(q[2])) for side, q in quartiles.items()}
    return Measurement(name, "s", ordered, f"{rounds} processes")
