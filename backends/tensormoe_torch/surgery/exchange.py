"""Modules change hands, after all that can fail."""

from collections.abc import Callable

from torch import nn

from .design import Design
from .find import Place, Where, check_ties, find
from .recipe import Build, Recipe
from .report import Replacement, Swap, describe
from .start import start


def design(model: nn.Module, where: Where, recipe: Recipe) -> list[Design]:
    """What takes the place of each module that fits.

    Raises:
        TensorMoEError: as `replace`.
    """
    recipe.check()
    places = find(model, where)
    check_ties(model, places)
    return _design(model, places, recipe)


def exchange(
    model: nn.Module, designs: list[Design], init: str, note: Callable[[], None]
) -> Replacement[nn.Module]:
    """Build all new modules, then put them in.

    Args:
        model: it is changed in place.
        designs: what takes the place of which module.
        init: the values to start with; see `replace`.
        note: what to do afterwards, and after `undo()`.
    """
    modules = [each.build() for each in designs]
    both = list(zip(designs, modules, strict=True))
    for each, module in both:
        start(module, each, init)
    rows = tuple(map(describe, designs, modules))
    swaps = _swap(model, designs, modules)
    pairs = tuple((each.place.name, each.place.module, module) for each, module in both)
    note()
    return Replacement(rows, pairs, swaps, note)


def put_in(model: nn.Module, where: Where, build: Build) -> list[nn.Module]:
    """Replace modules of a model whose configuration says so already; the new ones, as they were built."""
    designs = _design(model, find(model, where), Recipe(build=build))
    modules = [each.build() for each in designs]
    _swap(model, designs, modules)
    return modules


def _design(model: nn.Module, places: list[Place], recipe: Recipe) -> list[Design]:
    return [recipe.design(place, _parent(model, place.name)) for place in places]


def _swap(model: nn.Module, designs: list[Design], modules: list[nn.Module]) -> list[Swap]:
    """Put all new modules in."""
    swaps = [swap for pair in zip(designs, modules, strict=True) for swap in _swaps(model, *pair)]
    for swap in swaps:
        swap.do()
    return swaps


def _swaps(model: nn.Module, design: Design, module: nn.Module) -> list[Swap]:
    """What changes hands: at every name of a module, and once where parents are shared."""
    swaps: dict[tuple[int, str], Swap] = {}
    for name in design.place.names:
        parent, attribute = _parent(model, name), name.rpartition(".")[2]
        swaps[id(parent), attribute] = Swap(parent, attribute, design.place.module, module)
        if design.outside is not None:
            path, _, last = design.outside.rpartition(".")
            owner = parent.get_submodule(path)
            swaps[id(owner), last] = Swap(owner, last, owner.get_submodule(last), nn.Identity())
    return list(swaps.values())


def _parent(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])
