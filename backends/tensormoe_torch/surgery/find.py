"""Finding the modules of a model that are to be replaced."""

from collections.abc import Callable
from typing import TypeAlias

from torch import nn

from tensormoe.layers import places

Where: TypeAlias = str | type[nn.Module] | Callable[[str, nn.Module], bool]
Place: TypeAlias = places.Place[nn.Module]


def find(model: nn.Module, where: Where) -> list[Place]:
    """The modules that fit, in the model's order, each of them once.

    Args:
        model: where to look; it is not among the results itself.
        where: a name, a pattern, a type, or a predicate; see `replace`.

    Raises:
        TensorMoEError: nothing fits, or a module that fits is inside another.
    """
    return _read(model).find(where)


def check_ties(model: nn.Module, chosen: list[Place]) -> None:
    """Refuse to take away one of several owners of a parameter, which would untie the others silently.

    Raises:
        TensorMoEError: names a module, and who shares a parameter of it.
    """
    _read(model).check_ties(chosen)


def _read(model: nn.Module) -> places.Tree[nn.Module]:
    named = [(name, module) for name, module in model.named_modules(remove_duplicate=False) if name]
    return places.Tree(
        model, nn.Module, named, nn.Module.modules, lambda module: module.parameters(recurse=False)
    )
