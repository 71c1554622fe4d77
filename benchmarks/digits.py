"""Trains one level and two levels of experts on digits, at equal parameters: what do more levels gain?

    python -m benchmarks.digits --seeds 10 --epochs 30

Adam at a rate of 3e-3, batches of 64, the default gate, no schedule, no weight decay; accuracy is that on the
450 test images after the last step. Rate and epochs are the same for all sides and were not searched for. A
seed sets the initial values and the order of the data, for all sides alike.
"""

import argparse
from collections.abc import Callable
from statistics import mean, stdev
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.nn.functional import cross_entropy

import tensormoe as tm
from tensormoe.demo.data import Digits, load
from tensormoe.tables import table

# From a layer to what an optimizer takes: parameters with their rates.
Group: TypeAlias = Callable[[torch.nn.Module], list[dict[str, Any]]]
BUDGETS = (3_000, 6_000, 12_000)
RATE, BATCH = 3e-3, 64
FAMILIES = {
    "CP": (tm.CP(1), tm.CP(1)),
    "tensor ring": (tm.TensorRing((4, 4, 1)), tm.TensorRing((4, 4, 4, 1))),
}


def one_rate(layer: torch.nn.Module) -> list[dict[str, Any]]:
    """Adam's groups: all parameters learn at one rate."""
    return [{"params": [*layer.parameters()], "lr": RATE}]


def train(spec: tm.Spec, digits: Digits, seed: int, epochs: int, group: Group = one_rate) -> torch.nn.Module:
    """The layer after its last step; a seed sets the initial values and the order of the data."""
    x, labels = torch.from_numpy(digits.x), torch.from_numpy(digits.labels)
    layer: torch.nn.Module = tm.build(spec, "torch", seed=seed)
    optimizer = torch.optim.Adam(group(layer))
    generator = np.random.default_rng(seed)
    for _ in range(epochs):
        order = torch.from_numpy(generator.permutation(len(x)))
        for batch in order.split(BATCH):  # type: ignore[no-untyped-call]
            optimizer.zero_grad()
            cross_entropy(layer(x[batch]), labels[batch]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return layer


def assess(layer: torch.nn.Module, digits: Digits) -> tuple[float, list[float]]:
    """The test accuracy, and how much each level's coefficients vary between test images."""
    layer.eval()
    with torch.no_grad():
        y, coefficients = layer(torch.from_numpy(digits.x_test), return_coefficients=True)
    accuracy = np.mean(y.argmax(-1).numpy() == digits.labels_test)
    return float(accuracy), [float(a.std(0).max()) for a in coefficients]


def main() -> None:
    """Print a row for every family, budget and side."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    digits = load(1, BATCH, "float32")
    rows = []
    for name, (one, two) in FAMILIES.items():
        for budget in BUDGETS:
            sides = {
                "16": tm.MuMoESpec(64, 10, 16, one),
                "16, 16": tm.MuMoESpec(64, 10, (16, 16), two),
                "16, 16, published": tm.MuMoESpec(64, 10, (16, 16), two, initialization="published"),
            }
            first: list[float] = []
            for side, spec in sides.items():
                matched = spec.matched(budget)
                runs = [
                    assess(train(matched, digits, seed, options.epochs), digits)
                    for seed in range(options.seeds)
                ]
                accuracies = [100 * accuracy for accuracy, _ in runs]
                first = first or accuracies
                gains = [own - other for own, other in zip(accuracies, first, strict=True)]
                error = stdev(gains) / len(gains) ** 0.5
                unused = sum(spread < 0.02 for _, spreads in runs for spread in spreads)
                gain = f"{mean(gains):+.2f} ± {error:.2f}" if side != "16" else "–"
                figures = f"{mean(accuracies):.2f} ± {stdev(accuracies):.2f}", gain, f"{unused}"
                rows.append((name, side, f"{matched.num_parameters:,}", *figures))
                print(*rows[-1], flush=True)
    columns = ("family", "experts", "parameters", "accuracy %", "gain on one level", "constant levels")
    print(table(columns, rows, text_columns=2))


if __name__ == "__main__":
    main()
