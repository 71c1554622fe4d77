"""What more experts cost: time and memory from 16 experts to a million, on one to three levels."""

from collections.abc import Iterator

import torch

import tensormoe as tm

from ..contenders.layers import forward, ours
from ..processes import MEMORY_IS_MEASURED, forget_peak, output_of, peak, resident
from ..suite import Measurement, Settings, exactly

INPUTS, OUTPUTS, RANK, TOKENS = 768, 3072, 512, 1024
COUNTS = (
    (64,),
    (16,),
    (256,),
    (1024,),
    (4096,),
    (16, 16),
    (64, 64),
    (256, 256),
    (1024, 1024),
    (16, 16, 16),
    (40, 40, 40),
    (100, 100, 100),
)


def experts(settings: Settings) -> Iterator[Measurement | str]:
    """CP of rank 512, 768 → 3,072, 1,024 tokens: 16 to 1,048,576 experts, relative to 64."""
    x = settings.normal(TOKENS, INPUTS)
    sides = {name(counts): forward(ours(_spec(counts), settings), x) for counts in COUNTS}
    yield settings.times("time", sides, seconds=2 * settings.seconds)
    detail = "most held at once in a call, parameters included"
    if settings.device == "cuda":
        yield exactly("memory", "B", {name(c): _on_gpu(c, settings) for c in COUNTS}, detail)
    elif MEMORY_IS_MEASURED:
        yield exactly("memory", "B", {name(c): _in_process(c, settings) for c in COUNTS}, detail)
    else:
        yield "left out: memory, which is measured on Linux or on a GPU"


def name(counts: tuple[int, ...]) -> str:
    """The experts of each level, "100 × 100 × 100"."""
    return " × ".join(f"{count:,}" for count in counts)


def _spec(counts: tuple[int, ...]) -> tm.MuMoESpec:
    return tm.MuMoESpec(INPUTS, OUTPUTS, counts, tm.CP(RANK))


def _on_gpu(counts: tuple[int, ...], settings: Settings) -> int:
    before = torch.cuda.memory_allocated()
    layer = ours(_spec(counts), settings)
    torch.cuda.reset_peak_memory_stats()
    with torch.no_grad():
        layer(settings.normal(TOKENS, INPUTS))
    return torch.cuda.max_memory_allocated() - before


def _in_process(counts: tuple[int, ...], settings: Settings) -> int:
    """The same by a process of its own, whose memory nothing else has touched."""
    program = f"from {__name__} import _peak; print(_peak({settings.threads}, {counts}))"
    # So that every array of some size is memory mapped for it, and is given back when it is freed.
    return int(output_of(program, {"MALLOC_MMAP_THRESHOLD_": str(2**16)}))


def _peak(threads: int, counts: tuple[int, ...]) -> int:
    """What this process holds most during a call, less what it held before the layer was made."""
    torch.set_num_threads(threads)
    settings = Settings(threads=threads)
    x = settings.normal(TOKENS, INPUTS)
    with torch.no_grad():
        # What libraries allocate once, for their own purposes, is no layer's.
        ours(_spec((2,)), settings)(x)
        before = resident()
        layer = ours(_spec(counts), settings)
        forget_peak()
        layer(x)
    return peak() - before
