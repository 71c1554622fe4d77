"""Edits of the materialized tensor by their definitions, and random edits."""

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any

import numpy as np
from hypothesis import strategies as st
from support.definition import truth

import tensormoe as tm
from tensormoe.editing import Ablate, Add, AddBias, Edit, Merge, Replace, RewriteBias, Scale
from tensormoe.testing import Inputs


def saved(spec: tm.Spec, seed: int = 0, dtype: str = "float64") -> tm.SavedLayer:
    """A layer whose numbers are of ordinary size, those of the gate included."""
    generator = np.random.default_rng(seed)
    parameters, state = tm.initialize(spec, dtype=dtype)
    values = {name: generator.normal(size=each.shape).astype(dtype) for name, each in parameters.items()}
    return tm.SavedLayer(spec, values, state)


def weight_of(layer: Any, stage: str = "cores") -> np.ndarray:
    """The weight tensor of a layer by the oracle's own einsum, in float64."""
    arrays, part = layer.arrays(), layer.spec.layers[stage]
    cores = [
        np.asarray(tm.backend_of(a).to_float64(a)) for a in tm.cores_of(layer.spec, arrays, stage).values()
    ]
    spec = tm.MuMoESpec(part.in_features, part.out_features, part.experts, part.factorization, bias=part.bias)
    empty = [np.zeros((0, size)) for size in (part.in_features, *part.experts, part.out_features)]
    return truth(spec, Inputs(empty[0], empty[1:-1], cores, empty[-1])).weight


def pad(weight: np.ndarray, layer: Any) -> np.ndarray:
    """The weight with a row for biases, of zeros where the layer has none."""
    missing = layer.spec.in_features + 1 - weight.shape[-2]
    return np.pad(weight, [(0, 0)] * (weight.ndim - 2) + [(0, missing), (0, 0)])


def edit_tensor(weight: np.ndarray, edits: Iterable[Edit]) -> np.ndarray:
    """The same edits of the tensor (N1, …, NE, I[+1], O)."""
    result = weight.copy()
    for each in edits:
        match each:
            case Ablate(expert):
                result[expert] = 0
            case Scale(expert, factor):
                result[expert] *= factor
            case Merge(experts):
                mean = sum(result[each] for each in experts) / len(experts)
                for expert in experts:
                    result[expert] = mean
            case Replace(expert, matrix):
                result[expert] = 0
                result[expert][: len(matrix)] = matrix
            case Add(expert, tuple() as factors):
                result[expert][: len(factors[0])] += factors[0] @ factors[1]
            case Add(expert, delta):
                result[expert][: len(delta)] += delta
            case AddBias(expert, output, value):
                result[(*np.atleast_1d(expert), -1, output)] += value
            case RewriteBias(means, output, strength):
                result[..., -1, output] += strength * reduce(np.multiply.outer, means)
    return result


@st.composite
def edits_for(draw: st.DrawFn, spec: tm.MuMoESpec, most: int = 5) -> Sequence[Edit]:
    """Random edits of a layer, often of the same experts."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    places = st.tuples(*(st.integers(0, count - 1) for count in spec.experts))
    expert = places if spec.levels > 1 else places.map(lambda place: place[0])
    inputs, outputs = spec.in_features, spec.out_features
    height = st.sampled_from([inputs, inputs + 1])
    matrix = height.map(lambda rows: generator.normal(size=(rows, outputs)))
    factors = height.map(lambda rows: (generator.normal(size=(rows, 2)), generator.normal(size=(2, outputs))))
    kinds = [
        st.builds(Ablate, expert),
        st.builds(Scale, expert, st.sampled_from([-1.0, 0.5, 3.0])),
        st.builds(Replace, expert, matrix),
        st.builds(Add, expert, st.one_of(matrix, factors)),
    ]
    if np.prod(spec.experts) > 1:
        kinds.append(st.builds(Merge, st.lists(expert, min_size=2, max_size=3, unique=True).map(tuple)))
    output = st.integers(0, outputs - 1)
    kinds.append(st.builds(AddBias, expert, output, st.just(0.7)))
    means = tuple(generator.normal(size=count) for count in spec.experts)
    kinds.append(st.builds(RewriteBias, st.just(means), output, st.just(-1.3)))
    return draw(st.lists(st.one_of(kinds), max_size=most))
