"""Raising and lowering ranks: the same weight where it is promised, the least error where it is known."""

from contextlib import suppress
from fractions import Fraction
from functools import reduce
from math import sqrt
from typing import Any

import numpy as np
import pytest
import tensorly
from editing.oracle import saved, weight_of
from hypothesis import given
from hypothesis import strategies as st
from support.frameworks import BACKENDS
from support.shared import shared_layers

import tensormoe as tm
from tensormoe.testing import specs

TREES: list[tuple[tm.Factorization, str, int]] = [
    (tm.TensorTrain((3, 4)), "r3", 2),
    (tm.TensorTrain((3, 4)), "r2", 1),
    (tm.Tucker((3, 4, 5)), "q", 2),
    (tm.Tucker((3, 4, 5)), "p", 2),
    (tm.TensorNetwork("n o, i r, r o", r=4), "r", 2),
    (tm.TensorNetwork("n r, i r, r s, s o", r=6, s=5), "s", 3),
    (tm.TensorNetwork("i n r, q s r, q s t, t o", q=2, r=4, s=3, t=5), "t", 2),
    (tm.TensorNetwork("i o") + tm.TensorTrain((3, 4)), "r3_2", 2),
]
LOOPS: list[tuple[tm.Factorization, str, int]] = [
    (tm.CP(6), "r", 4),
    (tm.TensorRing((3, 2, 4)), "r3", 3),
    (tm.TensorNetwork("g n p, g i q, g o s, g p q s", g=2, p=3, q=2, s=4), "s", 3),
    (tm.TensorNetwork("i o + n o") + tm.CP(5), "r_2", 3),
    (tm.TensorNetwork("n r, A: i r, A: o r", r=5), "r", 4),
    (tm.TensorNetwork("n i r, r s, n s o", r=4, s=4), "r", 2),
]


def norm(array: Any) -> float:
    return float(np.linalg.norm(array))


def layer_of(family: tm.Factorization, seed: int = 0) -> tm.SavedLayer:
    square = "A:" in str(family)
    return saved(tm.MuMoESpec(6 if square else 5, 6, 4, family, bias=not square), seed)


def exact_weight(layer: tm.SavedLayer) -> dict[tuple[int, ...], Fraction]:
    """The entries of the weight tensor in exact arithmetic, by the definition."""
    network = layer.spec.layers["cores"].network
    cores = tm.cores_of(layer.spec, layer.arrays())
    exact = {name: np.vectorize(Fraction, otypes=[object])(core) for name, core in cores.items()}
    weight: dict[tuple[int, ...], Fraction] = {}
    for term in network.terms:
        own = list(dict.fromkeys(index for core in term.cores for index in core.indices))
        for place in np.ndindex(*(network.sizes[index] for index in own)):
            at = dict(zip(own, place, strict=True))
            factors = (exact[core.name][tuple(at[index] for index in core.indices)] for core in term.cores)
            entry = tuple(at.get(mode, -1) for mode in network.modes)
            weight[entry] = weight.get(entry, Fraction(0)) + reduce(lambda a, b: a * b, factors)
    return weight


def grows(spec: tm.MuMoESpec, name: str) -> bool:
    """Whether a bond may be larger: one in a single core has size 1 for good, and a train's ring is open.

    What shared cores tie, and fixed ones hold, is tried elsewhere.
    """
    trains = getattr(spec.factorization, "terms", [spec.factorization])
    closing = {
        "r1" if number == 1 else f"r1_{number}"
        for number, term in enumerate(trains, start=1)
        if isinstance(term, tm.TensorTrain)
    }
    carriers = [core for core in spec.network.cores if name in core.indices]
    held = any(core.name in spec.network.held for core in carriers)
    return len(carriers) > 1 and name not in closing and not held


@given(specs(max_levels=2, max_size=2), st.integers(0, 99), st.data())
def test_growing_any_bonds_of_any_network_keeps_the_weight_exactly(
    spec: tm.MuMoESpec, seed: int, data: st.DataObject
) -> None:
    bonds = {name: size for name, size in spec.network.bonds if grows(spec, name)}
    chosen = data.draw(st.sets(st.sampled_from(sorted(bonds)), max_size=2)) if bonds else set()
    ranks = {name: bonds[name] + data.draw(st.integers(0, 1)) for name in sorted(chosen)}
    layer = saved(spec, seed)
    if not ranks:
        with pytest.raises(tm.TensorMoEError, match="bond"):
            tm.grow(layer)
        return
    grown = tm.grow(layer, seed=seed, **ranks)
    assert dict(grown.spec.layers["cores"].network.bonds) == dict(spec.network.bonds) | ranks
    assert grown.error == 0
    assert exact_weight(grown.layer) == exact_weight(layer)


