"""Measurements and verdicts as lines of text and as JSON."""

import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from .suite import Measurement, Settings
from .targets import Verdict

_SCALES = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "B": ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB")),
    "": ((1.0, ""),),
}
_PACKAGES = ("tensormoe", "torch", "jax", "opt_einsum", "einops", "entmax", "tensorly-torch")


def environment(settings: Settings) -> dict[str, Any]:
    """What the numbers depend on besides the code."""
    cpu = f"{platform.machine()} CPU, {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores"
    return {
        "versions": {name: version for name in _PACKAGES if (version := _version(name))},
        "device": torch.cuda.get_device_name() if settings.device == "cuda" else cpu,
        "load before": round(os.getloadavg()[0], 2),
        "PyTorch's threads": settings.threads,
        "most rounds": settings.rounds,
        "seconds": settings.seconds,
        "seed": settings.seed,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def shown(value: float, unit: str) -> str:
    """A value in the unit that fits its size, with three digits."""
    scales = _SCALES[unit]
    scale, name = next((s for s in scales if abs(value) >= s[0]), scales[-1])
    scaled = value / scale
    digits = f"{scaled:.0f}" if scaled >= 99.95 or unit == "" else f"{scaled:.3g}"
    return f"{digits} {name}".rstrip()


def lines(measurement: Measurement) -> Iterator[str]:
    """A table: each side's median and quartiles, and its ratio to the first side."""
    sides, unit = measurement.values, measurement.unit
    width = max(28, *(len(side) for side in sides))
    detail = f" ({measurement.detail})" if measurement.detail else ""
    yield f"  {measurement.name}{detail}"
    first, base = next((side, values[1]) for side, values in sides.items())
    for side, (low, median, high) in sides.items():
        spread = f"({shown(low, unit)} to {shown(high, unit)})" if low != high else ""
        ratio = f"{median / base:8.2f} × {first}" if len(sides) > 1 and base and unit else ""
        yield f"    {side:{width}s} {shown(median, unit):>9s}  {spread:24s} {ratio}".rstrip()


def line(verdict: Verdict) -> str:
    """A target and whether it was met."""
    target = verdict.target
    word = {True: "met", False: "MISSED", None: "not measured"}[verdict.met]
    value = "" if verdict.value is None else f" = {verdict.value:.3g}"
    return f"  {word:12s} {target.quantity}{value}, target {target.comparison} {target.limit:g}"


def as_json(
    facts: Mapping[str, Any], results: Mapping[str, Sequence[Measurement]], judged: Iterable[Verdict]
) -> str:
    """All of it, as JSON."""
    cases = {
        case: [
            {"name": m.name, "unit": m.unit, "quartiles": dict(m.values), "detail": m.detail}
            for m in measured
        ]
        for case, measured in results.items()
    }
    targets = [
        {
            "case": v.target.case,
            "quantity": v.target.quantity,
            "comparison": v.target.comparison,
            "limit": v.target.limit,
            "value": v.value,
            "met": v.met,
        }
        for v in judged
    ]
    return json.dumps({**facts, "cases": cases, "targets": targets}, indent=1, ensure_ascii=False) + "\n"
