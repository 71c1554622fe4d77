"""What a search must beat: it is in the space at the largest rank, tried first, and not beaten in vain."""

import numpy as np
import pytest

import tensormoe as tm
from tensormoe.exploring import Budget, Space, fit_to, search, train_with
from tensormoe.exploring.candidate import decode
from tensormoe.exploring.rivals import offer, rivals

LAYER = tm.MuMoESpec(8, 10, 4, tm.Dense(), gate=None, bias=False)
CP, LOW_RANK = tm.CP(1), tm.TensorNetwork("n i r, n r o", r=1)


@pytest.mark.parametrize("seed", range(3))
def test_a_guided_search_is_no_worse_than_cp_on_a_target_of_full_rank(seed: int) -> None:
    """At equal parameters, and with ranks of which none is CP's."""
    weight = np.random.default_rng(seed).normal(size=(4, 8, 10))
    budget = Budget(parameters=150)
    alone = [budget.match(LAYER.replace(factorization=family)) for family in (CP, LOW_RANK)]
    best = min(tm.fit(weight, spec).weight_error for spec in alone)
    study = search(budget, fit_to(weight), Space(LAYER, ranks=(2, 4)), trials=3)
    assert study.best("error").values["error"] <= best * 1.001
    assert {trial.key for trial in study.trials[:2]} == {
        tm.explore.canonical_key(spec.network) for spec in alone
    }


@pytest.mark.parametrize("budget", [Budget(parameters=150), Budget(macs=150), Budget(parameters=600)])
@pytest.mark.parametrize(
    "layer",
    [LAYER, tm.MuMoESpec(8, 10, (3, 2), tm.Dense()), LAYER.replace(bias=True)],
    ids=["one level", "two levels and a gate", "biases"],
)
def test_rivals_are_as_large_as_the_budget_allows(layer: tm.MuMoESpec, budget: Budget) -> None:
    levels = " ".join(["n"] if len(layer.experts) == 1 else ["n1", "n2"])
    space = offer(Space(layer, ranks=(2, 4)), budget)
    families = (CP, tm.TensorNetwork(f"{levels} i r, {levels} r o", r=1))
    wanted = []
    for family in families:
        try:
            spec = budget.match(layer.replace(factorization=family))
        except tm.TensorMoEError:
            continue
        if spec.factorization.bonds(len(layer.experts))["r"] > 1:
            wanted.append(tm.explore.canonical_key(spec.network))
    tried = [decode(space, point) for point in rivals(space, budget)]
    assert [each.key for each in tried if each is not None] == wanted
    assert {2, 4} < {*space.sizes}


def test_a_space_without_them_stays_as_it_is() -> None:
    budget = Budget(parameters=150)
    for limits in ({"hyperedges": 0, "carriers": False}, {"hyperedges": 0, "bonds": False}):
        space = Space(LAYER, ranks=(2, 4), **limits)
        assert offer(space, budget) == space
        assert rivals(space, budget) == []
    seconds = Budget(seconds=1.0)
    assert offer(Space(LAYER), seconds) == Space(LAYER)
    assert rivals(Space(LAYER), seconds) == []


def test_a_storage_knows_its_search_again(tmp_path: object) -> None:
    """The ranks of rivals are part of the space, each time the same."""

    def count(spec: tm.MuMoESpec, seed: int) -> float:
        return spec.num_parameters

    path = f"{tmp_path}/search.log"
    spec = Space(LAYER, ranks=(2,))
    for trials in (2, 3):
        study = search(
            Budget(parameters=150), train_with(count), spec, trials=trials, storage=path, method="greedy"
        )
    assert len(study.trials) == 3
