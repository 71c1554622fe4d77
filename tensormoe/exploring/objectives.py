"""What is made small: costs of a specification, by name. Tasks add an error or a loss."""

from collections.abc import Callable, Sequence
from math import ceil, prod
from typing import Final

from ..errors import TensorMoEError, one_of
from ..layers.layer_spec import MuMoESpec
from .clock import measure_seconds

Objective = Callable[[MuMoESpec, int], float]

# The batch size at which an objective is measured that names none.
BATCH_SIZE: Final = 1024


def _parameters(spec: MuMoESpec, batch_size: int) -> float:
    return spec.num_parameters


def _macs(spec: MuMoESpec, batch_size: int) -> float:
    """Multiply-accumulates a token of a batch, router included; as `spec.macs` for large ones."""
    router = sum(map(prod, spec.gate_shapes.values()))
    return ceil(spec.plan(batch_size).macs / batch_size) + router


def _memory(spec: MuMoESpec, batch_size: int) -> float:
    """The most elements that the plan's results hold at one time."""
    return spec.plan(batch_size).peak


OBJECTIVES: Final[dict[str, Objective]] = {
    "parameters": _parameters,
    "macs": _macs,
    "memory": _memory,
    "seconds": measure_seconds,
}


def read_objective(name: object) -> tuple[str, int]:
    """The objective and the batch size of a name such as "macs" or "macs@1".

    Raises:
        TensorMoEError: an unknown objective, or a batch size that is not a positive integer.
    """
    if not isinstance(name, str):
        raise TensorMoEError("objective", name, 'pass a name such as "parameters" or "macs@1"')
    kind, at, size = name.partition("@")
    one_of("objective", kind, tuple(OBJECTIVES))
    if at and not (size.isdecimal() and 0 < int(size) < 2**31):
        raise TensorMoEError("objective", name, 'a batch size follows the @, as in "macs@1"')
    return kind, int(size) if at else BATCH_SIZE


def measure(spec: MuMoESpec, names: Sequence[str]) -> dict[str, float]:
    """The costs of a specification by name.

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5), bias=False, gate=None)
        >>> tm.explore.measure(spec, ("parameters", "macs@10"))
        {'parameters': 90, 'macs@10': 90}
    """
    kinds = {name: read_objective(name) for name in names}
    return {name: OBJECTIVES[kind](spec, size) for name, (kind, size) in kinds.items()}
