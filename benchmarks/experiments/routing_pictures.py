"""Pictures in folders, one for each class, as what routers are compared on."""

import numpy as np
import torch

from tensormoe.typing import NumPyArray

from .data.corruptions import IMAGE_KINDS, SEVERITIES, corrupt_images
from .data.images import Pictures
from .routing_tasks import Examples, Task
from .tasks import read_pictures

# Pictures are held in memory, a byte for each colour of a pixel: 15.7 GB for ImageNet.
SIDE, PATCH, COLOURS = 64, 8, 3
# As many are corrupted, each in 25 ways.
TESTED = 5_000
_SEED = 0


def read_task(root: str) -> Task:
    """The pictures of a folder like ImageNet's, of 64 × 64 pixels in 64 patches.

    Args:
        root: with train/ and val/ in it, as `data.folders.read_folder` has it.

    Raises:
        TensorMoEError: as `read_folder`.
    """
    parts = read_pictures(root)
    pictures, labels = parts["test"]
    chosen = np.random.default_rng(_SEED).permutation(len(labels)) < TESTED
    parts["test"] = pictures.chosen(chosen), labels[chosen]
    train, validation, test = (_read(*part) for part in parts.values())
    corrupted = {
        kind: [Examples(_corrupt(test.x, kind, each), test.targets) for each in SEVERITIES]
        for kind in IMAGE_KINDS
    }
    outputs = int(train.targets.max()) + 1
    return Task(
        train,
        validation,
        test,
        corrupted,
        outputs,
        (SIDE // PATCH) ** 2,
        causal=False,
        patch=PATCH,
        colours=COLOURS,
    )


def _read(pictures: Pictures, labels: NumPyArray) -> Examples:
    own = pictures.sized(SIDE)
    x = torch.empty(len(own), SIDE, SIDE, COLOURS, dtype=torch.uint8)
    for place in range(len(own)):
        x[place] = torch.from_numpy(own[place])
    return Examples(x, torch.from_numpy(labels))


def _corrupt(x: torch.Tensor, kind: str, severity: int) -> torch.Tensor:
    changed = corrupt_images(x.numpy().astype("float32") / 255, kind, severity, seed=_SEED)
    return torch.from_numpy(np.rint(255 * changed).astype("uint8"))
