"""Auxiliary losses against their definitions, with slopes for derivatives, in every framework."""

from math import exp, log

import numpy as np
import pytest
from support.frameworks import BACKENDS

import tensormoe as tm

GENERATOR = np.random.default_rng(2)
LOGITS = [2 * GENERATOR.normal(size=(2, 3, 4)) for _ in range(2)]
SOFT = [tm.softmax(logits) for logits in LOGITS]
SPARSE = [tm.sparsemax(logits) for logits in LOGITS]
# JAX compiles every operation, which takes seconds.
UNCOMPILED = [name for name in BACKENDS if name != "jax"]


def switch(rows: np.ndarray, k: int = 1) -> float:
    tokens, experts = rows.shape
    sent = [0.0] * experts
    for row in rows:
        for n in sorted(range(experts), key=lambda n: (-row[n], n))[:k]:
            sent[n] += 1 / (k * tokens)
    return experts * sum(sent[n] * rows[:, n].mean() for n in range(experts))


def entropy(weights: np.ndarray) -> float:
    return -sum(w / sum(weights) * log(w / sum(weights)) for w in weights if w > 0)


# Each loss with its definition for one level's rows, and what it is of.
CASES = [
    (tm.analysis.load_balance_loss, switch, SOFT),
    (lambda x: tm.analysis.load_balance_loss(x, k=2), lambda rows: switch(rows, 2), SOFT),
    (tm.analysis.z_loss, lambda rows: np.mean([log(sum(map(exp, row))) ** 2 for row in rows]), LOGITS),
    (tm.analysis.token_entropy_loss, lambda rows: np.mean([entropy(row) for row in rows]), SPARSE),
    (tm.analysis.load_entropy_loss, lambda rows: -entropy(rows.sum(axis=0)), SPARSE),
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("framework", BACKENDS)
def test_losses_are_their_definitions_and_levels_add_up(framework: str, case: tuple) -> None:
    loss, definition, values = case
    ops = tm.get_backend(framework)
    arrays = [ops.from_float64(value, "float32") for value in values]
    expected = [definition(value.reshape(-1, value.shape[-1])) for value in values]
    for array, wanted in zip(arrays, expected, strict=True):
        assert float(loss(array)) == pytest.approx(wanted, rel=1e-5)
    assert float(loss(arrays)) == pytest.approx(sum(expected), rel=1e-5)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("framework", [name for name in BACKENDS if name != "numpy"])
def test_losses_are_differentiated(framework: str, case: tuple) -> None:
    """By slopes of the definition; the shares of what is sent are constants, and do not change on the way."""
    loss, definition, values = case
    value = values[0].reshape(-1, values[0].shape[-1])
    ops = tm.get_backend(framework)
    with ops.double_precision():
        x, one = (ops.from_float64(each, "float64") for each in (value, np.ones(())))
        (gradient,) = ops.gradients(loss, [x], one)
        gradient = ops.to_float64(gradient)
    for place in zip(*np.nonzero(value), strict=True):
        step = np.zeros_like(value)
        step[place] = 1e-6
        slope = (definition(value + step) - definition(value - step)) / 2e-6
        assert gradient[place] == pytest.approx(slope, rel=1e-5, abs=1e-7)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("framework", UNCOMPILED)
def test_large_logits_and_half_precision_lose_nothing(framework: str) -> None:
    ops = tm.get_backend(framework)
    logits = ops.from_float64(np.full((2, 4), 1000.0), "float16")
    assert float(tm.analysis.z_loss(logits)) == pytest.approx((1000 + log(4)) ** 2, rel=1e-6)
    # 2,048 ones are more than float16 counts.
    rows = ops.from_float64(np.tile([1.0, 0.0], (3000, 1)), "float16")
    assert float(tm.analysis.load_balance_loss(rows)) == pytest.approx(2)


@pytest.mark.parametrize("framework", UNCOMPILED)
def test_tokens_without_an_expert_have_no_entropy(framework: str) -> None:
    zeros = tm.get_backend(framework).from_float64(np.zeros((2, 3)), "float32")
    assert float(tm.analysis.token_entropy_loss(zeros)) == 0
    assert float(tm.analysis.load_entropy_loss(zeros)) == 0


@pytest.mark.parametrize("value", [[], np.ones(()), np.ones((0, 3)), np.ones((2, 3), int), "text", [1.0]])
def test_what_is_not_an_array_of_tokens_is_refused(value: object) -> None:
    for loss, _, _ in CASES:
        with pytest.raises(tm.TensorMoEError):
            loss(value)
    with pytest.raises(tm.TensorMoEError, match="k: received 5; there are 4 experts"):
        tm.analysis.load_balance_loss(SOFT[0], k=5)


@pytest.mark.parametrize("framework", BACKENDS)
def test_a_summary_has_the_numbers_of_every_level(framework: str) -> None:
    spec = tm.MuMoESpec(8, 6, (4, 4), tm.CP(3))
    layer = tm.build(spec, framework, seed=0)
    coefficients = [tm.get_backend(framework).from_float64(level, "float64") for level in SPARSE]
    scalars = tm.analysis.summary(layer, coefficients)
    assert all(type(value) is float for value in scalars.values())
    assert [*scalars][:2] == ["level1/max_share", "level1/load_entropy"]
    for number, level in enumerate(SPARSE, start=1):
        rows = level.reshape(-1, level.shape[-1])
        expected = {
            "max_share": max(rows.sum(axis=0)) / rows.sum(),
            "load_entropy": entropy(rows.sum(axis=0)),
            "effective_experts": exp(entropy(rows.sum(axis=0))),
            "token_entropy": np.mean([entropy(row) for row in rows]),
            "dead": sum(not rows[:, n].any() for n in range(rows.shape[1])),
        }
        measured = {name: scalars[f"level{number}/{name}"] for name in expected}
        assert measured == pytest.approx(expected, rel=1e-5)
    assert len(scalars) == 10
    with pytest.raises(tm.TensorMoEError, match=r"coefficients: received \(4,\); the layer has"):
        tm.analysis.summary(layer, coefficients[:1])
    with pytest.raises(tm.TensorMoEError, match="layer"):
        tm.analysis.summary(np.ones(3), coefficients)
