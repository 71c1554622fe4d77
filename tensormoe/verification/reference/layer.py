"""Whole layers and blocks by their definition, gate included, in float64.

Only specifications are read here: no program, no gate and no layer of the library is run.
"""

from collections.abc import Callable, Mapping, Sequence
from math import erf, pi
from typing import NamedTuple

import numpy as np

from ...arrays.protocols import Nonlinearity
from ...gates.routers import AdaptiveClustering
from ...layers.spec import Spec
from ...layers.stage import Stage
from ...networks.notation import BATCH, INPUT, OUTPUT, expert_modes, split
from ...typing import NumPyArray
from .clustering import CLUSTER_STATISTICS, cluster, initial_clusters
from .contraction import IndexedArray, complete_terms, contract, fill_rows, multiply_out
from .gate import STATISTICS, ExpertLevel, own_arrays
from .own import compute_own

Arrays = Mapping[str, NumPyArray]

_POINTWISE: dict[str, Callable[[NumPyArray], NumPyArray]] = {
    "gelu": lambda x: x * (1 + np.vectorize(erf, otypes=[float])(x / np.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + np.tanh(np.sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2,
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
    "relu2": lambda x: np.maximum(x, 0) ** 2,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "identity": lambda x: x,
}


class Output(NamedTuple):
    """The results of a call: y (T, O), the coefficients of each level (T, N), and the state afterwards."""

    y: NumPyArray
    coefficients: list[NumPyArray]
    state: dict[str, NumPyArray]


def compute(
    spec: Spec,
    parameters: Arrays,
    state: Arrays,
    x: NumPyArray,
    *,
    training: bool = True,
    previous: Sequence[NumPyArray] | None = None,
    noise: Sequence[NumPyArray] | None = None,
    clustered: NumPyArray | None = None,
    given: Sequence[NumPyArray] | None = None,
    router_input: NumPyArray | None = None,
) -> Output:
    """What a call of a layer or a block gives.

    Args:
        spec: a specification whose gate has a reference in `reference.gate`.
        parameters, state: by name, as `initialize` gives them.
        x: (T, I).
        training: whether the gate uses this batch's statistics and moves the running ones.
        previous: the coefficients of the layer before, for a router that uses them.
        noise: standard normal numbers for the noise of each level's gate or router.
        clustered: what the router reads as clusters see it, through which no derivative is taken; the same
            by default.
        given: the coefficients, if there is no gate.
        router_input: what the router reads; x itself by default.
    """
    if given is not None:
        return Output(mix(spec, parameters, given, x), [*given], dict(state))
    levels, moved = [], dict(state)
    read = x if router_input is None else router_input
    for number, gate in enumerate(spec.gates):
        routed = read
        if previous is not None and isinstance(gate.router, AdaptiveClustering):
            h, running = read if clustered is None else clustered, initial_clusters(state, number)
            clusters = cluster(gate.router, h, previous[number], running, training)
            routed = clusters.scale * read
            moved |= _by_name(CLUSTER_STATISTICS, number, clusters.statistics)
        running = [state[f"{name}.{number}"] for name in STATISTICS if f"{name}.{number}" in state]
        own, drawn = own_arrays(spec.gate_levels[number], parameters), 0.0 if noise is None else noise[number]
        level = ExpertLevel(gate, routed, own, running, "float64", training, drawn, number, read)
        levels.append(level)
        moved |= _by_name(STATISTICS, number, [value for value, _ in levels[-1].statistics])
    coefficients = [level.p for level in levels]
    return Output(mix(spec, {**state, **parameters}, coefficients, x), coefficients, moved)


def mix(spec: Spec, parameters: Arrays, coefficients: Sequence[NumPyArray], x: NumPyArray) -> NumPyArray:
    """The output at given coefficients."""
    data = _input_norm(parameters, x) if "input_norm.weight" in parameters else x
    results: dict[str, NumPyArray] = {}
    for prefix, layer in spec.layers.items():
        if prefix == "second":
            data = pointwise(spec.between, results["first"]) * results.get("up", 1.0)
        results[prefix] = contract_stage(layer, prefix, parameters, coefficients, data)
    return results[[*spec.layers][-1]] + parameters.get("output.bias", 0.0)


def pointwise(function: Nonlinearity | None, x: NumPyArray) -> NumPyArray:
    """A nonlinearity of each element; a function of the user's own is its own definition."""
    if callable(function):
        return compute_own(function, x)
    return _POINTWISE[str(function)](x)


def _by_name(names: Sequence[str], level: int, values: Sequence[NumPyArray]) -> dict[str, NumPyArray]:
    return {f"{name}.{level}": value for name, value in zip(names, values, strict=False)}


def materialize(spec: Spec, parameters: Arrays) -> list[NumPyArray]:
    """The weight tensor of each layer."""
    return [
        multiply_out(
            _terms(layer, prefix, parameters),
            dict(zip(layer.network.modes, layer.network.weight_shape, strict=True)),
        ).value
        for prefix, layer in spec.layers.items()
    ]


def _terms(layer: Stage, prefix: str, parameters: Arrays) -> Sequence[Sequence[IndexedArray]]:
    """The cores of each term."""
    network = layer.network
    cores = [
        IndexedArray(core.indices, fill_rows(network, core.indices, parameters[f"{group}.{core.name}"]))
        for core in network.cores
        for group in ("shared" if core.name in layer.joint else prefix,)
    ]
    everywhere = zip(network.modes, network.weight_shape, strict=True)
    sample = {mode: np.arange(size) for mode, size in everywhere}
    return complete_terms(network, split(cores, network.counts), sample)


def _input_norm(parameters: Arrays, x: NumPyArray) -> NumPyArray:
    centred = x - x.mean(axis=1, keepdims=True)
    normalized = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
    return np.asarray(normalized * parameters["input_norm.weight"] + parameters["input_norm.bias"])


def contract_stage(
    layer: Stage, prefix: str, parameters: Arrays, coefficients: Sequence[NumPyArray], x: NumPyArray
) -> NumPyArray:
    """A stage's output (T, O); its cores are the parameters with this prefix, or shared ones."""
    z = np.concatenate([x, np.ones((len(x), 1))], axis=1) if layer.network.has_bias else x
    modes = expert_modes(layer.levels)
    # A layer without experts takes none.
    taken = coefficients if modes else ()
    weighed = [IndexedArray((BATCH, mode), a) for mode, a in zip(modes, taken, strict=True)]
    data = [*weighed, IndexedArray((BATCH, INPUT), z)]
    terms = _terms(layer, prefix, parameters)
    return np.asarray(sum(contract([*cores, *data], (BATCH, OUTPUT)).value for cores in terms))
