"""Bias mitigation: experts re-written by hand, against oversampling, an adversary and a blind threshold."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

import tensormoe as tm
from tensormoe.typing import NumPyArray
from tensormoe_torch import MuMoE

from . import checkpoints, mitigation, rates
from .bias_report import report
from .convolutions import Classifier, convolve, features
from .data.population import Task, border_digits
from .experiment import Experiment
from .faces import read_faces
from .training import Recipe, accuracy, train
from .trial import Cell, Outcome, Trial

METHODS = ("none", "re-writing", "blind threshold", "oversampling", "adversary")
# The seed with which rates are chosen, of no trial.
TUNING = 1_000_000


@dataclass(frozen=True)
class Bias:
    """What the experiment on bias varies and keeps.

    Args:
        seeds: of borders, noise, initial values and the order of the data.
        data: "digits" with borders, or "celeba".
        experts: of the head; each number is tried.
        rank: of the head, a CP.
        width: features before the head; those of CLIP have a width of their own.
        skew, noise: of the borders (see `border_digits`).
        steps, batch: of training.
        rates: AdamW's, of which validation chooses one for each training.
        strengths: λ of re-writing.
        constants: of the blind threshold.
        adversaries: how much the adversary counts.
        root: CelebA's folder.
        backbone: CLIP's name or folder, as transformers takes it.
        sought, attribute: of CelebA.
    """

    seeds: int
    data: str
    experts: tuple[int, ...]
    rank: int
    width: int
    steps: int
    batch: int
    rates: tuple[float, ...]
    strengths: tuple[float, ...]
    constants: tuple[float, ...]
    adversaries: tuple[float, ...]
    skew: float = 0.95
    noise: float = 0.0
    root: str = ""
    backbone: str = ""
    sought: str = "Blond_Hair"
    attribute: str = "Male"


def cells(configuration: Bias) -> Sequence[Cell]:
    """A cell for each number of experts and each method."""
    return [{"experts": experts, "method": method} for experts in configuration.experts for method in METHODS]


def run(configuration: Bias, trial: Trial) -> Outcome:
    """One method at all its strengths; the figures are those of the strength that validation chooses."""
    method, experts = str(trial.cell["method"]), int(trial.cell["experts"])
    head, task, rate = _prepare(configuration, trial, experts, oversample=method == "oversampling")
    steps: dict[str, tuple[tuple[float, ...], Callable[[float], list[NumPyArray]]]] = {
        "re-writing": (configuration.strengths, partial(mitigation.rewrite, head, task)),
        "blind threshold": (configuration.constants, partial(mitigation.shift, head, task)),
        "adversary": (configuration.adversaries, partial(mitigation.oppose, task)),
    }
    strengths, apply = steps.get(method, ((0.0,), lambda strength: mitigation.classify(head, task)))
    validation, test = [], []
    for number, strength in enumerate(strengths):
        trial.tell(f"{method} {strength:g}", number / len(strengths))
        ours, theirs = apply(strength)
        validation.append(mitigation.measure(ours, task.validation))
        test.append(mitigation.measure(theirs, task.test))
    chosen = mitigation.choose(validation)
    curves = {name: [round(each[name], 5) for each in test] for name in mitigation.MEASURES}
    own = {"rate": rate, "strength": strengths[chosen], "strengths": strengths, "curves": curves}
    return Outcome(test[chosen] | own)


def _prepare(configuration: Bias, trial: Trial, experts: int, oversample: bool) -> tuple[MuMoE, Task, float]:
    """The trained head, the same for all methods but oversampling, what it sees, and its rate."""
    name = f"{'oversampled' if oversample else 'plain'}-{experts}"
    task = _read(configuration, trial.shared, trial.seed)

    def tune() -> dict[str, float]:
        # With borders that no result has.
        other = _read(configuration, trial.shared, TUNING)
        return {"rate": _choose_rate(configuration, other, experts, oversample)}

    rate = checkpoints.decide(trial.shared / f"rate-{name}.json", tune)["rate"]

    def fit() -> dict[str, NumPyArray]:
        fitted = _train(configuration, task, experts, rate, trial.seed, oversample)
        return {name: value.numpy() for name, value in fitted.state_dict().items()}

    model = _build(configuration, task, experts, trial.seed)
    trained = checkpoints.prepare(trial.shared / f"{name}-{trial.seed}.safetensors", fit)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in trained.items()})
    model.eval()
    seen = (part._replace(x=features(model.body, torch.from_numpy(part.x)).numpy()) for part in task)
    return model.head, Task(*seen), rate


def _read(configuration: Bias, shared: Path, seed: int) -> Task:
    if configuration.data == "digits":
        return border_digits(configuration.skew, configuration.noise, seed)
    if configuration.data == "celeba":
        return read_faces(configuration, shared)
    raise tm.TensorMoEError("data", configuration.data, "choose digits or celeba")


def _choose_rate(configuration: Bias, task: Task, experts: int, oversample: bool) -> float:
    """The rate with the best accuracy on validation."""
    x, labels = torch.from_numpy(task.validation.x), torch.from_numpy(task.validation.labels)

    def loss(rate: float) -> float:
        return -accuracy(_train(configuration, task, experts, rate, TUNING, oversample), x, labels)

    return rates.choose(configuration.rates, loss)


def _train(
    configuration: Bias, task: Task, experts: int, rate: float, seed: int, oversample: bool
) -> Classifier:
    data = [torch.from_numpy(task.train.x), torch.from_numpy(task.train.labels)]
    if oversample:
        drawn = torch.from_numpy(tm.analysis.oversample(task.train.groups, seed=seed))
        data = [each[drawn] for each in data]
    model = _build(configuration, task, experts, seed)
    recipe = Recipe(configuration.steps, configuration.batch, rate, schedule="cosine")
    train(model, data, recipe, seed)
    return model


def _build(configuration: Bias, task: Task, experts: int, seed: int) -> Classifier:
    torch.manual_seed(seed)
    images = task.train.x.ndim == 3
    body = convolve(task.train.x.shape[1], configuration.width) if images else torch.nn.Identity()
    width = configuration.width if images else task.train.x.shape[1]
    gate = tm.Gate("entmax15", norm="batch")
    return Classifier(body, tm.MuMoESpec(width, 2, experts, tm.CP(configuration.rank), gate=gate), seed)


EXPERIMENT = Experiment(
    name="bias",
    title="Bias, and experts re-written against it",
    configuration=Bias,
    cells=cells,
    run=run,
    report=report,
)
