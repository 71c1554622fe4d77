"""Watching the layers of a model: hooks on gates, evaluation mode, batches on the model's device."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from tensormoe.errors import TensorMoEError
from tensormoe.layers.observation import Change, Receive
from tensormoe.layers.spec import Spec

from ._base import Module
from ._private import is_in_backward


class Report:
    """A hook that hands on what a gate returns. A copy of it does nothing."""

    def __init__(self, name: str, receive: Receive | None) -> None:
        self.name, self.receive = name, receive

    def __call__(self, gate: nn.Module, inputs: object, coefficients: Sequence[torch.Tensor]) -> None:
        # Activation checkpointing runs a gate again in the backward pass.
        if self.receive is not None and not is_in_backward():
            self.receive(self.name, [each.detach() for each in coefficients], False)

    def __reduce__(self) -> tuple[type["Report"], tuple[str, None]]:
        return Report, (self.name, None)


class Intervention:
    """Hooks of a layer: what its gate returns is kept until its output is, and may be another."""

    def __init__(self, name: str, change: Change) -> None:
        self.name, self.change = name, change
        self.coefficients: Sequence[torch.Tensor] = ()

    def keep(self, gate: nn.Module, inputs: object, coefficients: Sequence[torch.Tensor]) -> None:
        self.coefficients = coefficients

    def __call__(
        self, layer: nn.Module, given: tuple[Any, ...], named: Mapping[str, Any], result: Any
    ) -> Any:
        x = given[0] if given else named["x"]
        y, *rest = result if isinstance(result, tuple) else (result,)
        other = self.change(self.name, layer, x, self.coefficients, y)
        if other is y:
            return result
        other = other.to(y)
        return (other, *rest) if isinstance(result, tuple) else other


class Observer:
    """PyTorch's `tensormoe.layers.observation.Observer`."""

    def find(self, model: object) -> dict[str, Spec]:
        if not isinstance(model, nn.Module):
            raise TensorMoEError("model", type(model), "pass a torch.nn.Module or a flax.nnx.Module")
        return {name: layer.spec for name, layer in _layers(model)}

    @contextmanager
    def attach(self, model: nn.Module, receive: Receive) -> Iterator[None]:
        with ExitStack() as stack:
            for name, layer in _layers(model):
                handle = layer.gate.register_forward_hook(Report(name, receive))
                stack.callback(handle.remove)
            _run_eagerly(stack)
            yield

    @contextmanager
    def intervene(self, model: nn.Module, change: Change) -> Iterator[None]:
        with ExitStack() as stack:
            for name, layer in _layers(model):
                hook = Intervention(name, change)
                stack.callback(layer.gate.register_forward_hook(hook.keep).remove)
                stack.callback(layer.register_forward_hook(hook, with_kwargs=True).remove)
            _run_eagerly(stack)
            yield

    @contextmanager
    def evaluate(self, model: nn.Module) -> Iterator[None]:
        modes = [(module, module.training) for module in model.modules()]
        try:
            model.eval()
            with torch.no_grad():
                yield
        finally:
            for module, training in modes:
                module.training = training

    def place(self, model: nn.Module, batch: Any) -> Any:
        device = next((each.device for each in model.parameters()), None)
        # What is offloaded lies nowhere until it is needed.
        if device is None or device.type == "meta":
            return batch
        try:
            return _move(batch, device)
        except RecursionError as error:
            raise TensorMoEError("data", type(batch), "pass batches that are not nested so deeply") from error

    def wait(self) -> None:
        """Hooks have run when a call returns."""


def _run_eagerly(stack: ExitStack) -> None:
    """What was compiled before ignores new hooks."""
    # Only who has compiled has imported this.
    if "torch._dynamo" in sys.modules:
        stack.enter_context(torch.compiler.set_stance("force_eager"))


def _layers(model: nn.Module) -> list[tuple[str, Module]]:
    """The layers that mix experts, by name."""
    named = [(name, module) for name, module in model.named_modules() if isinstance(module, Module)]
    return [(name, module) for name, module in named if module.experts]


def _move(batch: Any, device: torch.device) -> Any:
    # Tensors, and what transformers' tokenizers return.
    if callable(getattr(batch, "to", None)):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {name: _move(value, device) for name, value in batch.items()}
    if type(batch) in (list, tuple):
        return type(batch)(_move(value, device) for value in batch)
    return batch


observer = Observer()
