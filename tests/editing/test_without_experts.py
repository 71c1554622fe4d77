"""Edits and ablations of blocks in which a layer has no experts."""

import numpy as np
import pytest
from support.strategies import close

import tensormoe as tm

BLOCK = tm.MuMoEBlockSpec(
    5, 7, 6, (2, 3), (tm.TensorNetwork("i o"), tm.CP(3)), tm.Gate("softmax"), nonlinearity="relu"
)


@pytest.fixture
def layer():
    built = tm.build(BLOCK, "numpy", seed=0, dtype="float64")
    generator = np.random.default_rng(1)
    built.load_arrays({name: generator.normal(size=array.shape) for name, array in built.arrays().items()})
    return built


def test_an_edit_leaves_the_layer_without_experts_as_it_is(layer) -> None:
    edited = tm.editing.edit(layer, tm.editing.Ablate((1, 2), layer="second"))
    assert edited.spec.factorization == (tm.TensorNetwork("i o"), tm.CP(3) + tm.CP(3))
    before, after = (each.materialize() for each in (layer, edited.layer))
    assert before[0].shape == (6, 7)
    np.testing.assert_array_equal(before[0], after[0])
    close(after[1][1, 2], np.zeros((8, 6)))
    others = np.ones((2, 3), bool)
    others[1, 2] = False
    close(after[1][others], before[1][others])


def test_its_certificate_tells_layers_without_experts(layer) -> None:
    edited = tm.editing.edit(layer, tm.editing.Ablate((1, 2), layer="second"))
    certificate = edited.certificate()
    assert certificate.unchanged == {"second": 5}
    assert certificate.unchanged_outputs["first"] == 7
    assert "the matrix of first, which has none." in str(certificate)
    edited.layer.parameters["first.core1"][0, 0] += 1
    with pytest.raises(tm.TensorMoEError, match="first: received 'another weight'; it has no experts"):
        edited.certificate()


def test_steered_coefficients_change_the_layers_with_experts_alone(layer) -> None:
    edited = tm.editing.edit(layer, tm.editing.Steer(1, set=0.5))
    certificate = edited.certificate()
    assert certificate.unchanged == {"second": 6}
    assert "u′ = u    in every other layer" in str(certificate)


def test_a_layer_without_experts_has_none_to_edit(layer) -> None:
    with pytest.raises(tm.TensorMoEError, match="it has no experts to edit: choose second"):
        tm.editing.edit(layer, tm.editing.Ablate((1, 2), layer="first"))


@pytest.mark.parametrize(
    "networks", [(tm.TensorNetwork("i o"), tm.CP(3)), (tm.CP(3), tm.TensorNetwork("i o + o"))]
)
def test_an_ablation_is_of_the_layers_with_experts(networks) -> None:
    block = BLOCK.replace(factorization=networks, bias=False)
    layer = tm.build(block, "numpy", seed=0, dtype="float64")
    generator = np.random.default_rng(2)
    layer.load_arrays({name: generator.normal(size=array.shape) for name, array in layer.arrays().items()})
    x = generator.normal(size=(4, 5))
    _, coefficients = layer(x, return_coefficients=True)
    weights = dict(zip(block.layers, layer.materialize(), strict=True))

    def run(name, data, expert):
        weight = weights[name]
        if weight.ndim == 2:
            data = np.concatenate([data, np.ones((4, len(weight) - data.shape[1]))], axis=1)
            return data @ weight
        weight = weight.copy()
        weight[expert] = 0
        return np.einsum("ta,tb,abio,ti->to", *coefficients, weight, data)

    experts = [(0, 1), (1, 2)]
    expected = [run("second", np.maximum(run("first", x, each), 0), each) for each in experts]
    outputs = tm.analysis.ablate(layer, x, experts=experts)
    close(outputs, np.stack(expected))
    with pytest.raises(tm.TensorMoEError, match="layers"):
        tm.analysis.ablate(layer, x, experts=experts, layers=[n for n, w in weights.items() if w.ndim == 2])
