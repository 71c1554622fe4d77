"""The configuration entry: which modules of a model are μMoE layers, with their specifications."""

import warnings
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from torch import nn

from tensormoe.codec import FORMAT, Data, check_format
from tensormoe.errors import TensorMoEError, mapping, one_of

from .._base import Module
from .._containers import TensorGroup
from .._values import has_values
from .library import pretrained_model

ENTRY = "tensormoe"


def record(model: nn.Module) -> None:
    """Let the configuration of a model of transformers name its μMoE layers, as `config.tensormoe`.

    `tensormoe_torch.replace` does this itself. Call it after you have put layers in by hand, and before
    `save_pretrained`. Where models are parts of another, each configuration names the layers below it.

    Args:
        model: a `PreTrainedModel`, or a module with such models in it.

    Raises:
        TensorMoEError: transformers is not installed.

    Examples:
        >>> import tensormoe as tm, torch
        >>> from importlib.util import find_spec
        >>> from tensormoe_torch import huggingface
        >>> if find_spec("transformers"):
        ...     from transformers import GPT2Config, GPT2Model
        ...     model = GPT2Model(GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=16))
        ...     model.h[0].mlp = tm.build(tm.MuMoEBlockSpec(8, 32, 8, 4, tm.CP(rank=3)), "torch")
        ...     huggingface.record(model)
        ...     assert list(model.config.tensormoe["modules"]) == ["h.0.mlp"]
    """
    base, written = pretrained_model(), set()
    _own_configurations(model)
    for module in model.modules():
        if isinstance(module, base) and id(module.config) not in written:
            # A model around another often shares its configuration, and knows the names of more layers.
            written.add(id(module.config))
            _write(module)


def read(entry: object) -> tuple[dict[str, int], list[object]]:
    """What a configuration entry has: the number of the specification of each module, and these as data.

    Raises:
        TensorMoEError: an entry that this version does not read.
    """
    argument = f"config.{ENTRY}"
    fields = mapping(argument, check_format(entry))
    specs = fields.get("specs")
    if not isinstance(specs, list):
        raise TensorMoEError(f"{argument}['specs']", specs, "it is a list of specifications")
    modules = mapping(f"{argument}['modules']", fields.get("modules"))
    for name, number in modules.items():
        one_of(f"{argument}['modules'][{name!r}]", number, tuple(range(len(specs))))
    return dict(modules), specs


def mark(module: nn.Module) -> None:
    """Tell transformers that values have been drawn, lest it draw them again; not so on the meta device."""
    for group in module.modules():
        if isinstance(group, TensorGroup) and all(map(has_values, group.values())):
            group._is_hf_initialized = True  # type: ignore[assignment]


def _own_configurations(model: nn.Module) -> None:
    """Let a model's configurations be its own: what is written there must not reach others made from them."""
    copies: dict[int, object] = {}
    for module in model.modules():
        config = getattr(module, "config", None)
        if isinstance(module, pretrained_model()) and not hasattr(config, ENTRY):
            deepcopy(config, copies)
    for module in model.modules():
        config = getattr(module, "config", None)
        if id(config) in copies:
            module.config = copies[id(config)]  # type: ignore[assignment]


def _write(model: Any) -> None:
    named: Mapping[str, nn.Module] = dict(model.named_modules())
    layers = {name: module for name, module in named.items() if isinstance(module, Module)}
    specs: list[dict[str, Data]] = []
    modules: dict[str, int] = {}
    for name, module in layers.items():
        data = _data(name, module)
        if data is not None:
            specs += [] if data in specs else [data]
            modules[name] = specs.index(data)
    if modules:
        setattr(model.config, ENTRY, {"format": FORMAT, "specs": specs, "modules": modules})
    elif hasattr(model.config, ENTRY):
        delattr(model.config, ENTRY)
    for module in layers.values():
        mark(module)


def _data(name: str, module: Module) -> dict[str, Data] | None:
    try:
        return module.spec.to_dict()
    except TensorMoEError as error:
        warnings.warn(f"config.{ENTRY} cannot name {name}: {error}", stacklevel=4)
        return None
