"""Coefficients of a call in PyTorch: gradients, compilation, hooks, sharding; layers without experts."""

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.checkpoint import checkpoint

import tensormoe as tm
from tensormoe.analysis import recording
from tensormoe_torch import MuMoE, MuMoEBlock, replace, routed
from tensormoe_torch.parallel import ExpertParallel, RankParallel

FAMILY = tm.CP(4)


@pytest.fixture
def layer() -> MuMoE:
    return MuMoE(6, 5, (4, 3), FAMILY, gate=None, seed=0, dtype=torch.float64)


@pytest.fixture
def linear() -> MuMoE:
    return MuMoE(6, 5, (), FAMILY, gate=None, seed=0)


@pytest.fixture
def mesh() -> Iterator[Any]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield dist.device_mesh.init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def given(*leading: int, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(*leading, n, dtype=dtype, requires_grad=True) for n in (6, 4, 3)]


def definition(layer: MuMoE, x: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    one = torch.cat([x, torch.ones_like(x[..., :1])], -1)
    return torch.einsum("mnio,...m,...n,...i->...o", layer.materialize(), a, b, one)


@pytest.mark.parametrize("recompute", [False, True])
def test_gradients_reach_the_coefficients(layer: MuMoE, recompute: bool) -> None:
    layer.recompute = recompute
    inputs = given(2, 3)
    leaves = [*inputs, *layer.parameters()]
    y = layer(inputs[0], coefficients=inputs[1:])
    expected = definition(layer, *inputs)
    torch.testing.assert_close(y, expected)
    weights = torch.randn_like(y)
    ours = torch.autograd.grad(y, leaves, weights)
    theirs = torch.autograd.grad(expected, leaves, weights)
    torch.testing.assert_close(ours, theirs)


def test_a_checkpointed_layer_has_the_same_gradients(layer: MuMoE) -> None:
    x, a, b = given(5)
    ours = checkpoint(lambda *all: layer(all[0], coefficients=all[1:]), x, a, b, use_reentrant=False)
    expected = torch.autograd.grad(definition(layer, x, a, b).sum(), [x, a, b])
    torch.testing.assert_close(torch.autograd.grad(ours.sum(), [x, a, b]), expected)


@pytest.mark.parametrize("experts", [(4, 3), ()], ids=["experts", "linear"])
def test_a_layer_compiles_in_one_graph(experts: tuple[int, ...]) -> None:
    layer = MuMoE(6, 5, experts, FAMILY, gate=None, seed=0, dtype=torch.float64)
    x, *coefficients = given(5)
    coefficients = coefficients if experts else []
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    y = compiled(x, coefficients=coefficients)
    torch.testing.assert_close(y, layer(x, coefficients=coefficients))
    leaves = [x, *coefficients]
    theirs = torch.autograd.grad(layer(x, coefficients=coefficients).sum(), leaves)
    torch.testing.assert_close(torch.autograd.grad(y.sum(), leaves), theirs)


def test_a_layer_exports_with_coefficients_as_inputs() -> None:
    layer = MuMoE(6, 5, 4, FAMILY, gate=None, seed=0)
    x, a = torch.randn(5, 6), torch.randn(5, 4)
    program = torch.export.export(layer, (x,), {"coefficients": a})
    torch.testing.assert_close(program.module()(x, coefficients=a), layer(x, coefficients=a))


def test_coefficients_are_mapped_by_vmap(layer: MuMoE) -> None:
    x, a, b = (each.detach() for each in given(5))
    y = torch.vmap(lambda *all: layer(all[0], coefficients=all[1:]))(x, a, b)
    torch.testing.assert_close(y, layer(x, coefficients=[a, b]))


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_autocast_takes_coefficients_of_either_type(kind: torch.dtype) -> None:
    layer = MuMoE(6, 5, 4, FAMILY, gate=None, seed=0)
    x, a = torch.randn(64, 6), torch.randn(64, 4)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x, coefficients=a.to(kind))
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), layer(x, coefficients=a), rtol=0.05, atol=0.05)
    if kind != torch.float32:
        with pytest.raises(tm.TensorMoEError, match=r"coefficients\[0\] is bfloat16"):
            layer(x, coefficients=a.to(kind))


