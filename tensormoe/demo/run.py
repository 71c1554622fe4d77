"""What `tensormoe demo` does, from plan to picture."""

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import tensormoe as tm
from tensormoe.arrays.registry import installed_backends
from tensormoe.tables import table

from . import data, figure, training
from .training import Run, Train

EPOCHS, BATCH_SIZE, RATE = 15, 32, 3e-3
HIDDEN, EXPERTS = 128, 16
MLP_PARAMETERS = 64 * HIDDEN + HIDDEN + HIDDEN * 10 + 10
MLP_MACS = 64 * HIDDEN + HIDDEN * 10
# A single expert has the coefficient 1, whatever its gate computes.
MLP = tm.MuMoEBlockSpec(64, HIDDEN, 10, experts=1, factorization=tm.Dense(), gate=tm.Gate(norm=None))

FACTORIZATIONS = {
    "CP": tm.CP(rank=1),
    "Tucker": tm.Tucker(ranks=(8, 1, 1)),
    "Tensor train": tm.TensorTrain(ranks=(4, 1)),
    "Tensor ring": tm.TensorRing(ranks=(2, 2, 1)),
}


def spec(factorization: tm.Factorization) -> tm.MuMoEBlockSpec:
    """The block that replaces an MLP 64 → 128 → 10, with no more parameters than the MLP has."""
    block = tm.MuMoEBlockSpec(
        64, HIDDEN, 10, experts=EXPERTS, factorization=factorization, gate=tm.Gate(norm="batch")
    )
    return block.matched(parameters=MLP_PARAMETERS)


def run(path: Path, dtype: str = "float64", epochs: int = EPOCHS) -> bool:
    """Plan, verify and train a block for each factorization, and an MLP; print a table, save a picture.

    Args:
        path: of the picture, a PNG.
        dtype: "float64", in which two frameworks differ by rounding that stays small, or "float32".
        epochs: passes over the training images.

    Returns:
        Whether every verification passed.

    Raises:
        TensorMoEError: neither PyTorch nor JAX is installed.
    """
    # A pipe gets no moving bars, even if FORCE_COLOR asks for its colours.
    console = Console(force_interactive=None if sys.stdout.isatty() else False)
    trainers = training.installed_trainers()
    digits = data.load(epochs, BATCH_SIZE, dtype)
    console.print(
        f"[bold]tensormoe {tm.__version__}[/bold]: μMoE blocks with {EXPERTS} experts in place of an MLP "
        f"64 → {HIDDEN} → 10 of {MLP_PARAMETERS:,} parameters\n{len(digits.x):,} training and "
        f"{len(digits.x_test)} test images of handwritten digits, {epochs} epochs, {dtype}\n"
    )
    runs: dict[str, dict[str, Run]] = {}
    passed = True
    for name, factorization in FACTORIZATIONS.items():
        block = spec(factorization)
        console.rule(f"[bold]{name}", align="left")
        console.print(f"{block.factorization}, {block.num_parameters:,} parameters\n")
        _print(console, str(block.plan(BATCH_SIZE)))
        passed &= _verify(console, block)
        runs[name] = _train(console, block, digits, trainers)
    console.rule("[bold]MLP, for comparison", align="left")
    mlp = _train(console, MLP, digits, trainers)
    console.rule("[bold]Result", align="left")
    _print(console, _table(runs, mlp, digits.labels_test))
    console.print("accuracy and loss on the test images; MACs per image, without the gate")
    if len(trainers) > 1:
        console.print(
            "max. diff.: the largest difference between the frameworks, over all losses and test logits"
        )
    figure.draw(runs, digits.labels_test, path)
    console.print(f"picture: {path}")
    return passed


def _print(console: Console, text: str) -> None:
    """A text that is already laid out."""
    console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)


def _verify(console: Console, block: tm.MuMoEBlockSpec) -> bool:
    report = tm.verify(block)
    largest = max(check.ratio for check in report.checks if check.method == "float")
    held = sum(check.passed for check in report.checks)
    verdict = "[green]verified[/green]" if report.passed else "[red]NOT verified[/red]"
    console.print(
        f"\n{verdict} on {', '.join(installed_backends())}, by proof, in exact integers, within error "
        f"bounds and across frameworks: {held} of {len(report.checks)} comparisons hold; no rounding "
        f"error exceeds {largest:.2f} of its bound\n"
    )
    if not report.passed:
        _print(console, str(report))
    return report.passed


def _train(
    console: Console, block: tm.MuMoEBlockSpec, digits: data.Digits, trainers: Mapping[str, Train]
) -> dict[str, Run]:
    columns = (
        TextColumn("{task.description:<18}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    runs = {}
    with Progress(*columns, console=console) as progress:
        for title, train in trainers.items():
            task = progress.add_task(f"training in {title}", total=len(digits.batches))
            runs[title] = train(block, digits, RATE, partial(progress.advance, task))
    console.print()
    return runs


def _table(runs: Mapping[str, Mapping[str, Run]], mlp: Mapping[str, Run], labels: data.Array) -> str:
    scores = [f"{score}\n{title}" for score in ("acc.", "loss") for title in mlp]
    columns = ("", "params", "MACs", *scores, *["max.\ndiff."] * (len(mlp) > 1))
    rows = []
    for name, trained in runs.items():
        block = spec(FACTORIZATIONS[name])
        costs = f"{block.num_parameters:,}", f"{block.plan(1).macs:,}"
        rows.append((name, *costs, *_scores(trained, labels)))
    rows.append(("MLP", f"{MLP_PARAMETERS:,}", f"{MLP_MACS:,}", *_scores(mlp, labels)))
    return table(columns, rows)


def _scores(trained: Mapping[str, Run], labels: data.Array) -> list[str]:
    return [
        *(f"{100 * one.accuracy(labels):.1f} %" for one in trained.values()),
        *(f"{one.loss(labels):.4f}" for one in trained.values()),
        *_difference(*trained.values()),
    ]


def _difference(first: Run, *others: Run) -> list[str]:
    """The largest difference of each other run from the first one."""
    return [
        f"{max(np.max(np.abs(first.losses - o.losses)), np.max(np.abs(first.logits - o.logits))):.1e}"
        for o in others
    ]
