"""Whole layers and blocks by their definition, gate included, in float64.

Only specifications are read here: no program, no gate and no layer of the library is run.
"""

from collections.abc import Callable, Mapping
from math import erf, pi

import numpy as np

from ...layers.spec import Spec
from ...layers.stage import Stage
from ...networks.notation import BATCH, INPUT, OUTPUT, expert_modes
from ...typing import NumPyArray
from .contraction import IndexedArray, contract
from .gate import STATISTICS, ExpertLevel

Arrays = Mapping[str, NumPyArray]

_POINTWISE: dict[str, Callable[[NumPyArray], NumPyArray]] = {
    "gelu": lambda x: x * (1 + np.vectorize(erf, otypes=[float])(x / np.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + np.tanh(np.sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2,
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


def compute(
    spec: Spec, parameters: Arrays, state: Arrays, x: NumPyArray, training: bool = True
) -> dict[str, list[NumPyArray]]:
    """The results of a call by name: output, coefficients and, in training, running statistics.

    Args:
        spec: a specification whose gate has a reference in `reference.gate`.
        parameters, state: by name, as `initialize` gives them.
        x: (T, I).
        training: whether the gate uses this batch's statistics.
    """
    levels = []
    for number in range(spec.levels):
        running = [state[f"{name}.{number}"] for name in STATISTICS if f"{name}.{number}" in state]
        levels.append(
            ExpertLevel(spec.gate, x, parameters[f"gate_weights.{number}"], running, "float64", training)
        )
    coefficients = [level.p for level in levels]
    hidden = _input_norm(parameters, x) if "input_norm.weight" in parameters else x
    for number, (prefix, layer) in enumerate(spec.layers.items()):
        hidden = _POINTWISE[spec.between](hidden) if spec.between and number else hidden
        hidden = _contraction(layer, _cores(layer, prefix, parameters), coefficients, hidden)
    moved = {
        f"{name}.{number}": value
        for number, level in enumerate(levels)
        for name, (value, _) in zip(STATISTICS, level.statistics, strict=False)
    }
    statistics = [moved[name] for name in sorted(moved)]
    return {"output": [hidden], "coefficients": coefficients, "running statistics": statistics}


def materialize(spec: Spec, parameters: Arrays) -> list[NumPyArray]:
    """The weight tensor of each layer."""
    return [
        contract(_cores(layer, prefix, parameters), layer.network.modes).value
        for prefix, layer in spec.layers.items()
    ]


def _cores(layer: Stage, prefix: str, parameters: Arrays) -> list[IndexedArray]:
    return [IndexedArray(core.indices, parameters[f"{prefix}.{core.name}"]) for core in layer.network.cores]


def _input_norm(parameters: Arrays, x: NumPyArray) -> NumPyArray:
    centred = x - x.mean(axis=1, keepdims=True)
    normalized = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
    return np.asarray(normalized * parameters["input_norm.weight"] + parameters["input_norm.bias"])


def _contraction(
    layer: Stage, cores: list[IndexedArray], coefficients: list[NumPyArray], x: NumPyArray
) -> NumPyArray:
    z = np.concatenate([x, np.ones((len(x), 1))], axis=1) if layer.bias else x
    modes = expert_modes(layer.levels)
    weighed = [IndexedArray((BATCH, mode), a) for mode, a in zip(modes, coefficients, strict=True)]
    return contract([*cores, *weighed, IndexedArray((BATCH, INPUT), z)], (BATCH, OUTPUT)).value
