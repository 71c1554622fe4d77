"""Tasks on which a classifier goes wrong for some inputs, because it learned from too few like them."""

from typing import NamedTuple

import numpy as np

from tensormoe.typing import NumPyArray

from .digits import Images, read_digits

# The border's width in pixels, on each side of 8 × 8.
_WIDTH = 2


class Population(NamedTuple):
    """Inputs with a class and an attribute, each 0 or 1.

    Args:
        x: inputs (T, …), in float32.
        labels: the class (T,); 1 is the one that is sought.
        attributes: what should not matter (T,).
    """

    x: NumPyArray
    labels: NumPyArray
    attributes: NumPyArray

    @property
    def groups(self) -> NumPyArray:
        """The four subpopulations: twice the class and the attribute."""
        together: NumPyArray = 2 * self.labels + self.attributes
        return together


class Task(NamedTuple):
    """Three parts of a population."""

    train: Population
    validation: Population
    test: Population


def border_digits(skew: float, noise: float, seed: int) -> Task:
    """Odd digits are sought among digits with borders, 12 × 12 pixels: striped (0) or checked (1).

    To train on, a share `skew` of the odd digits has stripes and the rest checks; of the even digits, half
    has each. So checks speak against an odd digit, but have nothing to do with it. In validation and test
    each image is there with either border.

    Args:
        skew: 0.95 leaves one of twenty odd digits with checks.
        noise: the standard deviation of normal noise on all pixels.
        seed: of borders and noise.
    """
    generator = np.random.default_rng(seed)
    train, validation, test = read_digits()
    odd = train.labels % 2
    planted = (generator.random(len(odd)) < np.where(odd == 1, 1 - skew, 0.5)).astype("int64")
    return Task(
        _border(train, planted, noise, generator),
        _border_both(validation, noise, generator),
        _border_both(test, noise, generator),
    )


def _border_both(images: Images, noise: float, generator: np.random.Generator) -> Population:
    twice = Images(*(np.concatenate([each, each]) for each in images))
    return _border(twice, np.repeat([0, 1], len(images.labels)), noise, generator)


def _border(
    images: Images, attributes: NumPyArray, noise: float, generator: np.random.Generator
) -> Population:
    count, side = len(images.labels), images.pixels.shape[1] + 2 * _WIDTH
    rows, columns = np.indices((side, side))
    phase = generator.integers(0, 2, (count, 1, 1))
    stripes, checks = (columns + phase) % 2, (rows + columns + phase) % 2
    x = np.where(attributes[:, None, None] == 1, checks, stripes).astype("float32")
    x[:, _WIDTH:-_WIDTH, _WIDTH:-_WIDTH] = images.pixels
    x += noise * generator.normal(size=x.shape).astype("float32")
    return Population(x, images.labels % 2, attributes)
