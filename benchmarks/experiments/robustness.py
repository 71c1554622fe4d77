"""The router: a linear one against Adaptive Clustering, clean and corrupted, on digits and on a text."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import tensormoe as tm

from . import checkpoints, rates
from .experiment import Experiment
from .robustness_report import report
from .routing_tasks import Task, evaluate, mean_loss, read_images, read_text, top_experts
from .training import Recipe, choose_device, device_of, train
from .transformer import Transformer
from .trial import Cell, Outcome, Trial

# Assignment to clusters and statistics; None is the linear router. The first is the published rule.
ROUTERS: dict[str, tuple[str, str] | None] = {
    "linear": None,
    "hard, batch": ("hard", "batch"),
    "hard, running": ("hard", "running"),
    "soft, batch": ("soft", "batch"),
    "soft, running": ("soft", "running"),
}
# The seed with which rates are chosen, of no trial.
TUNING = 1_000_000


@dataclass(frozen=True)
class Robustness:
    """What the experiment on routers varies and keeps.

    Args:
        seeds: of initial values and the order of the data.
        tasks: of "digits", "pictures" and "text".
        layers, heads, width, hidden: of the transformer; the first layer's router is always linear.
        experts, chosen: experts of each block, and how many of them the gate takes for a token.
        rank: of the blocks, CP.
        steps, batch: of training, for each task in their order.
        rates: AdamW's, of which validation chooses one for each task and router, after `tuning` of the steps.
        watched: how many times the loss on validation data is measured in training.
        root: of pictures in folders (see `routing_pictures.read_task`), or of a text.
        vocabulary, context, characters, test_tokens: of the text (see `routing_tasks.read_text`).
    """

    seeds: int
    tasks: tuple[str, ...]
    layers: int
    heads: int
    width: int
    hidden: int
    experts: int
    chosen: int
    rank: int
    steps: tuple[int, ...]
    batch: tuple[int, ...]
    rates: tuple[float, ...]
    watched: int
    vocabulary: int
    context: int
    characters: int
    test_tokens: int
    tuning: float = 0.5
    root: str = ""


def cells(configuration: Robustness) -> Sequence[Cell]:
    """A cell for each task and each router."""
    return [{"task": task, "router": router} for task in configuration.tasks for router in ROUTERS]


def run(configuration: Robustness, trial: Trial) -> Outcome:
    """Train one model, and measure it on data that are clean and on data that are not."""
    name, router = str(trial.cell["task"]), str(trial.cell["router"])
    task = _read(configuration, trial, name)
    batch = configuration.batch[configuration.tasks.index(name)]
    trial.tell(f"{name} {router}: rates", 0)
    path = trial.shared / f"rate-{name}-{router.replace(', ', '-')}.json"
    rate = checkpoints.decide(path, lambda: {"rate": _choose_rate(configuration, name, router, task)})["rate"]
    model = _build(configuration, task, router, trial.seed)
    late = trial.own / "experts.safetensors"
    recipe = _recipe(configuration, name, rate)

    def watch(step: int, loss: float) -> float | None:
        if step == recipe.steps * 3 // 4:
            checkpoints.prepare(late, lambda: {"top": top_experts(model, task.test.x, batch)[0].numpy()})
            model.train()
        if step % max(1, recipe.steps // configuration.watched):
            return None
        trial.tell(f"{name} {router}: {loss:.3f}", step / recipe.steps)
        return evaluate(model, task.validation, batch)["loss"]

    data = [task.train.x, task.train.targets]
    kept = trial.own / "model.safetensors"
    curve = train(model, data, recipe, trial.seed, loss=_loss, checkpoint=kept, watch=watch)
    before = torch.from_numpy(checkpoints.prepare(late, dict)["top"])
    measures = evaluate(model, task.test, batch)
    top, load = top_experts(model, task.test.x, batch)
    load = load / load.sum(-1, keepdim=True)
    return Outcome(
        {
            **measures,
            "rate": rate,
            "curve": [[step, round(value, 5)] for step, value in curve],
            "corrupted": {
                kind: [
                    {k: round(v, 5) for k, v in evaluate(model, each, batch).items()} for each in severities
                ]
                for kind, severities in task.corrupted.items()
            },
            # Of the layers whose routers differ.
            "effective experts": float(torch.special.entr(load[1:]).sum(-1).exp().mean()),
            "same expert later": float((top == before)[1:].double().mean()),
            "same expert corrupted": _agree(model, task, top, batch),
            "sees the future": _sees_the_future(model, task, batch),
        }
    )


def _loss(model: Transformer, x: Tensor, targets: Tensor) -> Tensor:
    return mean_loss(model(x), targets)


def _read(configuration: Robustness, trial: Trial, name: str) -> Task:
    if name == "digits":
        return read_images()
    if name == "text":
        return read_text(configuration, trial.shared)
    if name == "pictures":
        from .routing_pictures import read_task

        return read_task(configuration.root)
    raise tm.TensorMoEError("tasks", name, "choose of digits, pictures and text")


def _recipe(configuration: Robustness, name: str, rate: float, share: float = 1.0) -> Recipe:
    number = configuration.tasks.index(name)
    steps = max(4, round(share * configuration.steps[number]))
    return Recipe(
        steps, configuration.batch[number], rate, decay=0.01, warmup=steps // 10, schedule="cosine", clip=1.0
    )


def _choose_rate(configuration: Robustness, name: str, router: str, task: Task) -> float:
    """The rate with the least loss on validation data."""

    def loss(rate: float) -> float:
        model = _build(configuration, task, router, TUNING)
        recipe = _recipe(configuration, name, rate, configuration.tuning)
        train(model, [task.train.x, task.train.targets], recipe, TUNING, loss=_loss)
        return evaluate(model, task.validation, recipe.batch)["loss"]

    return rates.choose(configuration.rates, loss)


def _build(configuration: Robustness, task: Task, router: str, seed: int) -> Transformer:
    torch.manual_seed(seed)
    width, choice = configuration.width, ROUTERS[router]
    rule: tm.Router = tm.LinearRouter()
    if choice is not None:
        assignment, statistics = choice
        rule = tm.AdaptiveClustering(
            "language" if task.causal else "vision",
            assignment=assignment,
            statistics=statistics,
            evaluation=statistics,
        )
    gate = tm.Gate(tm.Activation("top_k", k=configuration.chosen), norm=None, router=rule)
    sizes = width, configuration.hidden, width, configuration.experts
    return Transformer(
        task.embed(width),
        tm.MuMoEBlockSpec(*sizes, tm.CP(configuration.rank), gate=gate),
        length=task.length,
        layers=configuration.layers,
        heads=configuration.heads,
        outputs=task.outputs,
        causal=task.causal,
    ).to(choose_device())


def _agree(model: Transformer, task: Task, top: Tensor, batch: int) -> float:
    """How many of the tokens that stay have the same experts where others, or their pixels, are corrupted."""
    corrupted = task.corrupted["replace" if task.causal else "noise"][2].x
    others = top_experts(model, corrupted, batch)[0]
    same = (others == top)[1:]
    if task.causal:
        same = same[:, (corrupted == task.test.x).flatten()]
    return float(same.double().mean())


def _sees_the_future(model: Transformer, task: Task, batch: int) -> float | None:
    """How far logits before it move on average with the last token of a context: 0 in a causal model."""
    if not task.causal:
        return None
    x = task.test.x[:batch].to(device_of(model))
    changed = x.clone()
    changed[:, -1] = (x[:, -1] + 1) % task.outputs
    with torch.no_grad():
        difference = model(changed)[:, :-1] - model(x)[:, :-1]
    return float(difference.abs().mean())


EXPERIMENT = Experiment(
    name="robustness",
    title="The router: Adaptive Clustering",
    configuration=Robustness,
    cells=cells,
    run=run,
    report=report,
)