@pytest.mark.parametrize("more", [1, 2])
@pytest.mark.parametrize(
    ("family", "bond"),
    [(tm.CP(2), "r"), (tm.Tucker((2, 2, 2)), "q"), (tm.TensorTrain((2, 3)), "r2")],
    ids=str,
)
def test_new_values_add_nothing_to_the_weight(family: tm.Factorization, bond: str, more: int) -> None:
    layer = saved(tm.MuMoESpec(5, 4, 3, family), 0)
    size = dict(layer.spec.network.bonds)[bond]
    grown = tm.grow(layer, **{bond: size + more})
    assert dict(grown.spec.layers["cores"].network.bonds)[bond] == size + more
    assert exact_weight(grown.layer) == exact_weight(layer)


@given(shared_layers(), st.integers(0, 99))
def test_shared_cores_grow_in_all_their_uses_or_not_at_all(spec: tm.MuMoESpec, seed: int) -> None:
    layer = saved(spec, seed)
    before = weight_of(layer)
    for bond, size in spec.network.bonds:
        # Some can't: those that are tied to a mode, that no other core carries, or that join nothing.
        with suppress(tm.TensorMoEError):
            grown = tm.grow(layer, **{bond: size + 1})
            assert grown.spec.num_parameters > spec.num_parameters
            assert np.abs(weight_of(grown.layer) - before).max() <= 1e-12 * max(1, np.abs(before).max())


def gradients(layer: tm.SavedLayer) -> dict[str, np.ndarray]:
    """The gradient of a random linear function of the weight with respect to every core, by differences."""
    whole = weight_of(layer)
    cotangent = np.random.default_rng(1).normal(size=whole.shape)
    result = {}
    for name in layer.spec.core_names:
        values = np.asarray(layer.parameters[name])
        slopes = np.zeros(values.size)
        for number in range(values.size):
            # A weight is linear in each entry of a core that is used once.
            moved = values.copy()
            moved.flat[number] += 1
            other = tm.SavedLayer(layer.spec, {**layer.parameters, name: moved}, layer.state)
            slopes[number] = np.sum(cotangent * (weight_of(other) - whole))
        result[name] = slopes.reshape(values.shape)
    return result


@pytest.mark.parametrize(
    ("family", "ranks"),
    [
        (tm.CP(1), {"r": 2}),
        (tm.TensorRing((1, 1, 1)), {"r1": 2, "r2": 2, "r3": 2}),
        (tm.Tucker((1, 2, 1)), {"p": 2, "q": 3, "s": 2}),
        (tm.TensorNetwork("n r, i r, r s, s o", r=2, s=2), {"r": 4}),
        (tm.TensorNetwork("n r, i r, r s, s o", r=2, s=2), {"s": 4}),
        (tm.TensorNetwork("n i r s, r s o", r=1, s=1), {"r": 2, "s": 2}),
    ],
)
def test_all_new_values_learn_within_two_steps(family: tm.Factorization, ranks: dict[str, int]) -> None:
    layer = saved(tm.MuMoESpec(2, 3, 2, family, bias=False))
    grown = tm.grow(layer, **ranks).layer
    first = gradients(grown)
    stepped = {name: np.asarray(grown.parameters[name]) - 0.1 * first[name] for name in first}
    second = gradients(tm.SavedLayer(grown.spec, {**grown.parameters, **stepped}, grown.state))
    for name in first:
        assert ((first[name] != 0) | (second[name] != 0)).all()


@pytest.mark.parametrize(
    ("family", "core", "ranks"),
    [
        (tm.CP(8), "input", {"r": 40}),
        (tm.TensorNetwork("i n r, r s, s o", r=8, s=8), "core2", {"s": 40}),
    ],
)
def test_what_is_drawn_is_of_the_size_of_initial_values(
    family: tm.Factorization, core: str, ranks: dict[str, int]
) -> None:
    spec = tm.MuMoESpec(60, 50, 4, family)
    grown = tm.grow(tm.SavedLayer(spec, *tm.initialize(spec)), **ranks)
    new = np.asarray(grown.layer.parameters[f"cores.{core}"])[:, 8:]
    like = np.concatenate([tm.initialize(grown.spec, seed)[0][f"cores.{core}"] for seed in range(5)])
    assert 0.8 < np.sqrt(np.mean(new**2) / np.mean(like**2)) < 1.25
    assert np.count_nonzero(new) == new.size


def best_error(weight: np.ndarray, rows: tuple[int, ...], size: int) -> float:
    """The least distance to a tensor whose unfolding has a rank, by NumPy's singular values."""
    axes = (*rows, *(axis for axis in range(weight.ndim) if axis not in rows))
    matrix = weight.transpose(axes).reshape(int(np.prod([weight.shape[axis] for axis in rows])), -1)
    return norm(np.linalg.svd(matrix, compute_uv=False)[size:])


