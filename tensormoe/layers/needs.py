"""The memory that specifications need, so that what cannot be run is refused before it is begun."""

from math import prod

from ..arrays.backend import Backend
from ..memory import check_memory, host_memory
from ..typing import Array
from .spec import Spec
from .stage import Stage

# Values are drawn in float64.
_DRAWN = 8


def check_parameters(spec: Spec, width: int, present: int | None) -> None:
    """Raise an error if a layer's parameters and statistics exceed a memory.

    Args:
        spec: a layer or a block.
        width: the bytes of an element.
        present: the bytes of the memory; None for any number.

    Examples:
        >>> import tensormoe as tm
        >>> from tensormoe.layers.needs import check_parameters
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5))
        >>> check_parameters(spec, width=4, present=2**30)
    """
    check_memory("spec", spec, "its parameters", count_elements(spec) * width, present)


def check_drawing(spec: Spec, width: int) -> None:
    """The same on the host, where values are drawn as float64 before they are rounded."""
    check_memory("spec", spec, "its initial values", count_elements(spec) * (_DRAWN + width), host_memory())


def check_weight(stage: Stage, ops: Backend, core: Array) -> None:
    """Raise an error if the weight tensor exceeds the memory of the device that holds a core."""
    needed = stage.materialization_plan.peak * getattr(core.dtype, "itemsize", 1)
    check_memory("spec", stage, "its weight tensor and what leads to it", needed, ops.memory_of(core))


def check_call(spec: Spec, batch_size: int, width: int, steps: bool = True) -> None:
    """Raise an error if a call on the host, with or without the results of its steps, exceeds its memory."""
    peak = max(stage.plan(batch_size).peak for stage in spec.layers.values()) if steps else 0
    inputs = batch_size * (spec.in_features + sum(spec.experts))
    needed = (count_elements(spec) + inputs + peak) * width
    check_memory("spec", spec, f"{batch_size:,} input vectors and its parameters", needed, host_memory())


def count_elements(spec: Spec) -> int:
    """The elements of a layer's parameters, fixed cores and statistics."""
    return spec.num_parameters + sum(prod(shape) for shape in spec.state_shapes.values())
