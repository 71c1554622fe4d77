"""Fixed cores: their values are not trained. They follow from a name, or are an array that is given."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from math import prod
from typing import Any

import numpy as np

from ..codec import Data
from ..errors import TensorMoEError, as_tuple, is_listed, positive_integer
from ..typing import NumPyArray, Shape
from .notation import Notation
from .recipes import RECIPES, check_recipe, read_recipe

# Arrays of at most so many elements are written into JSON; of others, their digest.
_WRITTEN = 1024
# All integers up to here are float64s.
_EXACT = 2**53
_HEXADECIMAL = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class Fixed:
    """What the values of a fixed core are. Equal ones have equal values.

    Args:
        recipe: a word and a number, such as ("gaussian", 7); None for an array.
        shape: of the array.
        digest: of its values.
        array: in float32 or float64, read-only; None if only its digest is known.
    """

    recipe: tuple[str, int] | None
    shape: Shape = ()
    digest: str = ""
    array: NumPyArray | None = field(default=None, compare=False, repr=False)

    def __repr__(self) -> str:
        if self.recipe is not None:
            return repr(self.text)
        return f"<array {self.shape} {self.digest[:8]}>"

    def __getstate__(self) -> dict[str, object]:
        # What reads weights alone, such as torch.load, knows text and neither bytes nor NumPy's arrays.
        values = (
            None if self.array is None else (self.array.dtype.name, self.array.tobytes().decode("latin-1"))
        )
        return {"recipe": self.recipe, "shape": self.shape, "digest": self.digest, "values": values}

    def __setstate__(self, state: dict[str, Any]) -> None:
        values, array = state.pop("values"), None
        if values is not None:
            dtype, text = values
            array = np.frombuffer(text.encode("latin-1"), dtype).reshape(state["shape"])
        for name, value in {**state, "array": array}.items():
            object.__setattr__(self, name, value)

    @property
    def text(self) -> str:
        """The name, with its number where it has one."""
        word, number = self.recipe or ("", 0)
        return word if RECIPES[word].number == number else f"{word} {number}"

    @property
    def is_identity(self) -> bool:
        """Whether it is 1 where all indices are equal, and 0 elsewhere."""
        return self.recipe is not None and self.recipe[0] == "identity"

    @property
    def is_square(self) -> bool:
        """Whether all its axes must be equally long."""
        return self.recipe is not None and RECIPES[self.recipe[0]].square

    @property
    def has_own_sizes(self) -> bool:
        """Whether it cannot be made for any size."""
        return self.recipe is None or self.recipe[0] == "hadamard"

    @property
    def is_known(self) -> bool:
        """Whether there are values, and not only their digest."""
        return self.recipe is not None or self.array is not None

    @property
    def is_whole(self) -> bool:
        """Whether all values are known to be integers."""
        if self.recipe is not None:
            return RECIPES[self.recipe[0]].whole
        return self.array is not None and bool((self.array == np.rint(self.array)).all())

    def check(self, name: str, shape: Shape) -> None:
        """Raise an error unless a core of this shape can have the values."""
        argument = f"fixed[{name!r}]"
        if self.recipe is not None:
            check_recipe(argument, *self.recipe, shape)
        elif shape != self.shape:
            remedy = (
                f"the core has the shape {shape} in this layer (a bias adds a row to i): "
                "pass an array of this shape"
            )
            raise TensorMoEError(argument, self.shape, remedy)

    def values(self, name: str, shape: Shape) -> NumPyArray:
        """The values in a core of this shape.

        Raises:
            TensorMoEError: an array of which only the digest is known, or another shape.
        """
        self.check(name, shape)
        if self.recipe is not None:
            word, number = self.recipe
            return np.asarray(RECIPES[word].fill(shape, number), dtype=float)
        if self.array is None:
            remedy = (
                "JSON has only the digest of a large array: pass the array, "
                f"factorization.with_fixed({{{name!r}: array}}), or load a saved layer by tm.load"
            )
            raise TensorMoEError(f"fixed[{name!r}]", f"an array of shape {shape} without values", remedy)
        return self.array

    def fill(self, name: str, array: object) -> "Fixed":
        """The same with its values, which are checked against the digest."""
        given = read_fixed(f"fixed[{name!r}]", array)
        if given != self:
            remedy = "the specification was made with other values: pass these, or build a new specification"
            raise TensorMoEError(f"fixed[{name!r}]", given, remedy)
        return given

    def to_data(self) -> Data:
        """A name as text; the values of a small array, or a large one's digest."""
        if self.recipe is not None:
            return self.text
        shape: Data = [*self.shape]
        if self.array is None or self.array.size > _WRITTEN:
            return {"shape": shape, "sha256": self.digest}
        numbers = np.ravel(self.array).astype("float64").tolist()
        return {"shape": shape, "values": [int(each) if each.is_integer() else each for each in numbers]}


