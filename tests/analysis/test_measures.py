"""Every measure of coefficients, over random inputs and one to three levels, against sums written out."""

from itertools import product
from math import exp, log, prod
from typing import Any

import numpy as np
from analysis.recordings import levels_of
from hypothesis import given, settings
from hypothesis import strategies as st
from support.frameworks import BACKENDS

import tensormoe as tm

measured = given(
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.sampled_from([(1,), (6,), (2, 3)]),
    st.integers(0, 999),
    st.sampled_from(BACKENDS),
)


def on(framework: str, levels: list[np.ndarray]) -> list[Any]:
    ops = tm.get_backend(framework)
    with ops.double_precision():
        return [ops.from_float64(level, "float64") for level in levels]


def write_out(levels: list[np.ndarray]) -> list[list[float]]:
    """The coefficients of all experts of each input, a product of one number of each level."""
    flat = [level.reshape(-1, level.shape[-1]) for level in levels]
    places = list(product(*(range(level.shape[1]) for level in flat)))
    return [
        [prod(float(level[t, n]) for level, n in zip(flat, place, strict=True)) for place in places]
        for t in range(len(flat[0]))
    ]


def entropy(weights: list[float]) -> float:
    total = sum(weights)
    return -sum(each / total * log(each / total) for each in weights if each > 0)


def information(table: list[list[float]]) -> float:
    rows, columns = [sum(row) for row in table], [sum(column) for column in zip(*table, strict=True)]
    return entropy(rows) + entropy(columns) - entropy([each for row in table for each in row])


def same(actual: Any, expected: Any) -> None:
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)


@settings(deadline=None)
@measured
def test_measures_of_all_experts(
    experts: list[int], tokens: tuple[int, ...], seed: int, framework: str
) -> None:
    levels = levels_of(seed, tokens, experts)
    given, rows = on(framework, levels), write_out(levels)
    columns = list(zip(*rows, strict=True))
    same(tm.analysis.joint(given).reshape(len(rows), -1), rows)
    loads = [sum(column) for column in columns]
    same(tm.analysis.load(given), [each / sum(loads) for each in loads])
    for threshold in (0.2, 0.5):
        used = [sum(a >= threshold for a in column) / len(rows) for column in columns]
        same(tm.analysis.usage(given, threshold), used)
    assert tm.analysis.dead(given).tolist() == [n for n, column in enumerate(columns) if max(column) == 0]
    same(tm.analysis.token_entropy(given).ravel(), [entropy(row) for row in rows])
    same(tm.analysis.load_entropy(given), entropy(loads))
    same(tm.analysis.effective_experts(given), exp(entropy(loads)))
    top = tm.analysis.top_inputs(given, 1)
    assert top.inputs[:, 0].tolist() == [column.index(max(column)) for column in columns]


@settings(deadline=None)
@measured
def test_measures_of_classes(experts: list[int], tokens: tuple[int, ...], seed: int, framework: str) -> None:
    levels = levels_of(seed, tokens, experts)
    given, rows = on(framework, levels), write_out(levels)
    labels = np.random.default_rng(seed).integers(0, 3, len(rows)).tolist()
    members = [[row for row, label in zip(rows, labels, strict=True) if label == c] for c in range(3)]
    means = tm.analysis.class_means(given, labels, classes=3)
    for mean, own in zip(means, members, strict=True):
        same(mean, [sum(column) / len(own) for column in zip(*own, strict=True)] if own else np.nan)
    shares = [[[a / sum(row) for a in row] for row in own] for own in members]
    table = [[sum(column) for column in zip(*own, strict=True)] for own in shares if own]
    assert abs(tm.analysis.mutual_information(given, labels) - information(table)) < 1e-9


@settings(deadline=None)
@measured
def test_measures_of_levels(experts: list[int], tokens: tuple[int, ...], seed: int, framework: str) -> None:
    levels = levels_of(seed, tokens, [*experts, 3][:3])
    given = on(framework, levels)
    flat = [level.reshape(-1, level.shape[-1]).tolist() for level in levels]
    if len(levels) < 2:
        return
    usages, known = tm.analysis.conditional_usage(given), tm.analysis.level_information(given)
    for first, second, usage, shared in zip(flat[:-1], flat[1:], usages, known, strict=True):
        table = [
            [sum(a[m] * b[n] for a, b in zip(first, second, strict=True)) for n in range(len(second[0]))]
            for m in range(len(first[0]))
        ]
        same(usage, [[each / sum(row) if sum(row) else np.nan for each in row] for row in table])
        assert abs(shared - information(table)) < 1e-9
