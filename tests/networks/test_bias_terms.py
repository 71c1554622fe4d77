"""Terms without the input mode: biases, in the last row of W."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import check_programs, close, truth, values_for

import tensormoe as tm
from tensormoe.programs.contraction import weight_contraction
from tensormoe.testing import inputs_for, specs, sums
from tensormoe.verification.proof.prove import prove_program

LORA = tm.TensorNetwork("n i r, n r o + n o", r=3)
EACH = [
    LORA,
    tm.TensorNetwork("i r, r o, n r + o", r=3),
    tm.TensorNetwork("i o + n o"),
    tm.TensorNetwork("n o + n i o + i o"),
    tm.TensorNetwork("i o + n s, s o", s=2),
    tm.CP(3) + tm.TensorNetwork("o"),
]

biased = specs(sums, max_levels=2).filter(lambda spec: spec.network.has_bias_terms)


def spec_of(family: tm.Factorization, bias: bool = False, **options: object) -> tm.MuMoESpec:
    return tm.MuMoESpec(5, 4, experts=3, factorization=family, bias=bias, **options)  # type: ignore[arg-type]


@given(st.data())
def test_biases_are_those_of_the_definition(data: st.DataObject) -> None:
    spec = data.draw(biased)
    values = data.draw(inputs_for(spec))
    expected = check_programs(spec, values)
    close(tm.materialize(spec, values.cores), expected.weight)
    close(tm.soft_moe(expected.weight, values.coefficients, values.x), expected.y)


@given(biased)
def test_outputs_and_weights_are_proved_and_exact(spec: tm.MuMoESpec) -> None:
    assert tm.verify(spec, methods=("proof", "exact")).passed
    prove_program(weight_contraction(spec.network), spec.materialization_plan.program)


@pytest.mark.parametrize("bias", [True, False])
def test_a_bias_adds_to_every_output_whatever_the_input(bias: bool) -> None:
    spec, generator = spec_of(LORA, bias), np.random.default_rng(0)
    down, up, own = (generator.normal(size=shape) for shape in spec.network.shapes.values())
    x, a = generator.normal(size=(7, 5)), generator.normal(size=(7, 3))
    z = np.concatenate([x, np.ones((7, int(bias)))], axis=1)
    expected = np.einsum("tn,ti,nir,nro->to", a, z, down, up) + a @ own
    close(tm.contract(spec, [down, up, own], [a], x), expected)
    assert down.shape == (3, 5 + bias, 3)
    assert spec.network.weight_shape == (3, 6, 4)


def test_only_the_last_row_of_the_weight_has_the_bias() -> None:
    spec = spec_of(tm.TensorNetwork("i o + n o"))
    weight = tm.materialize(spec, [np.ones((5, 4)), np.full((3, 4), 7.0)])
    close(weight[:, :5], np.ones((3, 5, 4)))
    close(weight[:, 5], np.full((3, 4), 7.0))


def test_a_bias_takes_no_products_with_x() -> None:
    plan = spec_of(tm.TensorNetwork("n i o + n o")).plan(10)
    assert plan.macs - spec_of(tm.TensorNetwork("n i o")).plan(10).macs == 10 * 3 * 4
    assert plan.parameters == 3 * 5 * 4 + 3 * 4
    assert plan.soft_moe.parameters == 3 * 6 * 4
    assert sum("x[" in step.expression for step in plan.steps) == 1


def test_a_bias_alone_is_refused() -> None:
    with pytest.raises(tm.TensorMoEError, match="mode 'i' is in no core"):
        spec_of(tm.TensorNetwork("n o + o"))


@pytest.mark.parametrize("family", EACH, ids=str)
def test_biases_start_as_that_of_a_linear_layer(family: tm.Factorization) -> None:
    spec = tm.MuMoESpec(400, 500, 2, family, bias=False)
    cores, _ = tm.initialize(spec, dtype="float64")
    bias = tm.materialize(spec, tm.cores_of(spec, cores))[:, -1].mean(axis=0)
    assert np.mean(bias**2) == pytest.approx(1 / (3 * 400), rel=0.6)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("family", EACH, ids=str)
def test_measures_of_experts_are_those_of_the_weight(family: tm.Factorization, bias: bool) -> None:
    spec = spec_of(family, bias)
    values = values_for(spec, 0, 2)
    weight = truth(spec, values).weight
    whole, rows = weight.reshape(3, -1), weight[:, :5].reshape(3, -1)
    close(tm.analysis.gram(spec, values.cores), whole @ whole.T)
    close(tm.analysis.gram(spec, values.cores, bias=False), rows @ rows.T)
    singular = np.linalg.svd(weight[1], compute_uv=False)
    close(tm.analysis.spectrum(spec, 1, values.cores), singular, 1e-9)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("family", EACH, ids=str)
def test_a_dense_layer_with_its_bias_is_upcycled(family: tm.Factorization, bias: bool) -> None:
    family = family.with_bonds(dict.fromkeys(family.bonds(1), 5))
    spec, generator = spec_of(family, bias), np.random.default_rng(0)
    weight, own, x = (generator.normal(size=size) for size in ((5, 4), (4,), (6, 5)))
    parameters, state = tm.upcycle(weight, spec, bias=own, noise=0.1, dtype="float64")
    close(tm.apply(spec, parameters, x, state=state).y, x @ weight + own, 1e-9)
    experts = tm.materialize(spec, tm.cores_of(spec, parameters))
    away = np.linalg.norm(experts - experts.mean(axis=0)) / np.linalg.norm(experts)
    assert 0.01 < away < 0.3 or not any("n" in core.indices for core in spec.network.cores)


def test_experts_with_biases_are_edited_and_certified() -> None:
    layer = tm.build(spec_of(LORA), "numpy", seed=0)
    edited = tm.editing.edit(layer, [tm.editing.Ablate(1)])
    assert [*edited.certificate().unchanged.values()] == [2]
    close(edited.layer.materialize()[1], np.zeros((6, 4)))
    biased = tm.editing.edit(layer, [tm.editing.AddBias(0, 2, 0.5)])
    assert [*biased.certificate().unchanged.values()] == [2]
    change = biased.layer.materialize() - layer.materialize()
    expected = np.zeros_like(change)
    expected[0, -1, 2] = 0.5
    close(change, expected)


def test_blocks_have_biases_of_their_own() -> None:
    block = tm.MuMoEBlockSpec(4, 5, 3, 2, tm.TensorNetwork("i o + n o"), bias=False, gated=True)
    assert tm.verify(block, ("numpy",), methods=("proof", "exact", "frameworks")).passed
    assert block.num_parameters == 2 * (4 * 5 + 2 * 5) + 5 * 3 + 2 * 3 + 4 * 2
