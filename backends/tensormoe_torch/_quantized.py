"""Tensors that torchao has quantized. A layer keeps them, and computes with the values they stand for."""

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import nn

from tensormoe.errors import TensorMoEError

AnyModule = TypeVar("AnyModule", bound=nn.Module)

_WEIGHTS_ONLY = "quantize weights only, as by torchao's Int8WeightOnlyConfig()"


def is_quantized(tensor: object) -> bool:
    """Whether a tensor is of one of torchao's classes, which know few operations."""
    return any(kind.__module__.partition(".")[0] == "torchao" for kind in type(tensor).__mro__)


def check_quantized(name: str, tensor: torch.Tensor) -> None:
    """Refuse a quantized tensor unless it stands for values of its own, whatever it is multiplied with.

    Raises:
        TensorMoEError: names the tensor.
    """
    # Some scale what they are multiplied with: their own values alone would be wrong.
    scaled = sorted(key for key, value in vars(tensor).items() if key.startswith("act") and value is not None)
    if scaled:
        remedy = (
            f"products with cores do not quantize the other factor ({', '.join(scaled)}): {_WEIGHTS_ONLY}"
        )
        raise TensorMoEError(name, type(tensor), remedy)
    try:
        tensor.dequantize()
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise TensorMoEError(
            name, type(tensor), f"its values cannot be read ({reason}): {_WEIGHTS_ONLY}"
        ) from error


def dequantize(_: nn.Module, inputs: object, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What a group of tensors is called for: the values of those that are quantized. A forward hook."""
    return {name: each.dequantize() if is_quantized(each) else each for name, each in tensors.items()}


def writable(module: AnyModule) -> AnyModule:
    """The module, if values can be written to all of its parameters.

    Raises:
        TensorMoEError: names a parameter that is quantized.
    """
    for name, parameter in module.named_parameters():
        if is_quantized(parameter):
            remedy = "it is quantized and takes no new values: build a layer from layer.spec"
            raise TensorMoEError(name, type(parameter), remedy)
    return module
