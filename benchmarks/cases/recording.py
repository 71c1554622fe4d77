"""Recording a model: the time beside the model's own, and the memory that it takes above the model."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..processes import MEMORY_IS_MEASURED, output_of
from ..suite import Measurement, Settings, exactly

TOKENS, BATCH, LAYERS, EXPERTS = 1_000_000, 4_000, 12, 256
# With a store, which takes a gigabyte for each hundred thousand tokens.
STORED = 100_000
# Prints the seconds, and the bytes beyond those that the process holds after one call of the model.
PROGRAM = """
import json, time, torch, tensormoe as tm
from benchmarks.processes import forget_peak, peak, resident
torch.set_num_threads({threads})
torch.manual_seed({seed})
spec = tm.MuMoESpec(8, 8, {experts}, tm.CP(2), tm.Gate("softmax"))
model = torch.nn.Sequential(*(tm.build(spec, "torch") for _ in range({layers})))
for layer in model:
    torch.nn.init.normal_(layer.gate_weights[0])
batches = lambda: (torch.randn({batch}, 8) for _ in range({tokens} // {batch}))

def run(store):
    recording = tm.analysis.record(model, batches(), store=store, progress=False)
    assert [layer.tokens for layer in recording.values()] == [{tokens}] * {layers}

def run_alone(store):
    with torch.no_grad():
        for x in batches():
            model(x)

with torch.no_grad():
    model(torch.randn({batch}, 8))
forget_peak()
before = resident()
start = time.perf_counter()
{call}({store!r})
seconds = time.perf_counter() - start
print(json.dumps([seconds, peak() - before]))
"""


def recording(settings: Settings) -> Iterator[Measurement | str]:
    """A million tokens × 256 experts × 12 layers: sums in memory, and tokens in a store on disk."""
    if not MEMORY_IS_MEASURED:
        yield "left out: memory is measured on Linux"
        return
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "store")
        alone, most = _run(settings, "run_alone", TOKENS, None)
        seconds, summed = _run(settings, "run", TOKENS, None)
        written, stored = _run(settings, "run", STORED, store)
    detail = f"{TOKENS:,} tokens, {EXPERTS} experts, {LAYERS} layers, in a process of their own"
    scaled = written * TOKENS / STORED
    yield exactly("time", "s", {"model alone": alone, "sums": seconds, "store, ×10": scaled}, detail)
    held = {"model alone": most, "sums": summed, f"store, {STORED:,} tokens": stored}
    yield exactly("memory", "B", held, "most, above what the process holds after one call of the model")


def _run(settings: Settings, call: str, tokens: int, store: str | None) -> tuple[float, float]:
    program = PROGRAM.format(
        threads=settings.threads,
        seed=settings.seed,
        experts=EXPERTS,
        layers=LAYERS,
        batch=BATCH,
        tokens=tokens,
        call=call,
        store=store,
    )
    seconds, memory = json.loads(output_of(program))
    return seconds, memory
