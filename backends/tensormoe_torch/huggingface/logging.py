"""The use of experts in the logs of transformers' Trainer."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch

from tensormoe.errors import TensorMoEError
from tensormoe.layers.spec import Spec

from .._base import Module
from .._observer import Report
from .library import trainer_callback

# Of a layer's specification and its coefficients.
_Measure: TypeAlias = Callable[[Spec, Sequence[torch.Tensor]], Mapping[str, float]]


def log_experts(trainer: Any, measure: _Measure) -> None:
    """Let a Trainer log the use of experts in all μMoE layers of its model, beside the loss.

    Call it before `trainer.train()`. Each entry that has a loss gets the numbers of the last training batch
    of this process, under names such as "h.0.mlp/level1/load_entropy". They are in what every callback gets,
    as those for TensorBoard and W&B, and in `trainer.state.log_history`.

    A callback in `callbacks=` comes after those, which have written an entry by then. This one is put before
    them. It hooks the gates when training begins, and takes its hooks away when it ends.

    Args:
        trainer: a `transformers.Trainer`.
        measure: a function of a layer's specification and coefficients that returns numbers by name, such as
            `tm.analysis.summary`.

    Raises:
        TensorMoEError: something else than these, a model without μMoE layers, or transformers is not
            installed.

    Examples:
        >>> import tensormoe as tm
        >>> from importlib.util import find_spec
        >>> from tensormoe_torch import huggingface
        >>> if find_spec("transformers"):
        ...     try:
        ...         huggingface.log_experts("trainer", tm.analysis.summary)
        ...     except Exception as error:
        ...         assert "pass a transformers.Trainer" in str(error)
    """
    base = trainer_callback()
    handler, model = getattr(trainer, "callback_handler", None), getattr(trainer, "model", None)
    if handler is None or not isinstance(model, torch.nn.Module):
        raise TensorMoEError("trainer", type(trainer), "pass a transformers.Trainer")
    if not any(isinstance(module, Module) for module in model.modules()):
        raise TensorMoEError("trainer", type(trainer), "its model has no μMoE layer")
    if not callable(measure):
        raise TensorMoEError("measure", measure, "pass a function, such as tm.analysis.summary")
    watch = _Watch(measure)

    class LogExperts(base):  # type: ignore[misc, valid-type]
        """Adds to an entry before other callbacks write it."""

        def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            watch.begin(model)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if "loss" in logs:
                scalars = watch.summarize()
                logs.update(scalars)
                # The history has a copy.
                state.log_history[-1].update(scalars)

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            watch.end()

    handler.callbacks.insert(0, LogExperts())


class _Watch:
    """The coefficients of the last training batch."""

    def __init__(self, measure: _Measure) -> None:
        self._measure = measure
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        self._layers: dict[str, Module] = {}
        self._seen: dict[str, tuple[Spec, Sequence[torch.Tensor]]] = {}

    def begin(self, model: torch.nn.Module) -> None:
        # A training that was interrupted has not ended.
        self.end()
        layers = {name: each for name, each in model.named_modules() if isinstance(each, Module)}
        self._layers = {name: layer for name, layer in layers.items() if layer.experts}
        self._handles = [
            layer.gate.register_forward_hook(Report(name, self._receive))
            for name, layer in self._layers.items()
        ]

    def summarize(self) -> dict[str, float]:
        """A few numbers for each layer that ran."""
        return {
            f"{name}/{key}": value
            for name, (spec, coefficients) in self._seen.items()
            for key, value in self._measure(spec, coefficients).items()
        }

    def end(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles, self._layers, self._seen = [], {}, {}

    def _receive(self, name: str, coefficients: Sequence[torch.Tensor], later: bool) -> None:
        layer = self._layers[name]
        if layer.training:
            self._seen[name] = layer.spec, coefficients
