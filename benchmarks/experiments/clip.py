"""Features of CLIP's image encoder for folders of images, such as ImageNet: 768 for ViT-B/32.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from tensormoe.errors import TensorMoEError
from tensormoe.typing import NumPyArray

from .data.images import Pictures, standardize


def encode(
    splits: Sequence[Pictures],
    model: str,
    *,
    batch: int = 64,
    tell: Callable[[float], None] = lambda share: None,
) -> list[NumPyArray]:
    """The pooled vector of each picture before CLIP's projection, as a head on top of the encoder gets it.

    Args:
        splits: pictures, which are read at the size that the model takes.
        model: the name of a CLIP model at Hugging Face, or a folder that `save_pretrained` wrote.
        batch: pictures at a time.
        tell: gets the share that is done.

    Returns:
        (T, width) in float32 for each of the splits.

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
    network = network.to("cuda" if torch.cuda.is_available() else "cpu")
    size = network.config.image_size
    total, done = sum(map(len, splits)), 0
    encoded = []
    for pictures in splits:
        own, rows = pictures.sized(size), []
        for start in range(0, len(own), batch):
            pixels = np.stack([own[number] for number in range(start, min(start + batch, len(own)))])
            inputs = torch.from_numpy(standardize(pixels, processor.image_mean, processor.image_std))
            with torch.inference_mode():
                rows.append(network(inputs.to(network.device)).pooler_output.float().cpu().numpy())
            done += len(pixels)
            tell(done / total)
        encoded.append(np.concatenate(rows))
    return encoded
