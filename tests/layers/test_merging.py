"""Merged experts: one weight for each row of coefficients, against the weight tensor and the mixture."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.definition import truth
from support.frameworks import BACKENDS
from support.strategies import EVERY, close, on_every_backend, values_for

import tensormoe as tm
from tensormoe.networks.notation import INPUT, OUTPUT
from tensormoe.programs.path import find_path
from tensormoe.testing import blocks, specs
from tensormoe.verification.arithmetic.residues import PRIME, ResidueOps
from tensormoe.verification.inputs import draw_sample, integer_inputs
from tensormoe.verification.reference.contraction import Reference

LEVELS = tm.MuMoESpec(6, 5, (4, 3), tm.CP(3), gate=None)
ONE = LEVELS.replace(experts=4)
DECODERS = tm.MuMoEBlockSpec(
    6,
    7,
    5,
    4,
    (tm.TensorNetwork("i o"), tm.TensorNetwork("n o, i o")),
    gate=None,
    nonlinearity="relu",
    output_bias=True,
)
# Its input core is fixed, and no parameter.
FIXED = tm.MuMoESpec(
    6, 5, 4, tm.TensorNetwork("H: i q, n q, q o", q=4, fixed={"H": "hash"}), tm.Gate(norm="batch"), bias=False
)
BLOCK = tm.MuMoEBlockSpec(6, 7, 5, 4, tm.CP(3), tm.Gate("softmax"), gated=True, input_norm=True)
# JAX compiles each example; its modules are tried below.
EAGER = tuple(name for name in BACKENDS if name != "jax")
backends = pytest.mark.parametrize("backend", BACKENDS)


def draw(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).normal(size=shape)


@on_every_backend(specs(max_levels=3), st.integers(0, 3), backends=EAGER)
def test_merged_experts_are_the_sum_of_all_weights(backend: str, spec: tm.MuMoESpec, count: int) -> None:
    values, ops = values_for(spec, 0, count), tm.get_backend(backend)
    letters = "abc"[: spec.levels]
    coefficients = [f"t{letter}" for letter in letters]
    expected = np.einsum(
        f"{letters}io,{','.join(coefficients)}->tio", truth(spec, values).weight, *values.coefficients
    )
    with ops.double_precision():
        cores = [ops.from_numpy(core) for core in values.cores]
        merged = tm.merge(spec, cores, [ops.from_numpy(a) for a in values.coefficients])
    close(ops.to_float64(merged), expected)


@given(specs(max_levels=3))
def test_merging_is_proved_and_exact(spec: tm.MuMoESpec) -> None:
    plan = spec.merging_plan
    text = str(tm.prove(plan))
    assert "W[…, i, o]" in text or "y[…, i, o]" in text
    generator, ops = np.random.default_rng(0), ResidueOps()
    inputs = integer_inputs(spec.stage, generator, 2, PRIME)
    reference = Reference(spec.stage, inputs, draw_sample(spec.stage, generator, 10**6))
    weight, letters = reference.weight.value, "abc"[: spec.levels]
    names = ",".join(f"t{letter}" for letter in letters)
    expected = np.einsum(f"{letters}io,{names}->tio", weight, *inputs.coefficients)
    result = plan.program.run(ops, [ops.from_numpy(value) for value in inputs.operands[1:]])
    assert not ((np.asarray(result) - expected) % PRIME).any()


@pytest.mark.parametrize("family", EVERY, ids=repr)
def test_the_weights_of_all_experts_are_not_built(family: tm.Factorization) -> None:
    spec = tm.MuMoESpec(24, 20, 4, family)
    plan = spec.merging_plan
    results = [{*step.expression.rpartition("[")[2].strip("]").split()} for step in plan.steps]
    assert not any({"n", INPUT, OUTPUT} <= carried for carried in results)
    assert plan.largest < np.prod(spec.network.weight_shape)


@pytest.mark.parametrize("notation", ["i o + n o", "i o + n i o", "n1 i o + n2 o"])
def test_a_term_that_lacks_experts_has_the_sum_of_their_coefficients(notation: str) -> None:
    experts = (4, 3) if "n1" in notation else (4,)
    spec = tm.MuMoESpec(6, 5, experts, tm.TensorNetwork(notation), gate=None, bias=False)
    cores = tm.cores_of(spec, tm.initialize(spec, 0, "float64")[0])
    a = [draw(2, n) for n in experts]
    weight, letters = tm.materialize(spec, cores), "ab"[: len(experts)]
    names = ",".join(f"t{letter}" for letter in letters)
    close(tm.merge(spec, cores, a), np.einsum(f"{letters}io,{names}->tio", weight, *a))


def test_a_plan_says_what_a_row_costs() -> None:
    spec = tm.MuMoESpec(24, 20, 16, tm.CP(4), bias=False)
    assert spec.merging_plan.macs == 4 * 16 + 4 * 24 * 20
    assert spec.merging_plan.at(5).macs == 5 * spec.merging_plan.macs
    assert "soft MoE" not in str(spec.merging_plan)
    assert "one matrix" not in str(spec.materialization_plan)
    assert find_path(spec.merging_plan.contraction, 1, "auto", None) == spec.merging_plan.path


@pytest.mark.parametrize("notation", ["i o + n o", "i o + n r, i r, r o + n o + o"])
@pytest.mark.parametrize("bias", [True, False], ids=["row", "further row"])
def test_a_theorem_on_merged_sums_has_its_biases_in_the_last_row(notation: str, bias: bool) -> None:
    family = tm.TensorNetwork(notation, **({"r": 2} if "r" in notation else {}))
    text = str(tm.prove(tm.MuMoESpec(4, 3, 5, family, bias=bias).merging_plan))
    assert "y[…, i, o] = Σ(n) W[n, i, o] a1[…, n]," in text
    assert "δ[i] is 1 in the last row of i" in text
    assert "(a1, 1)" not in text


@backends
@pytest.mark.parametrize(
    "spec",
    [LEVELS, ONE, BLOCK, DECODERS, FIXED],
    ids=["levels", "one", "block", "decoders", "fixed"],
)
@pytest.mark.parametrize("leading", [(), (2,), (2, 3)], ids=str)
def test_a_module_computes_with_one_weight_for_each_sequence(
    backend: str, spec: tm.Spec, leading: tuple[int, ...]
) -> None:
    parameters, state = tm.initialize(spec, 0, "float64")
    if "output.bias" in parameters:
        parameters["output.bias"] = draw(5)
    ops = tm.get_backend(backend)
    x, a = draw(*leading, 5, 6), [draw(*leading, n) for n in spec.experts]
    repeated = [np.repeat(each[..., None, :], 5, axis=-2) for each in a]
    expected = tm.apply(spec, parameters, x, coefficients=repeated, state=state).y
    close(tm.apply_merged(spec, parameters | state, x, a), expected, 1e-12)
    layer = tm.build(spec, backend, seed=0)
    layer.load_arrays(parameters | state)
    given = [ops.from_float64(each, "float32") for each in a]
    y = layer.apply_merged(ops.from_float64(x, "float32"), given if spec.levels > 1 else given[0])
    y = y.detach() if backend == "torch" else y
    close(ops.to_float64(y), expected, 1e-5)
    weights = layer.merge(given)
    stages = zip(spec.layers.values(), weights if isinstance(weights, tuple) else [weights], strict=True)
    for stage, each in stages:
        assert tuple(each.shape) == (leading if stage.experts else ()) + stage.network.weight_shape[-2:]


@given(blocks(specs(max_levels=2)), st.integers(0, 3))
def test_any_block_equals_its_mixture(block: tm.MuMoEBlockSpec, count: int) -> None:
    generator = np.random.default_rng(0)
    parameters, state = tm.initialize(block, 0, "float64")
    x = generator.normal(size=(count, 2, block.in_features))
    a = [generator.normal(size=(count, n)) for n in block.experts]
    repeated = [np.repeat(each[:, None], 2, axis=1) for each in a]
    expected = tm.apply(block, parameters, x, coefficients=repeated, state=state).y
    close(tm.apply_merged(block, parameters | state, x, a), expected, 1e-11)


def test_a_layers_own_coefficients_of_the_mean_are_smear() -> None:
    """Soft merging with a router that reads the mean of a sequence."""
    spec = tm.MuMoESpec(6, 5, 4, tm.CP(3), tm.Gate("softmax", norm=None))
    parameters = tm.initialize(spec, 0, "float64")[0]
    parameters["gate_weights.0"] = draw(6, 4)
    x = draw(2, 7, 6)
    a = tm.apply(spec, parameters, x.mean(1)).coefficients
    y = tm.apply_merged(spec, parameters, x, a)
    logits = x.mean(1) @ parameters["gate_weights.0"]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    weights = np.einsum("bn,nio->bio", p, tm.materialize(spec, tm.cores_of(spec, parameters)))
    close(y, np.einsum("bti,bio->bto", x, weights[:, :6]) + weights[:, 6:])


@pytest.mark.parametrize(
    ("coefficients", "message"),
    [
        ([draw(2, 4)], "coefficients: received 1; pass 2 array"),
        (draw(2, 4), "pass a list of 2 array"),
        ([draw(2, 4), draw(3, 3)], r"coefficients\[1\].*received \(3, 3\); .*shape \(2, 3\)"),
        ([draw(2, 3), draw(2, 3)], r"coefficients\[0\].*received \(2, 3\); .*shape \(2, 4\)"),
        ([draw(2, 4).astype("float32"), draw(2, 3)], r"coefficients\[0\] is float32"),
        ([], "coefficients: received 0; pass 2 array"),
        (None, "coefficients: received <class 'NoneType'>"),
        ([1.0, 2.0], r"coefficients\[0\]"),
    ],
    ids=["level", "array", "rows", "experts", "type", "none", "nothing", "numbers"],
)
def test_coefficients_that_do_not_fit_are_refused(coefficients: Any, message: str) -> None:
    parameters = tm.initialize(LEVELS, 0, "float64")[0]
    with pytest.raises(tm.TensorMoEError, match=message):
        tm.merge(LEVELS, tm.cores_of(LEVELS, parameters), coefficients)
    with pytest.raises(tm.TensorMoEError, match=message):
        tm.apply_merged(LEVELS, parameters, draw(2, 7, 6), coefficients)


def test_sequences_are_the_first_axes_of_the_input() -> None:
    parameters = tm.initialize(ONE, 0, "float64")[0]
    for shape in ((7, 4), (2, 7, 1, 4), (1, 4)):
        with pytest.raises(
            tm.TensorMoEError, match=r"coefficients\[0\]: .* the leading axes of x are \(2, 7\)"
        ):
            tm.apply_merged(ONE, parameters, draw(2, 7, 6), draw(*shape))


def test_without_experts_there_is_nothing_to_merge() -> None:
    linear = ONE.replace(experts=())
    parameters = tm.initialize(linear)[0]
    for call in (
        lambda: linear.merging_plan,
        lambda: tm.merge(linear, tm.cores_of(linear, parameters), []),
        lambda: tm.apply_merged(linear, parameters, draw(2, 6).astype("float32"), []),
    ):
        with pytest.raises(tm.TensorMoEError, match="there are no experts to merge"):
            call()