@pytest.mark.parametrize(("family", "bond", "size"), TREES)
def test_a_bond_of_a_tree_is_cut_as_well_as_singular_values_allow(
    family: tm.Factorization, bond: str, size: int
) -> None:
    layer = layer_of(family)
    cut = tm.truncate(layer, **{bond: size})
    before, after = weight_of(layer), weight_of(cut.layer)
    shared = np.asarray(layer.parameters["cores.core1"]) if bond == "r3_2" else 0
    if "n o, i r" in str(family):
        # The experts' factors weigh the columns that the bond makes.
        first, second = (np.asarray(layer.parameters[f"cores.core{number}"]) for number in (2, 3))
        weights = np.linalg.norm(np.asarray(layer.parameters["cores.core1"]), axis=0)
        best = norm(np.linalg.svd(first @ second * weights, compute_uv=False)[size:])
    else:
        best = best_error(before - shared, {"r2": (0,), "p": (0,), "q": (1,)}.get(bond, (0, 1)), size)
    assert abs(norm(before - after) - best) <= 1e-10 * norm(before)
    assert cut.error == pytest.approx(norm(before - after) / norm(before), rel=1e-9)
    assert "singular values" in str(cut)


def test_experts_of_pairs_are_cut_one_by_one() -> None:
    layer = layer_of(tm.TensorNetwork("n i r, n r o", r=4))
    before = weight_of(layer)
    best = sqrt(sum(best_error(each, (0,), 2) ** 2 for each in before))
    assert norm(before - weight_of(tm.truncate(layer, r=2).layer)) == pytest.approx(best, rel=1e-10)


def test_several_bonds_are_cut_nearly_as_well_as_by_tensorly_and_within_the_known_bound() -> None:
    layer = layer_of(tm.TensorTrain((4, 6)))
    before = weight_of(layer)
    error = norm(before - weight_of(tm.truncate(layer, r2=2, r3=3).layer))
    least = max(best_error(before, (0,), 2), best_error(before, (0, 1), 3))
    theirs = tensorly.tt_to_tensor(tensorly.decomposition.tensor_train(before, [1, 2, 3, 1]))
    assert least <= error <= sqrt(2) * least
    assert error <= 1.2 * norm(before - theirs)


@pytest.mark.parametrize(("family", "bond", "size"), LOOPS)
def test_other_bonds_keep_what_is_missed_least_and_say_so(
    family: tm.Factorization, bond: str, size: int
) -> None:
    layer = layer_of(family)
    cut = tm.truncate(layer, **{bond: size})
    before = weight_of(layer)
    error = norm(before - weight_of(cut.layer)) / norm(before)
    assert cut.error == pytest.approx(error, rel=1e-9)
    assert error <= dropped_by_norm(layer, bond, size) * (1 + 1e-9)
    assert "not the best" in str(cut)
    improved = tm.truncate(layer, iterations=200, **{bond: size})
    assert improved.error < 0.95 * cut.error


def dropped_by_norm(layer: tm.SavedLayer, bond: str, size: int) -> float:
    """The error of dropping the values whose part of the weight is smallest, as they are."""
    network = layer.spec.layers["cores"].network
    count = network.sizes[bond]

    def part(kept: list[int]) -> np.ndarray:
        values = {name: np.asarray(array) for name, array in layer.parameters.items()}
        core = next(each for each in network.cores if bond in each.indices)
        shape = [-1 if index == bond else 1 for index in core.indices]
        mask = np.isin(np.arange(count), kept).reshape(shape)
        values[f"cores.{core.name}"] = values[f"cores.{core.name}"] * mask
        return weight_of(tm.SavedLayer(layer.spec, values, layer.state))

    whole, none = part([*range(count)]), part([])
    norms = [norm(part([value]) - none) for value in range(count)]
    return norm(whole - part([*np.argsort(norms)[-size:]])) / norm(whole)


@given(specs(max_levels=2, max_size=3), st.integers(0, 99), st.data())
def test_any_network_is_truncated_with_the_error_that_is_stated(
    spec: tm.MuMoESpec, seed: int, data: st.DataObject
) -> None:
    bonds = [name for name, size in spec.network.bonds if size > 1 and grows(spec, name)]
    if not bonds:
        return
    bond = data.draw(st.sampled_from(bonds))
    layer = saved(spec, seed)
    cut = tm.truncate(layer, **{bond: spec.network.sizes[bond] - 1})
    before, after = weight_of(layer), weight_of(cut.layer)
    assert abs(cut.error * norm(before) - norm(before - after)) <= 1e-12 * norm(before)
    assert cut.error <= 1 + 1e-9


