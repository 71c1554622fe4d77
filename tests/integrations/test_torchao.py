"""Cores that torchao quantizes; its own rounding, on plain tensors, is the oracle."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import tensormoe as tm
from tensormoe_torch import MuMoE, MuMoEBlock, quantize_cores

torchao = pytest.importorskip("torchao.quantization", reason="torchao is not installed")

FAMILIES = (
    tm.CP(32),
    tm.Tucker((4, 16, 16)),
    tm.TensorRing((2, 3, 16)),
    tm.TensorTrain((4, 16)),
    tm.Dense(),
    tm.TensorNetwork("n i r, n r o", r=16),
)
families = pytest.mark.parametrize("family", FAMILIES, ids=str)
INT8 = torchao.Int8WeightOnlyConfig(set_inductor_config=False)
FLOAT8 = torchao.Float8WeightOnlyConfig(set_inductor_config=False)
DYNAMIC = torchao.Int8DynamicActivationInt8WeightConfig(set_inductor_config=False)
INT4 = torchao.Int4WeightOnlyConfig(group_size=128)
INTX = torchao.IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=torchao.PerAxis(0))


def layer(family: tm.Factorization, seed: int = 0) -> MuMoE:
    module = MuMoE(24, 20, 4, family, gate=tm.Gate("softmax", "batch"), seed=seed)
    nn.init.normal_(module.gate_weights[0], generator=torch.Generator().manual_seed(1))
    return module.eval()


def block() -> MuMoEBlock:
    return MuMoEBlock(24, 32, 20, 4, tm.CP(16), gated=True, input_norm=True, seed=0).eval()


def tokens() -> torch.Tensor:
    return torch.randn(5, 24, generator=torch.Generator().manual_seed(0))


def rounded(module: nn.Module, config: Any) -> nn.Module:
    """The same layer with its cores rounded, and of plain tensors again."""
    module = copy.deepcopy(module)
    with torch.no_grad():
        for name, value in module.named_parameters():
            if name.split(".")[0] in module.spec.layers:
                linear = nn.Linear(1, 1, bias=False)
                linear.weight = nn.Parameter(value.clone())
                torchao.quantize_(linear, config)
                value.copy_(linear.weight.dequantize())
    return module


def by_name(module: nn.Module, config: Any) -> None:
    """torchao's own way to parameters of any name."""
    groups = "|".join(module.spec.layers)
    torchao.quantize_(module, torchao.FqnToConfig({rf"re:({groups})\..*": config}), filter_fn=None)


@pytest.mark.parametrize("quantize", [quantize_cores, by_name], ids=["tensormoe", "torchao"])
@pytest.mark.parametrize("config", [INT8, FLOAT8], ids=["int8", "float8"])
@families
def test_a_layer_computes_with_rounded_cores(family: tm.Factorization, config: Any, quantize: Any) -> None:
    module = layer(family)
    exact, expected = module(tokens()), rounded(module, config)(tokens())
    quantize(module, config)
    assert all(type(core) is not nn.Parameter for core in module.cores.values())
    assert type(module.gate_weights[0]) is nn.Parameter
    y = module(tokens())
    torch.testing.assert_close(y, expected, rtol=1e-6, atol=1e-6)
    assert 0 < (y - exact).norm() < 0.1 * exact.norm()


def test_all_cores_of_a_model_are_named_and_take_a_quarter_of_the_memory() -> None:
    model = nn.ModuleDict({"linear": nn.Linear(24, 24), "block": block()})
    expected = rounded(model["block"], INT8)(tokens())
    names = quantize_cores(model, INT8)
    cores = [
        f"{group}.{core}" for group in ("first", "up", "second") for core in ("expert1", "input", "output")
    ]
    assert sorted(names) == sorted(f"block.{core}" for core in cores)
    assert type(model["linear"].weight) is nn.Parameter
    torch.testing.assert_close(model["block"](tokens()), expected, rtol=1e-6, atol=1e-6)
    for name in names:
        core = model.get_parameter(name)
        bits = core.qdata
        assert bits.dtype == torch.int8
        assert bits.nbytes == core.numel()


def test_torchao_alone_passes_over_cores() -> None:
    model = nn.Sequential(nn.Linear(24, 24), layer(tm.CP(32)))
    torchao.quantize_(model, INT8)
    assert type(model[0].weight) is not nn.Parameter
    assert all(type(core) is nn.Parameter for core in model[1].cores.values())


