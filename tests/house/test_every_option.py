"""Every option of every public function changes something; what can't be seen here has a test by name.

The list comes from the functions' signatures: a new option needs a line in `OPTIONS`. Fields of
specifications, gates, routers and families are in `tests/layers/test_fields.py`.
"""

import inspect
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import tensorly
from hypothesis import Phase, find, settings
from hypothesis import strategies as st
from support.option_calls import assert_named_tests_are_there, calls_of, change, options_of

import tensormoe as tm
import tensormoe.testing as testing
from tensormoe.codec import Serializable

SPEC = tm.MuMoESpec(4, 3, (5, 2), tm.CP(3), tm.Gate("softmax", "batch"))
BLOCK = tm.MuMoEBlockSpec(4, 4, 4, 3, tm.CP(3))
draws = np.random.default_rng(0)
X, LOGITS = draws.normal(size=(6, 4)), draws.normal(size=(4, 4))
LABELS = np.array([0, 0, 1, 1, 2, 2])
SOFT = draws.dirichlet(np.ones(3), 6)
TRAIN = tm.SavedLayer(TREE := tm.MuMoESpec(4, 3, 5, tm.TensorTrain((2, 3))), *tm.initialize(TREE))
LOOP = tm.SavedLayer(SPEC, *tm.initialize(SPEC))
CORES = [draws.normal(size=shape) for shape in SPEC.network.shapes.values()]
COEFFICIENTS = [draws.dirichlet(np.ones(n), 6) for n in SPEC.experts]
WEIGHT, NETWORK = draws.normal(size=(5, 2, 4, 3)), tm.TensorNetwork("n r, i r, r o", r=3)
PARAMETERS = tm.initialize(SPEC, 0, "float64")[0]
PUBLISHED = {
    **{f"MuMoE{each}.factors.{number}": np.ones((4, 2)) for each in ("", "2") for number in range(3)},
    "projs.0": np.ones((4, 4)),
}
QUICK: dict[str, Any] = {"rounds": 1, "seconds": 0.001}


def apply(spec: tm.Spec = SPEC, **options: Any) -> object:
    generator = np.random.default_rng(1)
    parameters = {name: generator.normal(size=shape) for name, shape in spec.parameter_shapes.items()}
    state = tm.initialize(spec, 0, "float64")[1]
    return tm.apply(spec, parameters, X, **{"state": state, **options})


def noisy(**options: Any) -> object:
    return apply(SPEC.replace(gate=tm.Gate("softmax", noise=1.0)), training=True, **options)


def clustered(**options: Any) -> object:
    gate = tm.Gate("softmax", router=tm.AdaptiveClustering(statistics="batch", evaluation="batch"))
    return apply(SPEC.replace(experts=3, gate=gate), **options)


def double(array: Any) -> Any:
    return array + array


def moved_state() -> dict[str, np.ndarray]:
    return {name: np.full(shape, 2.0) for name, shape in SPEC.state_shapes.items()}


weights = partial(tm.adaptive_clustering_weights, X, SOFT)
verify = partial(tm.verify, SPEC, backends="numpy", methods="float")
TESTING = "verification/test_testing.py"
RECOMPUTATION = "layers/test_modules.py::test_recomputation_keeps_less_for_the_backward_pass"

