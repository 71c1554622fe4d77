"""Gauges and what is redundant: the same weight, with isometries, or with less."""

from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from editing.oracle import saved, weight_of
from hypothesis import given
from hypothesis import strategies as st
from support.shared import shared_layers

import tensormoe as tm
from tensormoe.testing import networks, specs


def layer_of(family: tm.Factorization, seed: int = 0) -> tm.SavedLayer:
    square = "A:" in str(family)
    return saved(tm.MuMoESpec(6 if square else 5, 6, 4, family, bias=not square), seed)


def assert_same(layer: tm.SavedLayer, change: tm.RankChange, tolerance: float = 1e-12) -> None:
    before, after = weight_of(layer), weight_of(change.layer)
    assert np.abs(before - after).max(initial=0) <= tolerance * max(1, np.abs(before).max(initial=0))
    assert change.error <= tolerance


def columns(layer: tm.SavedLayer, core: str, bonds: tuple[str, ...]) -> np.ndarray:
    """A core as a matrix with a column for each value of bonds."""
    cores = layer.spec.layers["cores"].network.cores
    indices = next(each.indices for each in cores if each.name == core)
    array = np.asarray(layer.parameters[f"cores.{core}"])
    rest = [index for index in indices if index not in bonds]
    moved = array.transpose([indices.index(index) for index in (*rest, *bonds)])
    return moved.reshape(int(np.prod(moved.shape[: len(rest)])), -1)


NAMED = tm.TensorNetwork("i n r s, r s t, t o", r=2, s=3, t=5)
GAUGES: list[tuple[tm.Factorization, str | None, dict[str, tuple[str, ...]]]] = [
    (tm.TensorTrain((3, 4)), None, {"expert1": ("r2",), "input": ("r3",)}),
    (tm.TensorTrain((3, 4)), "input", {"expert1": ("r2",), "output": ("r3",)}),
    (tm.TensorTrain((3, 4)), "expert1", {"input": ("r2",), "output": ("r3",)}),
    (tm.Tucker((3, 4, 5)), "core", {"expert1": ("p",), "input": ("q",), "output": ("s",)}),
    (tm.Tucker((3, 4, 5)), None, {"expert1": ("p",), "input": ("q",), "core": ("s",)}),
    (NAMED, "core3", {"core1": ("r", "s"), "core2": ("t",)}),
]


@pytest.mark.parametrize(("family", "center", "outward"), GAUGES)
def test_all_cores_but_the_center_are_isometries(
    family: tm.Factorization, center: str | None, outward: dict[str, tuple[str, ...]]
) -> None:
    layer = layer_of(family)
    change = tm.canonicalize(layer, center=center)
    assert_same(layer, change)
    assert change.spec == layer.spec
    for core, bonds in outward.items():
        matrix = columns(change.layer, core, bonds)
        np.testing.assert_allclose(matrix.T @ matrix, np.eye(matrix.shape[1]), atol=1e-12)
    middle = next(core for core in layer.spec.layers["cores"].network.shapes if core not in outward)
    norm = np.linalg.norm(np.asarray(change.layer.parameters[f"cores.{middle}"]))
    assert norm == pytest.approx(np.linalg.norm(weight_of(layer)), rel=1e-12)


def test_a_mode_in_all_cores_gives_each_of_its_values_isometries() -> None:
    layer = layer_of(tm.TensorNetwork("n i r, n r o", r=3))
    change = tm.canonicalize(layer)
    assert_same(layer, change)
    for matrix in np.asarray(change.layer.parameters["cores.core1"]):
        np.testing.assert_allclose(matrix.T @ matrix, np.eye(3), atol=1e-12)


def test_values_that_a_core_cannot_use_are_of_norm_one_and_not_read() -> None:
    layer = layer_of(tm.TensorTrain((9, 4)))
    change = tm.canonicalize(layer)
    assert_same(layer, change)
    expert, center = (np.asarray(change.layer.parameters[f"cores.{name}"]) for name in ("expert1", "output"))
    np.testing.assert_allclose(np.linalg.norm(expert[:, 0], axis=0), 1)
    assert not np.asarray(change.layer.parameters["cores.input"])[:, 4:].any()
    assert np.linalg.norm(center) == pytest.approx(np.linalg.norm(weight_of(layer)), rel=1e-12)


levels = st.integers(1, 2)


@given(levels.flatmap(lambda count: st.tuples(st.just(count), networks(count))), st.integers(0, 99))
def test_random_networks_keep_their_weight(drawn: tuple[int, tm.TensorNetwork], seed: int) -> None:
    count, family = drawn
    layer = saved(tm.MuMoESpec(2, 3, (2, 3)[:count], family), seed)
    with suppress(tm.TensorMoEError):  # where it is no tree
        assert_same(layer, tm.canonicalize(layer))


@given(specs(max_levels=2), st.integers(0, 99))
def test_simplified_layers_are_equal_and_no_larger(spec: tm.MuMoESpec, seed: int) -> None:
    layer = saved(spec, seed)
    change = tm.simplify(layer)
    assert_same(layer, change)
    assert change.spec.num_parameters <= spec.num_parameters
    again = tm.simplify(change.layer)
    assert again.steps == ()
    assert again.spec == change.spec


@given(shared_layers(), st.integers(0, 99))
def test_shared_cores_stay(spec: tm.MuMoESpec, seed: int) -> None:
    layer = saved(spec, seed)
    change = tm.simplify(layer)
    assert_same(layer, change)
    assert {*spec.network.shared} == {*change.spec.layers["cores"].network.shared}


