"""Recordings of coefficients that are given: sums, labels, masks, merging, files, JSON, tables."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from analysis.recordings import assert_measures, levels_of
from hypothesis import given, settings
from hypothesis import strategies as st

import tensormoe as tm
from tensormoe import analysis
from tensormoe.analysis import Recorder, Recording, recording
from tensormoe.analysis.recording_sums import LayerSums

counts = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)


@settings(max_examples=25)
@given(counts, st.lists(st.integers(0, 7), min_size=1, max_size=4), st.integers(0, 99), st.booleans())
def test_a_recording_equals_all_coefficients_at_once(
    experts: tuple[int, ...], sizes: list[int], seed: int, half: bool
) -> None:
    sizes[-1] += 1
    threshold = 0.25 if half else 0.5
    batches = [levels_of(seed + k, (size,), experts) for k, size in enumerate(sizes)]
    labels = [np.random.default_rng(k).choice([-100, 0, 3, 2**40], size) for k, size in enumerate(sizes)]
    with recording(threshold=threshold) as recorded:
        for levels, own in zip(batches, labels, strict=True):
            with recorded.batch(labels=own):
                recorded.add("layer", levels)
    joined = [np.concatenate(level) for level in zip(*batches, strict=True)]
    every = np.concatenate(labels)
    assert_measures(recorded["layer"], joined, every if (every != -100).any() else None)


def test_more_tokens_than_are_summed_at_a_time() -> None:
    levels = levels_of(0, (3, 200), (700, 2))
    labels = np.arange(600) % 7
    with recording() as recorded, recorded.batch(labels=labels):
        recorded.add("layer", levels)
    assert_measures(recorded["layer"], [a.reshape(600, -1) for a in levels], labels)


def test_labels_are_of_the_batch_or_of_its_tokens_and_masks_leave_tokens_out() -> None:
    levels = levels_of(0, (2, 3), (4,))
    mask = [[1, 1, 0], [1, 0, 0]]
    for labels, expected in (([5, 6], [5, 5, 6]), ([[1, 2, 3], [4, 5, 6]], [1, 2, 4]), (range(6), [0, 1, 3])):
        with recording() as recorded, recorded.batch(labels=list(labels), mask=mask):
            recorded.add("tokens", levels)
            recorded.add("flat", [a.reshape(6, -1) for a in levels]) if len(labels) != 2 else None
        kept = [a[np.array(mask) == 1] for a in levels]
        for layer in recorded.values():
            assert_measures(layer, kept, expected)


def test_a_vector_for_a_whole_sequence_counts_if_any_token_does() -> None:
    levels = levels_of(0, (3,), (4,))
    with recording() as recorded, recorded.batch(labels=[1, 2, 3], mask=[[0, 1], [0, 0], [1, 1]]):
        recorded.add("head", levels)
    assert_measures(recorded["head"], [a[[0, 2]] for a in levels], [1, 3])


def test_coefficients_need_not_sum_to_1_and_an_expert_may_have_none() -> None:
    levels = [np.array([[0.5, 0.25, 0.0], [0.0, 0.0, 0.0], [2.0, 0.0, 0.0]]), np.ones((3, 2))]
    labels = [0, 0, 1]
    with recording() as recorded, recorded.batch(labels=labels):
        recorded.add("layer", levels)
    layer = recorded["layer"]
    for e, a in enumerate(levels):
        np.testing.assert_allclose(layer.load()[e], analysis.load(a), rtol=1e-15)
        np.testing.assert_allclose(layer.token_entropy()[e], analysis.token_entropy(a).mean(), atol=1e-15)
        np.testing.assert_allclose(layer.load_entropy()[e], analysis.load_entropy(a), atol=1e-15)
        np.testing.assert_allclose(layer.class_means()[e], analysis.class_means(a, labels), atol=1e-15)
        expected = analysis.mutual_information(a, labels)
        np.testing.assert_allclose(layer.mutual_information()[e], expected, atol=1e-15)
    np.testing.assert_array_equal(layer.conditional_usage()[0], analysis.conditional_usage(levels)[0])
    assert np.isnan(layer.conditional_usage()[0][2]).all()
    with recording() as recorded:
        recorded.add("layer", [np.zeros((2, 2))])
    with pytest.raises(tm.TensorMoEError, match="were 0"):
        recorded["layer"].load()
    assert "layer" in str(recorded)
    assert "<svg" not in recorded._repr_html_()
    assert json.loads(recorded.to_json())["layers"]["layer"] == {"tokens": 2, "experts": [2]}


def test_half_precision_is_summed_in_more() -> None:
    a = levels_of(0, (5000,), (3,))[0].astype("float16")
    with recording() as recorded:
        recorded.add("layer", [a])
    np.testing.assert_allclose(recorded["layer"].mean()[0], a.astype("float64").mean(0), rtol=1e-12)


def test_recordings_of_several_processes_are_one() -> None:
    batches = [levels_of(k, (6,), (3, 2)) for k in range(2)]
    parts = []
    for k, levels in enumerate(batches):
        with recording() as recorded, recorded.batch(labels=k):
            recorded.add("layer", levels)
            recorded.add(f"layer of {k}", levels)
        parts.append(recorded)
    merged = parts[0].merge(parts[1])
    assert_measures(
        merged["layer"], [np.concatenate(each) for each in zip(*batches, strict=True)], [0] * 6 + [1] * 6
    )
    assert [(name, each.tokens) for name, each in merged.items()] == [
        ("layer", 12),
        ("layer of 0", 6),
        ("layer of 1", 6),
    ]
    assert parts[0]["layer"].tokens == 6


def test_what_cannot_be_merged_is_refused() -> None:
    def made(experts: int, threshold: float = 0.5) -> Recording:
        with recording(threshold=threshold) as recorded:
            recorded.add("layer", levels_of(0, (2,), (experts,)))
        return recorded

    with pytest.raises(tm.TensorMoEError, match=r"experts of 'layer'"):
        made(3).merge(made(4))
    with pytest.raises(tm.TensorMoEError, match=r"threshold of 'layer'"):
        made(3).merge(made(3, 0.25))
    with pytest.raises(tm.TensorMoEError, match="others"):
        made(3).merge({})


def test_a_file_holds_the_sums_bit_for_bit(tmp_path: Path) -> None:
    with recording(threshold=0.3) as recorded, recorded.batch(labels=[4, 4, 2**53 + 1]):
        recorded.add("", levels_of(0, (3,), (3, 2)))
        recorded.add("a/b", levels_of(1, (3,), (5,)))
    recorded.save(tmp_path / "file")
    again = Recording.open(tmp_path / "file")
    assert again.to_json() == recorded.to_json()
    assert again["a/b"].threshold == 0.3
    assert again[""].labels == (4, 2**53 + 1)
    for name in recorded:
        for key, array in recorded[name].sums.arrays.items():
            assert (again[name].sums.arrays[key] == array).all()


def test_a_recording_without_labels_or_tokens_is_saved(tmp_path: Path) -> None:
    recorded = Recording({"unused": LayerSums((3,), 0.5)})
    recorded.save(tmp_path / "file")
    again = Recording.open(tmp_path / "file")
    assert again["unused"].tokens == 0
    assert "unused" in str(again)
    assert json.loads(again.to_json()) == {"layers": {"unused": {"tokens": 0, "experts": [3]}}}
    with pytest.raises(tm.TensorMoEError, match="no token has passed"):
        again["unused"].load()


def test_other_files_are_refused(tmp_path: Path) -> None:
    spec = tm.MuMoESpec(3, 2, 4, tm.CP(2))
    tm.save(tm.build(spec, "numpy"), tmp_path / "layer")
    with pytest.raises(tm.TensorMoEError, match="it is a checkpoint"):
        Recording.open(tmp_path / "layer")
    with recording() as recorded:
        recorded.add("layer", levels_of(0, (2,), (3,)))
    recorded.save(tmp_path / "file")
    with pytest.raises(tm.TensorMoEError, match="specification does not hold"):
        tm.load(tmp_path / "file", "numpy")
    data = bytearray((tmp_path / "file").read_bytes())
    data[-1] ^= 1
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(tm.TensorMoEError, match="it has changed"):
        Recording.open(tmp_path / "file")
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(tm.TensorMoEError, match="path"):
            Recording.open(path)


def test_tables_name_every_layer_and_level() -> None:
    with recording() as recorded:
        recorded.add("h.0.<mlp>", levels_of(0, (50,), (3, 400)))
        recorded.add("", levels_of(0, (9,), (2,)))
    lines = str(recorded).splitlines()[3:]
    assert [line.split()[:4] for line in lines[:2]] == [
        ["h.0.<mlp>", "1", "3", "50"],
        ["h.0.<mlp>", "2", "400", "50"],
    ]
    assert "(the model)" in lines[2]
    html = recorded._repr_html_()
    assert html.count("<svg") == 3
    assert "h.0.&lt;mlp&gt;" in html
    assert "<mlp>" not in html
    assert "http" not in html
    paths = re.findall(r'd="([^"]*)"', html)
    assert [path.count("M") for path in paths] == [3, 160, 2]


BAD = {
    "another count": (lambda: [np.ones((2, 4)) / 4], "experts"),
    "another number of levels": (lambda: [np.ones((2, 3)) / 3, np.ones((2, 1))], "experts"),
    "levels of other tokens": (lambda: [np.ones((2, 3)), np.ones((3, 2))], "leading axes"),
    "not finite": (lambda: [np.array([[0.5, np.nan, 0.5]])], "not finite"),
    "infinite": (lambda: [np.array([[0.5, np.inf, 0.5]])], "not finite"),
    "negative": (lambda: [np.array([[1.5, -0.5, 0.0]])], "not negative"),
    "integers": (lambda: [np.array([[1, 0, 0]])], "floating-point"),
    "nothing": (list, "expert level"),
    "text": (lambda: "abc", "expert level"),
    "a number": (lambda: [1.0], "last axis"),
}


@pytest.mark.parametrize("name", BAD)
def test_coefficients_that_do_not_fit_are_refused_and_nothing_is_recorded(name: str) -> None:
    make, reason = BAD[name]
    good = levels_of(0, (2,), (3,))

    def fail(recorded: Recorder) -> None:
        with recorded.batch():
            recorded.add("layer", good)
            recorded.add("another", good)
            recorded.add("layer", make())

    with recording() as recorded:
        recorded.add("layer", good)
        with pytest.raises(tm.TensorMoEError, match=reason):
            fail(recorded)
    assert list(recorded) == ["layer"]
    assert_measures(recorded["layer"], good)


RIDES = {
    "another length": ({"labels": [1, 2, 3]}, "labels: received"),
    "another shape": ({"labels": np.ones((2, 5), int)}, "labels: received"),
    "fractions": ({"labels": [0.5, 1.0]}, "number the classes"),
    "negative": ({"labels": [-1, 0]}, "from 0 on"),
    "text": ({"labels": ["cat", "dog"]}, "number the classes"),
    "ragged": ({"labels": [[1], [1, 2]]}, "labels"),
    "an additive mask": ({"mask": [0.0, -1e9]}, "1 for tokens"),
    "a mask of another length": ({"mask": [1, 1, 1]}, "mask: received"),
    "columns without a store": ({"ids": [1, 2]}, "pass store="),
}


@pytest.mark.parametrize("name", RIDES)
def test_labels_that_do_not_fit_are_refused(name: str) -> None:
    rides, reason = RIDES[name]
    with recording() as recorded:
        with pytest.raises(tm.TensorMoEError, match=reason), recorded.batch(**rides):
            recorded.add("layer", levels_of(0, (2,), (3,)))
        assert len(recorded) == 0


def test_a_batch_that_fails_is_not_recorded_and_batches_are_not_nested() -> None:
    def fail(recorded: Recorder) -> None:
        with recorded.batch():
            recorded.add("layer", levels_of(0, (2,), (3,)))
            raise ZeroDivisionError

    with recording() as recorded:
        with pytest.raises(ZeroDivisionError):
            fail(recorded)
        with recorded.batch(), pytest.raises(tm.TensorMoEError, match="end the one before"), recorded.batch():
            pass
        assert len(recorded) == 0
        recorded.add("layer", levels_of(0, (2,), (3,)))
        assert recorded["layer"].tokens == 2
    for use in (
        lambda: recorded.add("layer", levels_of(0, (2,), (3,))),
        lambda: recorded.batch().__enter__(),
    ):
        with pytest.raises(tm.TensorMoEError, match="has ended"):
            use()
    assert recorded["layer"].tokens == 2


def test_measures_of_classes_need_labels() -> None:
    with recording() as recorded:
        recorded.add("layer", levels_of(0, (2,), (3,)))
    for measure in (recorded["layer"].class_means, recorded["layer"].mutual_information):
        with pytest.raises(tm.TensorMoEError, match="it has no labels"):
            measure()


@pytest.mark.parametrize("threshold", [0, -1, "half", True, float("nan")])
def test_a_threshold_is_a_positive_number(threshold: object) -> None:
    with pytest.raises(tm.TensorMoEError, match="threshold"), recording(threshold=threshold):
        pass
