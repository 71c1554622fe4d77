"""Which parameters of a model's layers are to be one, by name or pattern. For any framework."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ..errors import TensorMoEError, as_tuple, is_listed
from ..typing import Shape

# So many names are listed where none fits.
_SHOWN = 6


@dataclass(frozen=True)
class Held:
    """A parameter of a layer in a model.

    Args:
        shape: of the parameter.
        kind: its element type, and where it is.
    """

    shape: Shape
    kind: str


def choose_tied(cores: object, held: Mapping[str, Held]) -> tuple[str, ...]:
    """The names of the parameters that are to be one, in the model's order.

    Args:
        cores: a name, a pattern such as "*.cores.expert1", or several.
        held: the parameters of the model's layers by full name.

    Raises:
        TensorMoEError: a name or a pattern that nothing fits, a single parameter, or parameters of different
            shapes or types.

    Examples:
        >>> from tensormoe.layers.tying import Held, choose_tied
        >>> held = {f"{n}.cores.expert1": Held((4, 5), "float32") for n in range(3)}
        >>> choose_tied(["0.*", "2.cores.expert1"], held)
        ('0.cores.expert1', '2.cores.expert1')
    """
    if not isinstance(cores, str) and not is_listed(cores):
        raise TensorMoEError("cores", type(cores), 'pass a pattern such as "*.cores.expert1", or names')
    patterns = as_tuple(cores)
    for pattern in patterns:
        if not (isinstance(pattern, str) and any(fnmatchcase(name, pattern) for name in held)):
            listed = ", ".join([*held][:_SHOWN]) + (", …" if len(held) > _SHOWN else "")
            remedy = (
                f"no parameter of a layer fits; they are called {listed}" if held else "there is no layer"
            )
            raise TensorMoEError("cores", pattern, remedy)
    chosen = tuple(name for name in held if any(fnmatchcase(name, str(each)) for each in patterns))
    first = chosen[0]
    if len(chosen) < 2:
        raise TensorMoEError("cores", cores, f"only {first} fits: name at least two parameters")
    for name in chosen[1:]:
        for what, one, other in (
            ("shape", held[first].shape, held[name].shape),
            ("type", held[first].kind, held[name].kind),
        ):
            if one != other:
                remedy = f"{first} has the {what} {one}, and one parameter has one: choose parameters alike"
                raise TensorMoEError(name, other, remedy)
    return chosen
