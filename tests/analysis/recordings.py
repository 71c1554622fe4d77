"""Models in PyTorch and JAX with layers and blocks of one to three levels, and measures by definition."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import entropy
from support.frameworks import optional

import tensormoe as tm
from tensormoe.analysis import LayerRecording, conditional_usage, dead, level_information, load, usage

torch = optional("torch")
nnx = optional("flax.nnx")

GATE = tm.Gate("entmax15", "layer", temperature=0.3)
FRAMEWORKS = ("torch", "jax")


def levels_of(seed: int, tokens: tuple[int, ...], experts: Sequence[int]) -> list[np.ndarray]:
    """Random coefficients with zeros among them, (*tokens, N_e) for each level."""
    draws = np.random.default_rng(seed)
    made = []
    for n in experts:
        a = draws.dirichlet(np.full(n, 0.3), tokens) * (draws.random((*tokens, n)) < 0.7)
        a[..., 0] += 1 - a.sum(-1)
        made.append(a)
    return made


def assert_measures(layer: LayerRecording, levels: Sequence[np.ndarray], labels: Any = None) -> None:
    """The measures of a layer are those of all coefficients at once, (T, N_e) for each level."""
    wide = [np.asarray(a, "float64") for a in levels]
    assert layer.experts == tuple(a.shape[1] for a in wide)
    assert layer.tokens == len(wide[0])
    for e, a in enumerate(wide):
        _same(layer.mean()[e], a.mean(axis=0))
        _same(layer.load()[e], load(a))
        assert layer.dead()[e].tolist() == dead(a).tolist()
        _same(layer.variance()[e], a.var(axis=0))
        _same(layer.usage()[e], usage(a, layer.threshold))
        first = [next(n for n, each in enumerate(row) if each == max(row)) for row in a]
        _same(layer.wins()[e], [first.count(n) / len(a) for n in range(a.shape[1])])
        bins = [min(int(max(row) * 20), 19) for row in a]
        _same(layer.largest()[e], [bins.count(each) / len(a) for each in range(20)])
        # Logarithms are of the model's type.
        tolerance = 1e-12 if levels[e].dtype == "float64" else 2e-6
        _same(layer.token_entropy()[e], np.mean([entropy(row) for row in a]), tolerance)
        _same(layer.load_entropy()[e], entropy(a.mean(axis=0)))
        _same(layer.effective_experts()[e], np.exp(entropy(a.mean(axis=0))))
    if len(wide) > 1:
        for ours, theirs in zip(layer.conditional_usage(), conditional_usage(wide), strict=True):
            _same(ours, theirs)
        _same(layer.level_information(), level_information(wide))
    else:
        assert layer.conditional_usage() == ()
    if labels is not None:
        _assert_classes(layer, wide, np.asarray(labels))


def _assert_classes(layer: LayerRecording, levels: Sequence[np.ndarray], labels: np.ndarray) -> None:
    present = sorted({*labels.tolist()} - {-100})
    assert layer.labels == tuple(present)
    counted = np.sum(labels != -100)
    for e, a in enumerate(levels):
        _same(layer.class_means()[e], [a[labels == label].mean(axis=0) for label in present])
        shares = a / a.sum(axis=1, keepdims=True)
        joint = np.array([shares[labels == label].sum(axis=0) / counted for label in present])
        alone = joint.sum(1, keepdims=True) * joint.sum(0)
        positive = joint > 0
        expected = np.sum(joint[positive] * np.log(joint[positive] / alone[positive]))
        _same(layer.mutual_information()[e], expected)


def _same(actual: Any, expected: Any, tolerance: float = 1e-12) -> None:
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def build(framework: str, experts: Sequence[Sequence[int]], seed: int = 0) -> Any:
    """A model: a layer, a block, a layer, …, of 5 features and these experts, with dropout and batch norm."""
    specs = [
        tm.MuMoEBlockSpec(5, 4, 5, tuple(n), tm.CP(3), GATE)
        if number % 2
        else tm.MuMoESpec(5, 5, tuple(n), tm.CP(3), GATE)
        for number, n in enumerate(experts)
    ]
    layers = [tm.build(spec, framework, seed=seed + number) for number, spec in enumerate(specs)]
    draws = np.random.default_rng(seed)
    for layer in layers:
        # At their initial values gates give the same to all experts.
        layer.load_arrays({name: draws.normal(size=a.shape) for name, a in layer.arrays().items()})
    if framework == "torch":
        return torch.nn.Sequential(*layers, torch.nn.Dropout(0.5), torch.nn.BatchNorm1d(5))
    rngs = nnx.Rngs(0)
    return nnx.Sequential(*layers, nnx.Dropout(0.5, rngs=rngs), nnx.BatchNorm(5, rngs=rngs))


def array(framework: str, values: Any) -> Any:
    return tm.get_backend(framework).from_numpy(np.asarray(values, "float32"))


def collect(framework: str, model: Any, batches: Sequence[Any]) -> list[list[np.ndarray]]:
    """The coefficients of each layer of `build`, all tokens at once, by running layer after layer."""
    to_numpy = tm.get_backend(framework).to_numpy
    parts = list(model) if framework == "torch" else list(model.layers)
    gathered: list[list[list[np.ndarray]]] = []
    for x in batches:
        seen = []
        for layer in parts[:-2]:
            x, coefficients = layer(x, return_coefficients=True)
            seen.append([np.asarray(to_numpy(a)).reshape(-1, a.shape[-1]) for a in coefficients])
        gathered.append(seen)
    return [
        [np.concatenate(level) for level in zip(*layer, strict=True)] for layer in zip(*gathered, strict=True)
    ]
