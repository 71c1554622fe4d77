"""Features of pretrained networks with their classes: what a head of experts is put on.

- `digits`: 1,797 handwritten digits of 8 × 8 pixels; 64 features of a small convolutional network, which is
  trained on the training part with a dense last layer. That layer is then taken away.
- `texts`: docstrings of installed packages; 384 features of a sentence-embedding model. The class of a text
  is the subpackage that it is from, such as scipy.signal: nobody labelled it. Only what comes before the list
  of parameters is read, and each class has equally many.
- `images`: a folder of images for each class, as ImageNet's; features of CLIP's image encoder, frozen.
  `finetuning` trains the encoder, too.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch

from tensormoe.errors import TensorMoEError
from tensormoe.typing import NumPyArray

from . import checkpoints
from .training import Recipe, train

if TYPE_CHECKING:
    from .data.images import Pictures

# Where the texts are from, and the subpackages with at least MEMBERS of them are the classes. Vendored code
# and tests are none of them.
PACKAGES = ("networkx", "numpy", "scipy", "sklearn")
MEMBERS, LONGEST, SHORTEST = 90, 400, 80
_NEITHER = ("externals", "tests", "distutils")
PRETRAINING = Recipe(steps=500, batch=64, rate=3e-3, schedule="cosine")


class Places(Protocol):
    """What of a configuration says where data are."""

    @property
    def images(self) -> str: ...
    @property
    def clip(self) -> str: ...
    @property
    def embedder(self) -> str: ...


class Part(NamedTuple):
    """Features (T, I) in float32 and classes (T,) in int64."""

    x: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True)
class Task:
    """Parts to train on, to choose by, and to judge by."""

    train: Part
    validation: Part
    test: Part

    @property
    def features(self) -> int:
        return self.train.x.shape[1]

    @property
    def classes(self) -> int:
        return int(self.train.labels.max()) + 1


def load(name: str, places: Places, shared: Path, tell: Callable[[str, float], None]) -> Task:
    """The task of a name; features are computed once and kept in `shared`.

    Raises:
        TensorMoEError: an unknown name, or data that are missing.
    """
    if name not in TASKS:
        raise TensorMoEError("task", name, f"choose one of {', '.join(TASKS)}")
    arrays = checkpoints.prepare(shared / f"{name}.safetensors", lambda: TASKS[name](places, tell))
    # Of the training features, each has mean 0 and variance 1.
    mean, deviation = arrays["train"].mean(axis=0), arrays["train"].std(axis=0) + 1e-6
    parts = {}
    for part in ("train", "validation", "test"):
        x = torch.from_numpy((arrays[part] - mean) / deviation)
        parts[part] = Part(x, torch.from_numpy(arrays[f"{part}_labels"]))
    return Task(**parts)


def _digits(places: Places, tell: Callable[[str, float], None]) -> Mapping[str, NumPyArray]:
    from .convolutions import convolve, features
    from .data.digits import read_digits

    torch.manual_seed(0)
    body = convolve(8, width=64)
    network = torch.nn.Sequential(body, torch.nn.Linear(64, 10))
    splits = read_digits()._asdict()
    x, labels = (torch.from_numpy(array) for array in splits["train"])
    tell("pretraining on digits", 0.0)
    train(network, (x, labels), PRETRAINING, seed=0)
    arrays = {}
    for part, images in splits.items():
        arrays[part] = features(body, torch.from_numpy(images.pixels)).numpy()
        arrays[f"{part}_labels"] = images.labels
    return arrays


def _texts(places: Places, tell: Callable[[str, float], None]) -> Mapping[str, NumPyArray]:
    from .embeddings import embed, find_model

    texts, labels, _ = read_classified()
    x = embed(
        texts, find_model(places.embedder), tell=lambda share: tell("sentence embeddings of texts", share)
    )
    # Texts of a class are in random order, so that each of its fifths is like the others.
    place = np.arange(len(texts)) % MEMBERS
    parts = {
        "train": place < 0.6 * MEMBERS,
        "validation": (place >= 0.6 * MEMBERS) & (place < 0.8 * MEMBERS),
        "test": place >= 0.8 * MEMBERS,
    }
    arrays = {part: x[chosen] for part, chosen in parts.items()}
    return arrays | {f"{part}_labels": labels[chosen] for part, chosen in parts.items()}


def read_classified(members: int = MEMBERS) -> tuple[list[str], NumPyArray, tuple[str, ...]]:
    """Texts, their classes and the classes' names: as many texts of each class, one class after the other."""
    from .data.corpus import MANUAL, read_corpus

    # A text that comes twice, or in two classes, counts once: no test text is one that was learned from.
    known: set[str] = set()
    by_class = defaultdict(list)
    for document in read_corpus(PACKAGES, shortest=SHORTEST):
        # Such as "scipy/signal/_filters.py:butter"; files right in the package have no subpackage.
        folders = document.name.split(":")[0].split("/")[:-1]
        if document.source == MANUAL or len(folders) < 2 or {*folders} & {*_NEITHER}:
            continue
        text = document.text.split("\nParameters\n")[0][:LONGEST].strip()
        if len(text) >= SHORTEST and text not in known:
            known.add(text)
            by_class[".".join(folders[:2])].append(text)
    names = tuple(sorted(name for name, texts in by_class.items() if len(texts) >= members))
    texts = []
    for number, name in enumerate(names):
        order = np.random.default_rng(number).permutation(len(by_class[name]))
        texts += [by_class[name][place] for place in order[:members]]
    return texts, np.arange(len(names)).repeat(members), names


def _images(places: Places, tell: Callable[[str, float], None]) -> Mapping[str, NumPyArray]:
    from .clip import encode, load

    parts = read_pictures(places.images)
    pictures = [each for each, _ in parts.values()]
    encoded = encode(pictures, load(places.clip), tell=lambda share: tell("CLIP's features", share))
    labels = {f"{part}_labels": own for part, (_, own) in parts.items()}
    return dict(zip(parts, encoded, strict=True)) | labels


def read_pictures(root: str) -> dict[str, tuple["Pictures", NumPyArray]]:
    """The pictures of a folder like ImageNet's, and their classes: to train on, to choose by, to judge by.

    Raises:
        TensorMoEError: as `read_folder`.
    """
    from .data.folders import read_folder

    fitted = read_folder(root, "train")
    judged = read_folder(root, "val", classes=fitted.classes)
    # ImageNet keeps its test labels to itself: a twentieth of the training images is for choosing.
    held = np.random.default_rng(0).permutation(len(fitted.pictures)) < len(fitted.pictures) / 20
    return {
        "train": (fitted.pictures.chosen(~held), fitted.labels[~held]),
        "validation": (fitted.pictures.chosen(held), fitted.labels[held]),
        "test": (judged.pictures, judged.labels),
    }


TASKS: Mapping[str, Callable[[Places, Callable[[str, float], None]], Mapping[str, NumPyArray]]] = {
    "digits": _digits,
    "texts": _texts,
    "images": _images,
}
