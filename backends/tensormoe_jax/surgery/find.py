"""Finding the modules of an nnx model that are to be replaced."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from flax import nnx
from flax.nnx import filterlib

from tensormoe.layers import places

# A predicate takes a full name and a module; Flax's filters take a path and a module.
Where: TypeAlias = str | type[nnx.Module] | Callable[[str, nnx.Module], bool] | Callable[[Any, Any], bool]
Place: TypeAlias = places.Place[nnx.Module]
# Full name, parent, attribute and module.
Link: TypeAlias = tuple[str, nnx.Module, str, nnx.Module]


def walk(module: nnx.Module, prefix: str = "", above: tuple[int, ...] = ()) -> Iterator[Link]:
    """Every module below one; shared ones once for each name."""
    above = (*above, id(module))
    for key, child in vars(module).items():
        # A module may know the one that it is in.
        if isinstance(child, nnx.Module) and id(child) not in above:
            attribute = str(key)
            yield prefix + attribute, module, attribute, child
            yield from walk(child, f"{prefix}{attribute}.", above)


def modules_in(module: nnx.Module) -> Iterable[nnx.Module]:
    """A module and all inside it, each of them once."""
    return {id(each): each for each in (module, *(link[3] for link in walk(module)))}.values()


def find(model: nnx.Module, links: list[Link], where: Where) -> list[Place]:
    """The modules that fit, in the model's order, each of them once.

    Raises:
        TensorMoEError: nothing fits, a module that fits is inside another, or others share its parameters.
    """
    named = [(name, module) for name, _, _, module in links]
    tree: places.Tree[nnx.Module] = places.Tree(model, nnx.Module, named, modules_in, _parameters)
    chosen = tree.find(_read_filter(where))
    tree.check_ties(chosen)
    return chosen


def _parameters(module: nnx.Module) -> Iterable[object]:
    return [value for value in vars(module).values() if isinstance(value, nnx.Param)]


def _read_filter(where: Any) -> Any:
    """One of Flax's filters as a predicate of full name and module; anything else as it is."""
    if type(where).__module__ != filterlib.__name__:
        return where
    return lambda name, module: bool(where(_path(name), module))


def _path(name: str) -> tuple[str | int, ...]:
    return tuple(int(part) if part.isdigit() else part for part in name.split("."))
