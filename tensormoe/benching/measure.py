"""One function that times a specification on this machine."""

from collections.abc import Mapping

from ..arrays.backend import Backend
from ..arrays.registry import get_backend
from ..errors import (
    TensorMoEError,
    non_negative_integer,
    one_of,
    positive_integer,
    positive_number,
    true_or_false,
)
from ..layers.needs import check_call
from ..layers.spec import Spec, check_spec
from .floor import find_products, floor
from .inputs import Sampler, draw_arguments
from .report import SIDES, BenchReport, Measurement, remark_on_noise, remarks
from .sides import Side, layer, mlp
from .timing import Timing, interleave

# The first of these that is installed is the default.
_PREFERRED = ("torch", "jax", "numpy")
_MOST_THREADS = 4_096


def bench(
    spec: Spec,
    backend: str | Backend | None = None,
    batch_size: int = 1024,
    *,
    training: bool = False,
    device: str | None = None,
    threads: int | None = None,
    seed: int = 0,
    rounds: int = 15,
    seconds: float = 3.0,
) -> BenchReport:
    """Time a layer or a block against the MLP that it replaces and against its own matrix products alone.

    For a layer, the MLP is x W + b; for a block, one of these for each of its layers, joined as they are.
    The floor is the products of the plan and the gate's x G_e alone, on contiguous arrays. All are timed in
    turns, in float32 and in evaluation; with `training`, also the output with the gradients of all
    parameters and of x. JAX compiles each as a whole.

    Args:
        spec: a layer or a block.
        backend: a name or a backend object; by default the first of PyTorch, JAX and NumPy that is installed.
        batch_size: the number of input vectors in a call.
        training: whether to time gradients as well; the backend must differentiate.
        device: a name among the backend's `devices()`; by default the last, a GPU if there is one.
        threads: how many threads PyTorch uses on the host, for this call only.
        seed: the seed of parameters and inputs.
        rounds: how many rounds at most; see `tensormoe.benching.timing.interleave`.
        seconds: about how long to measure, for each of forward and training.

    Returns:
        A report, with a table as its text, `.ratio` and `.to_json()`.

    Raises:
        TensorMoEError: an unknown or missing backend or device, an invalid number, or gradients or threads
            that the backend does not support.

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5), bias=False)
        >>> report = tm.bench(spec, backend="numpy", batch_size=10, rounds=1)
        >>> [(each.side, each.macs) for each in report.measurements]
        [('layer', 1220), ('MLP', 480), ('floor', 1220)]
    """
    check_spec(spec)
    batch_size, seed = positive_integer("batch_size", batch_size), non_negative_integer("seed", seed)
    true_or_false("training", training)
    rounds, seconds = positive_integer("rounds", rounds), positive_number("seconds", seconds)
    threads = None if threads is None else positive_integer("threads", threads)
    if threads is not None and threads > _MOST_THREADS:
        raise TensorMoEError("threads", threads, f"pass at most {_MOST_THREADS:,}")
    ops = _backend(backend)
    device = ops.devices()[-1] if device is None else device
    one_of("device", device, ops.devices())
    # Values are drawn on the host in float64, whatever the device.
    check_call(spec, batch_size, 8)
    sampler = Sampler(ops, device, seed)
    if training:
        _check_gradients(sampler)
    measurements: list[Measurement] = []
    with ops.threads(threads) as count:
        sides = _sides(sampler, spec, batch_size)

        def measure(mode: str) -> dict[str, Timing]:
            calls = {name: getattr(side, mode) for name, side in sides.items()}
            return interleave(calls, rounds, seconds, ops.wait, ops.clock(device))

        with ops.without_gradients():
            measurements += _measurements("forward", sides, measure("forward"), 1)
        if training:
            # Reverse mode takes two more products for each, one for each factor.
            measurements += _measurements("training", sides, measure("training"), 3)
    said = (*remarks(spec, sides["MLP"].parameters or 0), *remark_on_noise(measurements))
    named = ops.tensormoe_name, ops.device_name(device), count
    return BenchReport(spec, *named, batch_size, seed, tuple(measurements), said)


def _sides(sampler: Sampler, spec: Spec, batch_size: int) -> dict[str, Side]:
    given = draw_arguments(sampler, spec, batch_size)
    bare = floor(sampler.ops, find_products(sampler.ops, spec, given))
    sides = (layer(sampler.ops, spec, given, bare.macs), mlp(sampler, spec, given), bare)
    return dict(zip(SIDES, sides, strict=True))


def _measurements(
    mode: str, sides: Mapping[str, Side], timings: Mapping[str, Timing], passes: int
) -> list[Measurement]:
    return [
        Measurement(mode, name, timings[name], passes * side.macs, side.parameters)
        for name, side in sides.items()
    ]


def _backend(backend: str | Backend | None) -> Backend:
    if backend is not None:
        return backend if isinstance(backend, Backend) else get_backend(backend)
    for name in _PREFERRED[:-1]:
        try:
            return get_backend(name)
        except TensorMoEError:  # its framework is not installed
            continue
    return get_backend(_PREFERRED[-1])


def _check_gradients(sampler: Sampler) -> None:
    """Raise an error if the backend does not differentiate."""
    one = sampler.normal(1)
    if sampler.ops.gradients(lambda x: x, (one,), one) is None:
        name = sampler.ops.tensormoe_name
        raise TensorMoEError("training", True, f"{name} does not differentiate: choose torch or jax")
