"""The cores of a layer as measures of its weight take them: in float64, with or without the bias."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ..arrays.registry import backend_of, get_backend
from ..errors import TensorMoEError, true_or_false
from ..fitting.target import read_values
from ..layers.checks import NamedArrays, find_stage, name_cores
from ..layers.rows import with_rows, without_bias
from ..memory import check_memory, host_memory
from ..networks.network import Network
from ..programs.contraction import Contraction
from ..programs.plan import plan
from ..typing import Array, NumPyArray

# A layer's cores by name, or in the network's order.
Cores = NamedArrays | Sequence[Array]
_ELEMENT = 8


@dataclass(frozen=True)
class Factors:
    """A network with the values of its cores.

    Args:
        network: without a row for the bias, if that is left out.
        arrays: the cores in its order, float64.
    """

    network: Network
    arrays: tuple[NumPyArray, ...]

    @property
    def experts(self) -> int:
        """The number of experts, ∏ N_e."""
        return prod(self.network.experts)

    def contract(self, contraction: Contraction) -> NumPyArray:
        """The result of a contraction of these cores, which may come several times, with marked names.

        Raises:
            TensorMoEError: it needs more memory than the host has, or exceeds float64.
        """
        planned = plan(contraction, 1)
        needed = _ELEMENT * (planned.peak + planned.steps[-1].size if planned.steps else 0)
        check_memory("layer", str(self.network), "this measure's arrays", needed, host_memory())
        arrays = {core.name: array for core, array in zip(self.network.cores, self.arrays, strict=True)}
        operands = [arrays[operand.name.rstrip("'")] for operand in contraction.arrays]
        with np.errstate(over="ignore", invalid="ignore"):
            result: NumPyArray = get_backend("numpy").compute(planned.program, (), operands)
        if not np.isfinite(result).all():
            raise TensorMoEError(
                "layer", str(self.network), "its cores are too large to multiply: rescale them"
            )
        return result


def read_factors(layer: Any, cores: Cores | None, bias: bool) -> Factors:
    """The cores of a layer of any framework.

    Args:
        layer: a layer's module; or a specification or one of a block's `layers`, together with its cores.
        cores: None for a module's own.
        bias: whether the row of the input mode that holds the biases is kept.

    Raises:
        TensorMoEError: another kind of object, cores of other names or shapes, or values that are not finite.
    """
    true_or_false("bias", bias)
    if cores is None:
        layer, cores = _open(layer)
    stage = find_stage(layer)
    if not stage.experts:
        raise TensorMoEError("layer", stage, "it has no experts: tm.materialize gives its matrix")
    network = stage.network
    named = {name: _read_core(f"cores[{name!r}]", core) for name, core in name_cores(cores, stage).items()}
    for name, shape in network.shapes.items():
        if named[name].shape != shape:
            raise TensorMoEError(f"cores[{name!r}]", named[name].shape, f"pass an array of shape {shape}")
    # Each use of a shared core is a core here: what is selected of one differs from what is of another.
    network, uses = network.unshare(), network.cores
    named = {core.name: named[use.name] for core, use in zip(network.cores, uses, strict=True)}
    network, values = with_rows(network, named) if bias else without_bias(network, named)
    return Factors(network, tuple(values[core.name] for core in network.cores))


def _open(layer: Any) -> tuple[Any, Any]:
    if hasattr(layer, "spec") and hasattr(layer, "cores"):
        return layer.spec, layer.cores
    remedy = "pass a layer's module, or a spec and its cores"
    if hasattr(layer, "spec"):
        remedy = "name one of the block's layers: pass block.spec.layers['second'], block.second"
    raise TensorMoEError("layer", type(layer), remedy)


def _read_core(argument: str, array: Array) -> NumPyArray:
    try:
        array = backend_of(array).as_array(array)
    except TensorMoEError as error:
        raise TensorMoEError(argument, type(array), error.remedy) from error
    return read_values(argument, array)
