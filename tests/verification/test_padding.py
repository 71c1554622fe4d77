"""Padded parts against the definition at the real sizes: values, gradients, proofs, costs, starts, tools."""

import numpy as np
import pytest
from support.strategies import BACKENDS, check_programs, close, values_for

import tensormoe as tm
from tensormoe.programs.contraction import weight_contraction
from tensormoe.programs.instructions import Cut, Pad
from tensormoe.programs.program import Program, released

KRONECKER = tm.TensorNetwork("n i1 o1, n i2 o2", i=(2, 4), o=(3, 2), pad=True)
GROUPS = tm.TensorNetwork("n1 i1 r o, n1 n2 i2 r", n=(2, 3), i=(2, 3), r=2, pad=True)
LEVELS = tm.TensorNetwork("n1_1 i r, n1_1 n1_2 r s, n2_1 n2_2 s o", n1=(2, 3), n2=(2, 2), r=3, s=2, pad=True)
# Parts that nest, one term whole, and one more input than parts: a bias's row is as many.
MIXED = (
    KRONECKER
    + tm.TensorNetwork("i r, n r o", r=2)
    + tm.TensorNetwork("n i1 i2 o1, i3 o2", i=(2, 2, 2), o=(3, 2), pad=True)
)
SPECS = {
    "features": tm.MuMoESpec(7, 5, 3, KRONECKER),
    "without a bias": tm.MuMoESpec(7, 5, 3, KRONECKER, bias=False),
    "experts": tm.MuMoESpec(5, 4, 5, GROUPS),
    "levels": tm.MuMoESpec(5, 4, (5, 3), LEVELS),
    "a sum": tm.MuMoESpec(7, 5, 3, MIXED),
    "an output": tm.MuMoESpec(4, 5, 3, tm.TensorNetwork("n i r, r o1, r o2", o=(3, 2), r=2, pad=True)),
}
each = pytest.mark.parametrize("spec", SPECS.values(), ids=list(SPECS))


@each
def test_padded_layers_are_the_definition_at_the_real_sizes(spec: tm.MuMoESpec) -> None:
    values = values_for(spec, 0, 3)
    expected = check_programs(spec, values)
    close(tm.materialize(spec, values.cores), expected.weight)
    assert tm.verify(spec, backends="numpy", methods=("proof", "exact", "float")).passed


@pytest.mark.parametrize("gated", [False, True])
def test_blocks_of_padded_layers_are_proved(gated: bool) -> None:
    families = [KRONECKER, tm.TensorNetwork("n i1 o, n i2 o", i=(2, 3), pad=True)]
    families.insert(1, tm.TensorNetwork("n i o"))
    block = tm.MuMoEBlockSpec(7, 5, 6, 2, families if gated else families[::2], gated=gated)
    assert tm.verify(block, methods=("proof", "exact")).passed


@pytest.mark.parametrize("backend", BACKENDS)
def test_padded_layers_compute_in_every_framework(backend: str) -> None:
    methods = ("frameworks",) if backend != "numpy" else ("float",)
    assert tm.verify(SPECS["features"], tuple({"numpy", backend}), methods=methods).passed


