"""What it costs to evaluate a layer without each of its experts, against one evaluation for each."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from sklearn.datasets import load_digits

import tensormoe as tm

from ..suite import Measurement, Settings

EXPERTS, HIDDEN, RANK = 512, 128, 32
# So many of the ablations are evaluated one by one in a round of the slow side; the rest would take as long.
SOME = 16
GATES = {
    "softmax": tm.Gate("softmax"),
    "entmax15": tm.Gate("entmax15"),
    "top-k": tm.Gate(tm.Activation("top_k", k=8)),
}


def ablation(settings: Settings) -> Iterator[Measurement | str]:
    """All 512 ablations of a 64 → 10 head and of a block, CP of rank 32, on the 1,797 digits."""
    digits = load_digits()
    x = torch.from_numpy(digits.data / 16).float()
    labels = torch.from_numpy(digits.target)
    for name, gate in GATES.items():
        head = tm.MuMoESpec(64, 10, EXPERTS, tm.CP(RANK), gate)
        block = tm.MuMoEBlockSpec(64, HIDDEN, 10, EXPERTS, tm.CP(RANK), gate)
        for kind, spec in (("head", head), ("block", block)):
            layer = _build(spec, settings)
            _, (coefficients,) = layer(x, return_coefficients=True)
            used = float((coefficients != 0).float().sum(1).mean())
            yield f"{kind}, {name}: {used:.0f} of {EXPERTS} coefficients of an input are not 0"
            yield settings.times(f"{kind}, {name}", _sides(layer, x, labels), threads=1)


def _build(spec: tm.Spec, settings: Settings) -> Any:
    layer = tm.build(spec, "torch", seed=settings.seed).eval()
    with torch.no_grad():
        layer.gate_weights[0].copy_(settings.normal(64, EXPERTS))
    return layer


def _sides(layer: Any, x: torch.Tensor, labels: torch.Tensor) -> dict[str, Callable[[], Any]]:
    return {
        "all ablations": lambda: tm.analysis.ablate(layer, x),
        "their accuracies": lambda: tm.analysis.accuracy_by_ablation(layer, x, labels),
        "one evaluation": lambda: layer(x),
        f"{SOME} evaluations": lambda: _one_by_one(layer, x),
    }


def _one_by_one(layer: Any, x: torch.Tensor) -> list[torch.Tensor]:
    """What a user would write: the expert's row of zeros, in every layer, and an evaluation."""
    cores = [core for name, core in layer.named_parameters() if name.endswith("expert1")]
    outputs = []
    for expert in range(SOME):
        kept = [core[expert].clone() for core in cores]
        for core in cores:
            core[expert] = 0
        outputs.append(layer(x))
        for core, row in zip(cores, kept, strict=True):
            core[expert] = row
    return outputs
