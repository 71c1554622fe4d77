"""How much memory a verification needs, said before it is asked of the machine."""

from ..layers.needs import count_elements
from ..layers.spec import Spec
from ..memory import check_memory, host_memory

# Copies of each array in float64: values, gradients, steps, and a framework's own of each.
_COPIES = 12


def estimate_bytes(spec: Spec, batch_size: int) -> int:
    """The memory that the float and frameworks methods need, without the frameworks themselves."""
    elements = _COPIES * count_elements(spec)
    for stage in spec.layers.values():
        vectors = stage.in_features + stage.out_features + sum(stage.experts)
        elements += _COPIES * batch_size * vectors + 2 * stage.plan(batch_size).peak
    return 8 * elements


def check_size(spec: Spec, batch_size: int) -> None:
    """Raise an error if a verification needs more memory than the machine has."""
    what = f"its parameters and {batch_size:,} input vectors, with the copies that verification makes,"
    check_memory("spec", spec, what, estimate_bytes(spec, batch_size), host_memory())
