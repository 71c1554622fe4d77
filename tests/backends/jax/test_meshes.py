"""Meshes of several devices: explicit, automatic and manual axes, in processes that have eight of them."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from support.quick_xla import with_devices

from tensormoe_jax._meshes import is_spread, may_be_shared, places_from_largest, sum_products

HERE = Path(__file__).parent


@cache
def run(trial: str) -> list[dict[str, Any]]:
    """What a trial of `meshes.py` finds."""
    path = os.pathsep.join(sys.path)
    result = subprocess.run(
        [sys.executable, str(HERE / "meshes.py"), trial],
        env={**with_devices(8), "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("trial", "count"), [("explicit", 6), ("auto", 2), ("manual", 2), ("bonds", 5), ("module", 1)]
)
def test_outputs_and_gradients_are_those_of_one_device(trial: str, count: int) -> None:
    tried = run(trial)
    assert len(tried) == count
    assert [each for each in tried if not each["off"] < 1e-5] == []


@pytest.mark.parametrize("trial", ["explicit", "auto", "bonds", "module"])
def test_outputs_lie_like_inputs_and_gradients_like_parameters(trial: str) -> None:
    assert [each["what"] for each in run(trial) if not each["stays"]] == []


@pytest.mark.parametrize("trial", ["explicit", "auto"])
def test_devices_compute_their_tokens_alone(trial: str) -> None:
    apart = [each["transfers"] for each in run(trial) if not each["mixes"]]
    assert apart
    assert all(set(kinds.values()) == {0} for kinds in apart)


def test_places_begin_at_the_largest_entry_and_at_the_first_of_equal_ones() -> None:
    x = jnp.asarray([[1.0, 3, 3, -jnp.inf, 0, 3], [2, jnp.nan, 2, 5, jnp.inf, 2]], "float32")
    assert places_from_largest(x).tolist() == [[1, 2, 5, 0, 4, 3], [1, 4, 3, 0, 2, 5]]


def mesh_of_one(kind: AxisType) -> jax.sharding.Mesh:
    return jax.make_mesh((1,), ("batch",), axis_types=(kind,), devices=jax.devices()[:1])


def test_nothing_is_spread_over_one_device() -> None:
    x, traced = jnp.ones((4, 2)), list[bool]()
    jax.eval_shape(lambda x: traced.append(is_spread(x)) or x, x)
    assert traced == [jax.device_count() > 1]
    with jax.set_mesh(mesh_of_one(AxisType.Auto)):
        assert not may_be_shared(x)


def test_products_of_matrices_along_an_explicit_axis_are_summed() -> None:
    """Matrices as well as what has further leading axes."""
    mesh = mesh_of_one(AxisType.Explicit)
    for leading in ((6,), (2, 3), (2, 1, 3)):
        a, b = (np.random.default_rng(n).normal(size=(*leading, n)).astype("float32") for n in (2, 3))
        with jax.set_mesh(mesh):
            on_mesh = [jax.device_put(each, NamedSharding(mesh, P("batch"))) for each in (a, b)]
            actual = sum_products(*on_mesh)
        np.testing.assert_allclose(actual, a.reshape(6, 2).T @ b.reshape(6, 3), rtol=1e-4, atol=1e-5)


def test_a_rank_or_experts_over_devices_cost_at_most_one_sum_a_layer() -> None:
    for each in run("bonds")[:2]:
        sums = each["transfers"].pop("all-reduce")
        assert 1 <= sums <= 2
        assert set(each["transfers"].values()) == {0}
