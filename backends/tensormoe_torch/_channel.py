"""What hands coefficients from one layer to the next, through modules that know nothing of it."""

import threading
from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from tensormoe.errors import TensorMoEError
from tensormoe.layers.spec import Spec

from ._private import is_in_backward
from ._recomputation import REMEMBERED


class Channel:
    """The coefficients of the last layer that ran in a model's forward pass, for each thread.

    Args:
        model: each of its calls is one forward pass.

    A pass is open while the model is called. Outside of one there is no layer before, and asking for its
    coefficients is an error, so that none of an earlier pass is ever used.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.users = 0
        self.handles: list[RemovableHandle] = []
        self._passes = threading.local()

    def open(self) -> None:
        """Begin a pass, in which no layer has run yet."""
        self._passes.last = ()

    def close(self) -> None:
        """End a pass, and forget its coefficients."""
        self._passes.last = None

    def send(self, coefficients: Sequence[torch.Tensor]) -> None:
        """Keep a layer's coefficients for the layer that runs next."""
        if getattr(self._passes, "last", None) is not None:
            self._passes.last = tuple(coefficients)

    def receive(self, spec: Spec, x: torch.Tensor) -> Sequence[torch.Tensor] | None:
        """The coefficients of the layer before; None if there is none, or if the router does not use them.

        Args:
            spec: of the layer that asks.
            x: its input.

        Raises:
            TensorMoEError: no pass is open, or the layer before had other tokens or counts of experts.
        """
        wanted = spec.previous_experts
        if wanted is None:
            return None
        last: tuple[torch.Tensor, ...] | None = getattr(self._passes, "last", None)
        if last is None:
            return self._refuse_or_remember(spec)
        if not last:
            return None
        shapes = [tuple(each.shape) for each in last]
        if not _fit(shapes, [None if n is None else (*x.shape[:-1], n) for n in wanted]):
            remedy = (
                f"the router needs {wanted} experts there, tokens {tuple(x.shape[:-1])}: pass clusters= to "
                "tm.AdaptiveClustering; where tokens are others, as between encoder and decoder, route each "
                "part by itself: with routed(model.encoder), routed(model.decoder)"
            )
            raise TensorMoEError("coefficients of the layer before", shapes, remedy)
        return tuple(each if each.device == x.device else each.to(x.device) for each in last)

    def _refuse_or_remember(self, spec: Spec) -> Sequence[torch.Tensor]:
        # Activation checkpointing runs the layer again after the pass. Its gate knows what it had then.
        if is_in_backward():
            return REMEMBERED
        name = type(self.model).__name__
        remedy = f"call the {name} that is routed, whose call is one forward pass, or route the part you call"
        raise TensorMoEError("routed", f"a call of a layer outside a call of {name}", remedy)


def _fit(shapes: Sequence[tuple[int, ...]], wanted: Sequence[tuple[int, ...] | None]) -> bool:
    """Whether shapes are those that are wanted, where any are."""
    pairs = zip(shapes, wanted, strict=False)
    return len(shapes) == len(wanted) and all(need is None or shape == need for shape, need in pairs)
