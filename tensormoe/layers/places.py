"""Finding the modules of a model that are to be replaced, in any framework."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Generic, TypeVar

from ..errors import TensorMoEError

M = TypeVar("M")
Answer = TypeVar("Answer")
# No module's name is as long, and to compile a longer pattern takes seconds.
_LONGEST_PATTERN = 1000
# A name, a pattern, a type of module, or a function of full name and module.
Where = str | type[M] | Callable[[str, M], bool]


@dataclass(frozen=True)
class Place(Generic[M]):
    """A module and where it hangs; a shared one has several names."""

    names: tuple[str, ...]
    module: M

    @property
    def name(self) -> str:
        """The first name."""
        return self.names[0]


@dataclass(frozen=True)
class Tree(Generic[M]):
    """What a framework says of a model.

    Args:
        root: the model, which is not among the results itself.
        kind: the class of modules.
        named: every module below the model by its full name, shared ones several times.
        modules: from a module to itself and all inside it.
        parameters: from a module to those that it holds itself.
    """

    root: M
    kind: type[M]
    named: Sequence[tuple[str, M]]
    modules: Callable[[M], Iterable[M]]
    parameters: Callable[[M], Iterable[object]]

    def find(self, where: Where[M]) -> list[Place[M]]:
        """The modules that fit, in the model's order, each of them once.

        Args:
            where: a name, a pattern, a type, or a predicate.

        Raises:
            TensorMoEError: nothing fits, or a module that fits is inside another.
        """
        fits = self._predicate(where)
        every = self._gather()
        places = [each for each in every if any(fits(name, each.module) for name in each.names)]
        if not places:
            raise TensorMoEError("where", where, f"no module fits; modules are called {self._last_names()}")
        self._check_apart(places)
        return places

    def check_ties(self, places: list[Place[M]]) -> None:
        """Refuse to take away one of several owners of a parameter, which would untie the others silently.

        Raises:
            TensorMoEError: names a module, and who shares a parameter of it.
        """
        owners: dict[int, list[str]] = {}
        for each in (Place(("the model",), self.root), *self._gather()):
            for parameter in self.parameters(each.module):
                owners.setdefault(id(parameter), []).append(each.name)
        for place in places:
            for module in self.modules(place.module):
                for parameter in self.parameters(module):
                    names = owners[id(parameter)]
                    if len(names) > 1:
                        remedy = (
                            f"{' and '.join(names)} share a parameter: untie them first, or leave them out"
                        )
                        raise TensorMoEError("where", place.name, remedy)

    def _gather(self) -> list[Place[M]]:
        """Every module once, with all its names."""
        every: dict[int, Place[M]] = {}
        for name, module in self.named:
            known = every.get(id(module), Place((), module))
            every[id(module)] = Place((*known.names, name), module)
        return [*every.values()]

    def _predicate(self, where: Where[M]) -> Callable[[str, M], bool]:
        if isinstance(where, str):
            pattern = where
            if len(pattern) > _LONGEST_PATTERN:
                remedy = f"pass a name or a pattern of at most {_LONGEST_PATTERN:,} characters"
                raise TensorMoEError("where", f"{len(pattern):,} characters", remedy)
            if "." in pattern or any(sign in pattern for sign in "*?["):
                return lambda name, module: fnmatchcase(name, pattern)
            return lambda name, module: name.rpartition(".")[2] == pattern
        if isinstance(where, type) and issubclass(where, self.kind):
            wanted: type = where
            return lambda name, module: isinstance(module, wanted)
        if callable(where) and not isinstance(where, type):
            return lambda name, module: ask("where", where, name, name, module)
        remedy = 'pass a name such as "mlp", a pattern, a type of module, or a function of name and module'
        raise TensorMoEError("where", where, remedy)

    def _last_names(self) -> str:
        """The last parts of names, without the numbers of lists."""
        last = dict.fromkeys(name.rpartition(".")[2] for name, _ in self.named)
        words = [name for name in last if not name.isdigit()] or list(last)
        return ", ".join(words[:30]) or "nothing: the model has none"

    def _check_apart(self, places: list[Place[M]]) -> None:
        chosen = {id(place.module): place for place in places}
        for outer in places:
            for module in self.modules(outer.module):
                place = chosen.get(id(module), outer)
                if place is not outer:
                    remedy = f"it is inside {outer.name}, which fits, too: choose one"
                    raise TensorMoEError("where", place.name, remedy)


def ask(argument: str, function: Callable[..., Answer], name: str, *values: object) -> Answer:
    """What a function of the user's says of a module; an error that it raises names the module."""
    try:
        return function(*values)
    except TensorMoEError:
        raise
    except Exception as error:
        remedy = f"it raises {type(error).__name__}: {error}"
        raise TensorMoEError(f"{argument} for {name}", function, remedy) from error
