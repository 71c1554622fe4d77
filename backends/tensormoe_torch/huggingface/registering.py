"""What transformers is taught: to put layers in before weights are loaded, and to initialize them."""

from functools import wraps
from typing import Any

from torch import nn

from tensormoe.layers.spec import Spec

from .._base import Module
from .._containers import TensorGroup
from .._values import reset
from ..surgery.exchange import put_in
from ..surgery.patterns import get_child
from .library import pretrained_model
from .recording import ENTRY, mark, read


def register() -> None:
    """Let transformers rebuild the layers that `config.tensormoe` names, from now on in this process.

    Call it before `from_pretrained` or `from_config`. `tensormoe_torch.replace` calls it where it changes a
    model of transformers. Models whose configuration lacks the entry are built as before.

    It adds to two methods of `transformers.PreTrainedModel` that every architecture runs through:
    `post_init` puts the layers in, and the initialization of what a checkpoint lacks gives them initial
    values instead of leaving memory as it was.

    Raises:
        TensorMoEError: transformers is not installed.

    Examples:
        >>> from importlib.util import find_spec
        >>> from tensormoe_torch import huggingface
        >>> if find_spec("transformers"):
        ...     huggingface.register()
    """
    base = pretrained_model()
    post_init, initialize = base.post_init, base._initialize_weights
    if hasattr(post_init, "_before_tensormoe"):
        return

    @wraps(post_init)
    def rebuild_and_post_init(self: Any) -> None:
        rebuild(self)
        post_init(self)

    @wraps(initialize)
    def initialize_groups_too(self: Any, module: nn.Module, *args: Any, **options: Any) -> None:
        if isinstance(module, TensorGroup) and not _is_initialized(module):
            tensors = module().items()
            reset({name: each for name, each in tensors if not _is_initialized(each)}, module.spec, None)
        initialize(self, module, *args, **options)

    rebuild_and_post_init._before_tensormoe = post_init  # type: ignore[attr-defined]
    base.post_init, base._initialize_weights = rebuild_and_post_init, initialize_groups_too


def rebuild(model: Any) -> None:
    """Put in the layers that a model's configuration names, where they are not there yet.

    A name may belong to a model around this one, or to one with another head: it is skipped if there is no
    such module here.
    """
    entry = getattr(model.config, ENTRY, None)
    if entry is None:
        return
    numbers, specs = read(entry)
    missing: dict[int, int] = {}
    for name, number in numbers.items():
        module = get_child(model, name)
        if module is None:
            module = get_child(model, name.removeprefix(f"{model.base_model_prefix}."))
        if module is not None and not isinstance(module, Module):
            missing[id(module)] = number
    if missing:
        built = {number: Spec.from_dict(specs[number]) for number in {*missing.values()}}
        for module in put_in(model, lambda _, old: id(old) in missing, lambda old: built[missing[id(old)]]):
            mark(module)


def _is_initialized(value: object) -> bool:
    """Whether transformers has loaded or drawn it."""
    return bool(getattr(value, "_is_hf_initialized", False))
