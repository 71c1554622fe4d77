"""Edited layers against the same edits of the materialized tensor."""

import json
import time
from typing import Any

import numpy as np
import pytest
from editing.oracle import edit_tensor, edits_for, pad, saved, weight_of
from hypothesis import given, settings
from hypothesis import strategies as st
from support.frameworks import optional
from support.strategies import BACKENDS, EVERY, close

import tensormoe as tm
from tensormoe.editing import Ablate, Add, AddBias, Edit, Merge, Replace, RewriteBias, Scale, edit
from tensormoe.testing import specs

torch = optional("torch")

SPEC = tm.MuMoESpec(5, 3, 4, tm.CP(2), tm.Gate("softmax", "batch"))
PAIRS = tm.MuMoESpec(5, 3, (4, 2), tm.TensorRing((2, 2, 3, 2)))
BLOCK = tm.MuMoEBlockSpec(5, 6, 3, 4, tm.CP(2), gated=True, input_norm=True)
MATRIX = np.arange(15.0).reshape(5, 3) ** 2 / 10 - 4
LISTS = {
    SPEC: [
        Add(1, MATRIX),
        Scale(1, -2),
        AddBias(2, 1, 0.5),
        Merge((0, 3)),
        RewriteBias(np.array([0.4, 0.1, 0.2, 0.3]), 2, 1.5),
        Ablate(2),
        Replace(3, np.eye(6, 3)),
        Add(0, (np.ones((6, 1)), MATRIX[:1])),
    ],
    PAIRS: [
        Ablate((3, 1)),
        Scale((0, 1), 0.5),
        Replace((2, 0), MATRIX),
        Merge(((0, 0), (0, 1), (3, 0))),
        RewriteBias((np.array([0.4, 0.1, 0.2, 0.3]), np.array([0.5, 0.5])), 2, 1.5),
    ],
}
every_list = pytest.mark.parametrize(("spec", "edits"), LISTS.items(), ids=["one level", "two levels"])


@pytest.mark.parametrize(
    ("experts", "each", "bias"),
    [
        (3, Replace(1, np.ones((6, 4))), True),
        (3, AddBias(1, 2, 0.5), False),
        ((3, 2), AddBias((1, 1), 2, 0.5), False),
    ],
    ids=["a matrix", "a bias", "a bias of two levels"],
)
def test_biases_beside_a_split_input_stay_or_are_written(experts: Any, each: Any, bias: bool) -> None:
    """Beside a matrix a network has them by itself, as before; beside a further bias they are terms."""
    family = tm.Kronecker((2, 3), (2, 2), 1, shared=True)
    layer = saved(tm.MuMoESpec(6, 4, experts, family))
    edited = edit(layer, each)
    assert edited.spec.bias is bias
    close(weight_of(edited.layer), edit_tensor(weight_of(layer), [each]), 1e-12)
    assert edited.certificate().unchanged == {"cores": np.prod(layer.spec.experts) - 1}
    assert edited.undo(1).spec == layer.spec


@given(st.data())
def test_edits_equal_those_of_the_materialized_tensor(data: st.DataObject) -> None:
    spec = data.draw(specs(max_levels=3))
    layer = saved(spec, data.draw(st.integers(0, 9)))
    edits = data.draw(edits_for(spec))
    edited = edit(layer, edits)
    close(pad(weight_of(edited.layer), edited), edit_tensor(pad(weight_of(layer), layer), edits), 1e-10)


def test_a_bias_that_all_experts_share_is_taken_from_one_alone() -> None:
    spec = tm.MuMoESpec(3, 2, 4, tm.CP(2) + tm.TensorNetwork("o"), bias=False)
    layer = saved(spec)
    edited = edit(layer, Ablate(1))
    close(weight_of(edited.layer), edit_tensor(weight_of(layer), [Ablate(1)]), 1e-10)
    assert edited.spec.factorization == spec.factorization + tm.TensorNetwork("n r, r o", r=1)


