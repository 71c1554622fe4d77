"""The public testing kit, as a person uses it on a factorization, a backend and a gate of their own."""

from dataclasses import dataclass
from operator import attrgetter

import numpy as np
import pytest
from hypothesis import Phase, example, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from support.strategies import BACKENDS, close, truth

import tensormoe as tm
from tensormoe.arrays.backend import Backend
from tensormoe.testing import (
    Inputs,
    assert_equivalent,
    blocks,
    factorizations,
    gates,
    inputs_for,
    networks,
    register_profiles,
    specs,
)
from tensormoe.verification import METHODS


@dataclass(frozen=True)
class LowRank(tm.Factorization):
    """Each expert has its own pair of matrices."""

    rank: int

    def notation(self, levels: int) -> str:
        experts = " ".join(tm.expert_modes(levels))
        return f"{experts} i low, {experts} low o"


few = settings(max_examples=10)


@few
@given(specs(factorization=st.builds(LowRank, rank=st.integers(1, 4)), max_levels=2))
def test_a_factorization_of_your_own(spec: tm.MuMoESpec) -> None:
    assert isinstance(spec.factorization, LowRank)
    assert_equivalent(spec)


@few
@given(specs(gate=gates().filter(lambda gate: gate.norm == "batch"), max_levels=2))
def test_chosen_gates(spec: tm.MuMoESpec) -> None:
    assert {gate.norm for gate in spec.gates} == {"batch"}
    assert_equivalent(spec, methods="frameworks")


def test_chosen_routers() -> None:
    cosine = specs(gate=gates(st.builds(tm.CosineRouter, st.just(2))))
    spec = find(cosine, lambda spec: spec.levels > 1)
    assert {gate.router for gate in spec.gates} == {tm.CosineRouter(2)}
    # Its scale would be lost.
    assert {gate.norm for gate in spec.gates} == {None}
    kinds = {tm.LinearRouter, tm.LowRankRouter, tm.NoisyRouter, tm.CosineRouter}
    assert {type(find(gates(), lambda gate, kind=kind: type(gate.router) is kind).router) for kind in kinds}


SHARED, FIXED = attrgetter("shared"), attrgetter("fixed")
# The first that is found will do: to make it small takes longer than to find it.
first = settings(max_examples=2000, phases=[Phase.generate])
fewer = settings(max_examples=60, phases=[Phase.generate])


def test_cores_are_shared_and_fixed_unless_they_are_not_to_be() -> None:
    for present in (SHARED, FIXED):
        spec = find(specs(), lambda spec, present=present: bool(present(spec.network)), settings=first)
        assert tm.verify(spec, methods=("proof", "exact")).passed
    shares = find(specs(fixed=False), lambda spec: bool(SHARED(spec.network)), settings=first)
    assert shares.network.fixed == ()
    fixes = find(specs(shared=False), lambda spec: bool(FIXED(spec.network)), settings=first)
    assert fixes.network.shared == ()
    for options, absent in (({"fixed": False}, FIXED), ({"shared": False}, SHARED)):
        with pytest.raises(NoSuchExample):
            find(specs(**options), lambda spec, absent=absent: bool(absent(spec.network)), settings=fewer)


# With ReLUs that let nothing through: all gradients are 0.
OFF = tm.MuMoEBlockSpec(1, 3, 1, (1, 3), tm.CP(1), tm.Gate("softmax"), bias=False, nonlinearity="relu")
# Gradients are so short that the rounding of the loss shows in its slopes.
ALMOST_OFF = OFF.replace(experts=(2, 2), nonlinearity="relu2", input_norm=True)


@few
@given(blocks(specs(gate=st.just(tm.Gate("softmax")), max_levels=2, max_size=3)))
@example(OFF)
@example(ALMOST_OFF)
def test_random_blocks_are_verified(block: tm.MuMoEBlockSpec) -> None:
    assert_equivalent(block, backends=("numpy", "torch"))


