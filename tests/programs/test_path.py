"""How a layer's path is chosen: searches by name, given paths, optimizers, and the memory limit."""

import json
import pickle

import numpy as np
import opt_einsum
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import close

import tensormoe as tm
from tensormoe.testing import specs

I, O, N = 40, 24, (16, 4)  # noqa: E741
# x, a1, a2, then CP's cores: each factor of the experts, the input and the output.
PATH = ((1, 3), (1, 2), (1, 2), (0, 1), (0, 2), (0, 1))


def layer(**fields: object) -> tm.MuMoESpec:
    return tm.MuMoESpec(I, O, N, tm.CP(8), **fields)


def block(**fields: object) -> tm.MuMoEBlockSpec:
    return tm.MuMoEBlockSpec(I, 32, O, N, tm.CP(8), **fields)


def outputs(spec: tm.Spec) -> np.ndarray:
    parameters, _ = tm.initialize(spec, 0, "float64")
    x = np.random.default_rng(0).normal(size=(9, I))
    return np.asarray(tm.apply(spec, parameters, x).y)


@pytest.mark.parametrize("name", ["auto", "greedy", "optimal", "dp", "branch-2", "random-greedy", "Greedy"])
def test_opt_einsums_searches_are_known_by_name(name: str) -> None:
    spec = layer(optimize=name)
    assert spec.optimize == name.lower()
    close(outputs(spec), outputs(layer()))
    assert block(optimize=name).optimize == name.lower()


def test_a_given_path_is_run_at_every_batch_size() -> None:
    spec = layer(optimize=[list(pair) for pair in PATH])
    assert spec.optimize == PATH
    assert [(least, plan.path) for least, plan in spec.plans] == [(0, PATH)]
    assert spec.plan(3).path == PATH
    close(outputs(spec), outputs(layer()))
    tm.prove(spec.plan())


def test_a_block_takes_a_path_for_each_layer() -> None:
    other = layer().plan().path
    spec = block(optimize=(PATH, other))
    assert [plan.path for plan in spec.plan().layers.values()] == [PATH, other]
    close(outputs(spec), outputs(block()))
    assert block(optimize=("greedy", "greedy")) == block(optimize="greedy")
    assert block(optimize=("greedy", PATH)).optimize == ("greedy", PATH)


