"""Trains on digits at one rate for all cores, and at a rate for each by its structure. Which is better?

    python -m benchmarks.rates --choosing 4 --testing 12 --epochs 8

Maximal update parameterization, as Qiu et al. derive it for structured matrices ("Compute Better Spent:
Replacing Dense Layers with Structured Matrices", 2024), gives each factor a rate in inverse proportion to the
number of terms that its product sums. Here a core that sums 64, as a dense layer of 64 inputs does, has the
base rate; an expert core, whose coefficients sum to 1, counts as one term and has 64 times as much.

Blocks 64 → H → 10 of 8 experts at the parameters of the dense MLP, where the family has a rank; Adam, batches
of 64, no schedule. The base rate of each side is the one that is best on 270 images held out of training, on
average over the first seeds; reported are the accuracies on the 450 test images, on average over further
seeds. "Transfer" trains the wide block at the rate that is best for the narrow one.
"""

import argparse
import warnings
from collections.abc import Iterable
from dataclasses import replace
from functools import cache, partial
from math import prod
from statistics import mean
from typing import Any

import numpy as np
import torch

import tensormoe as tm
from tensormoe.demo.data import Digits, load
from tensormoe.intervals import interval
from tensormoe.networks.network import Core, Network
from tensormoe.networks.notation import INPUT, OUTPUT
from tensormoe.networks.splits import use_parts, whole_names
from tensormoe.tables import table

from .digits import BATCH, Group, assess, train

EXPERTS, HELD = 8, 270
WIDTHS = (64, 256)
# The wide block at the rates that are best for the narrow one.
TRANSFER = ("transfer", WIDTHS[1], WIDTHS[0])
RATES = tuple(10 ** (-power / 2) for power in range(2, 9))


def _families(width: int) -> dict[str, tuple[tm.Factorization, tm.Factorization]]:
    """The factorizations of both layers; those of split modes have the squarest parts."""
    root = int(width**0.5)
    parts = (((8, 8), (root, root)), ((root, root), (2, 5)))
    both: dict[str, tm.Factorization] = {
        "CP": tm.CP(1),
        "ring": tm.TensorRing((4, 4, 1)),
        "Tucker": tm.Tucker((4, 1, 1)),
    }
    split = {
        "BTT": tuple(tm.BTT(i, o, rank=1, shared=True) for i, o in parts),
        "Monarch": tuple(tm.Monarch(i, o, shared=True) for i, o in parts),
    }
    return {name: (each, each) for name, each in both.items()} | split  # type: ignore[return-value]


def specify(name: str, width: int) -> tm.MuMoEBlockSpec:
    """The block of a family, as large as the MLP of this width."""
    spec = tm.MuMoEBlockSpec(64, width, 10, EXPERTS, _families(width)[name])
    if name == "Monarch":
        return spec
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ranks that have no use for more
        return spec.matched(parameters=65 * width + 11 * width)


def terms_summed(network: Network) -> dict[str, int]:
    """How many terms the product with each core sums, by name, on the way from the input to the output.

    These are the sizes of its input modes and of the bonds that no later core carries. Coefficients sum to 1,
    so that experts count as one term.
    """
    whole, counts = whole_names(network.splits), dict[str, int]()
    for term in network.terms:
        cores = _order(term, whole)
        summed = {*use_parts((INPUT,), network.splits)} | {each for each, _ in network.bonds}
        last = {index: core.name for core in cores for index in core.indices if index in summed}
        for core in cores:
            counts[core.name] = prod(
                network.sizes[index] for index, name in last.items() if name == core.name
            )
    return counts


def _order(term: Network, whole: dict[str, str]) -> list[Core]:
    """The first of the input, then those of experts alone, those without modes, and those of the output."""

    def place(core: Core) -> int:
        modes = {whole.get(index, index) for index in core.indices} & {*term.modes}
        if OUTPUT in modes:
            return 3
        return 0 if INPUT in modes else 1 if modes else 2

    inputs = [core for core in term.cores if {whole.get(index, index) for index in core.indices} & {INPUT}]
    others = [core for core in term.cores if core not in inputs[:1]]
    return [*inputs[:1], *sorted(others, key=place)]


def group(structured: bool, rate: float, layer: Any) -> list[dict[str, Any]]:
    """The parameters with their rates; those of gates learn at the base rate."""
    rates = dict.fromkeys(layer.spec.parameter_shapes, rate)
    for prefix, stage in layer.spec.layers.items() if structured else ():
        for name, terms in terms_summed(stage.network).items():
            rates[f"{prefix}.{name}"] = rate * WIDTHS[0] / terms
    groups: dict[float, list[torch.nn.Parameter]] = {}
    for name, value in layer.named_parameters():
        groups.setdefault(rates[name], []).append(value)
    return [{"params": values, "lr": own} for own, values in groups.items()]


def measure(spec: tm.Spec, digits: Digits, group: Group, seeds: Iterable[int], epochs: int) -> list[float]:
    """The accuracy for each seed, in percent."""
    return [100 * assess(train(spec, digits, seed, epochs, group), digits)[0] for seed in seeds]


def hold_out(digits: Digits) -> Digits:
    """Some of the training images in the place of the test images."""
    order = np.random.default_rng(0).permutation(len(digits.x))
    kept, held = order[HELD:], order[:HELD]
    x, labels = digits.x, digits.labels
    return replace(digits, x=x[kept], labels=labels[kept], x_test=x[held], labels_test=labels[held])


def main() -> None:
    """Print a row for every family and width, and one for the transfer between widths."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--choosing", type=int, default=4, help="seeds that choose a rate")
    parser.add_argument("--testing", type=int, default=12, help="further seeds that are reported")
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    digits = load(1, BATCH, "float32")
    held = hold_out(digits)
    choosing = range(options.choosing)
    testing = range(options.choosing, options.choosing + options.testing)

    @cache
    def test(name: str, width: int, structured: bool, rate: float) -> list[float]:
        grouped = partial(group, structured, rate)
        return measure(specify(name, width), digits, grouped, testing, options.epochs)

    def choose(name: str, width: int, structured: bool) -> float:
        scores = {}
        for rate in RATES:
            grouped = partial(group, structured, rate)
            scores[rate] = mean(measure(specify(name, width), held, grouped, choosing, options.epochs))
            print(f"# {name}, {width}, {structured}, {rate:.1e}: {scores[rate]:.2f}", flush=True)
        return max(scores, key=scores.__getitem__)

    rows = []
    for name in _families(WIDTHS[0]):
        best = {(width, side): choose(name, width, side) for width in WIDTHS for side in (False, True)}
        narrow, wide = WIDTHS
        for label, width, chosen in ((f"{narrow}", narrow, narrow), (f"{wide}", wide, wide), TRANSFER):
            rates = [best[chosen, side] for side in (False, True)]
            plain, own = (test(name, width, bool(side), rate) for side, rate in enumerate(rates))
            gains = [each - other for other, each in zip(plain, own, strict=True)]
            cells = [
                f"{mean(side):.2f} at {rate:.0e}" for side, rate in zip((plain, own), rates, strict=True)
            ]
            gain = interval(gains)
            rows.append((name, label, *cells, f"{gain.mean:+.2f} ± {gain.half:.2f}"))
            print(*rows[-1], flush=True)
    columns = ("family", "hidden features", "one rate, %", "by structure, %", "gain")
    print(table(columns, rows, text_columns=2))


if __name__ == "__main__":
    main()