@pytest.mark.parametrize("quantize", [quantize_cores, by_name], ids=["tensormoe", "torchao"])
def test_activations_are_not_quantized_silently(quantize: Any) -> None:
    module = layer(tm.CP(32))
    expected = module(tokens())
    with pytest.raises(tm.TensorMoEError, match=r"cores\.\w+: .*act_quant_kwargs.*Int8WeightOnlyConfig"):
        quantize(module, DYNAMIC)
    assert torch.equal(module(tokens()), expected)


@pytest.mark.parametrize(
    ("config", "family", "match"),
    [
        (INT4, tm.CP(32), "torchao leaves cores.expert1 of shape .* as it is"),
        (INTX, tm.TensorNetwork("n r, r i o", r=2), "torchao cannot quantize cores.core2 so: .* got: 3"),
        (None, tm.CP(32), "torchao leaves cores.expert1 of shape .* as it is"),
    ],
    ids=["groups that do not fit", "three axes", "no configuration"],
)
def test_cores_that_torchao_does_not_quantize_are_named(config: Any, family: Any, match: str) -> None:
    module = layer(family)
    before = dict(module.named_parameters())
    with pytest.raises(tm.TensorMoEError, match=rf"^config: .*{match}"):
        quantize_cores(module, config)
    assert all(value is before[name] for name, value in module.named_parameters())
    assert set(before) == {name for name, _ in module.named_parameters()}


def test_what_cannot_be_quantized_is_refused() -> None:
    module = layer(tm.CP(32))
    prune.l1_unstructured(module.cores, "input", amount=0.5)
    with pytest.raises(tm.TensorMoEError, match=r"cores\.input: .*pruned or parametrized"):
        quantize_cores(module, INT8)
    prune.remove(module.cores, "input")
    quantize_cores(module, INT8)
    with pytest.raises(tm.TensorMoEError, match=r"cores\.expert1: .*quantized already"):
        quantize_cores(module, INT8)
    with pytest.raises(tm.TensorMoEError, match=r"^model: .*no μMoE layers"):
        quantize_cores(nn.Linear(2, 2), INT8)


def test_quantized_layers_are_copied_saved_and_loaded(tmp_path: Path) -> None:
    module = layer(tm.TensorRing((2, 3, 16)))
    quantize_cores(module, INT8)
    expected = module(tokens())
    assert torch.equal(copy.deepcopy(module)(tokens()), expected)
    torch.save(module.state_dict(), tmp_path / "quantized.pt")
    fresh = layer(tm.TensorRing((2, 3, 16)), seed=1)
    fresh.load_state_dict(torch.load(tmp_path / "quantized.pt", weights_only=True), assign=True)
    assert torch.equal(fresh(tokens()), expected)
    # Files of the library hold the values, which any framework reads.
    tm.save(module, tmp_path / "layer.safetensors")
    plain = tm.load(tmp_path / "layer.safetensors", "torch").eval()
    assert all(type(core) is nn.Parameter for core in plain.cores.values())
    torch.testing.assert_close(plain(tokens()), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(plain.materialize(), module.materialize())


def test_quantized_layers_take_no_new_values() -> None:
    module = layer(tm.CP(32))
    arrays = tm.initialize(module.spec)
    quantize_cores(module, INT8)
    before = module(tokens())
    for write in (
        lambda: module.load_arrays(arrays[0] | arrays[1]),
        module.reset_parameters,
        module.cores.reset_parameters,
    ):
        with pytest.raises(tm.TensorMoEError, match="it is quantized and takes no new values"):
            write()
    module.reset_running_stats()  # of the gate, which is not quantized
    assert torch.equal(module(tokens()), before)


def test_quantized_layers_are_traced_and_pass_gradients_on() -> None:
    module, x = layer(tm.CP(32)), tokens().requires_grad_()
    quantize_cores(module, INT8)
    module(x).square().sum().backward()
    plain = tokens().requires_grad_()
    rounded(layer(tm.CP(32)), INT8)(plain).square().sum().backward()
    torch.testing.assert_close(x.grad, plain.grad, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        traced = torch.compile(module, fullgraph=True, backend="eager")
        torch.testing.assert_close(traced(tokens()), module(tokens()))


def test_layers_of_half_precision_are_quantized() -> None:
    module = layer(tm.CP(32)).bfloat16()
    expected = rounded(module, INT8)(tokens().bfloat16())
    quantize_cores(module, INT8)
    torch.testing.assert_close(module(tokens().bfloat16()), expected)
