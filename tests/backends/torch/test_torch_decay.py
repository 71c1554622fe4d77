"""`tensormoe_torch.parameter_groups`: how much each parameter decays."""

import pytest
import torch
from torch import nn

import tensormoe as tm
from tensormoe_torch import MuMoE, MuMoEBlock, parameter_groups

FAMILIES = {
    tm.CP(3): {"expert1": 0, "input": 0.5, "output": 0.5},
    tm.Tucker((2, 3, 4)): {"expert1": 0, "input": 0.5, "output": 0.5, "core": 0},
    tm.TensorRing((2, 3, 4)): {"expert1": 0, "input": 0.5, "output": 0.5},
    tm.Dense(): {"core1": 1},
    tm.TensorNetwork("n i r, n r o", r=3): {"core1": 0.5, "core2": 0.5},
}


def decays(model: nn.Module, weight_decay: float = 0.2) -> dict[str, float]:
    groups = parameter_groups(model, weight_decay)
    of = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    return {name: of[id(p)] for name, p in model.named_parameters()}


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_the_cores_of_input_and_output_share_the_decay(family: tm.Factorization) -> None:
    layer = MuMoE(8, 6, 4, family)
    shares = {name: share / 0.2 for name, share in decays(layer).items()}
    expected = {f"cores.{name}": share for name, share in FAMILIES[family].items()}
    assert shares == pytest.approx(expected | {"gate_weights.0": 0})


def test_a_step_of_decay_alone_shrinks_the_weight_as_a_dense_one() -> None:
    """Gradients are zero, and nothing but decay moves a parameter; small, for its square does not count."""
    layer, linear = (
        MuMoE(8, 6, 4, tm.CP(5), bias=False, dtype="float64"),
        nn.Linear(8, 6, dtype=torch.float64),
    )
    model = nn.ModuleList([layer, linear])
    before = layer.materialize().detach(), linear.weight.detach().clone()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    torch.optim.AdamW(parameter_groups(model, 1e-4), lr=1e-2).step()
    after = layer.materialize(), linear.weight
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(new, old * (1 - 1e-6), rtol=1e-11, atol=0)
        assert not torch.allclose(new, old, rtol=1e-8, atol=0)


def test_other_parameters_decay_if_they_have_two_axes_and_none_is_left_out_or_listed_twice() -> None:
    block = MuMoEBlock(8, 12, 8, (4, 2), tm.CP(3), gated=True, input_norm=True)
    model = nn.Sequential(nn.Embedding(5, 8), nn.LayerNorm(8), nn.Linear(8, 8), block, block)
    listed = [p for group in parameter_groups(model, 0.2) for p in group["params"]]
    assert {id(p) for p in listed} == {id(p) for p in model.parameters()}
    assert len(listed) == len(list(model.parameters()))
    shares = decays(model)
    assert {name for name, decay in shares.items() if decay == 0.2} == {"0.weight", "2.weight"}
    cores = {f"3.{layer}.{core}" for layer in ("first", "up", "second") for core in ("input", "output")}
    assert {name for name, decay in shares.items() if decay == 0.1} == cores
    block.requires_grad_(False)
    assert sum(len(group["params"]) for group in parameter_groups(model, 0.2)) == 5


def test_a_decay_that_is_none_and_a_model_that_is_none_are_errors() -> None:
    with pytest.raises(tm.TensorMoEError, match="weight_decay: received -1"):
        parameter_groups(nn.Linear(2, 2), -1)
    with pytest.raises(tm.TensorMoEError, match=r"model: .* pass a torch.nn.Module"):
        parameter_groups(nn.Linear(2, 2).parameters(), 0.1)
