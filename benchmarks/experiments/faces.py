"""CelebA as CLIP sees it: features that are computed once, with a class and an attribute to go wrong by."""

from pathlib import Path
from typing import Protocol

import numpy as np
import torch

import tensormoe as tm
from tensormoe.typing import NumPyArray

from . import checkpoints
from .data.celeba import SPLITS, Faces, read_celeba
from .data.images import standardize
from .data.population import Population, Task

_BATCH = 64


class Choice(Protocol):
    """Where the faces and the model are, and which attributes are asked for."""

    @property
    def root(self) -> str: ...
    @property
    def backbone(self) -> str: ...
    @property
    def sought(self) -> str: ...
    @property
    def attribute(self) -> str: ...


def read_faces(choice: Choice, shared: Path) -> Task:
    """Features of all faces, from `shared` after the first time, and two of their attributes.

    Args:
        choice: `root` of CelebA (see `read_celeba`), `backbone` as transformers takes it, `sought`, what is
            to be recognized, and `attribute`, what should not matter.
        shared: a folder to keep the features in.

    Raises:
        TensorMoEError: files of CelebA are missing or not as published, the model cannot be loaded, or
            transformers is not installed.
    """
    return Task(*(_read_split(choice, split, shared) for split in SPLITS))


def _read_split(choice: Choice, split: str, shared: Path) -> Population:
    faces = read_celeba(choice.root, split)
    path = shared / f"faces-{split}.safetensors"
    features = checkpoints.prepare(path, lambda: {"x": _encode(faces, choice.backbone)})["x"]
    return Population(features, faces.attribute(choice.sought), faces.attribute(choice.attribute))


def _encode(faces: Faces, backbone: str) -> NumPyArray:
    """CLIP's image features (T, d): what its last layer's norm gives for the class token."""
    from transformers import CLIPImageProcessor, CLIPVisionModel

    try:
        model = CLIPVisionModel.from_pretrained(backbone)
        processor = CLIPImageProcessor.from_pretrained(backbone)
    except (OSError, ValueError) as error:
        remedy = f"transformers finds no CLIP model there: pass its name, or a folder with it ({error})"
        raise tm.TensorMoEError("backbone", backbone, remedy) from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device).eval()
    pictures = faces.pictures.sized(model.config.image_size)
    encoded = []
    for first in range(0, len(pictures), _BATCH):
        batch = np.stack([pictures[k] for k in range(first, min(first + _BATCH, len(pictures)))])
        pixels = torch.from_numpy(standardize(batch, processor.image_mean, processor.image_std))
        with torch.no_grad():
            encoded.append(model(pixel_values=pixels.to(device)).pooler_output.float().cpu().numpy())
    return np.concatenate(encoded)
