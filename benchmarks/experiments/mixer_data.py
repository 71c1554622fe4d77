"""What mixers learn: digits, signals, and folders of images, all in patches."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

import tensormoe as tm
from tensormoe.typing import NumPyArray

from .data.augmentation import rand_augment
from .data.digits import read_digits
from .data.images import Pictures, standardize
from .data.signals import make_signals
from .mixing import cut
from .training import Examples

TASKS = ("digits", "signals", "images")
# Of each colour, as is usual on ImageNet.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Choice(Protocol):
    """What of a configuration says which data; `mixer.Configuration` says what the fields are."""

    @property
    def tasks(self) -> tuple[str, ...]: ...
    @property
    def patches(self) -> tuple[int, ...]: ...
    @property
    def images(self) -> str: ...
    @property
    def side(self) -> int: ...
    @property
    def held_out(self) -> int: ...
    @property
    def augment(self) -> tuple[int, ...]: ...


class Part(NamedTuple):
    """Patches (T, tokens, values), in memory or read from a disk, and classes (T,)."""

    x: Examples
    labels: Tensor

    def split(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All of it, so many at once."""
        for first in range(0, len(self.labels), size):
            batch = torch.arange(first, min(first + size, len(self.labels)))
            yield self.x[batch], self.labels[batch]


@dataclass(frozen=True)
class Task:
    """Parts to train on, to choose by, and to judge by; how many classes, and the patches of an input."""

    train: Part
    validation: Part
    test: Part
    classes: int
    tokens: int
    values: int


@dataclass(frozen=True)
class Patched:
    """Pictures on a disk as patches, read by as many threads as there are processors.

    Args:
        pictures: all of them.
        rows: which of them these are.
        patch: the side of a patch, in pixels.
        augment: N and M of RandAugment, on random crops that are mirrored half of the time, all drawn from
            PyTorch's random numbers; nothing for the middle squares.
    """

    pictures: Pictures
    rows: NumPyArray
    patch: int
    augment: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, batch: Tensor) -> Tensor:
        # One number for each batch: a run that goes on from its checkpoint has the same ones.
        draw = int(torch.randint(2**31, ())) if self.augment else 0
        pictures = self.pictures.cropped(draw) if self.augment else self.pictures

        def read(row: int) -> NumPyArray:
            pixels = pictures[row]
            if not self.augment:
                return pixels
            changes, strength = self.augment
            return augment_pixels(pixels, changes, strength, (draw, row))

        with ThreadPoolExecutor() as threads:
            pixels = np.stack([*threads.map(read, self.rows[batch.numpy()].tolist())])
        return cut(torch.from_numpy(standardize(pixels, _MEAN, _DEVIATION)), self.patch)


def augment_pixels(pixels: NumPyArray, changes: int, strength: float, seed: tuple[int, int]) -> NumPyArray:
    """RandAugment of pixels (side, side, 3) in uint8."""
    from PIL import Image

    changed = rand_augment(Image.fromarray(pixels), changes, strength, np.random.default_rng(seed))
    return np.asarray(changed)


def read(choice: Choice, name: str) -> Task:
    """The task of a name.

    Raises:
        TensorMoEError: an unknown name, patches that do not fill the data, data that are missing.
    """
    if name not in TASKS:
        raise tm.TensorMoEError("tasks", name, f"choose of {', '.join(TASKS)}")
    patch = choice.patches[choice.tasks.index(name)]
    if name == "images":
        return _read_images(choice, patch)
    # Digits have values from 0 to 1, signals a mean of 0 and a variance of 1.
    if name == "digits":
        parts = [(2 * images.pixels - 1, images.labels) for images in read_digits()]
    else:
        parts = [(signals.values, signals.labels) for signals in make_signals()]
    train, validation, test = (
        Part(cut(torch.from_numpy(x), patch), torch.from_numpy(labels)) for x, labels in parts
    )
    tokens, values = train.x[torch.arange(1)].shape[1:]
    return Task(train, validation, test, int(train.labels.max()) + 1, tokens, values)


def _read_images(choice: Choice, patch: int) -> Task:
    from .data.folders import read_folder

    if choice.side % patch:
        raise tm.TensorMoEError("patches", patch, f"it must divide side, {choice.side} pixels")
    fitted = read_folder(choice.images, "train", size=choice.side)
    judged = read_folder(choice.images, "val", size=choice.side, classes=fitted.classes)
    # ImageNet keeps its test labels to itself: some of the training images are for choosing.
    order = np.random.default_rng(0).permutation(len(fitted.labels))
    held, kept = np.sort(order[: choice.held_out]), np.sort(order[choice.held_out :])
    if not len(held) or not len(kept):
        remedy = f"pass a number from 1 to {len(fitted.labels) - 1}: there are {len(fitted.labels)} pictures"
        raise tm.TensorMoEError("held_out", choice.held_out, remedy)
    rows = np.arange(len(judged.labels))
    return Task(
        Part(Patched(fitted.pictures, kept, patch, choice.augment), torch.from_numpy(fitted.labels[kept])),
        Part(Patched(fitted.pictures, held, patch), torch.from_numpy(fitted.labels[held])),
        Part(Patched(judged.pictures, rows, patch), torch.from_numpy(judged.labels)),
        len(fitted.classes),
        (choice.side // patch) ** 2,
        3 * patch**2,
    )
