"""Vision from scratch: an MLP-Mixer with dense MLPs, or CP and ring μMoE blocks of as many parameters."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

import tensormoe as tm
from tensormoe.typing import NumPyArray

from . import checkpoints, mixer_data, rates
from .experiment import Experiment
from .mixer_data import Part, Task
from .mixer_report import DENSE, report
from .mixing import KINDS, Mixer, Sizes, fit_blocks
from .selection import fastest
from .training import Recipe, choose_device, device_of, train
from .trial import Cell, Outcome, Scalar, Trial, Value

# The seed with which rates are chosen, of no trial.
TUNING = 1_000_000


@dataclass(frozen=True)
class Configuration:
    """What the experiment on mixers varies and keeps.

    Args:
        seeds: of initial values and the order of the data.
        tasks: of "digits", "signals" (MNIST-1D) and "images".
        patches: for each task, the side of a patch, or its length.
        families: of the blocks, "CP" and "ring"; dense MLPs always run.
        experts: of each block.
        layers, width: of the mixer.
        hidden: of the MLPs over tokens, and of those over channels.
        steps: of training, for each task.
        batch: of training.
        rates: AdamW's, of which the loss on validation data chooses one for each contender, after `tuning` of
            the steps.
        warmup, decay, clip: see `training.Recipe`; the rate falls linearly.
        watched: how many times the loss on validation data is measured in training.
        shares: ranks as shares of what a block mixes, one for each family; none for the largest with which
            a layer has at most the parameters of dense MLPs.
        mixup: α of the Beta distribution that weighs two inputs; 0 for no MixUp.
        augment: N and M of RandAugment, of images only; none for the middle squares.
        images: a folder with `train` and `val` in it, each with a folder for every class.
        side: of the images, in pixels.
        held_out: how many of the images to train on choose rates instead.
        at_once: inputs that fit in memory; gradients of the others are added.
        half: whether matrix products are in bfloat16.
        device: to train and judge on (see `training.choose_device`).
    """

    seeds: int
    tasks: tuple[str, ...]
    patches: tuple[int, ...]
    families: tuple[str, ...]
    experts: tuple[int, ...]
    layers: int
    width: int
    hidden: tuple[int, ...]
    steps: tuple[int, ...]
    batch: int
    rates: tuple[float, ...]
    warmup: int
    watched: int
    decay: float = 1e-4
    clip: float = 1.0
    tuning: float = 1.0
    shares: tuple[float, ...] = ()
    mixup: float = 0.0
    augment: tuple[int, ...] = ()
    images: str = ""
    side: int = 224
    held_out: int = 10_000
    at_once: int = 0
    half: bool = False
    device: str = "auto"


def cells(configuration: Configuration) -> Sequence[Cell]:
    """For each task the dense mixer, and one for each family and number of experts."""
    blocks: list[dict[str, Scalar]] = [
        {"mlp": family, "experts": experts}
        for family in configuration.families
        for experts in configuration.experts
    ]
    return [{"task": task, **cell} for task in configuration.tasks for cell in (DENSE, *blocks)]


def run(configuration: Configuration, trial: Trial) -> Outcome:
    """Train one mixer, measure its accuracy, and see how its experts share the classes."""
    name = "-".join(str(value) for value in trial.cell.values())
    task = mixer_data.read(configuration, str(trial.cell["task"]))
    trial.tell(f"{name}: rates", 0)
    path = trial.shared / f"rate-{name}.json"
    rate = checkpoints.decide(path, lambda: {"rate": _choose_rate(configuration, trial.cell, task)})["rate"]
    model = build(configuration, trial.cell, task, trial.seed)
    recipe = _recipe(configuration, trial.cell, rate)

    def watch(step: int, loss: float) -> float | None:
        if step % max(1, recipe.steps // configuration.watched):
            return None
        trial.tell(f"{name}: {loss:.3f}", step / recipe.steps)
        return evaluate(model, task.validation, _at_once(configuration))["loss"]

    curve = train(
        model,
        task.train,
        recipe,
        trial.seed,
        loss=_loss(configuration),
        checkpoint=trial.own / "model.safetensors",
        watch=watch,
        device=configuration.device,
    )
    measures: dict[str, Value] = {
        **evaluate(model, task.test, _at_once(configuration)),
        "rate": rate,
        "parameters": sum(each.numel() for each in model.parameters()),
        "curve": [[step, round(value, 5)] for step, value in curve],
    }
    own = specialize(model, task.test, _at_once(configuration)) if trial.cell["experts"] else {}
    return Outcome({**measures, **own}, {"step": _time(configuration, model, task)})


def size(configuration: Configuration, task: Task) -> Sizes:
    """The sizes of a mixer for a task."""
    tokens, channels = configuration.hidden
    return Sizes(
        task.tokens,
        task.values,
        configuration.layers,
        configuration.width,
        (tokens, channels),
        task.classes,
    )


def build(configuration: Configuration, cell: Cell, task: Task, seed: int) -> Mixer:
    """The mixer of a cell before training."""
    torch.manual_seed(seed)
    sizes, specs = size(configuration, task), None
    if cell["experts"]:
        family = str(cell["mlp"])
        place = configuration.families.index(family)
        share = configuration.shares[place] if configuration.shares else None
        specs = fit_blocks(sizes, family, int(cell["experts"]), tm.Gate(norm="batch"), share)
    return Mixer(sizes, specs).to(choose_device(configuration.device))


def evaluate(model: Mixer, part: Part, at_once: int) -> dict[str, float]:
    """The mean loss in nats and the accuracy, in evaluation mode."""
    model.eval()
    place, loss, right = device_of(model), 0.0, 0
    with torch.no_grad():
        for x, labels in part.split(at_once):
            logits = model(x.to(place)).float().cpu()
            loss += float(cross_entropy(logits, labels, reduction="sum"))
            right += int((logits.argmax(-1) == labels).sum())
    return {"loss": loss / len(part.labels), "accuracy": right / len(part.labels)}


def specialize(model: Mixer, part: Part, at_once: int) -> dict[str, Value]:
    """How far experts are for one class, over tokens and over channels, as means over layers.

    Of an expert's coefficients, its main class has a share, here over all experts; by chance it is as large
    as with the classes shuffled. How many experts are in use is the exponential of their load's entropy.
    """
    model.eval()
    place = device_of(model)
    with torch.no_grad():
        batches = [[each.cpu() for each in model.route(x.to(place))] for x, _ in part.split(at_once)]
    blocks = [torch.cat(parts).numpy() for parts in zip(*batches, strict=True)]
    labels = part.labels.numpy()
    shuffled = np.random.default_rng(0).permutation(labels)
    measures: dict[str, Value] = {}
    for first, kind in enumerate(KINDS):
        own = blocks[first::2]
        measures |= {
            f"{kind} share": float(np.mean([main_share(a, labels) for a in own])),
            f"{kind} share by chance": float(np.mean([main_share(a, shuffled) for a in own])),
            f"{kind} in use": float(np.mean([tm.analysis.effective_experts(a) for a in own])),
        }
    return measures


def main_share(coefficients: NumPyArray, labels: NumPyArray) -> float:
    """What of all coefficients (T, N) falls on inputs of each expert's main class."""
    _, numbers, times = np.unique(labels, return_inverse=True, return_counts=True)
    sums = tm.analysis.class_means(coefficients, numbers) * times[:, None]
    return float(sums.max(axis=0).sum() / sums.sum())


