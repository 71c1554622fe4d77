"""Finding the modules of a model that are to be replaced."""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from tensormoe.errors import TensorMoEError

Where = str | type[nn.Module] | Callable[[str, nn.Module], bool]


@dataclass(frozen=True)
class Place:
    """A module and where it hangs; a shared one has several names."""

    names: tuple[str, ...]
    module: nn.Module

    @property
    def name(self) -> str:
        """The first name."""
        return self.names[0]


def find(model: nn.Module, where: Where) -> list[Place]:
    """The modules that fit, in the model's order, each of them once.

    Args:
        model: where to look; it is not among the results itself.
        where: a name, a pattern, a type, or a predicate; see `replace`.

    Raises:
        TensorMoEError: nothing fits, or a module that fits is inside another.
    """
    fits = _predicate(where)
    named: dict[int, list[str]] = {}
    modules: dict[int, nn.Module] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if name:
            named.setdefault(id(module), []).append(name)
            modules[id(module)] = module
    places = [
        Place(tuple(names), modules[key])
        for key, names in named.items()
        if any(fits(name, modules[key]) for name in names)
    ]
    if not places:
        raise TensorMoEError("where", where, f"no module fits; modules are called {_names(named)}")
    _check_apart(places)
    return places


def _predicate(where: Where) -> Callable[[str, nn.Module], bool]:
    if isinstance(where, str):
        if "." in where or any(sign in where for sign in "*?["):
            return lambda name, module: fnmatchcase(name, where)
        return lambda name, module: name.rpartition(".")[2] == where
    if isinstance(where, type) and issubclass(where, nn.Module):
        return lambda name, module: isinstance(module, where)
    if callable(where) and not isinstance(where, type):
        return where
    remedy = 'pass a name such as "mlp", a pattern, a type of module, or a function of name and module'
    raise TensorMoEError("where", where, remedy)


def _names(named: dict[int, list[str]]) -> str:
    """The last parts of names, without the numbers of lists."""
    last = dict.fromkeys(name.rpartition(".")[2] for names in named.values() for name in names)
    words = [name for name in last if not name.isdigit()] or list(last)
    return ", ".join(words[:30]) or "nothing: the model has none"


def _check_apart(places: list[Place]) -> None:
    chosen = {id(place.module): place for place in places}
    for outer in places:
        for module in outer.module.modules():
            place = chosen.get(id(module), outer)
            if place is not outer:
                remedy = f"it is inside {outer.name}, which fits, too: choose one"
                raise TensorMoEError("where", place.name, remedy)


def check_ties(model: nn.Module, places: list[Place]) -> None:
    """Refuse to take away one of several owners of a parameter, which would untie the others silently.

    Raises:
        TensorMoEError: names a module, and who shares a parameter of it.
    """
    owners: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(name)
    for place in places:
        for parameter in place.module.parameters():
            names = owners[id(parameter)]
            if len(names) > 1:
                remedy = f"{' and '.join(names)} share a parameter: untie them first, or leave them out"
                raise TensorMoEError("where", place.name, remedy)