@pytest.mark.parametrize("experts", [4, (2, 2)])
def test_biases_are_a_term_of_their_own_where_factors_have_no_row_for_them(experts: Any) -> None:
    layer = saved(tm.MuMoESpec(5, 3, experts, tm.CP(2), bias=False))
    place = 1 if experts == 4 else (1, 0)
    edits = [AddBias(place, 2, 0.5), Replace(3 if experts == 4 else (0, 1), np.ones((6, 3)))]
    edited = edit(layer, edits)
    close(weight_of(edited.layer), edit_tensor(pad(weight_of(layer), layer), edits), 1e-12)
    terms = str(edited.spec.network).split(" + ")
    # One rank of the matrix, and one bias for each of the experts.
    assert len(terms) == 3
    assert "i" not in terms[2]
    assert edited.spec.network.sizes["r_3"] == 2
    assert edited.certificate().unchanged == {"cores": 2}
    assert edited.undo(2).spec == layer.spec


@settings(max_examples=15)
@given(st.data())
def test_every_list_of_edits_gets_its_certificate(data: st.DataObject) -> None:
    spec = data.draw(specs(max_levels=3))
    edits = data.draw(edits_for(spec))
    places = {place for each in edits for place in each.places(spec.experts)}
    certificate = edit(saved(spec), edits).certificate()
    assert certificate.unchanged == {"cores": np.prod(spec.experts) - len(places)}