@given(st.sampled_from([0, 1]), specs(max_levels=2, max_size=3), st.integers(0, 99))
def test_small_integers_and_zeros_are_simplified_to_the_same_weight(
    bound: int, spec: tm.MuMoESpec, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    parameters, state = tm.initialize(spec, dtype="float64")
    shapes = {name: each.shape for name, each in parameters.items()}
    values = {name: generator.integers(-bound, bound + 1, shape) * 1.0 for name, shape in shapes.items()}
    layer = tm.SavedLayer(spec, values, state)
    assert_same(layer, tm.simplify(layer))


TIED = tm.TensorNetwork("n r, A: i r, A: o r", r=4)
CASES: list[tuple[tm.Factorization, str]] = [
    (tm.TensorTrain((9, 40)), "TensorNetwork('n i o')"),
    (tm.TensorTrain((2, 3)), "TensorTrain(ranks=(2, 3))"),
    (tm.TensorNetwork("n i r, n r o", r=9), "TensorNetwork('n i o')"),
    (tm.TensorNetwork("n i r, r s, s o", r=40, s=3), "TensorNetwork('n i s, s o', s=3)"),
    (tm.TensorNetwork("i o + n i o + n o"), "TensorNetwork('n i o + n o')"),
    (tm.CP(1), "TensorNetwork('n, i, o')"),
    (tm.TensorNetwork("n r, i r, r o, s i, s o", r=2, s=1), "TensorNetwork('n r, i r, r o, i, o', r=2)"),
    (TIED, str(TIED)),
    (tm.TensorNetwork("n i o, a b, b a", a=2, b=3), "TensorNetwork('n i o')"),
    (tm.CP(30), "CP(rank=30)"),
    # A product of the two would have more parameters.
    (tm.TensorNetwork("n o, i r, r o", r=2), "TensorNetwork('n o, i r, r o', r=2)"),
]


@pytest.mark.parametrize(("family", "simple"), CASES)
def test_what_is_redundant_is_left_out(family: tm.Factorization, simple: str) -> None:
    layer = layer_of(family)
    change = tm.simplify(layer)
    assert str(change.spec.factorization) == simple
    assert_same(layer, change)


def test_each_layer_of_a_block_is_simplified_by_itself() -> None:
    block = tm.MuMoEBlockSpec(5, 7, 3, 4, tm.TensorTrain((2, 9)), gated=True)
    generator = np.random.default_rng(0)
    parameters, state = tm.initialize(block)
    values = {name: generator.normal(size=each.shape) for name, each in parameters.items()}
    layer = tm.SavedLayer(block, values, state)
    change = tm.simplify(layer)
    texts = [str(stage.factorization) for stage in change.spec.layers.values()]
    assert texts == ["TensorNetwork('n r2, i r2 o', r2=2)"] * 3
    assert len({str(each) for each in tm.simplify(_with_zeros(layer)).spec.factorization}) == 2
    x = generator.normal(size=(3, 5))
    ys = [tm.apply(each.spec, each.parameters, x, state=state).y for each in (layer, change.layer)]
    np.testing.assert_allclose(*ys, rtol=1e-10)


def _with_zeros(layer: tm.SavedLayer) -> tm.SavedLayer:
    """The layer with one value less in the bonds of its last layer."""
    values: dict[str, Any] = {name: np.array(each) for name, each in layer.parameters.items()}
    values["second.expert1"][:, :, 1] = 0
    return tm.SavedLayer(layer.spec, values, layer.state)


def test_parts_of_modes_keep_their_sizes() -> None:
    network = tm.TensorNetwork("n i1 r, i2 r s, s o", i=(2, 4), r=3, s=5)
    layer = saved(tm.MuMoESpec(8, 6, 4, network, bias=False))
    weight = np.asarray(layer.build("numpy").materialize())
    for change in (tm.simplify(layer), tm.canonicalize(layer), tm.grow(layer, s=9), tm.truncate(layer, s=5)):
        np.testing.assert_allclose(change.layer.build("numpy").materialize(), weight, atol=1e-12)
    assert str(tm.simplify(layer).spec.factorization) == "TensorNetwork('n i1 r, i2 r o', r=3, i=(2, 4))"
    biased = saved(tm.MuMoESpec(8, 6, 4, tm.TensorNetwork("n i1 i2 o + n o", i=(2, 4)), bias=False))
    assert tm.simplify(biased).spec == biased.spec


def test_what_grow_added_is_taken_away_bit_for_bit() -> None:
    layer = layer_of(tm.CP(3))
    back = tm.simplify(tm.grow(layer, r=7).layer)
    assert back.spec == layer.spec
    for name, array in layer.parameters.items():
        np.testing.assert_array_equal(back.layer.parameters[name], array)


def test_equal_values_and_equal_terms_are_added() -> None:
    layer = layer_of(tm.CP(3) + tm.CP(2))
    values: dict[str, Any] = {name: np.array(each) for name, each in layer.parameters.items()}
    for name in ("expert1", "input"):
        values[f"cores.{name}"][:, 2] = values[f"cores.{name}"][:, 0]
        values[f"cores.{name}_2"] = values[f"cores.{name}"][:, :2].copy()
    layer = tm.SavedLayer(layer.spec, values, layer.state)
    change = tm.simplify(layer)
    assert str(change.spec.factorization) == "TensorNetwork('n r, i r, r o', r=2)"
    assert change.steps[0].what == "r: 3 → 2"
    assert_same(layer, change)
