"""The Adaptive Clustering router in models whose blocks are called with x alone."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import nn

from tensormoe.errors import TensorMoEError

from ._base import Module
from ._channel import Channel

Model = TypeVar("Model", bound=nn.Module)

_LOCK = threading.Lock()


class _Hook:
    """Opens or closes the passes of a channel. A copy does nothing."""

    def __init__(self, channel: Channel | None, opens: bool) -> None:
        self.channel, self.opens = channel, opens

    def __call__(self, *call: object) -> None:
        if self.channel is not None and self.opens:
            self.channel.open()
        elif self.channel is not None:
            self.channel.close()

    def __reduce__(self) -> tuple[type["_Hook"], tuple[None, bool]]:
        return _Hook, (None, self.opens)


@contextmanager
def routed(model: Model) -> Iterator[Model]:
    """Give every μMoE module whose router uses them the coefficients of the one that ran before it.

    Use it for `tm.AdaptiveClustering` in a model whose blocks are called with x alone, such as one of
    Hugging Face's transformers. In each call of the model, the first μMoE module has no layer before, as the
    first of a stack. A `previous=` that is passed at a call is used instead.

    Activation checkpointing runs a block again in the backward pass: it gets the coefficients that it had,
    and its statistics move once. `DistributedDataParallel`, `torch.compile`, generation with a cache and
    evaluation work as without a checkpoint. Each thread has its own pass. Contexts of several models, and of
    parts of one, may be nested; the innermost that holds a module serves it. When the context ends nothing
    stays on the model; copies and pickles made in it are not routed.

    Args:
        model: the module of which each call is one forward pass; inside of the context call it, not its
            parts. For an encoder and a decoder with tokens of their own, route each.

    Raises:
        TensorMoEError: no μMoE module's router uses coefficients; at a call: it is outside of a call of the
            model, or the layer before had other tokens or counts of experts.

    Examples:
        >>> import tensormoe as tm, torch
        >>> from tensormoe_torch import MuMoE, routed
        >>> gate = tm.Gate(router=tm.AdaptiveClustering())
        >>> model = torch.nn.Sequential(*(MuMoE(8, 8, 4, tm.CP(5), gate=gate) for _ in range(3)))
        >>> with routed(model):
        ...     y = model(torch.ones(2, 8))
        >>> [bool(layer.get_buffer("router_mass.0").any()) for layer in model]
        [False, True, True]
    """
    channel = _attach(model)
    try:
        yield model
    finally:
        _detach(channel)


def _attach(model: nn.Module) -> Channel:
    """The channel of a model, which contexts of other threads may use already."""
    if not isinstance(model, nn.Module):
        raise TensorMoEError("model", type(model), "pass a torch.nn.Module")
    layers = _layers(model)
    if not any(layer.gate.uses_previous for layer in layers):
        remedy = "none of its layers has a router for it: pass gate=tm.Gate(router=tm.AdaptiveClustering())"
        raise TensorMoEError("model", type(model), remedy)
    with _LOCK:
        attached = [channel for layer in layers for channel in layer.channels if channel.model is model]
        channel = attached[0] if attached else Channel(model)
        channel.users += 1
        if not attached:
            channel.handles = [
                model.register_forward_pre_hook(_Hook(channel, opens=True), prepend=True),
                model.register_forward_hook(_Hook(channel, opens=False), always_call=True),
            ]
            for layer in layers:
                layer.channels = (*layer.channels, channel)
    return channel


def _detach(channel: Channel) -> None:
    with _LOCK:
        channel.users -= 1
        if channel.users == 0:
            for handle in channel.handles:
                handle.remove()
            for layer in _layers(channel.model):
                layer.channels = tuple(each for each in layer.channels if each is not channel)


def _layers(model: nn.Module) -> list[Module]:
    # A layer without experts has no coefficients to hand on.
    return [module for module in model.modules() if isinstance(module, Module) and module.experts]