@pytest.mark.parametrize("backend", BACKENDS)
@every_list
def test_a_module_becomes_an_edited_module_of_its_framework(
    backend: str, spec: tm.MuMoESpec, edits: list[Edit]
) -> None:
    layer = saved(spec, dtype="float32").build(backend)
    before = {name: tm.backend_of(a).to_float64(a).copy() for name, a in layer.arrays().items()}
    edited = edit(layer, edits).layer
    assert type(edited) is type(layer)
    close(weight_of(edited), edit_tensor(weight_of(layer), edits), 2e-6)
    for name, array in layer.arrays().items():
        np.testing.assert_array_equal(tm.backend_of(array).to_float64(array), before[name])
    dtypes = {tm.backend_of(a).dtype_name(a) for a in tm.cores_of(edited.spec, edited.arrays()).values()}
    assert dtypes == {"float32"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_layers_of_a_block_are_edited_each_for_itself(backend: str) -> None:
    layer = saved(BLOCK).build(backend, dtype="float32")
    wide = np.ones((5, 6))
    edits = {
        "first": [Ablate(1, layer="first"), Add(2, wide, layer="first")],
        "up": [],
        "second": [AddBias(0, 2, 0.5, layer="second")],
    }
    edited = edit(layer, [each for listed in edits.values() for each in listed]).layer
    for name, listed in edits.items():
        close(weight_of(edited, name), edit_tensor(weight_of(layer, name), listed), 2e-6)
    assert edited.spec.factorization == BLOCK.factorization + tm.CP(1)


@pytest.mark.parametrize("family", [each for each in EVERY if not isinstance(each, tm.Sum)], ids=str)
def test_an_ablation_of_one_level_is_exact_in_the_factors(family: tm.Factorization) -> None:
    layer = saved(tm.MuMoESpec(5, 3, 4, family))
    edited = edit(layer, [Ablate(2), Scale(0, 2)])
    assert edited.spec == layer.spec
    weight = weight_of(layer)
    weight[2], weight[0] = 0, 2 * weight[0]
    np.testing.assert_array_equal(weight_of(edited.layer), weight)


@pytest.mark.parametrize("family", EVERY, ids=str)
def test_experts_of_every_family_are_merged(family: tm.Factorization) -> None:
    layer = saved(tm.MuMoESpec(5, 3, 4, family))
    edited = edit(layer, Merge((0, 3, 2)))
    close(weight_of(edited.layer), edit_tensor(weight_of(layer), edited.edits))
    # Cores with a row for each expert, in each term.
    rows = [sum("n" in core.indices for core in term.cores) for term in layer.spec.network.terms]
    assert (edited.spec == layer.spec) == (max(rows) == 1)


def test_thousands_of_edits_take_no_time_for_each_pair_of_them() -> None:
    layer = saved(SPEC)
    edits = [Add(1, MATRIX), Scale(1, 0.5), AddBias(2, 1, 0.1)] * 1_000
    start = time.process_time()
    edited = edit(layer, edits)
    assert time.process_time() - start < 4
    close(weight_of(edited.layer), edit_tensor(weight_of(layer), edits), 1e-9)


def test_a_dense_layer_is_edited_in_the_factors_whatever_its_levels() -> None:
    layer = saved(tm.MuMoESpec(5, 3, (2, 3), tm.Dense()))
    edited = edit(layer, [Ablate((1, 2)), Merge(((0, 0), (1, 1)))])
    assert edited.spec == layer.spec
    assert not weight_of(edited.layer)[1, 2].any()


def test_a_shared_term_is_taken_from_the_ablated_expert_alone() -> None:
    layer = saved(tm.MuMoESpec(5, 3, 4, tm.TensorNetwork("i o") + tm.CP(2)))
    weight = weight_of(layer)
    weight[1] = 0
    edited = edit(layer, Ablate(1))
    close(weight_of(edited.layer), weight)
    assert str(edited.spec.network).count("+") == 2


def test_a_hundred_edits_take_one_term_and_no_more_ranks_than_the_matrices_have() -> None:
    generator = np.random.default_rng(0)
    edits = [AddBias(number % 4, number % 3, 0.1 * number) for number in range(90)]
    edits += [Add(1, generator.normal(size=(6, 3))) for _ in range(10)]
    layer = saved(SPEC)
    edited = edit(layer, edits)
    # A row of biases for three experts, and a whole matrix for one.
    assert edited.spec.factorization == SPEC.factorization + tm.CP(3 * 1 + 3)
    close(weight_of(edited.layer), edit_tensor(weight_of(layer), edits), 1e-11)


def test_more_edits_of_an_edited_layer_take_no_second_term() -> None:
    layer = saved(SPEC)
    edited = edit(edit(layer, Add(1, MATRIX)), Add(2, MATRIX)).edit(Scale(1, 0.5))
    assert str(edited.spec.network) == "n r, i r, r o + n r_2, i r_2, r_2 o"
    close(weight_of(edited.layer), edit_tensor(weight_of(layer), edited.edits))


def test_what_is_added_is_factored_with_its_rank() -> None:
    layer = saved(SPEC)
    low = np.outer(np.arange(5.0), [1.0, 2.0, 3.0])
    ranks = {
        1: [Add(1, low)],
        2: [Add(1, low), Add(2, low)],
        3: [Add(1, MATRIX[::-1] + np.eye(5, 3))],
        4: [Add(1, (np.ones((5, 4)), np.ones((4, 3))))],
    }
    for rank, edits in ranks.items():
        assert edit(layer, edits).spec.factorization.bonds(1)["r_2"] == rank
    assert edit(layer, [Add(1, MATRIX), Add(1, -MATRIX)]).spec == SPEC
    assert edit(layer, [Add(1, MATRIX), Ablate(1)]).spec == SPEC


def test_a_matrix_of_full_rank_is_there_bit_for_bit() -> None:
    matrix = np.random.default_rng(1).normal(size=(6, 3)).astype("float32")
    layer = saved(SPEC, dtype="float32")
    assert (weight_of(edit(layer, Replace(2, matrix)).layer)[2] == matrix).all()


@every_list
def test_edits_are_undone_to_the_bits_that_were_there(spec: tm.MuMoESpec, edits: list[Edit]) -> None:
    layer = saved(spec)
    edited = edit(layer, edits)
    back = edited.undo(len(edits))
    assert back.spec == spec
    assert not back.edits
    for name, array in layer.arrays().items():
        assert (back.arrays()[name] == array).all()
        assert back.arrays()[name] is not array
    one = edited.undo()
    assert one.edits == tuple(edits[:-1])
    close(weight_of(one.layer), edit_tensor(weight_of(layer), edits[:-1]), 1e-11)


@every_list
def test_edits_are_read_from_json_and_made_again(spec: tm.MuMoESpec, edits: list[Edit]) -> None:
    text = json.dumps([each.to_dict() for each in edits], allow_nan=False)
    again = [Edit.from_dict(each) for each in json.loads(text)]
    assert again == edits
    assert [*map(hash, again)] == [*map(hash, edits)]
    assert again[0] != again[1]
    first, second = (edit(saved(spec), each).arrays() for each in (edits, again))
    assert all((first[name] == second[name]).all() for name in first)


@every_list
def test_an_edited_layer_is_verified_and_saved_like_any_other(
    spec: tm.MuMoESpec, edits: list[Edit], tmp_path: Any
) -> None:
    edited = edit(saved(spec), edits)
    assert tm.verify(edited.spec, methods=("proof", "exact")).passed
    tm.save(edited, tmp_path / "layer.safetensors")
    loaded = tm.load_arrays(tmp_path / "layer.safetensors")
    assert loaded.spec == edited.spec
    assert all((loaded.arrays()[name] == array).all() for name, array in edited.arrays().items())


def test_a_path_is_searched_anew_where_there_is_a_term_more() -> None:
    path = ((0, 3), (0, 2), (1, 2), (0, 1))
    layer = saved(SPEC.replace(factorization=tm.CP(2), optimize=path))
    assert edit(layer, Ablate(1)).spec.optimize == path
    assert edit(layer, Add(1, MATRIX)).spec.optimize == "auto"


def test_the_list_of_edits_is_shown() -> None:
    text = str(edit(saved(SPEC), LISTS[SPEC]))
    assert "Add(expert=1, delta=array(5, 3))" in text
    assert "AddBias(expert=2, output=1, value=0.5)" in text
    assert repr(Ablate(1, layer="first")) == "Ablate(expert=1, layer='first')"


def test_what_an_edit_holds_is_its_own() -> None:
    matrix = MATRIX.copy()
    change = Add(1, matrix)
    matrix[:] = 0
    assert change == Add(1, MATRIX.tolist())
    assert change != Add(1, matrix)
    with pytest.raises(ValueError, match="read-only"):
        change.delta[0, 0] = 1


@pytest.mark.skipif("torch" not in BACKENDS, reason="needs PyTorch")
def test_a_module_keeps_its_type_and_its_mode() -> None:
    layer = saved(SPEC).build("torch", dtype=torch.bfloat16, recompute=True).eval()
    edited = edit(layer, [Ablate(0), Add(1, torch.ones(5, 3))]).layer
    assert not edited.training
    assert edited.recompute
    assert {each.dtype for each in edited.parameters()} == {torch.bfloat16}
    assert edit(layer.train(), Ablate(0)).layer.training


LAYER, PAIR, PLAIN = saved(SPEC), saved(PAIRS), saved(SPEC.replace(bias=False))
SMALL = saved(SPEC, dtype="float32")
REFUSED = [
    (LAYER, Ablate(4), "expert of edit 1", "counted from 0"),
    (LAYER, Ablate((1, 1)), "expert of edit 1", "1 level"),
    (PAIR, Ablate(1), "expert of edit 1", "2 level"),
    (PAIR, Ablate((1, 2)), "expert of edit 1", "counted from 0"),
    (LAYER, [Ablate(1), Merge((1, 7))], "experts of edit 2", "counted from 0"),
    (LAYER, Add(1, np.ones((4, 3))), "delta of edit 1", "(5, 3) or (6, 3)"),
    (LAYER, Add(1, np.ones((3, 5))), "delta of edit 1", "transposed"),
    (LAYER, Add(1, (np.ones((5, 2)), np.ones((2, 4)))), "delta of edit 1", "(2, 3)"),
    (PLAIN, Replace(1, np.ones((7, 3))), "matrix of edit 1", "(5, 3) or (6, 3)"),
    (PLAIN, AddBias(1, 3, 0.5), "output of edit 1", "counted from 0"),
    (LAYER, AddBias(1, 3, 0.5), "output of edit 1", "counted from 0"),
    (LAYER, RewriteBias(np.ones(5), 1, 0.5), "mean_coefficients of edit 1", "one array for each level"),
    (PAIR, RewriteBias(np.ones(4), 1, 0.5), "mean_coefficients of edit 1", "one array for each level"),
    (LAYER, Ablate(1, layer="first"), "layer of edit 1", "'cores'"),
    (saved(BLOCK), Ablate(1), "layer of edit 1", "'up'"),
    (SMALL, Scale(1, 1e300), "edits", "too large for float32"),
    (SMALL, Add(1, np.full((5, 3), 1e300)), "edits", "too large for float32"),
    (LAYER, [Add(1, np.full((5, 3), 1e308))] * 3, "edits", "too large"),
    (LAYER, ["ablate"], "edits", "tm.editing.Ablate"),
    (LAYER.arrays(), Ablate(1), "layer", "SavedLayer"),
]


@pytest.mark.parametrize(("layer", "edits", "argument", "remedy"), REFUSED)
def test_what_does_not_fit_is_refused_and_nothing_changes(
    layer: Any, edits: Any, argument: str, remedy: str
) -> None:
    before = {name: array.copy() for name, array in getattr(layer, "arrays", dict)().items()}
    with pytest.raises(tm.TensorMoEError) as error:
        edit(layer, edits)
    assert error.value.argument == argument
    assert remedy in error.value.remedy
    for name, array in before.items():
        assert (layer.arrays()[name] == array).all()


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: Ablate(-1), "expert"),
        (lambda: Ablate(1.5), "expert"),
        (lambda: Ablate(()), "expert"),
        (lambda: Scale(1, float("inf")), "factor"),
        (lambda: Scale(1, "2"), "factor"),
        (lambda: Merge((1,)), "experts"),
        (lambda: Merge((1, 1)), "experts"),
        (lambda: Add(1, np.full((5, 3), np.nan)), "delta"),
        (lambda: Add(1, np.ones((5, 3), complex)), "delta"),
        (lambda: Add(1, np.ones((5, 3), int)), "delta"),
        (lambda: Add(1, np.ones(5)), "delta"),
        (lambda: Add(1, [[1, 2], [3]]), "delta"),
        (lambda: Add(1, [["1", "2"]]), "delta"),
        (lambda: Add(1, "ones"), "delta"),
        (lambda: Add(1, (np.ones((5, 2)), np.ones((3, 3)))), "delta"),
        (lambda: Replace(1, None), "matrix"),
        (lambda: AddBias(1, -1, 0.5), "output"),
        (lambda: AddBias(1, 1, float("nan")), "value"),
        (lambda: RewriteBias(np.ones((2, 2)), 1, 0.5), "mean_coefficients"),
        (lambda: RewriteBias("means", 1, 0.5), "mean_coefficients"),
        (lambda: RewriteBias(np.ones(2), 1, None), "strength"),
        (lambda: Ablate(1, layer=2), "layer"),
    ],
)
def test_an_edit_of_what_cannot_be_is_refused_when_it_is_made(make: Any, argument: str) -> None:
    with pytest.raises(tm.TensorMoEError) as error:
        make()
    assert error.value.argument == argument


def test_no_more_is_undone_than_was_done() -> None:
    with pytest.raises(tm.TensorMoEError, match="there are 1 edits"):
        edit(LAYER, Ablate(1)).undo(2)