def read_fixed(argument: str, value: object) -> Fixed:
    """What the values of a fixed core are, from a name, an array, or what `Fixed.to_data` wrote."""
    if isinstance(value, Fixed):
        return value
    if isinstance(value, str):
        return Fixed(read_recipe(argument, value))
    if isinstance(value, Mapping):
        return _read_data(argument, value)
    return _read_array(argument, value)


def _read_array(argument: str, value: object) -> Fixed:
    remedy = (
        "pass a name such as 'hadamard', or finite real numbers that numpy.asarray takes; "
        "of a PyTorch parameter, parameter.detach().numpy()"
    )
    try:
        # A float16 and a bfloat16 are float32s; an integer of any size is a float64 or is refused.
        given = np.asarray(value)
        kind = "float32" if given.dtype.name in ("float32", "float16", "bfloat16") else "float64"
        real = given.dtype.kind in "biuf" or given.dtype.name == "bfloat16"
        real = real and not isinstance(value, np.ma.MaskedArray)
        # What cannot be represented is refused below.
        with np.errstate(all="ignore"):
            array = np.array(given, kind, order="C") + 0 if real else None
    except Exception as error:  # of the framework, or of NumPy
        raise TensorMoEError(argument, type(value), remedy) from error
    if array is None or not array.ndim or not array.size or not np.isfinite(array).all():
        raise TensorMoEError(argument, value if array is None else f"an array {array.shape}", remedy)
    if given.dtype.kind in "iu" and (np.abs(array) > _EXACT).any():
        raise TensorMoEError(argument, type(value), "pass integers of at most 2**53")
    array.flags.writeable = False
    shape = tuple(array.shape)
    # Values decide, not their type.
    digest = sha256(str(shape).encode())
    for row in array.reshape(len(array), -1):
        digest.update(row.astype("<f8").tobytes())
    return Fixed(None, shape, digest.hexdigest(), array)


def _read_data(argument: str, data: Mapping[object, object]) -> Fixed:
    shape = data.get("shape")
    if not is_listed(shape) or not shape or data.keys() not in ({"shape", "sha256"}, {"shape", "values"}):
        remedy = "pass two fields: shape, and values or sha256, as to_dict writes them"
        raise TensorMoEError(argument, dict(data), remedy)
    sizes = tuple(positive_integer(f"{argument} shape", size) for size in as_tuple(shape))
    if "values" in data:
        flat = _read_array(f"{argument} values", data["values"]).array
        if flat is None or flat.shape != (prod(sizes),):
            raise TensorMoEError(
                f"{argument} values", data["values"], f"pass {prod(sizes):,} numbers in a row"
            )
        return _read_array(argument, flat.reshape(sizes))
    digest = data["sha256"]
    if not isinstance(digest, str) or len(digest) != 64 or not _HEXADECIMAL.issuperset(digest):
        raise TensorMoEError(f"{argument} sha256", digest, "pass 64 hexadecimal digits")
    return Fixed(None, sizes, digest)


def read_all_fixed(notation: Notation, fixed: object) -> tuple[tuple[str, Fixed], ...]:
    """The fixed cores of a notation by name, in its order."""
    if fixed is None:
        return ()
    if not isinstance(fixed, Mapping):
        remedy = 'pass a mapping from the names of cores to their values, such as {"H": "hadamard"}'
        raise TensorMoEError("fixed", fixed, remedy)
    for name in fixed:
        if not isinstance(name, str) or not name or name not in notation.names:
            remedy = f"no core of {str(notation)!r} has this name: name it there, as in 'H: i r'"
            raise TensorMoEError("fixed", name, remedy)
    named = [name for name in dict.fromkeys(notation.names) if name in fixed]
    return tuple((name, read_fixed(f"fixed[{name!r}]", fixed[name])) for name in named)


def fill_fixed(held: Mapping[str, Fixed], arrays: Mapping[str, object]) -> dict[str, Fixed]:
    """Fixed cores by name, those with an array filled with its values."""
    for name in arrays:
        if name not in held or held[name].recipe is not None:
            listed = ", ".join(each for each, fixed in held.items() if fixed.recipe is None) or "none"
            raise TensorMoEError("fixed", name, f"cores that are given as arrays: {listed}")
    return {name: fixed.fill(name, arrays[name]) if name in arrays else fixed for name, fixed in held.items()}


def choose_free(notation: Notation, bonds: Sequence[str], fixed: Mapping[str, Fixed]) -> Iterator[set[str]]:
    """From the last bond on, the indices that have its size, unless a fixed core sets it."""
    cores = [*zip(notation.names, notation.cores, strict=False)]
    square = [name for name, each in fixed.items() if each.is_square]
    sized = [name for name, each in fixed.items() if each.has_own_sizes]
    held = {index for name, core in cores if name in sized for index in core}
    groups = (notation.find_tied(bond, square) for bond in reversed(bonds))
    return (group for group in groups if not group & held)
