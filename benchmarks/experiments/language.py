"""Language: a GPT-2 whose MLPs are dense, or CP and tensor ring μMoE blocks of as many parameters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

import tensormoe as tm
import tensormoe_torch

from . import checkpoints, language_data, rates
from .experiment import Experiment
from .language_data import Text
from .language_experts import examine
from .language_report import DENSE, report
from .selection import fastest
from .training import Recipe, choose_device, device_of, train
from .trial import Cell, Outcome, Trial, Value

# Of the ring, the last rank is the one that parameters decide; the others are the published ones.
FAMILIES: dict[str, tm.Factorization] = {"CP": tm.CP(1), "ring": tm.TensorRing((4, 4, 1))}
# The seed with which rates are chosen, of no trial.
TUNING = 1_000_000


@dataclass(frozen=True)
class Language:
    """What the experiment on language varies and keeps.

    Args:
        seeds: of initial values and the order of the contexts.
        families: of the blocks, "CP" and "ring"; the dense MLP always runs.
        experts: of each block.
        layers, heads, width: of GPT-2; its MLPs are four times as wide.
        steps, batch: of training; a batch has so many contexts.
        at_once: contexts that fit in memory; gradients of the others are added.
        rates: AdamW's, of which validation chooses one for each contender, after `tuning` of the steps.
        warmup, last, decay, betas, clip: see `training.Recipe`; the schedule is a cosine.
        watched: how many times the loss on validation data is measured in training.
        vocabulary: how many tokens the tokenizer has.
        context: tokens of each.
        characters: after how many the text ends; 0 for all of it.
        held_out: how many contexts to choose rates by, and to judge by.
        root: of files of text (see `data.texts`); "" for those at hand.
        tokenizer: a `tokenizer.json`; "" for one that is trained on the text.
        device: to train and judge on (see `training.choose_device`).
    """

    seeds: int
    families: tuple[str, ...]
    experts: tuple[int, ...]
    layers: int
    heads: int
    width: int
    steps: int
    batch: int
    at_once: int
    rates: tuple[float, ...]
    warmup: int
    watched: int
    vocabulary: int
    context: int
    characters: int
    held_out: int
    last: float = 0.1
    decay: float = 0.1
    betas: tuple[float, ...] = (0.9, 0.95)
    clip: float = 1.0
    tuning: float = 0.5
    root: str = ""
    tokenizer: str = ""
    device: str = "auto"


def cells(configuration: Language) -> Sequence[Cell]:
    """The dense model, and one for each family and number of experts."""
    blocks: list[Cell] = [
        {"mlp": family, "experts": experts}
        for experts in configuration.experts
        for family in configuration.families
    ]
    return [DENSE, *blocks]


def run(configuration: Language, trial: Trial) -> Outcome:
    """Train one model, measure its loss, and see what its experts are for."""
    name = f"{trial.cell['mlp']}-{trial.cell['experts']}"
    text = language_data.read(configuration, trial.shared)
    trial.tell(f"{name}: rates", 0)
    path = trial.shared / f"rate-{name}.json"
    rate = checkpoints.decide(path, lambda: {"rate": _choose_rate(configuration, trial.cell, text)})["rate"]
    model = build(configuration, trial.cell, trial.seed)
    recipe = _recipe(configuration, rate)

    def watch(step: int, loss: float) -> float | None:
        if step % max(1, recipe.steps // configuration.watched):
            return None
        trial.tell(f"{name}: {loss:.3f}", step / recipe.steps)
        return evaluate(model, text.validation, configuration.at_once)

    kept = trial.own / "model.safetensors"
    curve = train(
        model,
        [text.train],
        recipe,
        trial.seed,
        loss=mean_loss,
        checkpoint=kept,
        watch=watch,
        device=configuration.device,
    )
    measures: dict[str, Value] = {
        "loss": evaluate(model, text.test, configuration.at_once),
        "rate": rate,
        "parameters": sum(each.numel() for each in model.parameters()),
        "curve": [[step, round(value, 5)] for step, value in curve],
    }
    own = examine(model, text, configuration.at_once, trial.own / "experts") if trial.cell["experts"] else {}
    return Outcome({**measures, **own}, {"step": _time(model, text, configuration)})


def build(configuration: Language, cell: Cell, seed: int) -> torch.nn.Module:
    """A GPT-2 with random values, whose MLPs are those of the cell."""
    language_data.need("transformers")
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    sizes = GPT2Config(
        vocab_size=configuration.vocabulary,
        n_positions=configuration.context,
        n_embd=configuration.width,
        n_layer=configuration.layers,
        n_head=configuration.heads,
        # 0.02 for the published width; with it, dense MLPs that are narrower would start far below ours.
        initializer_range=0.02 * (768 / configuration.width) ** 0.5,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
        use_cache=False,
    )
    model = cast("torch.nn.Module", GPT2LMHeadModel(sizes))
    if cell["experts"]:
        family = str(cell["mlp"])
        if family not in FAMILIES:
            raise tm.TensorMoEError("families", family, f"choose of {', '.join(FAMILIES)}")
        tensormoe_torch.replace(
            model, "mlp", experts=int(cell["experts"]), factorization=FAMILIES[family], match="parameters"
        )
    return model.to(choose_device(configuration.device))


def mean_loss(model: torch.nn.Module, pieces: Tensor) -> Tensor:
    """The mean cross-entropy of the next tokens, in nats; pieces are contexts with the token after them."""
    pieces = pieces.to(device_of(model))
    logits = model(input_ids=pieces[:, :-1]).logits
    return cross_entropy(logits.flatten(0, 1), pieces[:, 1:].flatten())


def evaluate(model: torch.nn.Module, pieces: Tensor, at_once: int) -> float:
    """The mean loss over all tokens, in evaluation mode."""
    model.eval()
    with torch.no_grad():
        parts = torch.split(pieces, at_once)
        total = sum((len(part) * mean_loss(model, part).item() for part in parts), 0.0)
    return total / len(pieces)


def _recipe(configuration: Language, rate: float, share: float = 1.0) -> Recipe:
    first, second = configuration.betas
    return Recipe(
        max(2, round(share * configuration.steps)),
        configuration.batch,
        rate,
        decay=configuration.decay,
        betas=(first, second),
        warmup=round(share * configuration.warmup),
        schedule="cosine",
        last=configuration.last,
        clip=configuration.clip,
        at_once=configuration.at_once,
    )


def _choose_rate(configuration: Language, cell: Cell, text: Text) -> float:
    """The rate with the least loss on validation data."""
    device = configuration.device

    def loss(rate: float) -> float:
        model = build(configuration, cell, TUNING)
        recipe = _recipe(configuration, rate, configuration.tuning)
        train(model, [text.train], recipe, TUNING, loss=mean_loss, device=device)
        return evaluate(model, text.validation, configuration.at_once)

    return rates.choose(configuration.rates, loss)


def _time(model: torch.nn.Module, text: Text, configuration: Language) -> float:
    """Seconds of processor time of a training step on the contexts that are passed at once."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
    pieces = text.train[torch.arange(min(configuration.at_once, len(text.train)))]

    def step() -> None:
        optimizer.zero_grad()
        mean_loss(model, pieces).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return fastest(step, 2)


EXPERIMENT = Experiment("language", "Language: GPT-2 from scratch", Language, cells, run, report)
