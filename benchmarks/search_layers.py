"""Is there a layer better than CP and a ring of the same size, on digits and on a small language model?

    python -m benchmarks.search_layers            # both; writes benchmarks/search_layers.json
    python -m benchmarks.search_layers --table    # what the docs show

A search over topologies tries TRIALS networks, all grown to the same number of parameters. Each is trained
for a few epochs at each of RATES with each of the seeds CHOOSING, and the search is told the least mean loss
on a part of the training data. The best few by that and RIVALS, each at its best rate, are then trained again
on all of it with other seeds, and compared on data that nothing has seen.

Digits are scikit-learn's. The language model reads the eight characters before the next one, each as a vector
of numbers drawn once; the text is that of Python's `help`.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from statistics import mean
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

import tensormoe as tm
from tensormoe.demo.data import load
from tensormoe.intervals import interval

RESULTS = Path(__file__).with_suffix(".json")
PARAMETERS, EXPERTS, TRIALS, SEEDS = 3_000, 8, 60, 10
BEST, CONTEXT, WIDTH, CHARACTERS = 3, 8, 8, 40
RATES, CHOOSING, BATCH, EPOCHS = (1e-3, 3e-3, 1e-2, 3e-2), (0, 1, 2), 64, 8

# What is known; the last bond of each grows to the parameters, and a Mixture of Decoders has none.
RIVALS = {
    "CP": tm.CP(1),
    "ring": tm.TensorRing((4, 4, 1)),
    "block term": tm.TensorNetwork("n r, i r s, o r s", r=4, s=1),
    "Mixture of Decoders": tm.TensorNetwork("n o, i o"),
}


@dataclass(frozen=True)
class Data:
    """Inputs and labels for training, for choosing, and for the comparison."""

    train: tuple[torch.Tensor, torch.Tensor]
    choose: tuple[torch.Tensor, torch.Tensor]
    test: tuple[torch.Tensor, torch.Tensor]
    classes: int


def digits() -> Data:
    """Handwritten digits: 64 pixels, 10 classes."""
    held = load(epochs=1, batch_size=BATCH, dtype="float32")
    x, labels = torch.from_numpy(held.x), torch.from_numpy(held.labels)
    part = len(x) * 3 // 4
    test = torch.from_numpy(held.x_test), torch.from_numpy(held.labels_test)
    return Data((x[:part], labels[:part]), (x[part:], labels[part:]), test, 10)


def characters() -> Data:
    """The next of the commonest characters, from the eight before it."""
    text = "".join(topics.values()).lower()[:60_000]
    common = sorted(set(text), key=text.count, reverse=True)[: CHARACTERS - 1]
    numbers = np.array([common.index(each) if each in common else CHARACTERS - 1 for each in text])
    vectors = np.random.default_rng(0).normal(size=(CHARACTERS, WIDTH)).astype("float32")
    windows = np.lib.stride_tricks.sliding_window_view(numbers, CONTEXT + 1)
    # Every eighth window, so that an epoch is short.
    x = torch.from_numpy(vectors[windows[::8, :-1]].reshape(-1, CONTEXT * WIDTH))
    labels = torch.from_numpy(windows[::8, -1].copy())
    one, two = len(x) * 6 // 10, len(x) * 8 // 10
    return Data((x[:one], labels[:one]), (x[one:two], labels[one:two]), (x[two:], labels[two:]), CHARACTERS)


def train(
    spec: tm.MuMoESpec, data: tuple[torch.Tensor, torch.Tensor], seed: int, rate: float
) -> torch.nn.Module:
    """A layer after EPOCHS of Adam."""
    x, labels = data
    layer: torch.nn.Module = tm.build(spec, "torch", seed=seed)
    optimizer = torch.optim.Adam(layer.parameters(), lr=rate)
    generator = np.random.default_rng(seed)
    for _ in range(EPOCHS):
        for batch in torch.from_numpy(generator.permutation(len(x))).split(BATCH):  # type: ignore[no-untyped-call]
            optimizer.zero_grad()
            cross_entropy(layer(x[batch]), labels[batch]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return layer


def loss(layer: torch.nn.Module, data: tuple[torch.Tensor, torch.Tensor]) -> float:
    layer.eval()
    with torch.no_grad():
        return float(cross_entropy(layer(data[0]), data[1]))


def make_space(layer: tm.MuMoESpec) -> tm.explore.Space:
    """CP and the ring, Mixture of Decoders and block terms are among its networks."""
    return tm.explore.Space(layer, max_cores=4, ranks=(2, 4, 8))


def run(name: str, trials: int, seeds: int) -> dict[str, Any]:
    """The search, and the comparison."""
    data = digits() if name == "digits" else characters()
    layer = tm.MuMoESpec(64, data.classes, EXPERTS, tm.Dense())
    budget = tm.explore.Budget(parameters=PARAMETERS)

    def choose(spec: tm.MuMoESpec) -> tuple[float, float]:
        """The least mean loss on the data for choosing, and its rate."""
        matched = budget.match(spec)
        return min(
            (mean(loss(train(matched, data.train, seed, rate), data.choose) for seed in CHOOSING), rate)
            for rate in RATES
        )

    def task(spec: tm.MuMoESpec, seed: int) -> float:
        return choose(spec)[0]

    space = make_space(layer)
    study = tm.explore.search(
        budget, tm.explore.train_with(task, name=name), space, method="evolution", trials=trials
    )
    ranked = sorted(study.complete, key=lambda trial: trial.values["loss"])
    chosen = {str(trial.spec.network): trial.spec for trial in ranked[:BEST]}
    specs = {each: layer.replace(factorization=family) for each, family in RIVALS.items()} | chosen
    both = tuple(torch.cat(parts) for parts in zip(data.train, data.choose, strict=True))
    rows = {}
    for each, spec in specs.items():
        matched, rate = budget.match(spec), choose(spec)[1]
        trained = (train(matched, both, seed, rate) for seed in range(100, 100 + seeds))  # type: ignore[arg-type]
        losses = [loss(layer, data.test) for layer in trained]
        rows[each] = {
            "factorization": str(matched.factorization),
            "parameters": matched.num_parameters,
            "rate": rate,
            "losses": losses,
        }
        print(name, each, matched.factorization, rate, interval(losses), flush=True)
    return {"tried": len(study.trials), "layers": rows}


def show(results: dict[str, dict[str, Any]]) -> str:
    """The table of the docs."""
    rows = [("data", "layer", "parameters", "rate", "loss, 95 % interval"), ("---",) * 5]
    for name, found in results.items():
        for each, row in found["layers"].items():
            layer = each if each in RIVALS else f"found: `{row['factorization']}`"
            spread = interval(row["losses"])
            losses = f"{spread.mean:.3f} ({spread.low:.3f} to {spread.high:.3f})"
            rows.append((name, layer, f"{row['parameters']:,}", f"{row['rate']:g}", losses))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="is there a layer better than CP and a ring?")
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--only", choices=("digits", "characters"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="show what was measured before")
    given = parser.parse_args()
    torch.set_num_threads(1)
    results = json.loads(given.out.read_text()) if given.out.exists() else {}
    for name in ("digits", "characters"):
        if given.only in (None, name) and not given.table:
            results[name] = run(name, given.trials, given.seeds)
            given.out.write_text(json.dumps(results, indent=1) + "\n")
    print(show(results))


if __name__ == "__main__":
    main()
