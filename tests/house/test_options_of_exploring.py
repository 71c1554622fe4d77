"""Every option of `tm.explore` changes something: of functions, studies, budgets and spaces.

The list comes from the signatures, as in `test_every_option.py`.
"""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import partial
from typing import Any

import numpy as np
import pytest
from support.option_calls import assert_named_tests_are_there, calls_of, change, options_of

import tensormoe as tm
from tensormoe import explore
from tensormoe.exploring.candidate import decode

LAYER = tm.MuMoESpec(6, 4, 3, tm.Dense(), bias=False)
EXPERTS = np.random.default_rng(0).normal(size=(3, 6, 4))
FAMILIES = [tm.CP(2), tm.TensorTrain((2, 2))]
SWEEP, SEARCH = "exploring/test_sweep.py::{}", "exploring/test_search.py::{}"


def lose(spec: tm.MuMoESpec, seed: int) -> float:
    return 1 / spec.macs + seed


TASK = explore.train_with(lose, name="inverse")


def tell(study: explore.Study) -> object:
    """A study without what changes from run to run: how long it took."""
    return [{**trial.to_dict(), "seconds": 0} for trial in study.trials], study.settings, study.objectives


def swept(*families: Any, **options: Any) -> object:
    return tell(explore.sweep(families or FAMILIES, **{"like": LAYER, **options}))


def searched(**options: Any) -> object:
    space = explore.Space(LAYER, ranks=(2, 3))
    given = {"method": "random", "trials": 6, **options}
    return tell(explore.search(None, TASK, space, **given))


def scaled(**options: Any) -> object:
    law = explore.scaling(
        tm.CP(2),
        (4, 8, 16),
        explore.train_with(lambda spec, seed: 2 + seed + 9 / spec.macs),
        **{"like": LAYER, **options},
    )
    return law.exponent, law.floor, tell(law.study)


def fitting(**limits: Any) -> object:
    """Which random points are networks."""
    generator = np.random.default_rng(0)
    space = explore.Space(LAYER, **limits)
    sizes = [len(each.choices) for each in space.coordinates]
    return [decode(space, tuple(generator.integers(0, sizes))) is None for _ in range(50)]


def space(**limits: Any) -> object:
    return explore.Space(LAYER, **limits).coordinates


STUDY = explore.sweep(FAMILIES, task=TASK, like=LAYER, costs=("parameters", "rank"))
# For each option a call, and another value than its own; or the test that fails if it is ignored.
OPTIONS: dict[str, dict[str, str | tuple[Callable[..., object], Any]]] = {
    "Budget": {
        "parameters": (explore.Budget, 9),
        "macs": (explore.Budget, 9),
        "seconds": (explore.Budget, 9.0),
        "batch_size": SWEEP.format("test_a_budget_of_seconds_is_met_as_measured"),
    },
    "Space": {
        "max_cores": (fitting, 3),
        "ranks": (space, (2, 5)),
        "bonds": (space, False),
        "hyperedges": (space, 2),
        "latent": (space, 2),
        "carriers": (space, False),
        "splits": (space, {"i": [(2, 3)]}),
        "shared": (space, True),
        "fixed": (space, ("hadamard",)),
        "sums": (space, 2),
    },
    "Study.best": {"objective": (lambda **o: STUDY.best(**o).number, "parameters")},
    "Study.intervals": {"objective": (STUDY.intervals, "parameters")},
    "Study.report": {"title": "exploring/test_report.py::test_the_title_is_text"},
    "Study.draw": dict.fromkeys(
        ("x", "y", "title"),
        "exploring/test_report.py::test_the_figure_has_a_point_for_each_candidate_and_names_the_best",
    ),
    "canonical_key": {"sizes": (partial(explore.canonical_key, LAYER.network), False)},
    "fit_to": {"iterations": (lambda **o: explore.fit_to(EXPERTS, **o).name, 7)},
    "train_with": {"name": (lambda **o: explore.train_with(lose, **o).name, "mine")},
    "sweep": {
        "budgets": (swept, explore.Budget(parameters=30)),
        "task": (swept, TASK),
        "seeds": (partial(swept, task=TASK), (3,)),
        "like": (swept, LAYER.replace(bias=True)),
        "costs": (swept, ("memory",)),
        "path": SWEEP.format("test_a_study_is_the_same_after_its_file"),
        "jobs": SWEEP.format("test_processes_share_the_work_through_joblib"),
        "progress": SWEEP.format("test_a_bar_counts_what_is_tried"),
    },
    "scaling": {
        "seeds": (scaled, (3,)),
        "like": (scaled, LAYER.replace(experts=5)),
        "floor": (scaled, 1.0),
        # The sweep's own, which refuses these values.
        "path": (scaled, "/dev/zero"),
        "jobs": (scaled, 0),
        "progress": (scaled, 1),
    },
    "search": {
        "method": (searched, "greedy"),
        "trials": (searched, 3),
        "costs": (searched, ("memory",)),
        "weights": (searched, {"parameters": 1.0}),
        "storage": SEARCH.format("test_a_search_goes_on_from_its_storage_and_repeats_nothing"),
        "workers": SEARCH.format("test_several_workers_find_what_one_finds"),
        "seed": (searched, 1),
        "progress": SEARCH.format("test_a_bar_counts_what_is_tried_and_begins_with_the_storage"),
    },
}
# Results, which sweeps and searches make, and what they use; their fields are checked by test_calls.py.
RESULTS = {"Trial", "Study", "ScalingLaw", "TaskResult", "Evaluation", "Task"}
CALLS = calls_of(OPTIONS)


def show(call: Callable[[], object]) -> str:
    """What a call gives, or the error that it raises, as text."""
    try:
        return repr(call())
    except tm.TensorMoEError as error:
        return f"raised {error}"


def test_every_option_of_exploring_is_here() -> None:
    expected: dict[str, set[str]] = {}
    for name in explore.__all__:
        public = getattr(explore, name)
        if inspect.isfunction(public):
            expected[name] = options_of(public)
        elif inspect.isclass(public) and name not in RESULTS:
            expected[name] = {each.name for each in fields(public) if _optional(each)}
    for method, function in inspect.getmembers(explore.Study, inspect.isfunction):
        if not method.startswith("_"):
            expected[f"Study.{method}"] = options_of(function)
    assert {name: {*options} for name, options in OPTIONS.items()} == {n: o for n, o in expected.items() if o}


def _optional(field: Any) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


@pytest.mark.parametrize("name", CALLS)
def test_an_option_that_is_ignored_is_noticed(name: str) -> None:
    call, changed = change(name, CALLS[name])
    assert show(call) == show(call)
    assert show(call) != show(changed)


def test_the_tests_that_are_named_are_there() -> None:
    assert_named_tests_are_there(OPTIONS)