# For each option a call, and another value than its own; or the test that fails if it is ignored.
OPTIONS: dict[str, dict[str, str | tuple[Callable[..., object], Any]]] = {
    "adaptive_clustering_weights": {
        "preset": (weights, "vision"),
        "dispersion": (weights, "std"),
        "clamp": (weights, 1.0),
        "normalization": (weights, "global"),
        "eps": (weights, 1.0),
        "shrinkage": (weights, 50.0),
        "clusters": (partial(tm.adaptive_clustering_weights, X, LABELS), 2),
        "all_reduce": (weights, double),
    },
    "apply": {
        "router_input": (apply, X[::-1]),
        "coefficients": (apply, COEFFICIENTS),
        "state": (apply, moved_state()),
        "training": (apply, True),
        "previous": (clustered, [SOFT]),
        "generator": (partial(noisy, generator=np.random.default_rng(0)), np.random.default_rng(7)),
        "all_reduce": (partial(clustered, previous=[SOFT]), double),
        "recompute": RECOMPUTATION,
        "backend": (apply, "torch"),
    },
    "apply_merged": {"backend": (partial(tm.apply_merged, SPEC, PARAMETERS, X, COEFFICIENTS), "torch")},
    "bench": {
        "backend": "benching/test_bench.py::test_without_a_name_the_first_that_is_installed_is_taken",
        "batch_size": "benching/test_bench.py::test_a_report_holds_what_was_measured",
        "training": "benching/test_bench.py::test_a_report_holds_what_was_measured",
        "device": (partial(tm.bench, SPEC, "numpy", 2, **QUICK), "cuda"),
        "threads": "benching/test_bench.py::test_threads_are_set_back",
        "seed": (partial(tm.bench, SPEC, "numpy", 2, **QUICK), -1),
        "rounds": (partial(tm.bench, SPEC, "numpy", 2, seconds=0.001), 0),
        "seconds": (partial(tm.bench, SPEC, "numpy", 2, rounds=1), -1),
    },
    "build": {"seed": "layers/test_building.py::test_stacked_layers_differ_unless_they_share_a_seed"},
    "canonicalize": {"center": (partial(tm.canonicalize, TRAIN), "input")},
    "contract": {
        "backend": (partial(tm.contract, SPEC, CORES, COEFFICIENTS, X), "torch"),
        "active": (partial(tm.contract, SPEC, CORES, COEFFICIENTS, X), 1),
    },
    "cores_of": {"layer": (partial(tm.cores_of, BLOCK, tm.initialize(BLOCK)[0], layer="first"), "second")},
    "draw": {
        "levels": "drawing/test_draw.py::test_twenty_cores_stay_apart_and_labels_do_not_cover_each_other",
        "title": "drawing/test_draw.py::test_the_heading_is_the_notation_in_lines_that_break_between_cores",
    },
    "entmax": {"axis": (partial(tm.entmax, LOGITS, 1.3), 0)},
    "entmax15": {"axis": (partial(tm.entmax15, LOGITS), 0)},
    "fit": {
        "bias": (partial(tm.fit, WEIGHT, SPEC), np.ones(3)),
        "inputs": (partial(tm.fit, WEIGHT, SPEC), X),
        "outputs": (partial(tm.fit, WEIGHT, SPEC, iterations=9), draws.normal(size=(5, 3))),
        "seed": (partial(tm.fit, WEIGHT, SPEC.replace(factorization=NETWORK), iterations=1), 5),
        "iterations": (partial(tm.fit, WEIGHT, SPEC.replace(factorization=NETWORK)), 1),
        "progress": "fitting/test_fit.py::test_a_fit_prints_what_it_is",
    },
    "from_published": {
        "prefix": (partial(tm.from_published, PUBLISHED), "no"),
        "activation": (partial(tm.from_published, PUBLISHED), "softmax"),
        "nonlinearity": (partial(tm.from_published, PUBLISHED), "relu"),
    },
    "from_tensorly": {
        "prefix": (
            partial(tm.from_tensorly, BLOCK.layers["first"], tensorly.random.random_cp((3, 5, 4), 3)),
            "second",
        )
    },
    "grow": {"seed": (partial(tm.grow, TRAIN, r3=5), 1)},
    "initialize": {
        "seed": (partial(tm.initialize, SPEC), 1),
        "dtype": (partial(tm.initialize, SPEC), "float64"),
    },
    "materialize": {"backend": (partial(tm.materialize, SPEC, CORES), "torch")},
    "merge": {"backend": (partial(tm.merge, SPEC, CORES, COEFFICIENTS), "torch")},
    "prove": {"program": (partial(tm.prove, SPEC.stage.contraction), SPEC.plan().program)},
    "relu_top_k": {"axis": (partial(tm.relu_top_k, LOGITS, 1), 0)},
    "save": {
        "certificate": "checkpoints/test_certificates.py"
        "::test_a_certificate_is_written_beside_the_layer_and_belongs_to_it"
    },
    "soft_rank": {
        "eps": (partial(tm.soft_rank, LOGITS), 0.1),
        "descending": (partial(tm.soft_rank, LOGITS), False),
        "axis": (partial(tm.soft_rank, LOGITS), 0),
    },
    "soft_top_k": {
        "eps": (partial(tm.soft_top_k, LOGITS, 2), 0.1),
        "axis": (partial(tm.soft_top_k, LOGITS, 2), 0),
    },
    "softmax": {"axis": (partial(tm.softmax, LOGITS), 0)},
    "sparsemax": {"axis": (partial(tm.sparsemax, LOGITS), 0)},
    "to_tensorly": {"cores": (partial(tm.to_tensorly, SPEC, cores=CORES), [core + 1 for core in CORES])},
    "top_k": {"axis": (partial(tm.top_k, LOGITS, 2), 0)},
    "truncate": {"iterations": (partial(tm.truncate, LOOP, r=1), 3)},
    "upcycle": {
        "bias": (partial(tm.upcycle, WEIGHT[0, 0], SPEC), np.ones(3)),
        "inputs": (partial(tm.upcycle, WEIGHT[0, 0], SPEC.replace(factorization=tm.CP(2))), X),
        "noise": (partial(tm.upcycle, WEIGHT[0, 0], SPEC), 0.1),
        "seed": (partial(tm.upcycle, WEIGHT[0, 0], SPEC), 1),
        "dtype": (partial(tm.upcycle, WEIGHT[0, 0], SPEC), "float64"),
    },
    "verify": {
        "backends": (verify, "torch"),
        "seed": "verification/test_reports.py::test_a_seed_draws_other_values_and_is_reported",
        "methods": (verify, "exact"),
        "batch_size": "verification/test_reports.py::test_a_batch_size_is_that_of_what_is_computed",
    },
    "testing.assert_equivalent": {
        "inputs": f"{TESTING}::test_inputs_are_for_one_layer",
        "backends": f"{TESTING}::test_a_backend_of_your_own_is_verified_and_a_wrong_one_is_refused",
        "seed": (partial(testing.assert_equivalent, SPEC, backends="numpy"), -1),
        "methods": (partial(testing.assert_equivalent, SPEC, backends="numpy"), "guess"),
    },
    "testing.register_profiles": dict.fromkeys(
        ("default", "deep"), f"{TESTING}::test_profiles_have_the_examples_asked_for"
    ),
    "testing.factorizations": dict.fromkeys(
        ("levels", "max_rank"), "house/test_every_option.py::test_strategies_stay_within_their_limits"
    ),
    "testing.sums": dict.fromkeys(
        ("levels", "max_rank"), "house/test_every_option.py::test_strategies_stay_within_their_limits"
    ),
    "testing.split_networks": dict.fromkeys(
        ("levels", "max_rank"), "house/test_every_option.py::test_strategies_stay_within_their_limits"
    ),
    "testing.networks": dict.fromkeys(
        ("levels", "max_cores", "max_bonds", "max_rank"),
        "house/test_every_option.py::test_strategies_stay_within_their_limits",
    ),
    "testing.specs": {
        "factorization": f"{TESTING}::test_a_factorization_of_your_own",
        "gate": f"{TESTING}::test_chosen_gates",
        "max_levels": "house/test_every_option.py::test_strategies_stay_within_their_limits",
        "min_levels": "house/test_every_option.py::test_strategies_stay_within_their_limits",
        "max_size": "house/test_every_option.py::test_strategies_stay_within_their_limits",
        "shared": f"{TESTING}::test_cores_are_shared_and_fixed_unless_they_are_not_to_be",
        "fixed": f"{TESTING}::test_cores_are_shared_and_fixed_unless_they_are_not_to_be",
    },
    "testing.gates": {"routers": f"{TESTING}::test_chosen_routers"},
    "testing.blocks": {"layer": f"{TESTING}::test_random_blocks_are_verified"},
    "testing.inputs_for": {
        "batch_size": "house/test_every_option.py::test_strategies_stay_within_their_limits"
    },
}
CALLS = calls_of(OPTIONS)


