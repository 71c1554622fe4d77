"""Heads of experts on features: built at a budget, tuned on one grid, trained and measured."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

import tensormoe as tm
from tensormoe.typing import NumPyArray

from . import checkpoints, rates, results
from .tasks import Part, Places, Task, load
from .training import Recipe, accuracy, train
from .trial import Cell, Outcome, Trial, Value

# What all heads of experts are compared with.
LINEAR: Cell = {"layer": "linear", "family": "dense", "gate": "none", "experts": 1}
# A seed for tuning that no result uses.
TUNING = 1_000
NAMES = {
    "entmax15": "1.5-entmax",
    "sparsemax": "sparsemax",
    "softmax": "softmax",
    "soft_top_k": "soft top-k",
    "top_k": "top-k",
}


class Settings(Places, Protocol):
    """What of a configuration a head needs."""

    @property
    def seeds(self) -> int: ...
    @property
    def rates(self) -> tuple[float, ...]: ...
    @property
    def steps(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def norm(self) -> str: ...
    @property
    def k(self) -> int: ...
    @property
    def budget(self) -> float: ...
    @property
    def gate_counted(self) -> bool: ...


def family(name: str) -> tm.Factorization:
    """A family whose last rank is to grow. But for CP, each expert has 4 numbers in its core."""
    families: dict[str, tm.Factorization] = {
        "CP": tm.CP(1),
        "Tucker": tm.Tucker((4, 1, 1)),
        "ring": tm.TensorRing((2, 2, 1)),
        "train": tm.TensorTrain((4, 1)),
    }
    if name not in families:
        raise tm.TensorMoEError("family", name, f"choose one of {', '.join(families)}")
    return families[name]


def options(name: str, settings: Settings) -> dict[str, int]:
    """What a gate activation needs to be told."""
    return {"k": settings.k} if name in ("soft_top_k", "top_k") else {}


def gate(name: str, settings: Settings) -> tm.Gate:
    """A gate by the name of its activation."""
    return tm.Gate(tm.Activation(name, **options(name, settings)), norm=settings.norm)


class Sizes(Protocol):
    """What a head is between."""

    @property
    def features(self) -> int: ...
    @property
    def classes(self) -> int: ...


def specify(settings: Settings, cell: Cell, features: int, classes: int) -> tm.Spec:
    """The specification of a cell, with the largest rank within the budget.

    The budget is a multiple of what it replaces: a linear layer, or an MLP as wide as the features. The gate
    counts as part of it if `gate_counted`. It cannot where there are few classes: the gate of 512 experts
    is larger than all the rest, and equal cores are compared.
    """
    experts = int(cell["experts"])
    own, factors = gate(str(cell["gate"]), settings), family(str(cell["family"]))
    spec: tm.Spec = tm.MuMoESpec(features, classes, experts, factors, own)
    replaced = (features + 1) * classes
    if cell["layer"] == "block":
        spec = tm.MuMoEBlockSpec(features, features, classes, experts, factors, own)
        replaced += (features + 1) * features
    budget = round(settings.budget * replaced) + (0 if settings.gate_counted else features * experts)
    with warnings.catch_warnings():
        # The page shows the parameters, also where a core has no use for more.
        warnings.simplefilter("ignore")
        return spec.matched(budget)


def run(settings: Settings, trial: Trial) -> Outcome:
    """Tune a cell's rate on the grid, train it with the trial's seed, and measure it on the test part."""
    task = load(str(trial.cell["task"]), settings, trial.shared, trial.tell)
    name = results.key(trial.cell, TUNING).translate({ord(c): None for c in '"{}[] ,:'})
    chosen = checkpoints.decide(
        trial.shared / f"{name}.json", lambda: tune(settings, trial, task, trial.shared / name)
    )
    trial.tell("training", 0.0)
    model = fit(settings, trial.cell, task, chosen["rate"], trial.seed, trial.own / "state")
    return measure(settings, trial.cell, model, task, task.test, chosen["rate"])


def measure(
    settings: Settings, cell: Cell, model: torch.nn.Module, sizes: Sizes, test: Part, rate: float
) -> Outcome:
    """What a trained head makes of features to judge by."""
    measures = {"rate": rate, "accuracy": accuracy(model, *test)}
    if cell["layer"] == "linear":
        return Outcome({**measures, "parameters": (sizes.features + 1) * sizes.classes})
    spec = specify(settings, cell, sizes.features, sizes.classes)
    gates = sizes.features * int(cell["experts"])
    counts = {"parameters": spec.num_parameters - gates, "gate_parameters": gates}
    return Outcome({**measures, **counts, **specialize(model, test.x, test.labels.numpy())})


def tune(settings: Settings, trial: Trial, task: Task, folder: Path) -> dict[str, float]:
    """The rate of the grid with the best accuracy on the validation part; the smaller of equal ones."""

    def loss(rate: float) -> float:
        trial.tell(f"tuning at {rate:g}", settings.rates.index(rate) / len(settings.rates))
        return -accuracy(fit(settings, trial.cell, task, rate, TUNING, None), *task.validation)

    return {"rate": rates.choose(sorted(settings.rates), loss)}


def fit(
    settings: Settings, cell: Cell, task: Task, rate: float, seed: int, checkpoint: Path | None
) -> torch.nn.Module:
    """A head after its last step; a seed sets initial values and the order of the data, alike for all."""
    model = build(settings, cell, task, seed)
    recipe = Recipe(settings.steps, settings.batch, rate, schedule="cosine")
    train(model, task.train, recipe, seed, checkpoint=checkpoint)
    return model


def build(settings: Settings, cell: Cell, task: Sizes, seed: int) -> torch.nn.Module:
    """The head of a cell before training."""
    if cell["layer"] == "linear":
        torch.manual_seed(seed)
        return torch.nn.Linear(task.features, task.classes)
    spec = specify(settings, cell, task.features, task.classes)
    module: torch.nn.Module = tm.build(spec, "torch", seed=seed)
    return module


def specialize(model: torch.nn.Module, x: torch.Tensor, labels: NumPyArray) -> Mapping[str, Value]:
    """How the experts of a trained head share the classes of inputs."""
    with torch.no_grad():
        _, coefficients = model(x, return_coefficients=True)
    changes = tm.analysis.accuracy_by_ablation(model, x, labels)
    matter = np.abs(changes).max(axis=1)
    # What of an expert's coefficients falls on inputs of its main class, weighted by its load.
    by_class = np.stack([np.sum(tm.analysis.joint(coefficients)[labels == c], 0) for c in np.unique(labels)])
    return {
        "polysemanticity": tm.analysis.polysemanticity(changes).mean,
        "matter": int((matter > 0).sum()),
        "largest_change": float(matter.max()),
        "class_share": float(by_class.max(axis=0).sum() / by_class.sum()),
        "information": tm.analysis.mutual_information(coefficients, labels),
        "effective": tm.analysis.effective_experts(coefficients),
        "dead": len(tm.analysis.dead(coefficients)),
        "largest_load": float(tm.analysis.load(coefficients).max()),
    }
