"""Certificates: given where only the named experts changed, refused where an edit leaks."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from editing.oracle import saved
from hypothesis import given, settings
from hypothesis import strategies as st
from support.strategies import BACKENDS

import tensormoe as tm
from tensormoe.editing import Ablate, Add, AddBias, Merge, RewriteBias, certify, edit
from tensormoe.editing.exact import changed_experts
from tensormoe.testing import specs

GATE = tm.Gate("softmax", "batch")
SPEC = tm.MuMoESpec(5, 3, 4, tm.CP(2), GATE)
PAIRS = SPEC.replace(experts=(3, 2))
BLOCK = tm.MuMoEBlockSpec(5, 6, 3, 4, tm.CP(2), GATE, input_norm=True)
Arrays = dict[str, Any]


def add_to(name: str, place: Any, value: Any = 0.5) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[name][place] += value

    return change


def scale(name: str, place: Any, factor: float) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[name][place] *= factor

    return change


def step_by_a_bit(arrays: Arrays) -> None:
    core = arrays["cores.expert1"]
    core[3, 1] = np.nextafter(core[3, 1], np.inf)


def swap_outputs(arrays: Arrays) -> None:
    arrays["cores.output"] = arrays["cores.output"][:, [1, 0, 2]]


def swap_experts(arrays: Arrays) -> None:
    arrays["cores.expert1"] = arrays["cores.expert1"][[3, 1, 2, 0]]


# An edit of expert 1 that also does this, and what is named.
LEAKS = {
    "an expert's row of the added term is not zero": (add_to("cores.expert1_2", (2, 0)), "expert 2"),
    "a tiny entry of that row is not zero": (add_to("cores.expert1_2", (2, 0), 5e-324), "expert 2"),
    "another expert is scaled": (scale("cores.expert1", 3, 2), "expert 3"),
    "another expert is scaled by what the prime field takes for 1": (
        scale("cores.expert1", 3, 2.0**61),
        "expert 3",
    ),
    "another expert changes by its last bit": (step_by_a_bit, "expert 3"),
    "two others are exchanged": (swap_experts, "expert 0"),
    "an input core changes": (add_to("cores.input", (2, 1)), "expert 0"),
    "the biases of all change": (add_to("cores.input", -1), "expert 0"),
    "an output core changes": (add_to("cores.output", (0, 2)), "expert 0"),
    "outputs are exchanged": (swap_outputs, "expert 0"),
    "the router changes": (add_to("gate_weights.0", (0, 0)), "gate_weights.0"),
    "a running mean changes": (add_to("gate_mean.0", 2), "gate_mean.0"),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_an_edit_that_leaks_is_refused_by_the_name_of_the_expert(leak: str) -> None:
    change, named = LEAKS[leak]
    layer = saved(SPEC)
    edited = edit(layer, Add(1, np.ones((6, 3))))
    assert edited.certificate().unchanged == {"cores": 3}
    arrays = {**edited.layer.parameters, **edited.layer.state}
    change(arrays)
    parameters, state = ({name: arrays[name] for name in each} for each in edited.layer[1:])
    leaking = tm.SavedLayer(edited.spec, parameters, state)
    with pytest.raises(tm.TensorMoEError) as error:
        certify(layer, leaking, 1)
    assert error.value.argument == named
    assert "only expert 1 may change" in error.value.remedy or not named.startswith("expert")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"gate": tm.Gate("softmax", "batch", temperature=0.5)}, "gate after"),
        ({"nonlinearity": "relu"}, "nonlinearity after"),
        ({"experts": 2}, "experts after"),
    ],
)
def test_another_specification_is_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(tm.TensorMoEError) as error:
        certify(saved(BLOCK), saved(BLOCK.replace(**changes)), {})
    assert error.value.argument == named


def test_a_change_of_a_blocks_norm_or_other_layer_is_refused() -> None:
    layer = saved(BLOCK)
    edits = [Ablate(1, layer="first"), AddBias(2, 0, 0.5, layer="second")]
    for name, named in (
        ("input_norm.weight", "input_norm.weight"),
        ("first.expert1", "expert 0 of first"),
        ("second.output", "expert 0 of second"),
    ):
        edited = edit(layer, edits)
        assert edited.certificate().unchanged == {"first": 3, "second": 3}
        edited.layer.parameters[name][0] += 1
        with pytest.raises(tm.TensorMoEError) as error:
            edited.certificate()
        assert error.value.argument == named
    with pytest.raises(tm.TensorMoEError, match="expert 2 of second"):
        certify(layer, edit(layer, edits).layer, {"first": [1]})


def test_a_layer_that_was_trained_on_since_gets_no_certificate() -> None:
    layer = saved(SPEC)
    edited = edit(layer, Ablate(1))
    layer.parameters["cores.output"][0, 0] += 1
    with pytest.raises(tm.TensorMoEError, match="expert 0"):
        edited.certificate()


@pytest.mark.parametrize("backend", BACKENDS)
def test_modules_get_certificates(backend: str) -> None:
    layer = saved(SPEC, dtype="float32").build(backend)
    edited = edit(layer, [Merge((0, 2)), Add(3, np.ones((5, 3)))])
    certificate = edited.certificate()
    assert certificate.experts == {"cores": ((0,), (2,), (3,))}
    assert "y′ = y + Σ a[n] (W′[n] − W[n])ᵀ z,  n = 0, 2, 3" in str(certificate)
    with pytest.raises(tm.TensorMoEError, match=r"expert 3: .* only experts 0, 2 may"):
        certify(layer, edited.layer, [0, 2])


def test_the_theorem_holds_of_what_the_layer_computes() -> None:
    layer, x = saved(SPEC), np.random.default_rng(3).normal(size=(7, 5))
    edited = edit(layer, [Ablate(1), Add(1, np.ones((6, 3)))])
    before, after = (
        tm.apply(each.spec, each.parameters, x, state=each.state) for each in (layer, edited.layer)
    )
    old, new = (
        tm.materialize(each.spec, tm.cores_of(each.spec, each.parameters)) for each in (layer, edited.layer)
    )
    z = np.concatenate([x, np.ones((7, 1))], axis=1)
    np.testing.assert_allclose(after.y, before.y + before.coefficients[0][:, 1:2] * (z @ (new[1] - old[1])))
    unused = [np.where(np.arange(4) == 1, 0, before.coefficients[0])]
    outputs = [
        tm.contract(each.spec, tm.cores_of(each.spec, each.parameters), unused, x)
        for each in (layer, edited.layer)
    ]
    np.testing.assert_allclose(*outputs, atol=1e-12)
    assert "Where the coefficients of these experts are zero, the output is unchanged." in str(
        edited.certificate()
    )


def test_an_edit_of_all_experts_leaves_none_to_compare() -> None:
    edited = edit(saved(SPEC), RewriteBias(np.ones(4) / 4, 1, 2.0))
    assert edited.certificate().unchanged == {"cores": 0}


def test_a_shifted_bias_leaves_all_other_outputs_for_every_input() -> None:
    layer = saved(SPEC)
    edited = edit(layer, RewriteBias(np.ones(4) / 4, 1, 2.0))
    certificate = edited.certificate()
    assert certificate.unchanged_outputs == {"cores": 2}
    assert "only y[o] changes, o = 1:\n2 of 3 outputs are unchanged for every input." in str(certificate)
    assert "The change is one of biases" in str(certificate)
    x = np.random.default_rng(3).normal(size=(7, 5))
    before, after = (
        tm.apply(each.spec, each.parameters, x, state=each.state).y for each in (layer, edited.layer)
    )
    np.testing.assert_allclose(after[:, [0, 2]], before[:, [0, 2]], atol=1e-12)
    for name, place in (("cores.input_2", (2, 0)), ("cores.output_2", (0, 2))):
        edited.layer.parameters[name][place] += 5e-324
        text = str(edited.certificate())
        assert ("of biases" in text) == (name != "cores.input_2")
        assert ("o = 1:" in text) == (name != "cores.output_2")
        edited.layer.parameters[name][place] = 0


def test_an_edit_of_a_whole_matrix_claims_nothing_of_outputs() -> None:
    certificate = edit(saved(PAIRS), Add((1, 1), np.ones((6, 3)))).certificate()
    assert certificate.unchanged_outputs == {"cores": 0}
    assert "outputs" not in str(certificate).partition("Proof")[0]
    column = np.zeros((5, 3))
    column[:, 2] = 1
    one = edit(saved(PAIRS), Add((1, 1), column)).certificate()
    assert one.unchanged_outputs == {"cores": 2}
    assert "biases" not in str(one)


def test_the_outputs_of_each_layer_of_a_block_are_told() -> None:
    text = str(edit(saved(BLOCK), AddBias(2, 1, 0.5, layer="second")).certificate())
    assert "only u[o] of second changes, o = 1:\n2 of 3" in text
    assert "of first changes" not in text


def test_the_same_weights_in_another_factorization_are_found_equal() -> None:
    layer = saved(SPEC, dtype="float32")
    dense = SPEC.replace(factorization=tm.Dense())
    # Products of three float32 take 72 bits, but those of small integers are exact.
    rounded = {name: np.round(8 * array) for name, array in layer.parameters.items()}
    ours = tm.SavedLayer(SPEC, rounded, layer.state)
    weight = np.einsum(
        "nr,ir,ro->nio", *(rounded[f"cores.{name}"] for name in ("expert1", "input", "output"))
    )
    (name,) = dense.core_names
    theirs = tm.SavedLayer(dense, {name: weight, "gate_weights.0": rounded["gate_weights.0"]}, layer.state)
    assert certify(ours, theirs, ()).unchanged == {"cores": 4}
    weight[2, 0, 0] += 1
    with pytest.raises(tm.TensorMoEError, match=r"expert 2: .* no expert may"):
        certify(ours, theirs, ())


@settings(max_examples=25)
@given(specs(max_levels=2, max_size=2), st.data())
def test_experts_that_differ_are_those_whose_fractions_differ(
    spec: tm.MuMoESpec, data: st.DataObject
) -> None:
    layer = saved(spec, data.draw(st.integers(0, 9)), data.draw(st.sampled_from(["float32", "float64"])))
    cores = {name: np.float64(core) for name, core in tm.cores_of(spec, layer.arrays()).items()}
    changed = {name: core.copy() for name, core in cores.items()}
    core = changed[data.draw(st.sampled_from(sorted(cores)))]
    place = tuple(data.draw(st.integers(0, size - 1)) for size in core.shape)
    core[place] = data.draw(
        st.sampled_from([0.0, -core[place], np.nextafter(core[place], 9), 1e-300, 2.0**61])
    )
    different = fractions(spec, cores) != fractions(spec, changed)
    expected = different.reshape(*spec.experts, -1).any(axis=-1)
    np.testing.assert_array_equal(changed_experts((spec.stage, cores), (spec.stage, changed)), expected)


def fractions(spec: tm.MuMoESpec, cores: dict[str, Any]) -> np.ndarray:
    """The weight tensor in rational numbers, term by term and product by product."""
    network, total = spec.network, np.zeros(spec.network.weight_shape, dtype=object)
    for term in network.terms:
        parts = {each.mode: each.parts for each in term.splits}
        modes = [part for mode in network.modes for part in parts.get(mode, (mode,))]
        axes = [*modes, *(index for index, _ in term.bonds)]
        product = np.full([1] * len(axes), Fraction(1), dtype=object)
        for core in term.cores:
            exact = np.vectorize(Fraction, otypes=[object])(cores[core.name])
            order = sorted(range(exact.ndim), key=lambda axis: axes.index(core.indices[axis]))
            shape = [network.sizes[index] if index in core.indices else 1 for index in axes]
            product = product * exact.transpose(order).reshape(shape)
        summed = product.sum(axis=tuple(range(len(modes), len(axes))))
        made = {**network.sizes, **{each.mode: each.size for each in term.splits}}
        sizes = [made[mode] if mode in term.carried_modes else 1 for mode in network.modes]
        # What is beyond a mode's values is padding.
        kept = tuple(slice(network.sizes[mode]) for mode in network.modes)
        part = summed.reshape(sizes)[kept]
        # A bias is in the last row, for which other cores may have none.
        rows = slice(-1, None) if term.is_bias else slice(network.input_size)
        total[..., rows, :] = total[..., rows, :] + part
    return total
