"""Cores that layers of a model share: one parameter, as PyTorch ties weights."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn

import tensormoe as tm
import tensormoe_torch
from tensormoe_torch import MuMoE, MuMoEBlock, parameter_groups, share

EXPERTS = "*.cores.expert1"
TIED = {"1.cores.expert1": "0.cores.expert1", "2.cores.expert1": "0.cores.expert1"}


def model(seed: int = 0, count: int = 3) -> nn.Sequential:
    layers = (
        MuMoE(6, 6, 4, tm.CP(rank=5), gate=tm.Gate("softmax"), seed=seed + n, dtype="float64")
        for n in range(count)
    )
    return nn.Sequential(*layers)


def tied(seed: int = 0) -> nn.Sequential:
    module = model(seed)
    assert share(module, EXPERTS) == TIED
    return module


def is_one(module: nn.Module) -> bool:
    return module[0].cores["expert1"] is module[1].cores["expert1"] is module[2].cores["expert1"]


def inputs() -> torch.Tensor:
    return torch.randn(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_it_is_counted_once_and_has_the_first_values() -> None:
    module, apart = tied(), model()
    count = sum(each.numel() for each in apart.parameters())
    assert sum(each.numel() for each in module.parameters()) == count - 2 * 4 * 5
    torch.testing.assert_close(module[2].cores["expert1"], apart[0].cores["expert1"], rtol=0, atol=0)
    grouped = [each for group in parameter_groups(module, 0.1) for each in group["params"]]
    assert len({id(each) for each in grouped}) == len(grouped) == len([*module.parameters()])


def test_outputs_and_gradients_are_those_of_equal_cores() -> None:
    module, apart = tied(), model()
    with torch.no_grad():
        for layer in apart:
            layer.cores["expert1"].copy_(apart[0].cores["expert1"])
    for each in (module, apart):
        each(inputs()).square().sum().backward()
    torch.testing.assert_close(module(inputs()), apart(inputs()))
    summed = sum(layer.cores["expert1"].grad for layer in apart)
    torch.testing.assert_close(module[0].cores["expert1"].grad, summed)


def test_an_optimizer_moves_one_parameter() -> None:
    module = tied()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    module(inputs()).square().sum().backward()
    optimizer.step()
    assert is_one(module)


def test_copies_pickles_and_state_dicts_keep_it_one() -> None:
    module, other = tied(), tied(seed=5)
    other.load_state_dict(module.state_dict())
    assert is_one(other)
    assert TIED.keys() < module.state_dict().keys()
    for each in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), other):
        assert is_one(each)
        torch.testing.assert_close(each(inputs()), module(inputs()), rtol=0, atol=0)


def test_resetting_one_layer_draws_it_for_all() -> None:
    module = tied()
    module[2].reset_parameters(seed=7)
    assert is_one(module)
    expected = MuMoE.from_spec(module[2].spec, seed=7, dtype="float64").cores["expert1"]
    torch.testing.assert_close(module[0].cores["expert1"], expected, rtol=0, atol=0)


def test_a_layer_saves_what_it_uses(tmp_path: Any) -> None:
    module = tied()
    tm.save(module[1], tmp_path / "layer")
    loaded = tm.load(tmp_path / "layer", "torch")
    torch.testing.assert_close(loaded(inputs()), module[1](inputs()), rtol=0, atol=0)


def test_any_parameters_of_layers_and_blocks_can_be_named() -> None:
    block = MuMoEBlock(6, 6, 6, 4, tm.CP(rank=5), gate=tm.Gate("softmax"), shared="expert1", dtype="float64")
    module = nn.ModuleDict({"layer": model(count=1)[0], "block": block})
    assert share(module, ["layer.cores.expert1", "block.shared.expert1"]) == {
        "block.shared.expert1": "layer.cores.expert1"
    }
    share(module, "*.gate_weights.0")
    assert block.gate_weights[0] is module["layer"].gate_weights[0]
    assert block(inputs()).shape == (3, 6)


def test_a_tied_layer_is_not_replaced_alone() -> None:
    module = nn.Sequential(tied())
    with pytest.raises(tm.TensorMoEError, match="share a parameter: untie them first"):
        tensormoe_torch.replace(module, "0.1", experts=4, factorization=tm.CP(rank=2))


REFUSALS = {
    "another shape": (
        ["0.cores.input", "1.cores.output"],
        r"1.cores.output: received \(5, 6\); 0.cores.input",
    ),
    "nothing": ("*.nothing", "no parameter of a layer fits; they are called 0.cores.expert1, 0.cores.input"),
    "one": ("0.cores.expert1", "only 0.cores.expert1 fits: name at least two parameters"),
    "no name": (3, 'pass a pattern such as "'),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_one_is_refused_before_anything_changes(case: str) -> None:
    cores, remedy = REFUSALS[case]
    module = model()
    before = [id(each) for each in module.parameters()]
    with pytest.raises(tm.TensorMoEError, match=remedy):
        share(module, cores)  # type: ignore[arg-type]
    assert [id(each) for each in module.parameters()] == before


def test_other_types_and_other_modules_are_refused() -> None:
    module = model()
    module[1].float()
    with pytest.raises(tm.TensorMoEError, match=r"0.cores.expert1 has the type torch.float64 on cpu"):
        share(module, EXPERTS)
    with pytest.raises(tm.TensorMoEError, match="there is no layer"):
        share(nn.Linear(2, 2), "weight")
    with pytest.raises(tm.TensorMoEError, match=r"pass a torch.nn.Module"):
        share("model", EXPERTS)  # type: ignore[arg-type]
