"""Blocks whose layers share cores, in PyTorch: one parameter of a group of its own."""

import copy
import pickle
from pathlib import Path

import numpy as np
import torch
from torch import nn

import tensormoe as tm
from tensormoe_torch import MuMoEBlock, parameter_groups


def block(seed: int = 0) -> MuMoEBlock:
    return MuMoEBlock(8, 12, 8, 4, tm.CP(rank=5), gate=tm.Gate("softmax"), shared="expert1", seed=seed)


def test_it_is_one_parameter_of_the_model() -> None:
    module = block()
    assert sum(each.numel() for each in module.parameters()) == module.spec.num_parameters
    names = [name for name, _ in module.named_parameters() if "expert" in name]
    assert names == ["shared.expert1"]
    assert list(module.state_dict()) == [name for name, _ in module.named_parameters()]
    assert str(module.shared) == "NamedTensors(expert1: (4, 5))"


def test_its_gradient_is_the_sum_of_those_of_separate_parameters() -> None:
    module = block().double()
    apart = MuMoEBlock.from_spec(module.spec.replace(shared=())).double()
    values = {f"{layer}.expert1": module.shared["expert1"] for layer in ("first", "second")}
    given = dict(module.named_parameters())
    with torch.no_grad():
        for name, parameter in apart.named_parameters():
            parameter.copy_(values.get(name, given.get(name)))
    x = torch.randn(3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for each in (module, apart):
        each(x).square().sum().backward()
    torch.testing.assert_close(module(x), apart(x))
    summed = apart.first["expert1"].grad + apart.second["expert1"].grad
    torch.testing.assert_close(module.shared["expert1"].grad, summed)
    torch.testing.assert_close(module.first["input"].grad, apart.first["input"].grad)


def test_copies_pickles_and_state_dicts_hold_it_once(tmp_path: Path) -> None:
    module, other = block(), block(seed=1)
    other.load_state_dict(module.state_dict())
    for each in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), other):
        assert [*each.state_dict()] == [*module.state_dict()]
        torch.testing.assert_close(each(torch.ones(2, 8)), module(torch.ones(2, 8)), rtol=0, atol=0)
    torch.save(module.state_dict(), tmp_path / "block.pt")
    restored = torch.load(tmp_path / "block.pt")
    np.testing.assert_array_equal(restored["shared.expert1"], module.shared["expert1"].detach())


def test_it_is_drawn_with_the_block_or_with_its_group() -> None:
    with torch.device("meta"):
        module = MuMoEBlock.from_spec(block().spec)
    module.to_empty(device="cpu").reset_parameters(seed=0)
    torch.testing.assert_close(module.shared["expert1"], block().shared["expert1"], rtol=0, atol=0)
    nn.init.zeros_(module.shared["expert1"])
    module.shared.reset_parameters(seed=0)
    torch.testing.assert_close(module.shared["expert1"], block().shared["expert1"], rtol=0, atol=0)


def test_a_layer_may_have_no_core_of_its_own() -> None:
    names = ("expert1", "input", "output")
    module = MuMoEBlock(8, 8, 8, 4, tm.CP(rank=5), shared=names, seed=0)
    assert (list(module.first), list(module.second), list(module.shared)) == ([], [], list(names))
    first, second = module.materialize()
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_decay_takes_a_shared_core_once() -> None:
    module = MuMoEBlock(8, 8, 8, 4, tm.CP(rank=5), shared=("input", "output"), seed=0)
    groups = {each["weight_decay"]: each["params"] for each in parameter_groups(module, 0.1)}
    assert {id(each) for each in groups[0.05]} == {id(each) for each in module.shared.values()}
