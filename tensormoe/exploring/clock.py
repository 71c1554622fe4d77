"""How long a layer takes on this machine."""

from collections.abc import Callable

from ..arrays.registry import get_backend
from ..benching.inputs import Sampler, draw_arguments
from ..benching.sides import layer
from ..benching.timing import interleave
from ..layers.layer_spec import MuMoESpec
from ..layers.needs import check_parameters
from ..memory import host_memory


def measure_seconds(spec: MuMoESpec, batch_size: int, seconds: float = 0.1) -> float:
    """The median time of a forward pass in NumPy, gate included.

    Other work on the machine makes it longer: measure one candidate at a time.

    Args:
        spec: the layer.
        batch_size: input vectors of a pass.
        seconds: about how long to measure.

    Raises:
        TensorMoEError: parameters that need more memory than the machine has.
    """
    check_parameters(spec, 4, host_memory())
    ops = get_backend("numpy")
    sampler = Sampler(ops, ops.devices()[-1], 0)
    call: Callable[[], object] = layer(ops, spec, draw_arguments(sampler, spec, batch_size), 0).forward
    return interleave({"layer": call}, seconds=seconds, least=seconds / 50)["layer"].median
