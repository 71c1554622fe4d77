"""Fixed cores in PyTorch: buffers among the cores, which no optimizer sees."""

import copy

import numpy as np
import pytest
import torch

import tensormoe as tm
from tensormoe_torch import MuMoE, MuMoEBlock, parameter_groups

WEIGHT = np.random.default_rng(0).normal(size=(8, 6)).astype("float32")
LORA = tm.TensorNetwork("W: i o + n i r, n r o", r=3, fixed={"W": WEIGHT})
MIXED = tm.TensorNetwork("n q, H: i q, q o", q=8, fixed={"H": "hadamard"})


def layer_of(network: tm.Factorization, **options: object) -> MuMoE:
    return MuMoE(8, 6, 5, network, bias=False, seed=0, **options)


def test_a_fixed_core_is_a_buffer_in_its_place_among_the_cores() -> None:
    layer = layer_of(MIXED, gate=tm.Gate(norm="batch"))
    assert [*layer.cores] == ["core1", "H", "core3"]
    assert "cores.H" not in dict(layer.named_parameters())
    assert dict(layer.named_buffers()).keys() == {"cores.H", "gate_mean.0", "gate_variance.0"}
    assert sum(each.numel() for each in layer.parameters()) == layer.spec.num_parameters
    assert "cores.H" in layer.state_dict()
    assert layer.cores["H"].tolist() == layer.spec.network.fixed_values()["H"].tolist()


def test_training_leaves_it_as_it_is_and_values_are_those_of_numpy() -> None:
    layer = layer_of(LORA)
    x, target = torch.randn(20, 8), torch.randn(20, 6)
    np.testing.assert_allclose(layer(x).detach().numpy(), x.numpy() @ WEIGHT, atol=1e-5)
    optimizer = torch.optim.AdamW(parameter_groups(layer, 0.1), lr=1e-2)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = ((layer(x) - target) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert (layer.cores["W"].numpy() == WEIGHT).all()
    parameters, state = (
        {k: v.numpy() for k, v in layer.arrays().items() if (k in shapes)}
        for shapes in (layer.spec.parameter_shapes, layer.spec.state_shapes)
    )
    expected = tm.apply(layer.spec, parameters, x.numpy(), state=state).y
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-5)


def test_decay_is_shared_by_trained_cores() -> None:
    groups = parameter_groups(layer_of(MIXED), 0.1)
    decayed = [group for group in groups if group["weight_decay"] == 0.1]
    assert [tuple(each.shape) for group in decayed for each in group["params"]] == [(8, 6)]


def test_it_moves_with_the_layer_and_keeps_the_type_of_parameters() -> None:
    layer = layer_of(LORA, dtype="float64")
    assert layer.cores["W"].dtype == torch.float64
    layer.to(torch.bfloat16)
    assert layer.cores["W"].dtype == torch.bfloat16
    assert layer(torch.ones(2, 8, dtype=torch.bfloat16)).dtype == torch.bfloat16
    half = MuMoE.from_arrays(layer.spec, layer_of(LORA).arrays(), dtype="float16")
    assert half.cores["W"].dtype == torch.float16


def test_it_is_made_on_the_meta_device_and_reset() -> None:
    with torch.device("meta"):
        layer = layer_of(LORA)
    layer.to_empty(device="cpu").reset_parameters(seed=0)
    assert (layer.cores["W"].numpy() == WEIGHT).all()
    again = layer_of(LORA)
    assert all((layer.arrays()[name] == value).all() for name, value in again.arrays().items())


def test_state_dicts_of_other_values_are_refused() -> None:
    layer = layer_of(LORA)
    copied = copy.deepcopy(layer)
    copied.load_state_dict(layer.state_dict())
    other = MuMoE(8, 6, 5, tm.TensorNetwork(LORA.text, r=3, fixed={"W": WEIGHT + 1}), bias=False)
    with pytest.raises(tm.TensorMoEError, match="saved with this specification"):
        layer.load_state_dict(other.state_dict())


@pytest.mark.parametrize("network", [LORA, MIXED], ids=str)
def test_checkpoints_of_weights_alone_have_the_specification(network: tm.Factorization, tmp_path) -> None:
    spec = layer_of(network).spec
    torch.save({"spec": spec}, tmp_path / "spec.pt")
    again = torch.load(tmp_path / "spec.pt", weights_only=True)["spec"]
    assert again == spec
    for name, value in spec.network.fixed_values().items():
        assert (again.network.fixed_values()[name] == value).all()
    copied = copy.deepcopy(network)
    assert copied == network


def test_a_compiled_and_a_recomputing_block_train(tmp_path) -> None:
    block = MuMoEBlock(8, 8, 8, 3, MIXED, bias=False, gated=True, seed=0, recompute=True)
    x = torch.randn(4, 8, requires_grad=True)
    block(x).sum().backward()
    plain = MuMoEBlock(8, 8, 8, 3, MIXED, bias=False, gated=True, seed=0)
    plain(x).sum().backward()
    for ours, theirs in zip(block.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    tm.save(block, tmp_path / "block")
    numpy = tm.load(tmp_path / "block", "numpy")
    np.testing.assert_allclose(numpy(x.detach().numpy()), plain(x).detach().numpy(), atol=1e-5)


def test_what_quantizes_or_shares_out_says_what_it_does_with_it() -> None:
    from tensormoe_torch.parallel import ExpertParallel, RankParallel

    for style in (ExpertParallel(), RankParallel()):
        with pytest.raises(tm.TensorMoEError, match="a fixed core is not shared out"):
            style.index(layer_of(MIXED).spec)
