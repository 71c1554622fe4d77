"""The measurements, as a table and as JSON."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..arrays.nonlinearities import name_of
from ..errors import one_of
from ..layers.serialization import spec_data
from ..layers.spec import Spec
from ..tables import fold, table, versions
from .inputs import DTYPE
from .timing import Timing

SIDES = ("layer", "MLP", "floor")


@dataclass(frozen=True)
class Measurement:
    """The time of one computation.

    Args:
        mode: "forward" or "training": the output, or the output and the gradients of all parameters and of x.
        side: "layer", "MLP" or "floor".
        timing: the time of a call.
        macs: the multiply-accumulates of its matrix products.
        parameters: how many values are trained; None for the floor.
    """

    mode: str
    side: str
    timing: Timing
    macs: int
    parameters: int | None


@dataclass(frozen=True)
class BenchReport:
    """What `bench` measured; prints as a table.

    Args:
        spec: what was timed.
        backend: the backend's name.
        device: the device in words.
        threads: the host's threads, if the backend knows.
        batch_size: the number of input vectors in one call.
        seed: of the random values.
        measurements: forward and, if requested, training, each for layer, MLP and floor.
        remarks: notes on the figures.

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5))
        >>> report = tm.bench(spec, backend="numpy", batch_size=10, rounds=1)
        >>> report.ratio("layer", "MLP") > 0
        True
    """

    spec: Spec
    backend: str
    device: str
    threads: int | None
    batch_size: int
    seed: int
    measurements: tuple[Measurement, ...]
    remarks: tuple[str, ...] = ()

    def ratio(self, side: str, other: str, mode: str = "forward") -> float:
        """The median time of a side divided by that of another."""
        medians = {(m.mode, m.side): m.timing.median for m in self.measurements}
        one_of("mode", mode, tuple(dict.fromkeys(m.mode for m in self.measurements)))
        for argument, name in (("side", side), ("other", other)):
            one_of(argument, name, tuple(each for each in SIDES if (mode, each) in medians))
        return medians[mode, side] / medians[mode, other]

    def __str__(self) -> str:
        columns = ("", "", "median ms", "quartiles ms", "× floor", "× MLP", "parameters", "MACs")
        rows = [self._row(measurement) for measurement in self.measurements]
        known = versions()
        named = [f"{name} {known[name]}" for name in ("tensormoe", self.backend) if name in known]
        threads = [f"threads: {self.threads}"] if self.threads else []
        machine = ", ".join([*named, self.device, *threads])
        batch = f"batch size {self.batch_size:,}, {DTYPE}"
        parts = [fold(machine, batch), table(columns, rows, text_columns=2), fold(*self.remarks)]
        return "\n".join(filter(None, parts))

    def _row(self, measurement: Measurement) -> Sequence[str]:
        low, median, high = (_milliseconds(seconds) for seconds in measurement.timing.quartiles)
        ratios = [
            f"{self.ratio(measurement.side, other, measurement.mode):.2f}" for other in ("floor", "MLP")
        ]
        parameters = "–" if measurement.parameters is None else f"{measurement.parameters:,}"
        return (
            measurement.mode,
            measurement.side,
            median,
            f"{low} – {high}",
            *ratios,
            parameters,
            f"{measurement.macs:,}",
        )

    def to_json(self) -> str:
        """The report as JSON text: specification, machine, versions and every figure, times in seconds."""
        data = {
            "spec": spec_data(self.spec),
            "backend": self.backend,
            "device": self.device,
            "threads": self.threads,
            "dtype": DTYPE,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "versions": versions(),
            "remarks": list(self.remarks),
            "measurements": [self._data(measurement) for measurement in self.measurements],
        }
        return json.dumps(data, indent=2, ensure_ascii=False)

    def _data(self, measurement: Measurement) -> dict[str, Any]:
        low, median, high = measurement.timing.quartiles
        return {
            "mode": measurement.mode,
            "side": measurement.side,
            "seconds": {"median": median, "lower_quartile": low, "upper_quartile": high},
            "rounds": measurement.timing.rounds,
            "calls": measurement.timing.calls,
            "to_floor": self.ratio(measurement.side, "floor", measurement.mode),
            "to_mlp": self.ratio(measurement.side, "MLP", measurement.mode),
            "parameters": measurement.parameters,
            "macs": measurement.macs,
        }


def remarks(spec: Spec, mlp_parameters: int) -> tuple[str, ...]:
    """Notes: what the MLP is, whether its size differs, and which part of the layer is left out."""
    sizes = " → ".join(f"{size:,}" for size in spec.features)
    gated = ", gated" if "up" in spec.layers else ""
    between = f"{gated} with {name_of(spec.between)}" if spec.between else ""
    lines = [f"MLP: {sizes}{between}, dense; floor: the layer's bare matrix products"]
    if spec.num_parameters != mlp_parameters:
        counts = f"the MLP has {mlp_parameters:,} parameters, the layer {spec.num_parameters:,}"
        lines.append(f"{counts}; spec.matched({mlp_parameters}) fits a layer into the MLP's")
    if spec.adds_noise:
        lines.append("the gate's noise is left out")
    return tuple(lines)


def remark_on_noise(measurements: Sequence[Measurement]) -> Iterator[str]:
    """A note if the machine did something else meanwhile."""
    if any(high > 2 * low for low, _, high in (each.timing.quartiles for each in measurements)):
        yield "quartiles differ by more than a factor of 2: the machine was busy, measure again"


def _milliseconds(seconds: float) -> str:
    milliseconds = 1e3 * seconds
    return f"{milliseconds:.{1 if milliseconds >= 100 else 2 if milliseconds >= 10 else 3}f}"