class Recorded(opt_einsum.paths.PathOptimizer):
    """An optimizer that writes down what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple] = []

    def __call__(self, inputs, output, size_dict, memory_limit=None):
        self.asked.append((inputs, output, size_dict, memory_limit))
        return opt_einsum.paths.greedy(inputs, output, size_dict, memory_limit)


def test_an_optimizer_is_asked_once_and_its_path_is_kept() -> None:
    optimizer = Recorded()
    spec = layer(optimize=optimizer)
    assert len(spec.optimize) == len(PATH)
    again = tm.spec_from_json(spec.to_json())
    for same in (pickle.loads(pickle.dumps(spec)), again, spec.replace(bias=True)):
        assert same == spec
        assert hash(same) == hash(spec)
        assert same.plan(7).path == spec.optimize
    (inputs, output, sizes, limit), *further = optimizer.asked
    assert not further
    assert limit is None
    assert len(inputs) == 7
    assert len(output) == 2
    # The batch, both expert levels, the input with its bias, the output and the rank.
    assert sorted(sizes.values()) == sorted([1024, *N, I + 1, O, 8])
    layer(optimize=optimizer, memory_limit=10**6)
    assert optimizer.asked[1][3] == 10**6
    for shared in (opt_einsum.paths.greedy, optimizer, lambda *problem: optimizer(*problem)):
        assert len(block(optimize=shared).optimize) == 2


@pytest.mark.parametrize("name", ["OptimalOptimizer", "HyperOptimizer", "ReusableHyperOptimizer"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_optimizers_of_cotengra(name: str) -> None:
    cotengra = pytest.importorskip("cotengra")
    options = {} if name == "OptimalOptimizer" else {"max_repeats": 4, "parallel": False}
    make = getattr(cotengra, name)
    spec = layer(optimize=make(**options))
    close(outputs(spec), outputs(layer()))
    two = block(optimize=(make(**options), make(**options)))
    close(outputs(two), outputs(block()))
    assert tm.spec_from_json(two.to_json()) == two


def fails(*problem: object) -> None:
    raise RuntimeError("no luck today")


@pytest.mark.parametrize(
    ("optimize", "said"),
    [
        ("cheapest", "received 'cheapest'; pass \"auto\""),
        (3, "received 3; pass a search's name"),
        (None, "received None; pass a search's name"),
        (PATH[:-1], "7 operands take 6 steps, not 5"),
        ((*PATH[:-1], (0, 2)), r"step 5 is \(0, 2\): pass two different positions from 0 to 1"),
        (((0, 0), *PATH[1:]), r"step 0 is \(0, 0\): pass two different positions from 0 to 6"),
        (((0, 1, 2), *PATH[1:]), r"step 0 is \(0, 1, 2\)"),
        (((0, -1), *PATH[1:]), "a pair of positions for each step"),
        (((0, "x"), *PATH[1:]), "a pair of positions for each step"),
        (fails, "the optimizer finds no path .no luck today"),
        (lambda *problem: [(0, 1)], "7 operands take 6 steps, not 1"),
        ((PATH, PATH), "pass a search's name"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_what_is_no_path_is_refused_when_the_spec_is_made(optimize: object, said: str) -> None:
    with pytest.raises(tm.TensorMoEError, match=f"optimize: .*{said}"):
        layer(optimize=optimize)
    if optimize != (PATH, PATH):
        with pytest.raises(tm.TensorMoEError, match="optimize"):
            block(optimize=optimize)


@given(specs(), st.integers(1, 10**6))
def test_a_memory_limit_is_kept_or_refused(spec: tm.MuMoESpec, limit: int) -> None:
    """For every batch of up to 1,024 vectors, with the plan that runs there."""
    try:
        limited = spec.replace(memory_limit=limit)
    except tm.TensorMoEError as error:
        assert error.argument == "memory_limit"  # noqa: PT017
        return
    for batch in (1, 2, 3, 22, 23, 181, 182, 1024):
        assert limited.plan(batch).largest <= limit


def test_a_refused_limit_names_the_smallest_that_was_found() -> None:
    with pytest.raises(tm.TensorMoEError, match=r"for 1,024 input vectors .* of 24,576 elements") as refused:
        layer(memory_limit=1000)
    assert refused.value.received == 1000
    assert layer(memory_limit=24_576).plan().largest == 24_576
    with pytest.raises(
        tm.TensorMoEError, match=r"'greedy' finds no path within this limit: use optimize=\"auto\""
    ):
        layer(memory_limit=24_576, optimize="greedy")
    longest = max(step.size for step in layer(optimize=PATH).plan().steps)
    with pytest.raises(tm.TensorMoEError, match=f"the path has an intermediate of {longest:,} elements"):
        layer(memory_limit=longest - 1, optimize=PATH)
    # In a block, of the second layer too.
    with pytest.raises(tm.TensorMoEError, match="memory_limit"):
        tm.MuMoEBlockSpec(I, 1, O, N, tm.CP(8), memory_limit=10_000)
    for unfit in (0, -5, 2.5, [3]):
        with pytest.raises(tm.TensorMoEError, match="memory_limit"):
            layer(memory_limit=unfit)


RING = "n a b, b i c, c o a"


def test_a_memory_limit_reaches_what_the_layer_runs() -> None:
    spec = tm.MuMoESpec(128, 16, 128, tm.TensorNetwork(RING, a=128, b=32, c=64), bias=False)
    limited = spec.replace(memory_limit=spec.plan().largest - 1)
    assert limited.plan().largest < spec.plan().largest
    assert limited.plan().macs > spec.plan().macs
    assert limited.program_for(None) == limited.plan().program != spec.plan().program


def test_a_path_for_small_batches_keeps_the_limit_up_to_the_largest_of_them() -> None:
    """At 64 vectors a path for 23 to 181 of them stays below the limit, at 181 it does not."""
    spec = tm.MuMoESpec(128, 8, 32, tm.TensorNetwork(RING, a=32, b=128, c=16), bias=False)
    limit = 524_288
    assert [least for least, _ in spec.plans] == [182, 0]
    limited = spec.replace(memory_limit=limit)
    assert [least for least, _ in limited.plans] == [23, 0]
    for batch in (1, 22, 23, 181, 182, 1024):
        assert limited.plan(batch).largest <= limit
    assert spec.plan(181).largest > limit


def test_matching_keeps_the_limit_and_counts_without_it() -> None:
    spec = tm.MuMoESpec(I, O, 4, tm.CP(1), memory_limit=10**6)
    matched = spec.matched(parameters=20_000)
    assert matched.memory_limit == 10**6
    assert matched.factorization == spec.replace(memory_limit=None).matched(parameters=20_000).factorization
    with pytest.raises(tm.TensorMoEError, match="memory_limit"):
        tm.MuMoESpec(I, O, 4, tm.CP(1), memory_limit=1024 * O).matched(parameters=20_000)


def test_json_carries_path_and_limit() -> None:
    spec = layer(optimize=PATH, memory_limit=10**8)
    data = json.loads(spec.to_json())
    assert data["optimize"] == [list(pair) for pair in PATH]
    assert data["memory_limit"] == 10**8
    assert tm.spec_from_json(spec.to_json()) == spec
