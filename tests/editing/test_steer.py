"""Steered coefficients: what layers compute, in every framework, compiled and not, and what is certified."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from editing.oracle import saved
from hypothesis import given, settings
from hypothesis import strategies as st
from support.frameworks import optional
from support.strategies import BACKENDS, close

import tensormoe as tm
from tensormoe.editing import Ablate, Add, Edit, Steer, certify, edit
from tensormoe.testing import specs

torch, jax = optional("torch"), optional("jax")

SPEC = tm.MuMoESpec(5, 3, 4, tm.CP(2), tm.Gate("entmax15"))
BLOCK = tm.MuMoEBlockSpec(5, 6, 3, 4, tm.CP(2), tm.Gate("sparsemax", "batch"))
X = np.random.default_rng(1).normal(size=(7, 5))


def steer(levels: list[np.ndarray], edits: list[Steer]) -> list[np.ndarray]:
    """The definition, token by token."""
    levels = [a.copy() for a in levels]
    for each in edits:
        for row in levels[each.level]:
            row[each.expert] = each.set if each.set is not None else row[each.expert] + each.add
            if each.renormalize and row.sum():
                row /= row.sum()
    return levels


def compute(layer: tm.SavedLayer, x: np.ndarray = X) -> Any:
    return tm.apply(layer.spec, layer.parameters, x, state=layer.state)


@st.composite
def steers_for(draw: st.DrawFn, spec: tm.Spec) -> list[Steer]:
    steps = []
    for _ in range(draw(st.integers(1, 3))):
        level = draw(st.integers(0, spec.levels - 1))
        expert = draw(st.integers(0, spec.experts[level] - 1))
        value = {draw(st.sampled_from(["set", "add"])): draw(st.sampled_from([0.0, 0.3, 2.0]))}
        steps.append(Steer(expert, level=level, renormalize=draw(st.booleans()), **value))
    return steps


@settings(max_examples=20)
@given(st.data())
def test_the_mixture_is_that_of_the_steered_coefficients(data: st.DataObject) -> None:
    spec = data.draw(specs(max_levels=2))
    layer, edits = saved(spec), data.draw(steers_for(spec))
    x = np.random.default_rng(0).normal(size=(3, spec.in_features))
    before, edited = compute(layer, x), edit(layer, edits)
    wanted = steer(before.coefficients, edits)
    after = compute(edited.layer, x)
    for ours, theirs in zip(after.coefficients, wanted, strict=True):
        close(ours, theirs, 1e-12)
    weight = tm.materialize(spec, tm.cores_of(spec, layer.arrays()))
    z = np.concatenate([x, np.ones((3, weight.shape[-2] - spec.in_features))], axis=1)
    joint = wanted[0] if spec.levels == 1 else np.einsum("tn,tm->tnm", *wanted)
    close(
        after.y,
        np.einsum("tn,ti,nio->to", joint.reshape(3, -1), z, weight.reshape(-1, *weight.shape[-2:])),
        1e-10,
    )
    assert edited.undo(len(edits)).spec == spec


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_framework_steers_alike(backend: str, tmp_path: Path) -> None:
    # JAX compiles each operation of a block anew.
    spec = SPEC if backend == "jax" else BLOCK
    edits = [Steer(1, set=0.3), Steer(2, add=0.25), Steer(0, add=1.0, renormalize=True)]
    edited = edit(saved(spec), edits)
    tm.save(edited, tmp_path / "layer.safetensors")
    again = tm.editing.load(tmp_path / "layer.safetensors", backend, dtype="float32")
    layer = again.layer
    x = tm.backend_of(next(iter(layer.arrays().values()))).from_float64(X, "float32")
    if hasattr(layer, "eval"):
        layer.eval()
    expected = compute(edited.layer)
    close(tm.get_backend(backend).to_float64(layer(x)), expected.y, 1e-4)
    assert again.edits == tuple(edits)
    assert again.undo(3).spec == spec


@pytest.mark.skipif("torch" not in BACKENDS, reason="needs PyTorch")
def test_steering_is_traced_in_one_graph() -> None:
    layer = edit(saved(SPEC, dtype="float32"), Steer(1, set=0.3)).layer.build("torch")
    x = torch.tensor(X, dtype=torch.float32)
    graphs: list[Any] = []
    compiled = torch.compile(
        layer, backend=lambda graph, inputs: graphs.append(graph) or graph, fullgraph=True
    )
    torch.testing.assert_close(compiled(x), layer(x))
    assert len(graphs) == 1


@pytest.mark.skipif("jax" not in BACKENDS, reason="needs JAX")
def test_steering_is_traced_by_jit() -> None:
    edited = edit(saved(SPEC, dtype="float32"), Steer(1, set=0.3)).layer
    run = jax.jit(lambda x: tm.apply(edited.spec, edited.parameters, x, backend="jax").coefficients[0])
    np.testing.assert_allclose(run(X.astype("float32"))[:, 1], 0.3, rtol=1e-6)


def test_other_coefficients_are_untouched_in_every_bit() -> None:
    before, after = (
        compute(each).coefficients[0] for each in (saved(SPEC), edit(saved(SPEC), Steer(1, set=0.3)).layer)
    )
    assert (np.delete(after, 1, axis=1) == np.delete(before, 1, axis=1)).all()
    assert (after[:, 1] == 0.3).all()


def test_nothing_is_divided_by_a_sum_of_zero() -> None:
    gate = tm.Gate(tm.Activation("top_k", k=1))
    layer = edit(saved(SPEC.replace(gate=gate)), [Steer(n, set=0, renormalize=True) for n in range(4)]).layer
    assert (compute(layer).coefficients[0] == 0).all()


@pytest.mark.parametrize("activation", ["entmax15", "softmax"])
def test_a_steered_layer_is_verified_against_its_definition(activation: str) -> None:
    gate = tm.Gate(activation, "batch")
    edits = [Steer(1, set=0.3), Steer(2, add=0.5, renormalize=True)]
    spec = edit(saved(SPEC.replace(gate=gate)), edits).spec
    assert tm.verify(spec, "numpy", methods=("proof", "float", "frameworks")).passed
    assert "a1[1] = 0.3" in spec.gate.steps


def test_the_certificate_states_what_the_output_gains() -> None:
    layer = saved(SPEC)
    edited = edit(layer, [Steer(1, set=0.3), Steer(2, add=0.25), Add(2, np.ones((5, 3))), Ablate(0)])
    certificate = edited.certificate()
    text = str(certificate)
    assert "δ[1] W[1]ᵀ z + δ[2] W′[2]ᵀ z + Σ a[n] (W′[n] − W[n])ᵀ z,  n = 0, 2" in text
    assert "where δ[1] = 0.3 − a[1], δ[2] = 0.25." in text
    assert "What every other expert adds is unchanged." in text
    assert certificate.unchanged == {"cores": 2}
    assert certificate.unchanged_outputs == {"cores": 0}
    assert certificate.experts == {"cores": ((0,), (1,), (2,))}
    a = compute(layer).coefficients[0]
    old, new = (
        tm.materialize(each.spec, tm.cores_of(each.spec, each.parameters)) for each in (layer, edited.layer)
    )
    z = np.concatenate([X, np.ones((7, 1))], axis=1)
    change = (0.3 - a[:, 1:2]) * (z @ old[1]) + 0.25 * (z @ new[2])
    change += sum(a[:, n : n + 1] * (z @ (new[n] - old[n])) for n in (0, 2))
    close(compute(edited.layer).y, compute(layer).y + change, 1e-12)


def test_the_certificate_of_other_steps_lists_them() -> None:
    text = str(edit(saved(SPEC), [Steer(1, set=0.3, renormalize=True), Steer(1, add=1)]).certificate())
    assert "y′ = y + Σ (a′[n] W′[n] − a[n] W[n])ᵀ z" in text
    assert "a1[1] becomes 0.3, then a1 divided by its sum\n    a1[1] becomes a1[1] + 1.0" in text
    block = str(edit(saved(BLOCK), Steer(1, set=0.3)).certificate())
    assert "u′ = u + δ[1] W[1]ᵀ z    in first\n    u′ = u + δ[1] W[1]ᵀ z    in second" in block


def test_steering_that_is_not_named_gets_no_certificate() -> None:
    layer = saved(SPEC)
    steered = edit(layer, [Ablate(2), Steer(1, set=0.3)]).layer
    with pytest.raises(
        tm.TensorMoEError, match="expert 1: received 'another coefficient'; only expert 2 may"
    ):
        certify(layer, steered, 2)
    assert certify(layer, steered, [1, 2]).unchanged == {"cores": 3}
    with pytest.raises(tm.TensorMoEError, match="gate after"):
        certify(steered, layer, [1, 2])
    other = edit(layer, [Steer(3, set=0.3)]).layer
    with pytest.raises(tm.TensorMoEError, match="gate after"):
        certify(other, steered, [0, 1, 2, 3])


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: Steer(0), "set"),
        (lambda: Steer(0, set=1, add=1), "set"),
        (lambda: Steer(0, set=float("nan")), "set"),
        (lambda: Steer(0, add="1"), "add"),
        (lambda: Steer((0, 1), set=1), "expert"),
        (lambda: Steer(0, set=1, level=-1), "level"),
        (lambda: Steer(0, set=1, renormalize=1), "renormalize"),
        (lambda: edit(saved(SPEC), Steer(4, set=1)), "steering of edit 1"),
        (lambda: edit(saved(SPEC), Steer(0, set=1, level=1)), "steering of edit 1"),
        (lambda: tm.Gate(steering=[1]), "gate steering"),
    ],
)
def test_steering_of_what_cannot_be_is_refused(make: Any, argument: str) -> None:
    with pytest.raises(tm.TensorMoEError) as error:
        make()
    assert error.value.argument == argument


def test_a_file_that_steers_an_expert_that_is_not_there_is_refused() -> None:
    data = edit(saved(SPEC), Steer(3, set=1)).spec.to_dict()
    data["gate"]["steering"][0]["expert"] = 4  # type: ignore[index,call-overload]
    with pytest.raises(tm.TensorMoEError, match="steering"):
        tm.Spec.from_dict(data)
    assert Edit.from_dict(Steer(3, set=1).to_dict()) == Steer(3, set=1)