def show(call: Callable[[], object]) -> str:
    """What a call gives, or the error that it raises, as text."""
    try:
        with np.printoptions(threshold=10**6, precision=12):
            return re.sub(r"0x\w+", "", repr(call()))
    except (tm.TensorMoEError, tm.ProofError) as error:
        return f"raised {error}"


def test_every_option_of_every_public_function_is_here() -> None:
    expected = {}
    for module, prefix in ((tm, ""), (testing, "testing.")):
        for name in module.__all__:
            function = getattr(module, name)
            if not inspect.isfunction(inspect.unwrap(function)):
                continue
            if options := options_of(function):
                expected[prefix + name] = options
    assert {name: set(options) for name, options in OPTIONS.items()} == expected


def test_every_other_public_class_with_options_is_a_report_or_has_fields() -> None:
    kinds = [value for name in tm.__all__ if isinstance(value := getattr(tm, name), type)]
    others = {kind.__name__ for kind in kinds if not issubclass(kind, Serializable)}
    with_options = set()
    for name in others:
        parameters = inspect.signature(getattr(tm, name)).parameters.values()
        if any(each.default is not each.empty for each in parameters):
            with_options.add(name)
    # A network's terms are tested with sums.
    assert with_options == {"BenchReport", "VerificationReport", "ProofError", "Network"}


