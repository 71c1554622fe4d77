"""What is made small: costs of a specification, by name. Tasks add an error or a loss."""

from collections.abc import Callable, Sequence
from math import ceil, prod
from typing import Final

from ..errors import TensorMoEError, as_tuple
from ..layers.layer_spec import MuMoESpec
from ..layers.spec import check_spec_kind
from .clock import measure_seconds
from .structure import nu, omega, psi, rank

Objective = Callable[[MuMoESpec, int], float]

# The batch size at which an objective is measured that names none.
BATCH_SIZE: Final = 1024


def _macs(spec: MuMoESpec, batch_size: int) -> float:
    """Multiply-accumulates a token of a batch, router included; as `spec.macs` for large ones."""
    router = sum(map(prod, spec.gate_shapes.values()))
    return ceil(spec.plan(batch_size).macs / batch_size) + router


def _memory(spec: MuMoESpec, batch_size: int) -> float:
    """The most elements that the plan's results hold at one time."""
    return spec.plan(batch_size).peak


def _at_any(measure: Callable[[MuMoESpec], float]) -> Objective:
    """A cost that is the same at every batch size."""
    return lambda spec, batch_size: float(measure(spec))


OBJECTIVES: Final[dict[str, Objective]] = {
    "parameters": _at_any(lambda spec: spec.num_parameters),
    "macs": _macs,
    "memory": _memory,
    "seconds": measure_seconds,
    "rank": _at_any(rank),
    "omega": _at_any(omega),
    "psi": _at_any(psi),
    "nu": _at_any(nu),
}


_UNITS: Final = {"macs": "a token", "memory": "elements", "seconds": "s a batch"}


def describe(name: str) -> str:
    """An objective with its unit, as axes and tables show it; a task's own stays as it is.

    Examples:
        >>> from tensormoe.exploring.objectives import describe
        >>> describe("macs@1"), describe("-seconds"), describe("loss")
        ('macs@1 (a token)', '-seconds (s a batch)', 'loss')
    """
    unit = _UNITS.get(name.removeprefix("-").partition("@")[0])
    return f"{name} ({unit})" if unit else name


def read_objective(name: object) -> tuple[int, str, int]:
    """The sign, the cost and the batch size of a name such as "macs", "macs@1" or "-psi".

    Raises:
        TensorMoEError: an unknown objective, or a batch size that is not a positive integer.
    """
    if not isinstance(name, str):
        raise TensorMoEError("objective", name, 'pass a name such as "parameters", "macs@1" or "-psi"')
    kind, at, size = name.removeprefix("-").partition("@")
    if kind not in OBJECTIVES:
        listed = ", ".join(map(repr, OBJECTIVES))
        remedy = f'choose from {listed}; "-psi" makes psi large, and "macs@1" is for batches of 1'
        raise TensorMoEError("objective", name, remedy)
    if at and not (size.isascii() and size.isdecimal() and 0 < int(size) < 2**31):
        raise TensorMoEError("objective", name, 'a batch size follows the @, as in "macs@1"')
    return -1 if name.startswith("-") else 1, kind, int(size) if at else BATCH_SIZE


def read_costs(costs: object) -> tuple[str, ...]:
    """The names of costs, each of them known.

    Raises:
        TensorMoEError: none, or one that is unknown or stands there twice.
    """
    names = as_tuple(costs)
    for name in names:
        read_objective(name)
    if not names or len({*names}) < len(names):
        raise TensorMoEError("costs", costs, 'name at least one, each once, such as "parameters"')
    return tuple(map(str, names))


def measure(spec: MuMoESpec, names: Sequence[str]) -> dict[str, float]:
    """The costs of a specification by name.

    Use it for one layer; `sweep` does it for many. "parameters", with gate and bias; "macs", multiply-
    accumulates a token with the router's; "memory", the most elements that the plan's results hold at one
    time; "seconds", the median time of a forward pass of a batch in NumPy on this machine; "rank", the
    largest rank R of an expert's matrix; and sharing, rank and compute as exponents of the layer's size:
    "omega" = log(F / P) / log d, "psi" = log R / log min(I, O) and "nu" = log F / log d − 1, where F are the
    multiply-accumulates of a token and P the trained elements of the cores, without the router, and
    d = √(I · O). Costs are for batches of 1,024 unless a size follows an @, as in "macs@1". What
    follows a minus, as in "-psi", is made large: its value is the negative.

    Args:
        spec: the layer.
        names: the names of costs.

    Raises:
        TensorMoEError: an unknown name.

    Source: Potapczynski, Qiu et al., "Searching for Efficient Linear Layers over a Continuous Space of
    Structured Matrices", 2024, for ω, ψ and ν; there as d grows, in the section "A Taxonomy of the Space of
    Einsum Linear Structures".

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5), bias=False, gate=None)
        >>> tm.explore.measure(spec, ("parameters", "macs@10", "-rank"))
        {'parameters': 90.0, 'macs@10': 90.0, '-rank': -5.0}
    """
    check_spec_kind(spec, MuMoESpec)
    return {name: _measure(spec, *read_objective(name)) for name in read_costs(names)}


def _measure(spec: MuMoESpec, sign: int, kind: str, size: int) -> float:
    return sign * float(OBJECTIVES[kind](spec, size))
