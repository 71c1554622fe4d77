"""Layers without experts: a factorized matrix, and nothing to mix."""

from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import close

import tensormoe as tm
from tensormoe.layers.initialization import draw_cores
from tensormoe.layers.stage import Stage
from tensormoe.testing import factorizations
from tensormoe.verification.exact import exact_checks

FAMILIES = [
    tm.TensorNetwork("i r, r o", r=4),
    tm.CP(3),
    tm.Tucker((3, 4)),
    tm.TensorRing((2, 3)),
    tm.TensorTrain((3,)),
    tm.Dense(),
    tm.TensorNetwork("i r, A: r s, A: s t, t o + o", r=3, s=3, t=3),
]


def multiply_out(text: str, cores: dict[str, Any], rows: int, columns: int) -> Any:
    """The matrix of a notation whose cores are in order, each term by one einsum."""
    arrays = iter(cores.values())
    total = np.zeros((rows, columns))
    for term in text.split(" + "):
        written = [core.split(":")[-1].split() for core in term.split(", ")]
        letters = {name: "abcdefghij"[k] for k, name in enumerate(dict.fromkeys(chain(*written)))}
        inputs = ",".join("".join(letters[name] for name in core) for core in written)
        output = "".join(letters[name] for name in ("i", "o") if name in letters)
        total = total + np.einsum(f"{inputs}->{output}", *(next(arrays) for _ in written))
    return total


@given(factorizations(levels=0), st.integers(1, 4), st.integers(1, 4), st.booleans())
def test_any_network_without_experts_is_exact_and_proved(
    family: tm.Factorization, rows: int, columns: int, bias: bool
) -> None:
    stage = Stage(rows, columns, (), family, bias)
    tm.prove(stage)
    checks = [*exact_checks(stage, np.random.default_rng(0), "", 2)]
    assert checks
    assert all(check.passed for check in checks)


@pytest.mark.parametrize("family", FAMILIES[:-1], ids=repr)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "plain"])
def test_a_stage_without_experts_is_a_matrix(family: tm.Factorization, bias: bool) -> None:
    stage = Stage(6, 5, (), family, bias)
    cores = draw_cores(stage, seed=0)
    weight = multiply_out(str(stage.network), cores, 6 + bias, 5)
    x = np.random.default_rng(0).normal(size=(2, 3, 6))
    close(tm.contract(stage, cores, [], x), x @ weight[:6] + (weight[6] if bias else 0))
    close(tm.materialize(stage, cores), weight)
    close(tm.soft_moe(weight, [], x), x @ weight[:6] + (weight[6] if bias else 0))
    assert stage.network.weight_shape == (6 + bias, 5)


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_a_stage_without_experts_starts_at_the_scale_of_a_linear_layer(family: tm.Factorization) -> None:
    stage = Stage(24, 20, (), family, False)
    weights = [tm.materialize(stage, draw_cores(stage, seed))[:24] for seed in range(60)]
    # nn.Linear's weights are uniform on ±√(1/I), so that their variance is 1/(3 I).
    assert 0.8 <= np.sqrt(np.mean(np.square(weights)) * 3 * 24) <= 1.25


def test_modes_of_experts_belong_to_no_level() -> None:
    with pytest.raises(tm.TensorMoEError, match=r"mode 'n' belongs to no expert level: with 0 level\(s\)"):
        tm.TensorNetwork("n r, i r, r o", r=4).network((), 6, 5)
    assert tm.expert_modes(0) == ()


def test_a_theorem_without_experts_names_no_coefficients() -> None:
    text = str(tm.prove(Stage(6, 5, (), tm.CP(3), True)))
    assert "y[…, o] = Σ(i) W[i, o] z[…, i]" in text
    assert "a1" not in text


def test_a_plan_without_experts_is_beside_one_matrix() -> None:
    plan = Stage(64, 48, (), tm.CP(8), False).plan(64)
    assert plan.macs == 64 * 8 * (64 + 48)
    assert "one matrix" in str(plan)
    assert plan.soft_moe.macs == 64 * 64 * 48
