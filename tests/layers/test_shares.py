"""Shares of an index: what they give adds up to the layer's output, for every index of every network."""

import re
from typing import Any

import numpy as np
import pytest
from support.strategies import EVERY, close

import tensormoe as tm
from tensormoe.layers.shares import experts_index, mix_shares, rank_index, share_stages
from tensormoe.networks.notation import expert_modes

BACKEND = tm.get_backend("numpy")
SPECS = [
    *(tm.MuMoESpec(5, 6, 4, family, bias=bias) for family in EVERY for bias in (True, False)),
    tm.MuMoESpec(5, 6, (4, 3), tm.TensorRing((2, 3, 4, 2))),
    tm.MuMoEBlockSpec(5, 7, 6, 4, tm.CP(6), input_norm=True),
    tm.MuMoEBlockSpec(5, 7, 6, (2, 4), tm.Tucker((2, 3, 4, 5))),
    tm.MuMoEBlockSpec(5, 7, 6, 4, tm.TensorRing((2, 3, 4)), gated=True, nonlinearity="silu", input_norm=True),
    tm.MuMoEBlockSpec(5, 7, 6, 4, (tm.TensorNetwork("i r, r o", r=4), tm.CP(4))),
]


def bonds(spec: tm.Spec) -> list[str]:
    # In a sum every share would add the terms without the bond again.
    is_sum = any(stage.network.counts for stage in spec.layers.values())
    sizes = [stage.network.sizes for stage in spec.layers.values()]
    every = [index for index in sizes[0] if index not in "io" and all(index in each for each in sizes)]
    return [index for index in every if not is_sum or index in expert_modes(spec.levels)]


CASES = [(spec, index) for spec in SPECS for index in bonds(spec)]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{type(spec).__name__} {spec.factorization}")
def test_axes_are_those_of_the_notation(spec: tm.Spec) -> None:
    for prefix, layer in spec.layers.items():
        for core, letters in zip(layer.network.cores, re.split("[,+]", str(layer.network)), strict=True):
            for axis, index in enumerate(letters.split()):
                assert spec.bond_axes[index][f"{prefix}.{core.name}"] == axis
    carried = sum(len(cores) for cores in spec.bond_axes.values())
    assert carried == sum(len(spec.parameter_shapes[name]) for name in spec.core_names)


@pytest.mark.parametrize(("spec", "index"), CASES, ids=str)
def test_outputs_of_shares_add_up_to_the_layers(spec: tm.Spec, index: str) -> None:
    generator = np.random.default_rng(0)
    parameters = {name: generator.normal(size=shape) for name, shape in spec.parameter_shapes.items()}
    x = generator.normal(size=(2, 3, 5))
    whole = tm.apply(spec, parameters, x)
    size = next(iter(spec.layers.values())).network.sizes[index]
    parts = np.array_split(np.arange(size), min(2, size))  # of sizes that differ

    def share(part: Any) -> dict[str, np.ndarray]:
        taken = dict(parameters)
        for name, axis in spec.bond_axes[index].items():
            taken[name] = np.take(parameters[name], part, axis)
        return taken

    def coefficients(part: Any) -> list[np.ndarray]:
        modes = expert_modes(spec.levels)
        every = zip(modes, whole.coefficients, strict=True)
        return [np.take(a, part, -1) if mode == index else a for mode, a in every]

    # All shares in step: each stage's sum is what the shares before this one have left there.
    outputs: list[list[np.ndarray]] = [[] for _ in parts]
    sums: list[np.ndarray] = []
    for _ in spec.layers:
        for number, part in enumerate(parts):
            stage = iter(sums)
            own = outputs[number]
            own.clear()

            def total(y: np.ndarray, stage: Any = stage, own: Any = own) -> np.ndarray:
                own.append(y)
                return next(stage, y)

            shares = share(part)
            stages = share_stages(spec, {name: shares[name].shape for name in spec.core_names})
            mix_shares(BACKEND, spec, stages, shares, coefficients(part), x, lambda a: a, total)
        sums.append(sum(own[len(sums)] for own in outputs))
    close(sums[-1].reshape(whole.y.shape), whole.y)


def test_the_rank_is_the_bond_that_grows() -> None:
    spec = tm.MuMoESpec(5, 6, (4, 3), tm.Tucker((2, 3, 4, 5)))
    assert rank_index(spec) == spec.factorization.growing_bonds(2)[0]
    assert rank_index(spec, "s") == "s"
    assert experts_index(spec) == "n1"
    with pytest.raises(tm.TensorMoEError, match="share out its experts"):
        rank_index(tm.MuMoESpec(5, 6, 4, tm.Dense()))


def test_shares_that_do_not_fit_each_other_are_refused() -> None:
    spec = tm.MuMoESpec(5, 6, 4, tm.CP(6))
    shapes = {name: spec.parameter_shapes[name] for name in spec.core_names}
    with pytest.raises(tm.TensorMoEError, match=r"share out one index in all of its cores"):
        share_stages(spec, {**shapes, "cores.input": (6, 3)})
