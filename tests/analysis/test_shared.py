"""Measures and ablations of layers with shared cores, against the materialized tensor."""

from typing import Any

import numpy as np
import pytest
from support.strategies import close

import tensormoe as tm

FAMILIES = [
    tm.TensorNetwork("n r, A: i r, A: o r", r=3),
    tm.TensorNetwork("A: n r, A: i r, o r", r=3),
    tm.TensorNetwork("n r, A: i r, A: o r + A: n s, A: o s, i s", r=3, s=3),
]
every = pytest.mark.parametrize("family", FAMILIES, ids=str)


def layer_of(family: tm.Factorization) -> Any:
    return tm.build(
        tm.MuMoESpec(5, 5, 5, family, tm.Gate("softmax"), bias=False), "numpy", seed=0, dtype="float64"
    )


@every
def test_measures_are_those_of_the_materialized_experts(family: tm.Factorization) -> None:
    layer = layer_of(family)
    weight = layer.materialize()
    experts = weight.reshape(5, -1)
    close(tm.analysis.gram(layer), experts @ experts.T)
    close(tm.analysis.norms(layer), np.linalg.norm(experts, axis=1))
    close(tm.analysis.spectrum(layer, 3), np.linalg.svd(weight[3])[1])


@every
def test_ablations_are_those_of_the_materialized_experts(family: tm.Factorization) -> None:
    layer = layer_of(family)
    x = np.random.default_rng(0).normal(size=(4, 5))
    y, (coefficients,) = layer(x, return_coefficients=True)
    own = np.einsum("nio,tn,ti->tno", layer.materialize(), coefficients, x)
    close(np.moveaxis(np.asarray(tm.analysis.ablate(layer, x)), 0, 1), y[:, None] - own)