def test_unused_values_are_cut_without_error_and_one_side_of_them_is_kept() -> None:
    """After growing, the train has rank 2 of 6."""
    layer = tm.grow(layer_of(tm.TensorTrain((3, 2))), r3=6).layer
    cut = tm.truncate(layer, r3=4)
    assert cut.error < 1e-14
    sides = (np.asarray(cut.layer.parameters[f"cores.{name}"]) for name in ("input", "output"))
    used = [side.any(axis=axes) for side, axes in zip(sides, ((0, 1), (0, 2)), strict=True)]
    assert (used[0] | used[1]).all()


@pytest.mark.parametrize("family", [tm.CP(4) + tm.TensorNetwork("i o + n o"), tm.TensorRing((3, 2, 4))])
def test_large_weights_are_compared_by_inner_products(
    family: tm.Factorization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tensormoe.ranks.distance._SMALL", 0)
    spec = tm.MuMoESpec(5, 6, (4, 2) if "Ring" not in str(family) else 4, family)
    layer = saved(spec)
    cut = tm.truncate(layer, **{dict(spec.network.bonds).popitem()[0]: 3})
    weight = weight_of(layer)
    assert cut.error == pytest.approx(norm(weight - weight_of(cut.layer)) / norm(weight), rel=1e-6)
    assert tm.simplify(layer).error == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_modules_of_every_framework_are_copied_with_their_types(backend: str) -> None:
    block = tm.MuMoEBlockSpec(3, 5, 2, (2, 3), tm.CP(4), tm.Gate(norm="batch"), input_norm=True)
    layer = tm.build(block, backend, seed=0)
    kept = {name: np.array(tm.backend_of(each).to_float64(each)) for name, each in layer.arrays().items()}
    for change in (tm.grow(layer, r=6), tm.truncate(layer, r=2)):
        assert type(change.layer) is type(layer)
        assert [*change.errors] == ["first", "second"]
        for name, array in change.layer.arrays().items():
            assert str(array.dtype) == str(layer.arrays()[name].dtype)
            if name not in block.core_names:
                np.testing.assert_array_equal(tm.backend_of(array).to_float64(array), kept[name])
    for name, array in layer.arrays().items():
        np.testing.assert_array_equal(tm.backend_of(array).to_float64(array), kept[name])


def test_results_are_saved_and_read(tmp_path: Any) -> None:
    layer = tm.build(tm.MuMoESpec(5, 6, 4, tm.TensorTrain((3, 4))), "numpy", seed=0)
    for change in (
        tm.grow(layer, r3=7),
        tm.truncate(layer, r3=2),
        tm.canonicalize(layer),
        tm.simplify(layer),
    ):
        tm.save(change.layer, tmp_path / "layer.safetensors")
        again = tm.load(tmp_path / "layer.safetensors", backend="numpy")
        assert again.spec == change.spec
        np.testing.assert_array_equal(again.materialize(), change.layer.materialize())


def test_what_else_a_specification_says_stays() -> None:
    spec = tm.MuMoESpec(5, 6, 4, tm.CP(3), memory_limit=10**6, bias=False)
    assert tm.grow(saved(spec), r=5).spec == spec.replace(factorization=tm.CP(5))


REFUSALS = [
    (tm.grow, tm.CP(3), {}, "name a bond with its new size: r"),
    (tm.grow, tm.Dense(), {}, "the network has no bond"),
    (tm.grow, tm.CP(3), {"q": 5}, "choose one of 'r'"),
    (tm.grow, tm.CP(3), {"r": 2}, "it is 3 now; pass a size of at least that, or use tm.truncate"),
    (tm.truncate, tm.CP(3), {"r": 5}, "it is 3 now; pass a size of at most that, or use tm.grow"),
    (tm.truncate, tm.CP(3), {"r": 0}, "positive integer"),
    (tm.grow, tm.TensorTrain((2, 2)), {"r1": 2}, "closing rank"),
    (tm.grow, tm.TensorNetwork("n o, A: i r, A: o r", r=4), {"r": 5}, "would never learn"),
    (tm.grow, tm.TensorNetwork("n i r, A: r s, A: s o", r=6, s=6), {"r": 7}, "as large as mode 'o'"),
    (tm.truncate, tm.TensorNetwork("n i r, A: r s, A: s t, t o", r=4, s=4, t=4), {"s": 3}, "ties it to s, t"),
    (tm.canonicalize, tm.CP(3), {"center": "middle"}, "choose one of"),
    (tm.canonicalize, tm.CP(3), {}, "its cores make no tree"),
]


@pytest.mark.parametrize(("function", "family", "options", "told"), REFUSALS)
def test_refusals_say_what_to_do(function: Any, family: tm.Factorization, options: Any, told: str) -> None:
    with pytest.raises(tm.TensorMoEError, match=told):
        function(layer_of(family), **options)