def test_a_backend_of_your_own_is_verified_and_a_wrong_one_is_refused() -> None:
    theirs = type(tm.get_backend("numpy"))

    class Right(theirs, backend_name="right"):
        tensormoe_name = "right"

    class Wrong(theirs, backend_name="wrong"):
        tensormoe_name = "wrong"

        def matmul(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
            return theirs.matmul(a, b) + 1e-9

    assert issubclass(Right, Backend)
    spec = tm.MuMoESpec(4, 3, 2, tm.CP(2))
    assert_equivalent(spec, backends=(Right(),))
    for methods in ("float", "frameworks", METHODS):
        with pytest.raises(AssertionError, match=r"wrong (float64|= definition).*FAIL"):
            assert_equivalent(spec, backends=("numpy", Wrong()), methods=methods)
    inputs = find(inputs_for(spec, batch_size=st.just(2)), lambda inputs: True)
    with pytest.raises(AssertionError, match="wrong float64"):
        assert_equivalent(spec, inputs, backends=(Wrong(),))


def test_a_wrong_gate_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tm.MuMoESpec(4, 3, 5, tm.CP(2), tm.Gate("softmax"))
    monkeypatch.setattr(type(tm.get_backend("numpy")), "softmax", lambda self, x: abs(x))
    with pytest.raises(AssertionError, match="coefficients of the gate"):
        assert_equivalent(spec)


@given(st.data())
def test_inputs_fit_their_layer(data: st.DataObject) -> None:
    spec = data.draw(specs())
    inputs = data.draw(inputs_for(spec))
    assert isinstance(inputs, Inputs)
    assert [core.shape for core in inputs.cores] == [*spec.network.shapes.values()]
    assert inputs.x.shape == (len(inputs.x), spec.in_features)
    assert inputs.cotangent.shape == (len(inputs.x), spec.out_features)
    y = tm.contract(spec, inputs.cores, inputs.coefficients, inputs.x)
    close(y, truth(spec, inputs).y)
    assert_equivalent(spec, inputs)


@pytest.mark.parametrize("backend", BACKENDS)
def test_inputs_meet_every_backend(backend: str) -> None:
    spec = tm.MuMoESpec(4, 3, (2, 3), tm.TensorRing((2, 3, 2, 3)))
    inputs = find(inputs_for(spec, batch_size=st.just(3)), lambda inputs: np.count_nonzero(inputs.x) > 3)
    assert_equivalent(spec, inputs, backends=(backend,))


def test_inputs_are_for_one_layer() -> None:
    block = tm.MuMoEBlockSpec(4, 5, 3, 2, tm.CP(2))
    inputs = find(inputs_for(block.layers["first"]), lambda inputs: True)
    with pytest.raises(tm.TensorMoEError, match="one of a block's layers"):
        assert_equivalent(block, inputs)
    with pytest.raises(tm.TensorMoEError, match="one of a block's layers"):
        find(inputs_for(block), lambda inputs: True)
    assert_equivalent(block.layers["first"], inputs)
    with pytest.raises(tm.TensorMoEError, match="has no gate: pass inputs"):
        assert_equivalent(block.layers["first"])


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_the_strategies_reach_what_is_special(levels: int) -> None:
    """Hyperedges, dangling bonds, modes in several cores, cores of bonds alone; and each named family."""
    modes = {*tm.expert_modes(levels), "i", "o"}

    def count_carriers(network: tm.TensorNetwork, index: str) -> int:
        return sum(index in core.split() for core in network.text.split(","))

    for special in (
        lambda network: any(count_carriers(network, bond) > 2 for bond, _ in network.ranks),
        lambda network: any(count_carriers(network, bond) == 1 for bond, _ in network.ranks),
        lambda network: any(count_carriers(network, mode) > 1 for mode in modes),
        lambda network: any(not modes & {*core.split()} for core in network.text.split(",")),
    ):
        find(networks(levels), special)
    for family in (tm.CP, tm.Tucker, tm.TensorRing, tm.TensorTrain, tm.Dense, tm.TensorNetwork):
        find(factorizations(levels), lambda actual, family=family: type(actual) is family)


def test_profiles_have_the_examples_asked_for() -> None:
    before = {name: settings.get_profile(name).max_examples for name in ("default", "deep")}
    register_profiles(7, 11)
    assert settings.get_profile("default").max_examples == 7
    assert settings.get_profile("deep").max_examples == 11
    assert settings.get_profile("deep").deadline is None
    register_profiles(**before)
