"""Gate activations against the `entmax` package and torch.softmax, and JAX against PyTorch.

Both sides of a comparison get the same logits, must agree where they compute the same, run interleaved round
by round in one process, and are compared by the medians of their rounds. Forward is timed as in evaluation,
on logits that need no gradient; forward and backward with a fixed cotangent.

    python benchmarks/gates.py [--threads 2] [--rounds 15] [--device cuda] [--seed 0] [--json FILE]
"""

import argparse
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import entmax
import jax
import numpy as np
import torch

import tensormoe as tm

Shape = tuple[int, ...]
Side = Callable[[], Any]
Functions = Mapping[str, Callable[..., Any]]
Target = tuple[str, float] | None

MIDDLE, LARGE, TINY, CHOICE = (1024, 256), (1024, 4096), (32, 16), (4096, 1024)
# Of the entmax package's time to ours: forward, and forward and backward.
SPEED_UPS = {MIDDLE: (("≥", 8), ("≥", 4)), LARGE: (("≥", 6), ("≥", 4)), TINY: (None, None)}
JAX_TO_PYTORCH, SOFT_TOP_K_TO_SOFTMAX = ("≤", 2), ("≤", 20)
# A side's round takes these seconds at least, and a comparison about these at most.
ROUND, COMPARISON, FEWEST_ROUNDS = 0.01, 3.0, 3


@dataclass(frozen=True)
class Comparison:
    """Two functions of the same logits: the target is for the first one's time divided by the second's."""

    name: str
    shape: Shape
    scale: float
    sides: dict[str, Side]
    target: Target = None
    same_result: bool = True


def torch_side(function: Callable[..., Any], x: torch.Tensor, cotangent: torch.Tensor | None = None) -> Side:
    """A call in PyTorch; with a cotangent, the value and the gradient."""
    leaf = x.detach().requires_grad_(cotangent is not None)

    def run() -> Any:
        y = function(leaf)
        result = y if cotangent is None else (y, *torch.autograd.grad(y, leaf, cotangent))
        if leaf.is_cuda:
            torch.cuda.synchronize()
        return result

    return run


def jax_side(function: Callable[..., Any], x: torch.Tensor, cotangent: torch.Tensor | None = None) -> Side:
    """The same call in JAX under jit, until its result is there."""

    def with_gradient(logits: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, ...]:
        y, pull = jax.vjp(function, logits)
        return y, *pull(cotangent)

    tensors = (x,) if cotangent is None else (x, cotangent)
    device = jax.devices(x.device.type)[0]
    arrays = [jax.device_put(tensor.numpy(force=True), device) for tensor in tensors]
    compiled = jax.jit(function if cotangent is None else with_gradient)
    return lambda: jax.block_until_ready(compiled(*arrays))


def same_functions(normal: Callable[[Shape], torch.Tensor], scale: float) -> Iterator[Comparison]:
    """1.5-entmax and sparsemax: the entmax package against ours, and ours in JAX against PyTorch."""
    for shape, (forward, both) in SPEED_UPS.items():
        x, v = scale * normal(shape), normal(shape)
        modes = (("forward", forward, None), ("forward + backward", both, v))
        pairs = ((tm.entmax15, entmax.entmax15), (tm.sparsemax, entmax.sparsemax))
        for (mode, target, cotangent), (ours, theirs) in product(modes, pairs):
            compare = partial(Comparison, f"{ours.__name__}, {mode}", shape, scale)
            in_torch = torch_side(ours, x, cotangent)
            package = {"entmax": torch_side(theirs, x, cotangent), "tensormoe": in_torch}
            yield compare(package, target)
            if shape != TINY:
                # Told how many logits to sort at first, the package is faster. Its default sorts all.
                partly = torch_side(partial(theirs, k=100), x, cotangent)
                yield compare({"entmax, k=100": partly, "tensormoe": in_torch})
            # JAX is often installed without support for the GPU that PyTorch runs on.
            if x.device.type == "cpu" or jax.default_backend() == "gpu":
                frameworks = {"JAX": jax_side(ours, x, cotangent), "PyTorch": in_torch}
                yield compare(frameworks, None if shape == TINY else JAX_TO_PYTORCH)


def to_softmax(
    functions: Functions, x: torch.Tensor, scale: float, target: Target = None
) -> Iterator[Comparison]:
    """Functions of logits x against PyTorch's softmax of these."""
    softmax = torch_side(partial(torch.softmax, dim=-1), x)
    for name, function in functions.items():
        sides = {"tensormoe": torch_side(function, x), "torch.softmax": softmax}
        yield Comparison(f"{name}, forward", tuple(x.shape), scale, sides, target, same_result=False)


