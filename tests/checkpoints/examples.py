"""Layers with values of every type, and comparison to the last bit."""

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

import tensormoe as tm

RICH = tm.Gate("softmax", "batch", tm.AdaptiveClustering(statistics="batch"), temperature=0.5, noise=0.1)
LAYER = tm.MuMoESpec(3, 2, (4, 3), tm.CP(2), tm.Gate("softmax", "batch"))
BLOCK = tm.MuMoEBlockSpec(3, 5, 2, 4, tm.TensorRing((2, 3, 2)), RICH, nonlinearity="relu", input_norm=True)
GATED = tm.MuMoEBlockSpec(3, 5, 2, 4, tm.CP(2), nonlinearity="silu", gated=True)
DTYPES = ("float64", "float32", "float16", "bfloat16")


def draw(spec: tm.Spec, dtype: str = "float32", seed: int = 0) -> tm.SavedLayer:
    """Values that no layer starts with."""
    kind = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    generator = np.random.default_rng(seed)
    parameters, state = (
        {name: generator.uniform(0.5, 2, shape).astype(kind) for name, shape in shapes.items()}
        for shapes in (spec.parameter_shapes, spec.state_shapes)
    )
    return tm.SavedLayer(spec, parameters, state)


def draw_bits(spec: tm.Spec, dtype: str) -> tm.SavedLayer:
    """Every kind of number: with any sign, infinite, too small to be normal, and NaN of any payload."""
    saved = draw(spec, dtype)
    generator = np.random.default_rng(1)
    for array in saved.arrays().values():
        array.view("u1")[...] = generator.integers(0, 256, array.view("u1").shape, "u1")
        array.ravel()[0] = -0.0
    return saved


def bits(arrays: Mapping[str, Any]) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Type, shape and memory of each array."""
    return {
        name: (array.dtype.name, array.shape, array.tobytes())
        for name, array in ((name, np.asarray(each)) for name, each in arrays.items())
    }


def same(first: Any, second: Any) -> bool:
    """Whether two layers, or two mappings of layers, are the same to the last bit."""
    if isinstance(first, Mapping):
        return list(first) == list(second) and all(same(first[name], second[name]) for name in first)
    pairs = ((first.parameters, second.parameters), (first.state, second.state))
    return first.spec == second.spec and all(bits(a) == bits(b) for a, b in pairs)