@pytest.mark.parametrize("name", CALLS)
def test_an_option_that_is_ignored_is_noticed(name: str) -> None:
    call, changed = change(name, CALLS[name])
    assert show(call) != show(changed)


def test_the_tests_that_are_named_are_there() -> None:
    assert_named_tests_are_there(OPTIONS)


def test_strategies_stay_within_their_limits() -> None:
    """And reach them, which an option that is ignored would not make them do."""
    # What is drawn first would be beyond a limit that is ignored; made small, it would not.
    first = settings(max_examples=2000, phases=[Phase.generate])

    def within(strategy: Any, size: Callable[[Any], int], limit: int) -> None:
        assert size(find(strategy, lambda drawn: size(drawn) >= limit, settings=first)) == limit

    within(testing.specs(max_levels=2), lambda spec: spec.levels, 2)
    within(testing.specs(min_levels=3), lambda spec: -spec.levels, -3)
    within(testing.specs(max_size=3), lambda spec: max(spec.experts), 3)
    for make in (testing.networks, testing.factorizations, testing.sums, testing.split_networks):
        bonds = partial(lambda levels, each: [*each.bonds(levels).values()], 2)
        within(make(levels=2, max_rank=3), lambda each, bonds=bonds: max(bonds(each), default=0), 3)
    few = testing.networks(levels=1, max_cores=2, max_bonds=1)
    within(few, lambda each: len(each.notation(1).cores), 2)
    within(few, lambda each: len(each.bonds(1)), 1)
    given = testing.inputs_for(SPEC, batch_size=st.just(7))
    within(given, lambda inputs: len(inputs.x), 7)


@pytest.mark.parametrize("spec", [SPEC, BLOCK], ids=["layer", "block"])
def test_methods_of_specifications_hear_their_options(spec: tm.Spec) -> None:
    assert str(spec.plan()) == str(spec.plan(1024)) != str(spec.plan(7))
    gathers = spec.replace(gate=tm.Gate(tm.Activation("top_k", k=1)))
    assert "gather" not in str(gathers.plan(7))
    assert "gather" in str(gathers.plan(7, active=1))
    grown = spec.matched(220)
    assert grown.num_parameters <= 220
    assert grown == spec.matched(220, bond="r")
    cheap = spec.matched(macs=100)
    assert cheap.macs <= 100 < spec.replace(factorization=tm.CP(cheap.factorization.rank + 1)).macs
    assert spec.matched(220, multiple_of=7).factorization.rank % 7 == 0
    assert grown.factorization.rank % 7 != 0
    with pytest.raises(tm.TensorMoEError, match="bond"):
        spec.matched(220, bond="q")