@pytest.mark.parametrize("gate", [None, tm.Gate("softmax", norm="batch")], ids=["none", "gate"])
def test_hooks_and_recordings_see_what_was_passed(gate: tm.Gate | None) -> None:
    model = nn.Sequential(MuMoE(6, 5, 4, FAMILY, gate=gate, seed=0))
    seen: list[Any] = []
    model[0].gate.register_forward_hook(lambda gate, inputs, output: seen.extend(output))
    a = torch.eye(4)[[0, 0, 2]]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with recording(model) as recorder:
        y, (mixed,) = model[0](torch.randn(3, 6), True, coefficients=a)
    assert seen[0] is mixed
    assert (mixed == a).all()
    assert recorder["0"].load()[0].tolist() == pytest.approx([2 / 3, 0, 1 / 3, 0])
    assert all((value == state[name]).all() for name, value in model.state_dict().items())
    y.sum().backward()
    assert all((each.grad is None) == ("gate" in name) for name, each in model.named_parameters())


def test_a_hook_changes_coefficients_that_were_passed(layer: MuMoE) -> None:
    x, a, b = given(5)
    layer.gate.register_forward_hook(lambda gate, inputs, output: tuple(2 * each for each in output))
    torch.testing.assert_close(layer(x, coefficients=[a, b]), definition(layer, x, 2 * a, 2 * b))


def test_a_layer_without_experts_between_two_hands_nothing_on() -> None:
    gate = tm.Gate("softmax", None, tm.AdaptiveClustering())
    first = MuMoE(6, 6, 4, FAMILY, gate=None, seed=0)
    between = MuMoE(6, 6, (), FAMILY, gate=None, seed=1)
    last = MuMoE(6, 6, 4, FAMILY, gate=gate, seed=2)
    nn.init.normal_(last.gate_weights[0])
    a = torch.randn(5, 4).softmax(-1)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([first, between, last])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return last(between(first(x, coefficients=a)))

    x, model = torch.randn(5, 6), Model().eval()
    with routed(model):
        y = model(x)
    hidden = between(first(x, coefficients=a))
    torch.testing.assert_close(y, last(hidden, previous=[a]))
    assert (y != last(hidden)).any()


def test_a_layer_without_experts_is_a_linear_layer(linear: MuMoE) -> None:
    x, weight = torch.randn(2, 3, 6), linear.materialize()
    assert weight.shape == (7, 5)
    torch.testing.assert_close(linear(x), x @ weight[:6] + weight[6])
    assert linear(x, return_coefficients=True)[1] == []
    assert linear.dtype == torch.float32
    assert linear.device == torch.device("cpu")
    assert linear.weight.shape == (7, 5)
    assert [*linear.state_dict()] == ["cores.input", "cores.output"]
    assert list(linear.gate_weights) == []
    assert linear.extra_repr() == "6 → 5, experts=(), CP(rank=4), gate=None, bias=True"
    torch.testing.assert_close(linear(torch.ones(6)), weight.sum(0))


def test_a_recording_passes_over_layers_without_experts(linear: MuMoE) -> None:
    model = nn.Sequential(linear, MuMoE(5, 5, 3, FAMILY, seed=0))
    with recording(model) as recorder:
        model(torch.randn(4, 6))
    assert [*recorder] == ["1"]


