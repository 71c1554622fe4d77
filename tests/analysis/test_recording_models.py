"""Recordings of PyTorch and JAX models: what they hold, and what they leave behind."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from analysis.recordings import FRAMEWORKS, array, assert_measures, build, collect
from hypothesis import given, settings
from hypothesis import strategies as st
from support.frameworks import BACKENDS, optional

import tensormoe as tm
from tensormoe.analysis import record, recording

torch = optional("torch")
jax = optional("jax")
nnx = optional("flax.nnx")

frameworks = pytest.mark.parametrize("framework", [name for name in FRAMEWORKS if name in BACKENDS])
EXPERTS = ((3,), (2, 3), (2, 2, 2))


def batches_of(framework: str, sizes: tuple[int, ...] = (4, 4)) -> list[Any]:
    draws = np.random.default_rng(0)
    return [array(framework, draws.normal(size=(size, 5))) for size in sizes]


def state_of(model: Any) -> list[Any]:
    """What a model holds: the attributes of all modules, and copies of all arrays."""
    if isinstance(model, torch.nn.Module):
        modules = [(type(each), {**vars(each)}, dict(each._forward_hooks)) for each in model.modules()]
        return [modules, [(name, value.tolist()) for name, value in model.state_dict().items()]]
    modules = [node for _, node in nnx.iter_graph(model) if isinstance(node, nnx.Module)]
    arrays = [
        np.asarray(
            jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        )
        for leaf in jax.tree.leaves(nnx.state(model))
    ]
    return [
        [
            (type(each), [*vars(each)], [value for value in vars(each).values() if isinstance(value, bool)])
            for each in modules
        ],
        [each.tolist() for each in arrays],
    ]


@frameworks
def test_a_recording_of_a_model_equals_all_coefficients_at_once(framework: str) -> None:
    model = build(framework, EXPERTS)
    xs = batches_of(framework)
    labels = [[0, 1, 1, 2], [2, 2, 0, 5]]
    recorded = record(model, list(zip(xs, labels, strict=True)), labels=1, threshold=0.3, progress=False)
    assert {layer.threshold for layer in recorded.values()} == {0.3}
    names = ["0", "1", "2"] if framework == "torch" else ["layers.0", "layers.1", "layers.2"]
    assert list(recorded) == names
    for layer, levels in zip(recorded.values(), collect(framework, model, xs), strict=True):
        assert_measures(layer, levels, np.ravel(labels))


@settings(max_examples=15)
@given(
    st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=3), min_size=1, max_size=3),
    st.lists(st.integers(1, 5), min_size=1, max_size=3),
)
@pytest.mark.skipif("torch" not in BACKENDS, reason="it needs PyTorch")
def test_recordings_of_random_models_equal_all_coefficients_at_once(experts: Any, sizes: list[int]) -> None:
    model, xs = build("torch", experts), batches_of("torch", tuple(sizes))
    recorded = record(model, xs, progress=False)
    for layer, levels in zip(recorded.values(), collect("torch", model, xs), strict=True):
        assert_measures(layer, levels)


# JAX compiles each operation for each shape, so that few models are tried.
@settings(max_examples=4, deadline=None)
@given(
    st.lists(st.integers(2, 3), min_size=1, max_size=2),
    st.lists(st.just(4), min_size=1, max_size=3),
    st.integers(0, 99),
)
@pytest.mark.skipif("jax" not in BACKENDS, reason="it needs JAX")
def test_recordings_of_random_jax_models_equal_all_coefficients_at_once(
    experts: Any, sizes: list[int], seed: int
) -> None:
    model, xs = build("jax", [experts], seed), batches_of("jax", tuple(sizes))
    labels = [np.random.default_rng(seed + number).integers(0, 3, size) for number, size in enumerate(sizes)]
    recorded = record(model, list(zip(xs, labels, strict=True)), labels=1, progress=False)
    for layer, levels in zip(recorded.values(), collect("jax", model, xs), strict=True):
        assert_measures(layer, levels, np.concatenate(labels))


@frameworks
def test_nothing_stays_on_the_model_and_its_state_does_not_move(framework: str) -> None:
    model, xs = build(framework, EXPERTS), batches_of(framework)
    before = state_of(model)
    record(model, xs, progress=False)
    assert state_of(model) == before
    with pytest.raises(ZeroDivisionError):
        record(model, xs, call=lambda model, x: (model(x), 1 / 0), progress=False)
    assert state_of(model) == before
    with pytest.raises(ZeroDivisionError), recording(model):
        raise ZeroDivisionError
    assert state_of(model) == before


@frameworks
def test_a_context_records_a_loop_of_ones_own_in_the_mode_that_the_model_has(framework: str) -> None:
    model, xs = build(framework, EXPERTS[:2]), batches_of(framework)
    before = state_of(model)
    with recording(model) as recorded:
        for number, x in enumerate(xs):
            with recorded.batch(labels=number):
                model(x)
    assert state_of(model)[1] != before[1]  # the batch norm has seen the batches
    for layer, levels in zip(recorded.values(), collect(framework, model, xs), strict=True):
        assert_measures(layer, levels, [0] * 4 + [1] * 4)
    model(xs[0])
    assert recorded[next(iter(recorded))].tokens == 8


@frameworks
def test_recordings_may_be_nested_and_a_layer_may_be_the_model(framework: str) -> None:
    layer = tm.build(tm.MuMoESpec(5, 2, 3, tm.CP(2)), framework, seed=0)
    with recording(layer) as outer:
        with recording(layer) as inner:
            layer(batches_of(framework)[0])
        layer(batches_of(framework)[0])
    assert (outer[""].tokens, inner[""].tokens) == (8, 4)


@frameworks
def test_a_layer_that_runs_twice_counts_twice(framework: str) -> None:
    layer = tm.build(tm.MuMoESpec(5, 5, 3, tm.CP(2)), framework, seed=0)
    container = torch.nn.Sequential if framework == "torch" else nnx.Sequential
    recorded = record(container(layer, layer), batches_of(framework), progress=False)
    assert [each.tokens for each in recorded.values()] == [16]


@frameworks
def test_a_model_without_layers_and_data_without_tokens_are_refused(framework: str, tmp_path: Path) -> None:
    container = torch.nn.Sequential if framework == "torch" else nnx.Sequential
    place = tmp_path / "store"
    with pytest.raises(tm.TensorMoEError, match="it has no μMoE layer"):
        record(container(), batches_of(framework), store=place, progress=False)
    layer = tm.build(tm.MuMoESpec(5, 5, 3, tm.CP(2)), framework, seed=0)
    with pytest.raises(tm.TensorMoEError, match="no token was in it"):
        record(layer, [], store=place, progress=False)
    with pytest.raises(tm.TensorMoEError, match="no μMoE layer ran"):
        record(layer, batches_of(framework), call=lambda model, x: x, store=place, progress=False)
    with pytest.raises(tm.TensorMoEError, match="labels: received"):
        record(layer, batches_of(framework), labels=lambda x: [1, 2, 3], store=place, progress=False)
    spoilt = array(framework, np.full((4, 5), np.nan))
    with pytest.raises(tm.TensorMoEError, match="not finite"):
        record(layer, [*batches_of(framework), spoilt], store=place, progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("model", [None, 3, np.ones(3), tm.build(tm.MuMoESpec(5, 5, 3, tm.CP(2)), "numpy")])
def test_what_is_not_a_model_is_refused(model: object) -> None:
    with pytest.raises(tm.TensorMoEError, match=r"model: received .* pass a torch.nn.Module"):
        record(model, [])


@frameworks
def test_an_array_is_not_a_model(framework: str) -> None:
    with pytest.raises(tm.TensorMoEError, match=r"model: received .* pass a torch.nn.Module"):
        record(array(framework, np.ones(3)), [])


@frameworks
@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("data", 3),
        ("data", {}),
        ("data", np.ones((3, 5))),
        ("labels", 1.5),
        ("labels", True),
        ("labels", 0),
        ("labels", "labels"),
        ("mask", 2.5),
        ("columns", ["ids"]),
        ("columns", {"ids": None}),
        ("call", 3),
        ("threshold", "half"),
        ("store", 3),
        ("progress", None),
    ],
)
def test_arguments_that_do_not_fit_are_refused(framework: str, argument: str, value: Any) -> None:
    layer = tm.build(tm.MuMoESpec(5, 5, 3, tm.CP(2)), framework, seed=0)
    before = state_of(layer)
    arguments = {"data": [batches_of(framework)[0]], "progress": False, argument: value}
    if argument == "labels" and value == 0:
        arguments["data"] = [[]]
    with pytest.raises(tm.TensorMoEError, match="path" if argument == "store" else argument):
        record(layer, **arguments)
    assert state_of(layer) == before
