"""One loop around torch.optim for all experiments, which goes on from its checkpoint."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import cos, pi
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tensormoe.errors import TensorMoEError

from . import checkpoints

SCHEDULES = ("constant", "linear", "cosine")


def choose_device(name: str = "auto") -> torch.device:
    """A device by its name; "auto" is a graphics processor if there is one.

    Raises:
        TensorMoEError: a graphics processor that is not there, or no device of this name.
    """
    has_cuda = torch.cuda.is_available()
    try:
        device = torch.device("cuda" if has_cuda else "cpu") if name == "auto" else torch.device(name)
    except RuntimeError:
        raise TensorMoEError("device", name, "pass auto, cpu, cuda or cuda:0") from None
    if device.type == "cuda" and not has_cuda:
        raise TensorMoEError("device", name, "PyTorch sees no graphics processor here: pass auto or cpu")
    return device


def device_of(model: torch.nn.Module) -> torch.device:
    """Where a model's parameters are, and its inputs must be."""
    return next((each.device for each in model.parameters()), torch.device("cpu"))


@dataclass(frozen=True)
class Recipe:
    """How to train: AdamW with a rate, a schedule and no surprises.

    Args:
        steps, batch: of how many batches of how many examples.
        rate, decay, betas: AdamW's.
        warmup: steps in which the rate rises from 0.
        schedule: "constant", or "linear" or "cosine" down to `last` times the rate.
        last: of the rate, at the end.
        clip: the largest norm of the gradient; 0 for any.
        every: steps between checkpoints.
        at_once: how many examples of a batch fit in memory, whose gradients are added up; 0 for all.
    """

    steps: int
    batch: int
    rate: float
    decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    warmup: int = 0
    schedule: str = "constant"
    last: float = 0.0
    clip: float = 0.0
    every: int = 500
    at_once: int = 0

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise TensorMoEError("schedule", self.schedule, f"choose one of {', '.join(SCHEDULES)}")

    def factor(self, step: int) -> float:
        """What the rate is multiplied by at a step."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        share = (step - self.warmup) / max(1, self.steps - self.warmup)
        falling = {"constant": 1.0, "linear": 1 - share, "cosine": (1 + cos(pi * share)) / 2}[self.schedule]
        return falling if self.schedule == "constant" else self.last + (1 - self.last) * falling


class Examples(Protocol):
    """What batches are taken from: a tensor, or what reads examples from a disk."""

    def __len__(self) -> int: ...
    def __getitem__(self, batch: Tensor, /) -> Tensor: ...


def classify(model: torch.nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """The mean cross-entropy of logits."""
    return cross_entropy(model(x), labels)


def train(
    model: torch.nn.Module,
    data: Sequence[Examples],
    recipe: Recipe,
    seed: int,
    *,
    loss: Callable[..., Tensor] = classify,
    checkpoint: Path | None = None,
    watch: Callable[[int, float], float | None] | None = None,
    device: str = "auto",
) -> list[tuple[int, float]]:
    """Train a model in place, and return what was watched: steps, each with a value.

    The order of the data follows from the seed and the step alone, so that a run that goes on from its
    checkpoint sees what one that was never stopped sees. The model is back where it was when this returns.

    Args:
        model: any module.
        data: tensors of as many examples, which the batches are taken from, or other `Examples`.
        recipe: the optimizer's settings.
        seed: of the order.
        loss: of the model and a batch of each tensor.
        checkpoint: a file to keep the state in, and to go on from if it is there.
        watch: gets the number of steps that are done and the last loss. What it returns is kept, such as the
            loss on validation data every 100 steps; None is not. The model is on the device meanwhile.
        device: to train on (see `choose_device`), to which the batches are moved, too; "auto" leaves a model
            where it is that is on no CPU.
    """
    home = device_of(model)
    place = home if device == "auto" and home.type != "cpu" else choose_device(device)
    model.to(place)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.rate, betas=recipe.betas, weight_decay=recipe.decay
    )
    first, kept = checkpoints.restore(checkpoint, model, optimizer) if checkpoint else (0, [])
    model.train()
    for step in range(first, recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * recipe.factor(step)
        batch = positions(len(data[0]), recipe.batch, seed, step)
        optimizer.zero_grad()
        examples = [each[batch].to(place) for each in data]
        value = _add_gradients(model, examples, recipe.at_once, loss)
        if recipe.clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        seen = watch(step + 1, value) if watch else None
        if seen is not None:
            kept.append((step + 1, seen))
            model.train()
        if checkpoint and (step + 1) % recipe.every == 0:
            checkpoints.save(checkpoint, model, optimizer, step + 1, kept)
    model.to(home).eval()
    return kept


def _add_gradients(
    model: torch.nn.Module, examples: Sequence[Tensor], at_once: int, loss: Callable[..., Tensor]
) -> float:
    """Add the gradients of the mean loss, some examples after the others, and return it."""
    count, total = len(examples[0]), 0.0
    for first in range(0, count, at_once or count):
        part = [each[first : first + (at_once or count)] for each in examples]
        value = loss(model, *part) * (len(part[0]) / count)
        value.backward()  # type: ignore[no-untyped-call]
        total += value.item()
    return total


def positions(count: int, batch: int, seed: int, step: int) -> Tensor:
    """The examples of a step: each epoch has an order of its own and leaves out what fills no batch."""
    batch = min(batch, count)
    epoch, place = divmod(step, count // batch)
    return _order(count, seed, epoch)[place * batch : (place + 1) * batch]


_ORDERS: dict[tuple[int, int, int], Tensor] = {}


def _order(count: int, seed: int, epoch: int) -> Tensor:
    """The order of an epoch; only the latest is kept."""
    name = (count, seed, epoch)
    if name not in _ORDERS:
        _ORDERS.clear()
        _ORDERS[name] = torch.from_numpy(np.random.default_rng((seed, epoch)).permutation(count))
    return _ORDERS[name]


def accuracy(model: torch.nn.Module, x: Tensor, labels: Tensor) -> float:
    """The share of examples whose class has the largest logit, in evaluation mode."""
    model.eval()
    place = device_of(model)
    with torch.no_grad():
        return float((model(x.to(place)).argmax(-1) == labels.to(place)).double().mean())