def test_experts_of_levels_are_those_of_their_parts() -> None:
    spec = SPECS["levels"].replace(bias=False)
    first, second, third = cores = values_for(spec, 0, 1).cores
    weight = tm.materialize(spec, cores)
    for a, b in np.ndindex(5, 3):
        close(weight[a, b], first[a // 3] @ second[a // 3, a % 3] @ third[b // 2, b % 2])


def test_the_plan_shows_padding_and_counts_its_products() -> None:
    plan = SPECS["without a bias"].plan(batch_size=10)
    assert [step.expression for step in plan.steps if step.kind == "pad"] == ["x[… i] → x'[… i1 i2]"]
    assert "padded with zeros: i from 7 to 2 · 4, o from 5 to 3 · 2" in str(plan)
    whole = SPECS["without a bias"].replace(in_features=8, out_features=6).plan(batch_size=10)
    assert (plan.macs, plan.parameters) == (whole.macs, whole.parameters)
    assert plan.soft_moe.macs == tm.MuMoESpec(7, 5, 3, tm.Dense(), bias=False).plan(10).macs
    # x is copied once more.
    assert plan.saved == whole.saved + 10 * 8
    assert not any(step.kind == "pad" for step in whole.steps)
    assert "padded" not in str(whole)


def test_terms_pad_the_input_once() -> None:
    steps = [step.kind for step in SPECS["a sum"].plan(10).steps]
    assert steps.count("pad") == 1


def test_theorems_say_what_is_beyond_the_values() -> None:
    text = str(tm.prove(SPECS["features"]))
    assert "It has the first of their values; what carries i itself is 0 at the others." in text
    assert "with zeros behind" in text


def change(program: Program, kind: type, **fields: int) -> Program:
    """The program with other numbers in its instructions of one kind."""
    steps = tuple(
        type(step)(**{**vars(step), **fields}) if isinstance(step, kind) else step
        for step in program.instructions
    )
    return Program(program.num_operands, steps, released(program.num_operands, steps))


def test_other_zeros_and_other_values_are_not_proved() -> None:
    spec = SPECS["without a bias"]
    plan, weight = spec.plan(), spec.materialization_plan
    for wrong in (change(plan.program, Pad, before=1, after=0), change(plan.program, Cut, size=4)):
        with pytest.raises(tm.ProofError):
            tm.prove(plan.contraction, wrong)
    with pytest.raises(tm.ProofError):
        tm.prove(weight_contraction(spec.network), change(weight.program, Cut, size=5))


def test_zeros_are_put_behind_nothing_but_what_ends_there() -> None:
    """A weight that is cut and padded is not the weight of all parts."""
    contraction = weight_contraction(SPECS["without a bias"].network)
    program = SPECS["without a bias"].materialization_plan.program
    (cut,) = (step for step in program.instructions if isinstance(step, Cut) and step.axis == 1)
    register = program.num_operands + program.instructions.index(cut)
    steps = (
        *program.instructions,
        Pad(register, 1, 0, 1),
        Cut(program.num_operands + len(program.instructions), 1, 7),
    )
    wrong = Program(program.num_operands, steps, released(program.num_operands, steps))
    with pytest.raises(tm.ProofError, match="puts together 8 of 7 values of i"):
        tm.prove(contraction, wrong)


def test_real_rows_start_at_the_scale_of_a_linear_layer() -> None:
    family = tm.TensorNetwork("n i1 i2 o1 r, n o1 i1 r o2", i=(3, 64), o=(16, 16), r=2, pad=True)
    spec = tm.MuMoESpec(129, 250, 4, family, bias=False)
    weight = tm.materialize(spec, tm.cores_of(spec, tm.initialize(spec, 0)[0])).mean(axis=0)
    assert 0.85 < 3 * 129 * np.mean(weight**2) < 1.15


def test_measures_edits_and_ablations_know_the_real_sizes() -> None:
    for name in ("features", "experts"):
        layer = tm.build(SPECS[name].replace(bias=False), "numpy", seed=0, dtype="float64")
        weight = layer.materialize()
        flat = weight.reshape(len(weight), -1)
        close(tm.analysis.gram(layer), flat @ flat.T)
        edited = tm.editing.edit(layer, tm.editing.Ablate(2))
        expected = weight.copy()
        expected[2] = 0
        close(edited.layer.materialize(), expected)
        assert edited.certificate()


def test_a_weight_of_the_real_size_is_fitted() -> None:
    draws = np.random.default_rng(0)
    target = np.stack([np.kron(*draws.normal(size=(2, 3, 3)))[:8, :7] for _ in range(2)])
    family = tm.TensorNetwork("n i1 o1, n i2 o2", i=(3, 3), o=(3, 3), pad=True)
    assert tm.fit(target, tm.MuMoESpec(8, 7, 2, family, bias=False)).weight_error < 1e-6


def test_files_keep_padded_layers(tmp_path) -> None:
    layer = tm.build(SPECS["levels"], "numpy", seed=0)
    tm.save(layer, tmp_path / "layer.safetensors")
    loaded = tm.load(tmp_path / "layer.safetensors", "numpy")
    assert loaded.spec == layer.spec
    np.testing.assert_array_equal(loaded.materialize(), layer.materialize())


def test_ranks_of_padded_layers_change() -> None:
    layer = tm.build(SPECS["experts"], "numpy", seed=0, dtype="float64")
    grown = tm.grow(layer, r=3)
    assert all(split.pad for split in grown.layer.spec.network.splits)
    close(grown.layer.materialize(), layer.materialize())


@pytest.mark.parametrize("name", ["experts", "levels"])
def test_padded_experts_are_ablated(name: str) -> None:
    layer = tm.build(SPECS[name], "numpy", seed=0, dtype="float64")
    x = np.random.default_rng(0).normal(size=(4, 5))
    _, coefficients = layer(x, return_coefficients=True)
    z, weight = np.concatenate([x, np.ones((4, 1))], axis=1), layer.materialize()
    for output, place in zip(tm.analysis.ablate(layer, x), np.ndindex(*layer.spec.experts), strict=True):
        without = weight.copy()
        without[place] = 0
        letters = "nm"[: len(coefficients)]
        read = ",".join(f"t{letter}" for letter in letters)
        close(output, np.einsum(f"ti,{letters}io,{read}->to", z, without, *coefficients))
