"""The contraction of a tiny layer against the same matrix products written by hand, in PyTorch eager.

At this size arithmetic is free and what is measured is the cost of getting to it: the target is 1.5 times
the hand-written products. Both sides run interleaved in one process, and the medians of their rounds are
compared.

    python benchmarks/tiny_layer.py [--threads 1] [--rounds 400] [--device cuda]
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch

import tensormoe as tm

BATCH, INPUTS, OUTPUTS, EXPERTS, RANK = 32, 33, 24, 16, 8
CALLS_PER_ROUND = 50
TARGET = 1.5


def microseconds(function: Callable[[], torch.Tensor], device: str) -> float:
    """The mean time of a call over one round."""
    start = time.perf_counter()
    for _ in range(CALLS_PER_ROUND):
        function()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / CALLS_PER_ROUND * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    spec = tm.MuMoESpec(INPUTS, OUTPUTS, EXPERTS, tm.CP(RANK), bias=False)
    tl = tm.get_backend("torch")
    program = spec.plan(BATCH).program
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(options.device)

    a, z = normal(BATCH, EXPERTS).softmax(-1), normal(BATCH, INPUTS)
    u0, u1, u2 = (normal(*shape) for shape in spec.network.shapes.values())
    operands = (z, a, u0, u1, u2)
    cores = dict(zip(spec.network.shapes, (u0, u1, u2), strict=True))

    sides: dict[str, Callable[[], torch.Tensor]] = {
        "by hand: ((a@U0)*(z@U1))@U2.T": lambda: ((a @ u0) * (z @ u1)) @ u2.T,
        "the layer's program": lambda: program.run(tl, operands),
        "tm.contract, arguments checked": lambda: tm.contract(spec, cores, [a], z),
    }
    reference, *others = (side() for side in sides.values())
    for other in others:
        torch.testing.assert_close(other, reference)

    # For information: what the gate adds to the contraction. No target is set on it here.
    for gate in (tm.Gate("softmax", None), tm.Gate()):
        layer = tm.build(spec.replace(gate=gate), "torch", device=options.device)
        sides[f"whole layer, {gate.activation}, norm {gate.norm}"] = partial(layer, z)

    times: dict[str, list[float]] = {name: [] for name in sides}
    with torch.no_grad():
        for side in sides.values():
            microseconds(side, options.device)
        for _ in range(options.rounds):
            for name, side in sides.items():
                times[name].append(microseconds(side, options.device))

    medians = {name: statistics.median(values) for name, values in times.items()}
    base = next(iter(medians.values()))
    place = torch.cuda.get_device_name() if options.device == "cuda" else f"CPU, {options.threads} thread(s)"
    sizes = f"batch {BATCH}, I={INPUTS}, O={OUTPUTS}, N={EXPERTS}, CP rank {RANK}"
    print(f"{sizes}; PyTorch {torch.__version__}, {place}")
    for name, values in times.items():
        low, _, high = statistics.quantiles(values, n=4)
        print(f"{name:34s} {medians[name]:7.2f} µs  ({low:.2f} to {high:.2f})  {medians[name] / base:5.2f} ×")
    ratio = medians["the layer's program"] / base
    print(f"program / by hand = {ratio:.2f}, target at most {TARGET}")
    return 0 if ratio <= TARGET else 1


if __name__ == "__main__":
    raise SystemExit(main())
