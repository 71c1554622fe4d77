"""The values of fixed cores that have a name, such as "hadamard" or "blocks 4".

A name is a word, and a number for those that take one. Values are the same for equal names and shapes,
everywhere: two random cores that are to differ need different seeds.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import TensorMoEError
from ..typing import NumPyArray, Shape

# From a shape and the number in the name to values.
Fill = Callable[[Shape, int], NumPyArray]


@dataclass(frozen=True)
class Recipe:
    """What a name stands for.

    Args:
        fill: the values; entries that are integers are exact.
        number: the number where the name has none; None if it must have one.
        axes: how many axes the core has; 0 for any number.
        square: whether all axes are equally long.
        whole: whether all values are integers.
    """

    fill: Fill
    number: int | None = 0
    axes: int = 2
    square: bool = False
    whole: bool = True


def _identity(shape: Shape, _: int) -> NumPyArray:
    positions = np.indices(shape, sparse=True)
    first, *others = positions
    return np.asarray(np.logical_and.reduce([np.broadcast_to(first == each, shape) for each in others]))


def _hadamard(shape: Shape, _: int) -> NumPyArray:
    """Sylvester's matrix of 1 and −1, whose product with its transpose is n times the identity."""
    matrix = np.ones((1, 1))
    while len(matrix) < shape[0]:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


def _cosines(shape: Shape, _: int) -> NumPyArray:
    """The orthogonal discrete cosine transform (type II): a row for each position."""
    positions, frequencies = np.indices(shape)
    values = np.cos(np.pi * (2 * positions + 1) * frequencies / (2 * shape[0])) * np.sqrt(2 / shape[0])
    return np.asarray(np.where(frequencies == 0, 1 / np.sqrt(shape[0]), values))


def _fourier(shape: Shape, _: int) -> NumPyArray:
    """The orthogonal real Fourier basis: 1, then a cosine and a sine for each frequency."""
    size = shape[0]
    positions, columns = np.indices(shape)
    frequencies = (columns + 1) // 2
    angles = 2 * np.pi * frequencies * positions / size
    values = np.where(columns % 2 == 1, np.cos(angles), np.sin(angles)) * np.sqrt(2 / size)
    # The mean has no sine, and the highest frequency of an even size has none either.
    alone = (frequencies == 0) | (2 * frequencies == size)
    return np.asarray(np.where(alone, np.cos(angles) / np.sqrt(size), values))


def _blocks(shape: Shape, count: int) -> NumPyArray:
    rows, columns = (np.arange(size) * count // size for size in shape)
    return np.asarray(rows[:, None] == columns)


def _gaussian(shape: Shape, seed: int) -> NumPyArray:
    return np.random.default_rng(seed).standard_normal(shape)


def _signs(shape: Shape, seed: int) -> NumPyArray:
    return np.random.default_rng(seed).integers(0, 2, shape) * 2 - 1


def _hash(shape: Shape, seed: int) -> NumPyArray:
    """One 1 or −1 in each row, at a random place: the count sketch."""
    generator = np.random.default_rng(seed)
    rows, columns = shape
    values = np.zeros(shape)
    values[np.arange(rows), generator.integers(0, columns, rows)] = generator.integers(0, 2, rows) * 2 - 1
    return values


RECIPES = {
    "identity": Recipe(_identity, axes=0, square=True),
    "hadamard": Recipe(_hadamard, square=True),
    "dct": Recipe(_cosines, square=True, whole=False),
    "dft": Recipe(_fourier, square=True, whole=False),
    "blocks": Recipe(_blocks, number=None),
    "gaussian": Recipe(_gaussian, axes=0, whole=False),
    "signs": Recipe(_signs, axes=0),
    "hash": Recipe(_hash),
}
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
# Those that take a number.
_NUMBERED = ("blocks", "gaussian", "signs", "hash")


def read_recipe(argument: str, text: str) -> tuple[str, int]:
    """The word and the number of a name."""
    word, *numbers = text.split()[:3] or [""]
    recipe = RECIPES.get(word)
    few = len(numbers) <= 1 and all(_NUMBER.fullmatch(each) for each in numbers)
    number = int(numbers[0]) if numbers and few else recipe.number if recipe else None
    allowed = word in _NUMBERED or not numbers
    if recipe is None or not few or number is None or not allowed or (word == "blocks" and number < 1):
        known = ", ".join(f"{each} 4" if each == "blocks" else each for each in RECIPES)
        remedy = f"choose one of {known}; gaussian, signs and hash take a seed, as in 'gaussian 7'"
        if word == "mask":
            remedy = (
                "a mask is an array of 0 and 1 whose indices other cores carry, too: pass it, or 'blocks 4'"
            )
        raise TensorMoEError(argument, text, remedy)
    return word, number


def check_recipe(argument: str, word: str, number: int, shape: Shape) -> None:
    """Raise an error unless a core of this shape can have the values of a name."""
    recipe = RECIPES[word]
    note = "; a bias adds a row to i: pass bias=False, and write a bias as a term of its own, + n o"
    remedy = None
    if recipe.axes and len(shape) != recipe.axes:
        remedy = f"{word} is for a core of {recipe.axes} indices, not {len(shape)}"
    elif word == "identity" and len(shape) < 2:
        remedy = "identity is for a core of two indices or more"
    elif recipe.square and len(set(shape)) > 1:
        remedy = f"{word} is for a core with equal sizes{note}"
    elif word == "hadamard" and shape[0] & (shape[0] - 1):
        remedy = f"hadamard is for sizes that are powers of two{note}"
    elif word == "blocks" and number > min(shape):
        remedy = f"pass at most {min(shape)} blocks"
    if remedy is not None:
        raise TensorMoEError(argument, shape, remedy)
