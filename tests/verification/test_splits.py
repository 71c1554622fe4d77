"""Split modes against the definition: values, gradients, proofs, exact integers, measures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.strategies import BACKENDS, check_programs, close, truth, values_for

import tensormoe as tm
from tensormoe.layers.shares import experts_index
from tensormoe.programs.contraction import weight_contraction
from tensormoe.programs.instructions import Reshape, Transpose
from tensormoe.testing import inputs_for, specs
from tensormoe.testing.strategies import split_networks
from tensormoe.verification.proof.prove import prove_program

KRONECKER = tm.TensorNetwork("n i1 o1, n i2 o2", i=(2, 3), o=(3, 2))
MIXED = (
    tm.TensorNetwork("n i1 i2 r, n r o", i=(2, 4), r=3)
    + tm.TensorNetwork("i o")
    + tm.TensorNetwork("n i1 i2 o1, i3 o1 o2", i=(2, 2, 2), o=(2, 3))
)
SPEC = tm.MuMoESpec(6, 6, 2, KRONECKER)

split = specs(split_networks, max_levels=2)


@settings(max_examples=30)
@given(split, st.data())
def test_values_and_gradients_are_those_of_the_definition(spec: tm.MuMoESpec, data: st.DataObject) -> None:
    values = data.draw(inputs_for(spec))
    expected = check_programs(spec, values)
    close(tm.materialize(spec, values.cores), expected.weight)


@settings(max_examples=30)
@given(split)
def test_outputs_and_weights_are_proved_and_exact(spec: tm.MuMoESpec) -> None:
    assert tm.verify(spec, methods=("proof", "exact")).passed


@pytest.mark.parametrize("bias", [True, False])
def test_nested_splits_and_whole_modes_are_proved_in_one_sum(bias: bool) -> None:
    spec = tm.MuMoESpec(8, 6, 2, MIXED, bias=bias)
    assert tm.verify(spec, methods=("proof", "exact")).passed
    values = values_for(spec, 0, 3)
    close(tm.materialize(spec, values.cores), truth(spec, values).weight)


@pytest.mark.parametrize("gated", [False, True])
def test_blocks_of_split_layers_are_proved(gated: bool) -> None:
    block = tm.MuMoEBlockSpec(6, 6, 6, 2, KRONECKER, gated=gated)
    assert tm.verify(block, methods=("proof", "exact")).passed


@pytest.mark.parametrize("backend", BACKENDS)
def test_layers_compute_in_every_framework(backend: str) -> None:
    methods = ("float", "frameworks") if backend != "numpy" else ("float",)
    assert tm.verify(SPEC, tuple({"numpy", backend}), methods=methods).passed


def test_parts_in_another_order_are_not_proved() -> None:
    plan = tm.MuMoESpec(6, 6, 2, tm.TensorNetwork("n i1 i2 o", i=(2, 3)), bias=False).plan()
    swapped = tm.TensorNetwork("n i1 i2 o", i=(3, 2))
    other = tm.MuMoESpec(6, 6, 2, swapped, bias=False).plan()
    with pytest.raises(tm.ProofError, match="splits an index"):
        tm.prove(plan.contraction, other.program)


def test_an_output_whose_parts_change_places_is_not_proved() -> None:
    family = tm.TensorNetwork("n i o1, n i o2", o=(3, 3))
    spec = tm.MuMoESpec(4, 9, 2, family, bias=False)
    program = spec.plan().program
    *first, last = program.instructions
    assert isinstance(last, Reshape)
    count = program.num_operands + len(first)
    turned = (*first, Transpose(last.source, (0, 2, 1)), Reshape(count, last.shape))
    wrong = type(program)(program.num_operands, turned, (*program.releases, ()))
    with pytest.raises(tm.ProofError, match=r"its axes are …, o2 o1 where …, o1 o2 is asked for"):
        prove_program(spec.stage.contraction, wrong)


def test_the_weight_of_another_split_is_not_proved() -> None:
    one, other = (
        tm.MuMoESpec(6, 6, 2, KRONECKER + tm.TensorNetwork("i o"), bias=bias) for bias in (True, False)
    )
    assert tm.prove(weight_contraction(one.network), one.materialization_plan.program)
    with pytest.raises(tm.TensorMoEError):
        tm.prove(weight_contraction(other.network), one.materialization_plan.program)


def test_a_theorem_says_what_the_parts_stand_for() -> None:
    text = str(tm.prove(SPEC))
    assert "all sizes of n, i1, i2, o1, o2" in text
    assert "i stands for i1, i2: i1 varies slowest." in text
    assert "W[n, i, o] = core1[n, i1, o1] core2[n, i2, o2]" in text


def test_a_large_layer_is_sampled() -> None:
    family = tm.TensorNetwork("n i1 i2 r, r o1, r o2", i=(8, 12), o=(8, 8), r=2)
    assert tm.verify(tm.MuMoESpec(96, 64, 4, family), methods=("exact",)).passed


def test_measures_of_experts_are_those_of_the_weight() -> None:
    layer = tm.build(tm.MuMoESpec(8, 6, 3, MIXED), "numpy", seed=0, dtype="float64")
    weight = layer.materialize()
    flat = weight.reshape(3, -1)
    close(tm.analysis.gram(layer), flat @ flat.T)
    bare = weight[:, :-1].reshape(3, -1)
    close(tm.analysis.gram(layer, bias=False), bare @ bare.T)
    close(tm.analysis.spectrum(layer, 1), np.linalg.svd(weight[1])[1])


def test_a_weight_is_fitted() -> None:
    target = np.stack([np.kron(*np.random.default_rng(n).normal(size=(2, 3, 3))) for n in range(2)])
    family = tm.TensorNetwork("n i1 o1, n i2 o2", i=(3, 3), o=(3, 3))
    fitted = tm.fit(target, tm.MuMoESpec(9, 9, 2, family, bias=False))
    assert fitted.weight_error < 1e-6
    one = tm.fit(target[0], tm.MuMoESpec(9, 9, 2, family, bias=False))
    assert one.weight_error < 1e-6


def test_outputs_start_at_the_scale_of_a_linear_layer() -> None:
    family = tm.TensorNetwork("n i1 i2 o1 r, n o1 i1 r o2", i=(16, 16), o=(16, 16), r=2)
    spec = tm.MuMoESpec(256, 256, 4, family, bias=False)
    weight = tm.materialize(spec, tm.cores_of(spec, tm.initialize(spec, 0)[0])).mean(axis=0)
    assert 0.8 < 3 * 256 * np.mean(weight**2) < 1.2


def test_experts_differ_from_the_start() -> None:
    weight = tm.build(SPEC, "numpy", seed=0).materialize()
    assert np.abs(weight[0] - weight[1]).max() > 0.1 * np.abs(weight).max()


GROUPS = tm.TensorNetwork("n1 i r, n1 n2 r o", n=(2, 3), r=2)


def test_groups_of_experts_are_parts_of_one_level() -> None:
    spec = tm.MuMoESpec(5, 4, 6, GROUPS)
    assert spec.levels == 1
    assert tm.verify(spec, methods=("proof", "exact")).passed
    generator = np.random.default_rng(0)
    first, second = (generator.normal(size=shape) for shape in spec.network.shapes.values())
    weight = tm.materialize(spec, [first, second])
    for number in range(6):
        close(weight[number], first[number // 3] @ second[number // 3, number % 3])


def test_experts_in_parts_start_different() -> None:
    weight = tm.build(tm.MuMoESpec(5, 4, 6, GROUPS), "numpy", seed=0).materialize()
    assert len({float(value) for value in weight[:, 0, 0]}) == 6


@pytest.mark.parametrize("experts", [(2, 3), (6, 1)])
def test_levels_are_not_taken_for_parts(experts: tuple[int, ...]) -> None:
    with pytest.raises(
        tm.TensorMoEError, match=r"n=\(2, 3\) splits the experts of one level.*pass experts=6, or"
    ):
        tm.MuMoESpec(5, 4, experts, GROUPS)


def test_parts_are_not_taken_for_levels() -> None:
    with pytest.raises(tm.TensorMoEError, match=r"pass experts=\(…, …\) for two levels, or n=\(…, …\)"):
        tm.MuMoESpec(5, 4, 6, tm.TensorNetwork("n1 i r, n1 n2 r o", r=2))


def test_parts_of_experts_are_ablated_and_edited() -> None:
    layer = tm.build(tm.MuMoESpec(5, 4, 6, GROUPS, bias=False), "numpy", seed=0, dtype="float64")
    edited = tm.editing.edit(layer, tm.editing.Ablate(4))
    expected = layer.materialize()
    expected[4] = 0
    close(edited.layer.materialize(), expected)
    assert edited.certificate()


def test_a_share_of_parts_and_one_matrix_for_them_are_refused() -> None:
    spec = tm.MuMoESpec(5, 4, 6, GROUPS)
    with pytest.raises(tm.TensorMoEError, match=r"n=\(2, 3\) splits 'n'.*share out a bond"):
        experts_index(spec)
    with pytest.raises(tm.TensorMoEError, match=r"n=\(2, 3\) splits 'n'.*fit a stack"):
        tm.fit(np.ones((5, 4)), spec)


def test_slices_of_chosen_experts_are_read_beside_split_features() -> None:
    plan = SPEC.replace(experts=(5,)).stage.plan(1, active=2)
    assert any(step.kind == "gather" for step in plan.steps)
    assert tm.prove(plan)
    groups = tm.MuMoESpec(5, 4, 6, GROUPS).stage.plan(1, active=2)
    assert not any(step.kind == "gather" for step in groups.steps)
    assert tm.prove(groups)
