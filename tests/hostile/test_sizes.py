"""What does not fit into the machine is refused by what it needs, before memory is asked for."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hostile.guards import limits
from hypothesis import given
from hypothesis import strategies as st
from support.frameworks import BACKENDS, optional

import tensormoe as tm
from tensormoe import memory
from tensormoe.memory import check_memory

torch = optional("torch")
tensormoe_jax = optional("tensormoe_jax")

pytestmark = pytest.mark.usefixtures("small_machine")
NEEDS = re.compile(
    r"need [\d,]+ (GiB|TiB|PiB|EiB) of memory, but there are only 200 MiB|no array has so many"
)
# Beyond 200 MB in every element type, up to beyond any machine.
huge = st.integers(30, 62).map(lambda power: 2**power)


@st.composite
def huge_specs(draw: st.DrawFn) -> Callable[[], tm.Spec]:
    """A layer or block with one size that is too large."""
    sizes = dict.fromkeys(("in_features", "hidden_features", "out_features", "experts", "rank"), 3)
    sizes[draw(st.sampled_from(sorted(sizes)))] = draw(huge)
    block = sizes["hidden_features"] > 3 or draw(st.booleans())
    family = tm.CP(sizes.pop("rank"))
    if not block:
        del sizes["hidden_features"]
    return lambda: (tm.MuMoEBlockSpec if block else tm.MuMoESpec)(**sizes, factorization=family)


def refused(attempt: Callable[[], Any]) -> None:
    with limits(), pytest.raises(tm.TensorMoEError) as caught:
        attempt()
    assert NEEDS.search(str(caught.value)), caught.value


@pytest.mark.parametrize("backend", BACKENDS)
@given(huge_specs())
def test_a_module_is_not_built(backend: str, spec: Callable[[], tm.Spec]) -> None:
    refused(lambda: tm.build(spec(), backend, seed=0))


@given(huge_specs())
def test_nothing_is_drawn_verified_or_timed(spec: Callable[[], tm.Spec]) -> None:
    refused(lambda: tm.initialize(spec()))
    refused(lambda: tm.bench(spec(), "numpy", rounds=1))
    refused(lambda: tm.verify(spec(), "numpy", methods=("float", "frameworks")))


@given(st.integers(28, 400).map(lambda power: 2**power))
def test_a_batch_is_not_drawn(batch_size: int) -> None:
    spec = tm.MuMoESpec(3, 2, 4, tm.CP(2))
    for attempt in (tm.bench, tm.verify):
        with limits(), pytest.raises(tm.TensorMoEError, match=r"need .* of memory|below 2\*\*63"):
            attempt(spec, "numpy", batch_size=batch_size)


@given(huge_specs(), st.integers(1, 2**62))
def test_a_plan_of_any_size_is_printed(spec: Callable[[], tm.Spec], batch_size: int) -> None:
    with limits():
        try:
            described = spec()
        except tm.TensorMoEError:
            return
        assert str(described.plan(batch_size))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_weight_tensor_is_not_multiplied_out(backend: str) -> None:
    spec = tm.MuMoESpec(1000, 1000, 10_000, tm.CP(1))
    layer = tm.build(spec, backend, seed=0)
    refused(layer.materialize)


@given(st.integers(7, 32).map(lambda power: 2**power))
def test_a_weight_that_is_too_large_is_not_fitted(count: int) -> None:
    weight = np.broadcast_to(np.float32(1), (count, 300, 300))
    refused(lambda: tm.fit(weight, tm.MuMoESpec(300, 300, count, tm.CP(2))))
    refused(lambda: tm.upcycle(np.ones((3, 2)), tm.MuMoESpec(3, 2, 2**20 * count, tm.CP(2))))
    wide = np.broadcast_to(np.float32(1), (300, 10**4 * count))
    refused(lambda: tm.fit(wide, tm.MuMoESpec(300, 10**4 * count, 3, tm.CP(2))))


@given(st.integers(20_000, 2**20))
def test_ranks_of_many_values_are_refused(count: int) -> None:
    refused(lambda: tm.soft_rank(np.zeros(count)))


@pytest.mark.skipif("jax" not in BACKENDS, reason="needs jax")
@given(huge)
def test_a_stack_of_too_many_layers_is_refused(count: int) -> None:
    refused(lambda: tensormoe_jax.stacked(tm.MuMoESpec(3, 2, 4, tm.CP(2)), count, seed=0))


@pytest.mark.skipif("torch" not in BACKENDS, reason="needs torch")
def test_what_has_no_values_needs_no_memory() -> None:
    spec = tm.MuMoESpec(10**9, 2, 4, tm.CP(2))
    with torch.device("meta"):
        assert tm.build(spec, "torch").cores["input"].shape == (10**9 + 1, 2)


def test_memory_is_told_in_the_largest_unit_and_found_in_the_smallest_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for needed, told in ((37 * 2**30, "37 GiB"), (2**60, "1 EiB"), (10**400, "EiB"), (2**27, "128 MiB")):
        with pytest.raises(tm.TensorMoEError, match=told):
            check_memory("n", 1, "cores", needed, 2**20)
    check_memory("n", 1, "cores", 2**40, None)
    check_memory("n", 1, "cores", 2**40, 2**40)
    monkeypatch.setattr(memory, "_LIMITS", ("missing",))
    memory.host_memory.cache_clear()
    assert 2**28 < (memory.host_memory() or 0) < 2**50
