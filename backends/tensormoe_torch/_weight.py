"""A stand-in for nn.Linear's weight."""

import torch

from tensormoe.errors import TensorMoEError


class FactorizedWeight:
    """The weight of a layer that holds it as factors: its type and device can be asked for, its values not.

    Code that reads `linear.weight.dtype` finds it. Code that would compute with the weight, past the
    layer's own forward, as `nn.TransformerEncoderLayer` does in evaluation, finds a tensor-like of another
    kind and calls the layer instead; otherwise it gets an error that says so.
    """

    def __init__(self, like: torch.Tensor, shape: tuple[int, ...]) -> None:
        self.dtype, self.device, self.requires_grad = like.dtype, like.device, like.requires_grad
        self.shape = torch.Size(shape)

    @classmethod
    def __torch_function__(
        cls, function: object, types: object, args: object = (), kwargs: object = None
    ) -> object:
        remedy = "the weight exists as factors only: call the layer, or layer.materialize() for its values"
        raise TensorMoEError("weight", getattr(function, "__name__", function), remedy)

    def __repr__(self) -> str:
        return f"FactorizedWeight({tuple(self.shape)}, dtype={self.dtype}, device={str(self.device)!r})"
