"""Linear maps, whatever class computes them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from tensormoe.errors import TensorMoEError
from tensormoe.typing import NumPyArray

from .._values import has_values


@dataclass(frozen=True)
class Linear:
    """A module that computes one, and its sizes."""

    module: nn.Module
    in_features: int
    out_features: int

    @property
    def matrix(self) -> torch.Tensor:
        """The weight (I, O)."""
        weight = self.module.get_parameter("weight")
        return weight.T if isinstance(self.module, nn.Linear) else weight

    @property
    def vector(self) -> torch.Tensor | None:
        """The bias (O,), if there is one."""
        return dict(self.module.named_parameters()).get("bias")


def read_weights(
    name: str, linears: Sequence[Linear], argument: str, value: object
) -> tuple[list[NumPyArray], list[NumPyArray | None]]:
    """The weights and biases of linear maps, in float64 where they are, otherwise in float32.

    Raises:
        TensorMoEError: names the module, and the argument that needs values where there are none.
    """
    if not all(has_values(each.matrix) for each in linears):
        remedy = f"{name} has no values yet, on the meta device: load them first"
        raise TensorMoEError(argument, value, remedy)
    biases = [None if each.vector is None else _to_numpy(each.vector) for each in linears]
    return [_to_numpy(each.matrix) for each in linears], biases


def _to_numpy(tensor: torch.Tensor) -> NumPyArray:
    kind = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    return tensor.detach().to("cpu", kind).numpy()


def read_linear(module: object) -> Linear | None:
    """A module as a linear map; None if it is not one.

    It may be an `nn.Linear`, or what computes as one, or transformers' `Conv1D`, whose weight is transposed.
    Subclasses with a `forward` of their own, such as quantized or adapted ones, are something else.
    """
    if isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward:
        return Linear(module, module.in_features, module.out_features)
    if isinstance(module, nn.Module) and type(module).__name__ == "Conv1D" and hasattr(module, "nf"):
        return Linear(module, *module.get_parameter("weight").shape)
    return None
