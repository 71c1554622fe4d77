"""How much memory a verification needs, said before it is asked of the machine."""

import os
from math import ceil, prod

from ..errors import TensorMoEError
from ..layers.spec import Spec

# Copies of each parameter in float64: values, gradients, steps, and a framework's own of each.
_COPIES = 12
_GIB = 2**30


def estimate_bytes(spec: Spec, batch_size: int) -> int:
    """The memory that the float and frameworks methods need, without the frameworks themselves."""
    elements = _COPIES * spec.num_parameters
    for stage in spec.layers.values():
        vectors = stage.in_features + stage.out_features + sum(stage.experts)
        elements += _COPIES * batch_size * vectors + 2 * stage.plan(batch_size).peak
    return 8 * (elements + sum(prod(shape) for shape in spec.state_shapes.values()))


def check_memory(spec: Spec, batch_size: int) -> None:
    """Raise an error if a verification needs more memory than the machine has."""
    needed, present = estimate_bytes(spec, batch_size), _memory()
    if needed > present:
        raise TensorMoEError(
            "spec",
            f"{spec.num_parameters:,} parameters and batch_size={batch_size:,}",
            f"verification needs about {ceil(needed / _GIB):,} GiB, and this machine has "
            f"{ceil(present / _GIB):,}: verify the same factorization at smaller sizes, or with "
            'methods="proof"',
        )


def _memory() -> int:
    """The machine's memory in bytes; 16 GiB where it does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 16 * _GIB