def test_copies_pickles_and_deferred_layers(linear: MuMoE, layer: MuMoE) -> None:
    for module, inputs in ((linear, []), (layer, given(5)[1:])):
        x = torch.randn(5, 6, dtype=module.dtype)
        y = module(x, coefficients=inputs)
        for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            torch.testing.assert_close(twin(x, coefficients=inputs), y)
        with torch.device("meta"):
            deferred = type(module).from_spec(module.spec, dtype=module.dtype)
        assert deferred.device.type == "meta"
        deferred.to_empty(device="cpu").reset_parameters(seed=0)
        torch.testing.assert_close(deferred(x, coefficients=inputs), y)


def test_linear_layers_are_replaced_by_factorized_ones() -> None:
    model = nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 8))
    x = torch.randn(5, 16)
    result = replace(model, nn.Linear, experts=(), factorization=tm.CP(8), gate=None, match=None, init="fit")
    assert "CP(rank=8)" in str(result)
    assert "experts" not in str(result)
    assert model(x).shape == (5, 8)
    exact = nn.Sequential(nn.Linear(6, 5))
    before = exact(x[:, :6])
    replace(exact, "0", experts=(), factorization=tm.CP(5), gate=None, match=None, init="upcycle")
    torch.testing.assert_close(exact(x[:, :6]), before, rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_a_layer_is_sharded(mesh: Any, layer: MuMoE, linear: MuMoE) -> None:
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor.parallel import parallelize_module

    x, a, b = given(5)
    expected, of_linear = layer(x, coefficients=[a, b]), linear(x.float())
    block = MuMoEBlock(6, 7, 5, (), FAMILY, gate=None, seed=0)
    of_block = block(x.float())
    for module, y, call in (
        (layer, expected, {"coefficients": [a, b]}),
        (linear, of_linear, {}),
        (block, of_block, {}),
    ):
        sharded = fully_shard(copy.deepcopy(module), mesh=mesh)
        torch.testing.assert_close(sharded(x.to(module.dtype), **call), y)
        shared = parallelize_module(copy.deepcopy(module), mesh, RankParallel())
        torch.testing.assert_close(shared(x.to(module.dtype), **call), y)
    shared = parallelize_module(copy.deepcopy(layer), mesh, ExpertParallel())
    torch.testing.assert_close(shared(x, coefficients=[a, b]), expected)
    with pytest.raises(tm.TensorMoEError, match="there are none to share out: share out a bond"):
        parallelize_module(linear, mesh, ExpertParallel())


def test_merged_experts_are_differentiated_compiled_and_take_autocast(layer: MuMoE) -> None:
    a, b = (each.detach().requires_grad_() for each in given(5)[1:])
    tokens = torch.randn(5, 3, 6, dtype=torch.float64)
    repeated = [each[:, None].expand(-1, 3, -1) for each in (a, b)]
    leaves, weights = [a, b, *layer.parameters()], torch.randn(5, 3, 5, dtype=torch.float64)
    expected = torch.autograd.grad((layer(tokens, coefficients=repeated) * weights).sum(), leaves)
    y = layer.apply_merged(tokens, [a, b])
    torch.testing.assert_close(torch.autograd.grad((y * weights).sum(), leaves), expected)
    merged = torch.einsum("mnio,bm,bn->bio", layer.materialize(), a, b)
    torch.testing.assert_close(layer.merge([a, b]), merged)
    compiled = torch.compile(layer.apply_merged, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(tokens, [a, b]), y)
    # One that has not merged before is compiled, too.
    fresh = tm.build(layer.spec.replace(out_features=7), "torch", seed=0, dtype="float64")
    weights = torch.compile(fresh.merge, fullgraph=True, backend="eager")([a, b])
    torch.testing.assert_close(weights, torch.einsum("mnio,bm,bn->bio", fresh.materialize(), a, b))
    narrow = MuMoE(6, 5, 4, FAMILY, gate=None, seed=0)
    a, tokens = torch.randn(5, 4), torch.randn(5, 3, 6)
    with torch.autocast("cpu", torch.bfloat16):
        half = narrow.apply_merged(tokens, a)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), narrow.apply_merged(tokens, a), rtol=0.05, atol=0.05)