def comparisons(device: str, seed: int) -> Iterator[Comparison]:
    """All comparisons, each made when it is asked for."""
    generator = torch.Generator().manual_seed(seed)

    def normal(shape: Shape) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    settings = product((1, 2, 8), (1.0, 0.1))
    choices = {f"soft_top_k k={k} ε={eps}": partial(tm.soft_top_k, k=k, eps=eps) for k, eps in settings}
    others: Functions = {
        "softmax": tm.softmax,
        "top_k k=2": partial(tm.top_k, k=2),
        "entmax α=1.3": partial(tm.entmax, alpha=1.3),
        "soft_rank": tm.soft_rank,
    }
    for scale in (1.0, 5.0):
        yield from same_functions(normal, scale)
        yield from to_softmax(choices, scale * normal(CHOICE), scale, SOFT_TOP_K_TO_SOFTMAX)
    yield from to_softmax(others, normal(MIDDLE), 1.0)
    every: Functions = {**others, **choices, "sparsemax": tm.sparsemax, "entmax15": tm.entmax15}
    yield from to_softmax(every, normal(TINY), 1.0)


def seconds(side: Side, calls: int = 1) -> float:
    """The mean time of a call over one round."""
    start = time.perf_counter()
    for _ in range(calls):
        side()
    return (time.perf_counter() - start) / calls


def on_host(array: Any) -> torch.Tensor:
    """Any framework's array as what `assert_close` takes."""
    return array.detach().cpu() if isinstance(array, torch.Tensor) else torch.tensor(np.asarray(array))


def measure(comparison: Comparison, most_rounds: int) -> dict[str, Any]:
    """Check that both sides agree, time them in turns, and divide their medians."""
    sides = comparison.sides
    # Also the warm-up, in which JAX compiles.
    results = [jax.tree.map(on_host, side()) for side in sides.values()]
    if comparison.same_result:
        torch.testing.assert_close(*results, atol=2e-6, rtol=1e-5)
    once = {name: seconds(side) for name, side in sides.items()}
    calls = {name: math.ceil(ROUND / call) for name, call in once.items()}
    affordable = int(COMPARISON / sum(max(ROUND, call) for call in once.values()))
    rounds = min(most_rounds, max(FEWEST_ROUNDS, affordable))

    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            times[name].append(1e6 * seconds(side, calls[name]))
    quartiles = {name: statistics.quantiles(values, n=4) for name, values in times.items()}
    (_, first, _), (_, second, _) = quartiles.values()
    row = {key: getattr(comparison, key) for key in ("name", "shape", "scale", "target")}
    return row | {"microseconds": quartiles, "calls": calls, "rounds": rounds, "ratio": first / second}


def met(row: dict[str, Any]) -> bool:
    """Whether a row keeps to its target, if it has one."""
    sign, limit = row["target"] or ("≥", 0)
    return bool(row["ratio"] >= limit if sign == "≥" else row["ratio"] <= limit)


def line(row: dict[str, Any]) -> str:
    """A row of the table."""

    def short(time: float) -> str:
        return f"{time:.0f}" if time >= 100 else f"{time:.1f}"

    times = (
        f"{name:>13s} {short(median):>6s} {f'({short(low)} to {short(high)})':18s}"
        for name, (low, median, high) in row["microseconds"].items()
    )
    shape = "{}×{}".format(*row["shape"])
    target = "{} {}".format(*row["target"]) if row["target"] else ""
    verdict = "" if met(row) else "MISSED"
    name = f"{row['name']:31s} {shape:>9s} {row['scale']:2g}"
    return f"{name} {' '.join(times)} {row['ratio']:6.2f} {target:4s} {verdict}".rstrip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    cpu = f"{platform.machine()} CPU, {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores"
    settings: dict[str, Any] = {
        "versions": {name: version(name) for name in ("tensormoe", "torch", "jax", "entmax")},
        "device": torch.cuda.get_device_name() if options.device == "cuda" else cpu,
        "PyTorch's threads": options.threads,
        "JAX's threads": "XLA's own pool: one for each core",
        "seed": options.seed,
    }
    for name, value in settings.items():
        print(f"{name}: {value}")
    print(
        "function, shape, scale of logits; medians of rounds in µs (and quartiles); their ratio; its target"
    )
    rows = []
    for comparison in comparisons(options.device, options.seed):
        rows.append(measure(comparison, options.rounds))
        print(line(rows[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(settings | {"rows": rows}, indent=1, ensure_ascii=False) + "\n")
    missed = sum(not met(row) for row in rows)
    print(f"targets missed: {missed} of {sum(row['target'] is not None for row in rows)}")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