def mix_up(x: Tensor, labels: Tensor, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs with others of the batch mixed in, the classes of these, and the inputs' own weight.

    Source: Zhang, Cissé, Dauphin and Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", 2018.
    """
    # Drawn on the CPU, whose random numbers a checkpoint keeps.
    weight = torch.distributions.Beta(alpha, alpha).sample().to(x)
    return weight * x + (1 - weight) * x.flip(0), labels.flip(0), weight


def _loss(configuration: Configuration) -> Callable[[Mixer, Tensor, Tensor], Tensor]:
    """The mean cross-entropy, after MixUp and in bfloat16 where these are asked for."""

    def loss(model: Mixer, x: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=configuration.half):
            if not configuration.mixup:
                return cross_entropy(model(x), labels)
            mixed, others, weight = mix_up(x, labels, configuration.mixup)
            logits = model(mixed)
            return weight * cross_entropy(logits, labels) + (1 - weight) * cross_entropy(logits, others)

    return loss


def _at_once(configuration: Configuration) -> int:
    return configuration.at_once or configuration.batch


def _recipe(configuration: Configuration, cell: Cell, rate: float, share: float = 1.0) -> Recipe:
    steps = configuration.steps[configuration.tasks.index(str(cell["task"]))]
    return Recipe(
        max(1, round(share * steps)),
        configuration.batch,
        rate,
        decay=configuration.decay,
        warmup=round(share * configuration.warmup),
        schedule="linear",
        clip=configuration.clip,
        at_once=configuration.at_once,
    )


def _choose_rate(configuration: Configuration, cell: Cell, task: Task) -> float:
    """The rate with the least loss on validation data."""
    device = configuration.device

    def loss(rate: float) -> float:
        model = build(configuration, cell, task, TUNING)
        recipe = _recipe(configuration, cell, rate, configuration.tuning)
        train(model, task.train, recipe, TUNING, loss=_loss(configuration), device=device)
        return evaluate(model, task.validation, _at_once(configuration))["loss"]

    return rates.choose(configuration.rates, loss)


def _time(configuration: Configuration, model: Mixer, task: Task) -> float:
    """Seconds of processor time of a training step, on the inputs that are passed at once."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
    batch = torch.arange(min(_at_once(configuration), len(task.train.labels)))
    x, labels = (each[batch].to(device_of(model)) for each in task.train)
    model.train()

    def step() -> None:
        optimizer.zero_grad()
        _loss(configuration)(model, x, labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return fastest(step, 2)


EXPERIMENT = Experiment("mixer", "Vision from scratch: MLP-Mixer", Configuration, cells, run, report)
