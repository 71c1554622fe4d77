"""Small layers of every family, with values, and what they must give: the definition in NumPy and float64."""

from typing import Any

import numpy as np
from support import blocks
from support.definition import truth
from support.frameworks import optional
from support.strategies import EVERY

import tensormoe as tm
from tensormoe.testing import Inputs

Arrays = dict[str, np.ndarray]
Family = tm.Factorization

# Of float32 numbers against the definition in float64.
TOLERANCE = 1e-5

GATE = tm.Gate("softmax")
INPUTS, HIDDEN, OUTPUTS, EXPERTS = 8, 7, 6, 4
# The same everywhere, as JAX compiles each operation once for every shape.
TOKENS = 6


def list_families() -> dict[str, tm.Factorization]:
    """One of each family in the registry: of those in `EVERY` the one with the most bonds.

    Those of split modes ask for sizes of their own, and are tried in verification/test_structured.py.
    """
    listed = {}
    for name, kind in tm.Factorization._registry.items():
        if kind.__module__.startswith("tensormoe.") and not kind.__module__.endswith(".structured"):
            known = [family for family in EVERY if type(family) is kind]
            assert known, f"list {name} in EVERY of tests/support/strategies.py"
            listed[name] = max(known, key=lambda family: len(family.bonds(1)))
    return listed


def layer_of(family: tm.Factorization, outputs: int = OUTPUTS, gate: tm.Gate = GATE) -> tm.MuMoESpec:
    return tm.MuMoESpec(INPUTS, outputs, EXPERTS, family, gate)


def block_of(family: tm.Factorization, **options: Any) -> tm.MuMoEBlockSpec:
    return tm.MuMoEBlockSpec(INPUTS, HIDDEN, OUTPUTS, EXPERTS, family, GATE, **options)


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def values_of(spec: tm.Spec, seed: int = 0) -> Arrays:
    """Parameters whose outputs are of ordinary size, with a gate that tells experts apart, and statistics."""
    shapes = {**spec.parameter_shapes, **spec.statistics_shapes}
    drawn = {name: draw(*shape, seed=100 * seed + k) / 2 for k, (name, shape) in enumerate(shapes.items())}
    return drawn | {name: np.abs(drawn[name]) + 0.5 for name in spec.statistics_shapes} | _fixed(spec)


def _fixed(spec: tm.Spec) -> Arrays:
    """The values of fixed cores, which a layer does not take from elsewhere."""
    return {
        f"{prefix}.{name}": np.asarray(value, "float64")
        for prefix, stage in spec.layers.items()
        for name, value in stage.network.fixed_values().items()
    }


def normalize(logits: np.ndarray) -> np.ndarray:
    """The gate's LayerNorm."""
    mean, variance = logits.mean(-1, keepdims=True), logits.var(-1, keepdims=True)
    return (logits - mean) / np.sqrt(variance + 1e-5)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def coefficients_of(arrays: Arrays, x: np.ndarray) -> np.ndarray:
    return softmax(normalize(x @ arrays["gate_weights.0"]))


def weight_of(spec: tm.MuMoESpec, arrays: Arrays) -> np.ndarray:
    inputs, one = np.zeros((1, spec.in_features)), [np.zeros((1, experts)) for experts in spec.experts]
    return _truth(spec, arrays, inputs, one).weight


def output_of(spec: tm.Spec, arrays: Arrays, x: np.ndarray, a: np.ndarray | None = None) -> np.ndarray:
    """The output by definition; the coefficients are those of `GATE` unless others are given."""
    rows = x.reshape(-1, x.shape[-1])
    a = coefficients_of(arrays, rows) if a is None else a
    if isinstance(spec, tm.MuMoEBlockSpec):
        y = blocks.in_numpy(spec, [rows, a, *_cores(spec, arrays)])
    else:
        y = _truth(spec, arrays, rows, [a]).y
    return y.reshape(*x.shape[:-1], -1)


def _truth(spec: tm.MuMoESpec, arrays: Arrays, x: np.ndarray, a: list[np.ndarray]) -> Any:
    return truth(spec, Inputs(x, a, _cores(spec, arrays), np.zeros((len(x), spec.out_features))))


def _cores(spec: tm.Spec, arrays: Arrays) -> list[np.ndarray]:
    return [np.asarray(arrays[name], "float64") for name in spec.core_names]


def total_of(spec: tm.Spec, arrays: Arrays, x: np.ndarray) -> float:
    """The loss whose gradients are checked."""
    return float(np.sin(output_of(spec, arrays, x)).sum())


def directions_of(arrays: Arrays) -> Arrays:
    """A direction for every array."""
    return {name: draw(*value.shape, seed=9) for name, value in arrays.items()}


def slope_of(spec: tm.Spec, arrays: Arrays, x: np.ndarray) -> float:
    """The slope of the loss along the directions of all parameters and of x, by differences of the oracle."""
    point = {**{name: arrays[name] for name in spec.parameter_shapes}, "x": x}
    directions, step = directions_of(point), 1e-5

    def at(distance: float) -> float:
        moved = {name: value + distance * directions[name] for name, value in point.items()}
        return total_of(spec, moved, moved.pop("x"))

    return (at(step) - at(-step)) / (2 * step)


def slope_from(gradients: Arrays) -> float:
    """The same from gradients by name, x's among them."""
    directions = directions_of(gradients)
    return float(sum((directions[name] * value).sum() for name, value in gradients.items()))


def numbers(framework: str, array: Any) -> np.ndarray:
    """A framework's array in NumPy and float64."""
    held = array.detach() if hasattr(array, "detach") else array
    return np.asarray(tm.get_backend(framework).to_float64(held))


def array(framework: str, values: np.ndarray, dtype: str = "float32") -> Any:
    ops = tm.get_backend(framework)
    return ops.cast(ops.from_numpy(np.asarray(values, "float32" if dtype != "float64" else dtype)), dtype)


def module_of(framework: str, spec: tm.Spec, arrays: Arrays | None = None, **options: Any) -> Any:
    """A module with these values, in evaluation."""
    module = tm.build(spec, framework, seed=0, **options)
    module.load_arrays(values_of(spec) if arrays is None else arrays)
    if hasattr(module, "eval"):
        module.eval()
    return module


def run(module: Any, x: Any) -> Any:
    """The output; in JAX by one program, since small ones for each operation take longer to compile."""
    if "jax" in type(module).__module__:
        return optional("flax.nnx").jit(lambda module, x: module(x))(module, x)
    return module(x)
