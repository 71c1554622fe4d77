"""PyTorch's idioms: what users do with a torch.nn.Module."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from support.strategies import EVERY, close
from torch.fx.experimental.proxy_tensor import make_fx

import tensormoe as tm
from tensormoe_torch import MuMoE, MuMoEBlock


def layer(factorization: tm.Factorization = EVERY[0], **options) -> MuMoE:
    options.setdefault("gate", tm.Gate(norm="batch"))
    return MuMoE(7, 6, experts=5, factorization=factorization, seed=0, **options)


def x(*leading: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*leading, 7, generator=torch.Generator().manual_seed(0)).to(dtype)


def test_arguments_are_nn_linears() -> None:
    torch.manual_seed(0)
    first, second = (MuMoE(7, 6, 5, tm.CP(3)) for _ in range(2))
    assert (first.cores["input"] != second.cores["input"]).all()
    torch.manual_seed(0)
    again = MuMoE(7, 6, 5, tm.CP(3), device="cpu", dtype=torch.float32)
    assert (first.cores["input"] == again.cores["input"]).all()
    assert first.spec == tm.MuMoESpec(7, 6, 5, tm.CP(3))
    assert list(first.cores) == ["expert1", "input", "output"]
    assert [tuple(g.shape) for g in first.gate_weights] == [(7, 5)]
    assert "7 → 6" in repr(first)
    block = tm.build(tm.MuMoEBlockSpec(7, 8, 6, 5, tm.CP(3), input_norm=True), "torch")
    assert "7 → 8 → 6, experts=(5,)" in repr(block)
    assert "nonlinearity='gelu', input_norm=True" in repr(block)
    assert all(isinstance(core, torch.nn.Parameter) for core in first.cores.values())
    with pytest.raises(tm.TensorMoEError, match="dtype"):
        MuMoE(7, 6, 5, tm.CP(3), dtype=torch.int32)


def test_names_are_those_of_initialize() -> None:
    block = MuMoEBlock(7, 8, 6, 5, tm.CP(3), gate=tm.Gate(norm="batch"), input_norm=True, seed=4)
    parameters, state = tm.initialize(block.spec, 4)
    assert set(block.state_dict()) == set(parameters) | set(state)
    y, _, _ = tm.apply(
        block.spec, dict(block.named_parameters()), x(3), state=dict(block.named_buffers()), training=False
    )
    close(y.detach(), block.eval()(x(3)).detach())
    assert [w.shape for w in block.materialize()] == [(5, 8, 8), (5, 9, 6)]


@pytest.mark.parametrize("factorization", EVERY, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_every_floating_point_type_trains(factorization: tm.Factorization, dtype: torch.dtype) -> None:
    module = layer(factorization, dtype=dtype)
    y, (a,) = module(x(4, 3, dtype=dtype), return_coefficients=True)
    assert y.dtype == a.dtype == dtype
    y.float().square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters())
    wide = layer(factorization, dtype=torch.float64)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5}.get(dtype, 0.05)
    close(y.double().detach(), wide(x(4, 3, dtype=dtype).double()).detach(), tolerance)


def test_moving_and_converting() -> None:
    module = layer().to(torch.bfloat16).to(torch.float64).to("cpu")
    assert module(x(3, dtype=torch.float64)).dtype == torch.float64
    assert layer().to("meta")(x(3).to("meta")).shape == (3, 6)
    half = layer().to(torch.bfloat16)
    half(x(3, dtype=torch.bfloat16))
    assert all(buffer.dtype == torch.bfloat16 for buffer in half.buffers())


def test_state_dict_copy_and_pickle_after_a_forward() -> None:
    module = layer()
    y = module(x(8))
    y.sum().backward()
    module.eval()
    expected = module(x(8))
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    buffer.seek(0)
    restored = layer(tm.CP(6))
    restored.load_state_dict(torch.load(buffer, weights_only=True))
    for other in (restored, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(other.eval()(x(8)), expected)
        assert other.spec == module.spec


def test_no_graph_is_kept_on_the_module() -> None:
    module = layer()
    module(x(8))
    assert all(buffer.grad_fn is None and not buffer.requires_grad for buffer in module.buffers())
    tensors = [value for value in vars(module).values() if isinstance(value, torch.Tensor)]
    assert tensors == []


def test_evaluation_is_deterministic_and_training_moves_statistics() -> None:
    module = layer(gate=tm.Gate(norm="batch"))
    torch.nn.init.normal_(module.gate_weights[0])
    before = [buffer.clone() for buffer in module.buffers()]
    module.eval()
    module(x(8))
    assert all(torch.equal(a, b) for a, b in zip(before, module.buffers(), strict=True))
    module.train()
    module(x(8))
    assert not any(torch.equal(a, b) for a, b in zip(before, module.buffers(), strict=True))


@pytest.mark.parametrize("factorization", EVERY, ids=str)
def test_compiles_to_one_graph_for_every_batch_size(factorization: tm.Factorization) -> None:
    module = layer(factorization, gate=tm.Gate(norm="layer"))
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend="aot_eager")
    for size in (3, 8, 17):
        close(compiled(x(size)).detach(), module(x(size)).detach(), 1e-5)
    compiled(x(5, 2)).sum().backward()
    assert module.gate_weights[0].grad is not None


@pytest.mark.parametrize("activation", ["entmax15", "sparsemax"])
def test_several_levels_train_compiled_with_symbolic_sizes(activation: str) -> None:
    """PyTorch may take a float of a module for a symbol, and fails at its second use in another function."""
    spec = tm.MuMoESpec(7, 6, (5, 4, 4), tm.CP(3), tm.Gate(activation))
    plain = tm.build(spec, "torch")
    module = copy.deepcopy(plain)
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend="aot_eager")
    for each in (compiled, plain):
        each(x(4)).square().sum().backward()
    for ours, theirs in zip(module.parameters(), plain.parameters(), strict=True):
        close(ours.grad, theirs.grad, 1e-5)


@pytest.mark.parametrize("activation", ["softmax", "entmax15"])
def test_compiled_training_with_batch_norm(activation: str) -> None:
    plain = layer(gate=tm.Gate(activation, "batch"))
    torch.nn.init.normal_(plain.gate_weights[0])
    module = copy.deepcopy(plain)
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    for size in (8, 9):
        compiled(x(size)).square().sum().backward()
        plain(x(size)).square().sum().backward()
    for (name, ours), theirs in zip(module.named_parameters(), plain.parameters(), strict=True):
        close(ours.grad, theirs.grad, 1e-4), name
    for ours, theirs in zip(module.buffers(), plain.buffers(), strict=True):
        close(ours, theirs, 1e-6)


def test_functional_transforms() -> None:
    module = layer(gate=tm.Gate(norm="layer"), dtype=torch.float64)
    torch.nn.init.normal_(module.gate_weights[0])
    values = {name: p.detach() for name, p in module.named_parameters()}
    batch = x(6, dtype=torch.float64)

    def one(values: dict, token: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(module, values, (token,)).square().sum()

    close(torch.func.vmap(one, in_dims=(None, 0))(values, batch), module(batch).square().sum(-1).detach())
    each = torch.func.vmap(torch.func.grad(one), in_dims=(None, 0))(values, batch)
    module(batch).square().sum().backward()
    for name, parameter in module.named_parameters():
        close(each[name].sum(0), parameter.grad)


GATES = [tm.Gate(), tm.Gate("sparsemax", "batch"), tm.Gate(tm.Activation("soft_top_k", k=2), None)]


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("gate", GATES, ids=str)
@pytest.mark.parametrize("trained", [True, False])
def test_traced_graphs_hold_no_values(gate: tm.Gate, trained: bool) -> None:
    block = MuMoEBlock(7, 8, 6, 5, tm.CP(3), gate=gate, seed=0).eval().requires_grad_(trained)
    with torch.no_grad():
        block.gate_weights[0].normal_(generator=torch.Generator().manual_seed(1))
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(block, (x(4),)), file)
    file.seek(0)
    # Of another size, and with other values.
    tokens = 2 * x(9)
    close(torch.jit.load(file)(tokens).detach(), block(tokens).detach(), 1e-5)
    traced = make_fx(block)(x(4))
    close(traced(-x(4)).detach(), block(-x(4)).detach(), 1e-5)


class Doubled(torch.nn.Module):
    def forward(self, core: torch.Tensor) -> torch.Tensor:
        return 2 * core


def test_a_core_may_be_a_function_of_other_parameters() -> None:
    module = layer(gate=tm.Gate(norm="layer"))
    plain = module(x(4)).detach()
    torch.nn.utils.parametrize.register_parametrization(module.cores, "output", Doubled())
    close(module(x(4)).detach(), 2 * plain)


def test_exports_with_a_dynamic_batch() -> None:
    module = layer(gate=tm.Gate(norm="layer")).eval()
    batch = torch.export.Dim("batch", min=2, max=1024)
    exported = torch.export.export(module, (x(4),), dynamic_shapes={"x": {0: batch}}).module()
    for size in (2, 9):
        close(exported(x(size)).detach(), module(x(size)).detach(), 1e-5)


def test_autocast_mixes_types_as_nn_linear_does() -> None:
    module = layer(gate=tm.Gate(norm="layer"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = module(x(4))
        half = module(x(4).to(torch.bfloat16))
    close(y.float().detach(), module(x(4)).detach(), 0.05)
    close(half.float().detach(), module(x(4)).detach(), 0.05)
    with pytest.raises(tm.TensorMoEError, match="bfloat16"):
        module(x(4).to(torch.bfloat16))


def test_gradients_of_the_whole_layer_by_finite_differences() -> None:
    for factorization in EVERY:
        module = layer(factorization, gate=tm.Gate("softmax", "layer"), dtype=torch.float64)
        torch.nn.init.normal_(module.gate_weights[0])
        names = [name for name, _ in module.named_parameters()]
        leaves = [p.detach().clone().requires_grad_() for p in module.parameters()]

        def call(token, *values, module=module, names=names):
            return torch.func.functional_call(module, dict(zip(names, values, strict=True)), (token,))

        start = x(3, dtype=torch.float64).requires_grad_()
        assert torch.autograd.gradcheck(call, (start, *leaves))


def test_materialize_is_differentiable() -> None:
    module = layer(tm.CP(3))
    module.materialize().square().sum().backward()
    assert all(core.grad is not None for core in module.cores.values())


def test_float64_layers_keep_float64_statistics() -> None:
    module = layer(dtype=torch.float64)
    assert {buffer.dtype for buffer in module.buffers()} == {torch.float64}
    assert {buffer.dtype for buffer in layer(dtype=torch.bfloat16).buffers()} == {torch.float32}
    assert np.isfinite(module(x(2, dtype=torch.float64)).detach().numpy()).all()


def test_default_devices_are_kept_as_nn_linear_keeps_them() -> None:
    with torch.device("meta"):
        assert MuMoE(7, 6, 5, tm.CP(3)).cores["input"].is_meta
        assert tm.build(tm.MuMoESpec(7, 6, 5, tm.CP(3)), "torch").gate_weights[0].is_meta


def test_element_types_may_be_given_by_name() -> None:
    assert MuMoE(7, 6, 5, tm.CP(3), dtype="bfloat16").dtype == torch.bfloat16
    for wrong in ("int32", "of float", torch.int32, 32):
        with pytest.raises(tm.TensorMoEError, match=r"torch\.float32"):
            MuMoE(7, 6, 5, tm.CP(3), dtype=wrong)


def test_compiles_before_any_eager_call_and_after_a_pickle() -> None:
    for module in (
        layer(tm.CP(2)),
        pickle.loads(pickle.dumps(layer(tm.CP(4)))),
        copy.deepcopy(layer(tm.CP(7))),
    ):
        torch._dynamo.reset()
        weight = torch.compile(lambda module=module: module.materialize(), fullgraph=True, backend="eager")()
        assert weight.shape == (5, 8, 6)
        assert torch.compile(module, fullgraph=True, backend="eager")(x(3)).shape == (3, 6)


def test_forward_mode_through_the_layer() -> None:
    module = layer(gate=tm.Gate(norm="layer"), dtype=torch.float64)
    torch.nn.init.normal_(module.gate_weights[0])
    token = x(dtype=torch.float64)
    close(torch.func.jacfwd(module)(token).detach(), torch.func.jacrev(module)(token).detach())


def test_the_memory_for_an_array_is_the_hosts_or_unknown() -> None:
    ops = tm.get_backend("torch")
    host = tm.get_backend("numpy").memory_of(np.ones(1))
    assert host is not None
    assert ops.memory_of(torch.ones(1)) == host
    assert ops.memory_of(torch.ones(1, device="meta")) is None
