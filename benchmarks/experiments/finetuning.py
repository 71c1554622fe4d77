"""CLIP's image encoder and a head of experts trained as a whole, as published; `tasks` has it frozen.

Published were half precision and batches over several processors. Here it is float32, and a batch goes
through the model so many pictures at once, over which the gate's batch norm takes its statistics.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tensormoe.typing import NumPyArray

from . import checkpoints, clip, heads, rates
from .clip import Encoder
from .data.images import Pictures, standardize
from .tasks import Part, read_pictures
from .training import Examples, Recipe, accuracy, train
from .trial import Outcome, Trial

TASK = "fine-tuned images"
DECAY, WARMUP, AT_ONCE = 0.1, 500, 256


class Sizes(NamedTuple):
    """Of the encoder's vectors, and of what there is to tell apart."""

    features: int
    classes: int


class Network(nn.Module):
    """From pixels (B, 3, size, size) by the encoder's pooled vectors to logits."""

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.head(self.encoder(pixel_values=pixels).pooler_output)
        return logits


@dataclass(frozen=True)
class Crops:
    """Random crops of pictures, as networks take them; each batch has its own, whenever it is read."""

    pictures: Pictures
    encoder: Encoder

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, batch: Tensor) -> Tensor:
        # The order of an epoch decides which pictures share a batch, and so the crops.
        pictures = self.pictures.cropped(int(batch.sum()))
        pixels = np.stack([pictures[place] for place in batch.tolist()])
        return torch.from_numpy(standardize(pixels, self.encoder.mean, self.encoder.deviation))


def run(settings: heads.Settings, trial: Trial) -> Outcome:
    """Train the encoder and a cell's head, and measure the head on the features that it then has."""
    parts = read_pictures(settings.images)
    encoder = clip.load(settings.clip)
    sizes = Sizes(encoder.width, int(parts["train"][1].max()) + 1)

    def fit(rate: float, seed: int, own: bool) -> Network:
        fresh = clip.load(settings.clip)
        network = Network(fresh.network, heads.build(settings, trial.cell, sizes, seed).to(_device(fresh)))
        pictures, labels = parts["train"]
        recipe = Recipe(
            settings.steps,
            settings.batch,
            rate,
            DECAY,
            warmup=min(WARMUP, settings.steps // 5),
            schedule="cosine",
            at_once=AT_ONCE,
        )
        data: list[Examples] = [Crops(pictures.sized(encoder.size), fresh), torch.from_numpy(labels)]
        train(
            network,
            data,
            recipe,
            seed,
            checkpoint=trial.own / "state" if own else None,
            watch=lambda step, loss: trial.tell(f"loss {loss:.3f}", step / settings.steps),
        )
        return network

    def loss(rate: float) -> float:
        network = fit(rate, heads.TUNING, own=False)
        return -accuracy(network.head.cpu(), *_see(network, encoder, parts, "validation"))

    name = "-".join(str(value).replace(" ", "-") for value in trial.cell.values())
    path = trial.shared / f"rate-{name}.json"
    rate = checkpoints.decide(path, lambda: {"rate": rates.choose(settings.rates, loss)})["rate"]
    network = fit(rate, trial.seed, own=True)
    test = _see(network, encoder, parts, "test")
    return heads.measure(settings, trial.cell, network.head.cpu(), sizes, test, rate)


def _see(
    network: Network, encoder: Encoder, parts: Mapping[str, tuple[Pictures, NumPyArray]], part: str
) -> Part:
    """The features that a trained encoder gives for a part, and its classes."""
    pictures, labels = parts[part]
    (x,) = clip.encode([pictures], encoder._replace(network=network.encoder))
    return Part(torch.from_numpy(x), torch.from_numpy(labels))


def _device(encoder: Encoder) -> torch.device:
    return next(encoder.network.parameters()).device
