"""Features of CLIP's image encoder for folders of images, such as ImageNet: 768 for ViT-B/32.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from tensormoe.errors import TensorMoEError
from tensormoe.typing import NumPyArray

from .data.images import Pictures, standardize
from .training import choose_device


class Encoder(NamedTuple):
    """CLIP's image encoder, on a graphics processor if there is one, and how it takes colours."""

    network: torch.nn.Module
    size: int
    width: int
    mean: Sequence[float]
    deviation: Sequence[float]


def load(model: str) -> Encoder:
    """The encoder of a CLIP model, by its name at Hugging Face, or in a folder that `save_pretrained` wrote.

    Raises:
        TensorMoEError: there is no such model.
    """
    from transformers import CLIPImageProcessor, CLIPVisionModel

    try:
        processor = CLIPImageProcessor.from_pretrained(model)
        network = CLIPVisionModel.from_pretrained(model).eval()
    except OSError as error:
        remedy = "pass a folder that save_pretrained wrote, or a name such as openai/clip-vit-base-patch32"
        raise TensorMoEError("clip", model, remedy) from error
    sizes = network.config.image_size, network.config.hidden_size
    return Encoder(network.to(choose_device()), *sizes, processor.image_mean, processor.image_std)


def encode(
    splits: Sequence[Pictures],
    encoder: Encoder,
    *,
    batch: int = 64,
    tell: Callable[[float], None] = lambda share: None,
) -> list[NumPyArray]:
    """The pooled vector of each picture before CLIP's projection, as a head on top of the encoder gets it.

    Args:
        splits: pictures, which are read at the size that the model takes.
        encoder: as `load` gives it.
        batch: pictures at a time.
        tell: gets the share that is done.

    Returns:
        (T, width) in float32 for each of the splits.
    """
    network = encoder.network.eval()
    device = next(network.parameters()).device
    total, done = sum(map(len, splits)), 0
    encoded = []
    for pictures in splits:
        own, rows = pictures.sized(encoder.size), []
        for start in range(0, len(own), batch):
            pixels = np.stack([own[number] for number in range(start, min(start + batch, len(own)))])
            inputs = torch.from_numpy(standardize(pixels, encoder.mean, encoder.deviation))
            with torch.inference_mode():
                rows.append(network(inputs.to(device)).pooler_output.float().cpu().numpy())
            done += len(pixels)
            tell(done / total)
        encoded.append(np.concatenate(rows))
    return encoded
