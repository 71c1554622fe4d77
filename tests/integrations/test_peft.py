"""Adapters of PEFT on cores."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import tensormoe as tm
from tensormoe_torch import MuMoE, MuMoEBlock

peft = pytest.importorskip("peft")


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.moe = MuMoE(8, 6, 4, tm.TensorRing((2, 2, 8)), seed=0)
        self.block = MuMoEBlock(6, 8, 6, 4, tm.CP(16), seed=0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(self.moe(self.first(x)))


def adapted(**options: Any) -> Any:
    torch.manual_seed(0)
    return peft.get_peft_model(Model(), peft.LoraConfig(r=2, target_modules=[], **options))


def tokens() -> torch.Tensor:
    return torch.randn(5, 8, generator=torch.Generator().manual_seed(0))


CORES = ["block.first.input", "block.second.output", "moe.cores.input"]


@pytest.mark.parametrize("targets", [CORES[:1], CORES[1:2], CORES], ids=len)
def test_lora_on_cores(targets: list[str]) -> None:
    torch.manual_seed(0)
    plain = Model()
    expected = plain(tokens()).detach()
    wrapped = adapted(target_parameters=targets)
    torch.testing.assert_close(wrapped(tokens()), expected)
    trainable = [(name, p) for name, p in wrapped.named_parameters() if p.requires_grad]
    assert len(trainable) == 2 * len(targets)
    with torch.no_grad():
        for _, parameter in trainable:
            parameter.normal_(generator=torch.Generator().manual_seed(1))
    y = wrapped(tokens())
    assert not torch.allclose(y, expected, atol=1e-3)
    y.square().sum().backward()
    assert all(parameter.grad.abs().max() > 0 for _, parameter in trainable)
    merged = wrapped.merge_and_unload()
    torch.testing.assert_close(merged(tokens()), y, rtol=1e-4, atol=1e-5)
    # What was merged are the plain model's cores with something added.
    for name in targets:
        assert not torch.equal(merged.get_parameter(name), plain.get_parameter(name))


def test_gates_are_trained_in_full_beside_adapters(tmp_path: Path) -> None:
    wrapped = adapted(target_parameters=["moe.cores.input"], modules_to_save=["gate_weights"])
    trainable = {name: p for name, p in wrapped.named_parameters() if p.requires_grad}
    gates = [name for name in trainable if "gate_weights" in name]
    assert len(gates) == 2
    wrapped(tokens()).square().sum().backward()
    with torch.no_grad():
        for parameter in trainable.values():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    y = wrapped(tokens())
    wrapped.save_pretrained(tmp_path)
    torch.manual_seed(0)
    loaded = peft.PeftModel.from_pretrained(Model(), tmp_path)
    torch.testing.assert_close(loaded(tokens()), y)
