"""PyTorch's programs: our own reverse mode gives what automatic differentiation of the same gives."""

from math import inf

import pytest
import torch
import torch.utils.checkpoint
from support.strategies import close
from support.torch_modules import (
    Module,
    differentiated,
    families,
    large,
    module_of,
    owns,
    same,
    spec_of,
    tokens,
    ways,
)
from torch.autograd.graph import saved_tensors_hooks

import tensormoe as tm
from tensormoe.arrays.nonlinearities import NONLINEARITIES
from tensormoe_torch._backend import backend


@families
@ways
@pytest.mark.parametrize("kind", ["layer", "block", "normed block", "gated block"])
def test_gradients_are_those_of_automatic_differentiation(kind: str, family: str, way: str) -> None:
    spec, x = spec_of(kind, family), tokens().requires_grad_()
    plain, own = module_of(spec), module_of(spec, recompute=way == "recompute")
    with large(inf):
        expected = differentiated(plain, plain, x)
        assert not owns(plain(x))
    with large(0 if way == "large" else inf):
        same(differentiated(own, own, x), expected)
        y = own(x)
    assert owns(y)
    assert y.is_contiguous()


def test_large_layers_have_it_by_themselves() -> None:
    spec = tm.MuMoEBlockSpec(5, 4000, 256, 8, tm.CP(256), tm.Gate("softmax"))
    module, x = module_of(spec), tokens(40).requires_grad_()
    assert owns(module(x))
    with large(inf):
        expected = differentiated(module, module, x)
    same(differentiated(module, module, x), expected)
    assert not owns(module_of(spec_of("block"))(x))


@ways
@pytest.mark.parametrize("frozen", [("first.",), ("second.",), ("gate_weights", "first.input"), ("",)])
def test_frozen_parameters_and_inputs_have_no_gradient(frozen: tuple[str, ...], way: str) -> None:
    spec = spec_of("normed block", "ring")
    for wants_x in (True, False):
        x = tokens().requires_grad_(wants_x)
        plain, own = module_of(spec), module_of(spec, recompute=way == "recompute")
        for module in (plain, own):
            for name, parameter in module.named_parameters():
                parameter.requires_grad_(not name.startswith(frozen))
        with large(0 if way == "large" else inf):
            if frozen == ("",) and not wants_x:
                assert not own(x).requires_grad
                continue
            actual = differentiated(own, own, x)
            assert owns(own(x))
        with large(inf):
            same(actual, differentiated(plain, plain, x))


@ways
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
def test_second_derivatives(nonlinearity: str, gated: bool, way: str) -> None:
    gate = tm.Gate("softmax")
    spec = tm.MuMoEBlockSpec(2, 3, 2, (2, 2), tm.CP(2), gate, nonlinearity=nonlinearity, gated=gated)
    module = module_of(spec, recompute=way == "recompute")
    names = [name for name, _ in module.named_parameters()]

    def call(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        y, _, _ = tm.apply(spec, dict(zip(names, values, strict=True)), x, recompute=module.recompute)
        assert owns(y)
        return y

    leaves = [tokens(2)[:, :2].clone(), *(p.detach().clone() for p in module.parameters())]
    with large(0 if way == "large" else inf):
        inputs = [leaf.requires_grad_() for leaf in leaves]
        assert torch.autograd.gradcheck(call, inputs)
        assert torch.autograd.gradgradcheck(call, inputs)


@pytest.mark.parametrize("nonlinearity", sorted(NONLINEARITIES.keys() - {"relu", "identity"}))
def test_second_derivatives_with_frozen_parameters(nonlinearity: str) -> None:
    """A gradient that depends on nothing meets a hidden layer that does."""
    gate = tm.Gate(lambda logits: torch.softmax(logits.detach(), -1))
    spec = spec_of("block", gate=gate, nonlinearity=nonlinearity)
    actual = []
    for recompute in (False, True):
        module, x = module_of(spec, recompute).requires_grad_(False), tokens().requires_grad_()
        (slope,) = torch.autograd.grad(module(x).sum(), x, create_graph=True)
        actual.append((slope.detach(), *torch.autograd.grad(slope.square().sum(), x)))
    for plain, own in zip(*actual, strict=True):
        close(own, plain)


def saved_bytes(module: Module, x: torch.Tensor) -> int:
    """What is kept for the backward pass, each tensor's memory once; parameters are there anyway."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        y = module(x)
    for tensor in (x, *module.parameters()):
        kept.pop(tensor.untyped_storage().data_ptr(), None)
    assert y.requires_grad
    return sum(kept.values())


@families
@pytest.mark.parametrize("kind", ["block", "gated block"])
def test_recomputation_keeps_less(kind: str, family: str) -> None:
    spec, x = spec_of(kind, family), tokens(256)
    with large(inf):
        plain, less = (saved_bytes(module_of(spec, recompute), x) for recompute in (False, True))
    with large(0):
        own = saved_bytes(module_of(spec), x)
    assert less < own <= plain


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints(reentrant: bool) -> None:
    module, x = module_of(spec_of("block"), recompute=True), tokens().requires_grad_()
    expected = differentiated(module, module, x)

    def call(x: torch.Tensor) -> torch.Tensor:
        return torch.utils.checkpoint.checkpoint(module, x, use_reentrant=reentrant)

    same(differentiated(call, module, x), expected)


@families
def test_functional_transforms_and_forward_mode(family: str) -> None:
    module, x = module_of(spec_of("block", family), recompute=True), tokens()
    values = {name: parameter.detach() for name, parameter in module.named_parameters()}

    def loss(values: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(module, values, (x,)).square().sum()

    _, (_, *expected) = differentiated(module, module, x)
    at_once = torch.func.grad(loss)(values, x)
    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(values, x)
    for name, derivative in zip(values, expected, strict=True):
        close(at_once[name], derivative)
        close(each[name].sum(0), derivative)
    direction = torch.ones_like(x)
    _, slope = torch.func.jvp(lambda x: loss(values, x), (x,), (direction,))
    x = x.requires_grad_()
    loss(values, x).backward()
    close(slope, x.grad.sum())


@pytest.mark.parametrize("columns", [7, 557])
def test_mapped_backward_passes(columns: int) -> None:
    spec = tm.MuMoEBlockSpec(5, columns, 6, 8, tm.CP(4), tm.Gate("softmax"))
    module, x = module_of(spec, recompute=True), tokens(200).requires_grad_()
    y = module(x)
    cotangents = torch.stack([torch.ones_like(y), y.detach()])
    (mapped,) = torch.autograd.grad(y, x, cotangents, is_grads_batched=True, retain_graph=True)
    for actual, cotangent in zip(mapped, cotangents, strict=True):
        (expected,) = torch.autograd.grad(y, x, cotangent, retain_graph=True)
        close(actual, expected)


@families
def test_compiles_to_one_graph(family: str) -> None:
    module, x = module_of(spec_of("block", family), recompute=True), tokens().requires_grad_()
    expected = differentiated(module, module, x)
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    same(differentiated(compiled, module, x), expected)


@ways
def test_autocast(way: str) -> None:
    """Both passes in half precision, wherever the backward pass is called from."""
    spec, x = spec_of("normed block", "ring"), tokens(64, torch.float32).requires_grad_()
    plain, own = (module_of(spec, recompute, torch.float32) for recompute in (False, way == "recompute"))
    types = set()

    def call(x: torch.Tensor, module: Module = plain) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return module(x)

    with large(inf):
        expected = differentiated(call, plain, x)
    matmul = backend.matmul
    with large(0 if way == "large" else inf), pytest.MonkeyPatch.context() as monkeypatch:

        def watched(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            product = matmul(a, b)
            types.add(product.dtype)
            return product

        monkeypatch.setattr(backend, "matmul", watched)
        actual = differentiated(lambda x: call(x, own), own, x)
    assert actual[0].dtype == torch.bfloat16
    assert types == {torch.bfloat16}
    same(actual, expected, 0.05)


def test_second_derivatives_under_autocast() -> None:
    spec, x = spec_of("block"), tokens(64, torch.bfloat16).requires_grad_()
    actual = []
    for recompute in (False, True):
        module = module_of(spec, recompute, torch.float32)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = module(x)
        (slope,) = torch.autograd.grad(y.float().square().sum(), x, create_graph=True)
        actual.append(torch.autograd.grad(slope.float().square().sum(), list(module.parameters())))
    for ours, theirs in zip(*actual, strict=True):
        close(ours, theirs, 0.05)


@ways
def test_graphs_may_be_kept(way: str) -> None:
    module, x = module_of(spec_of("block"), recompute=way == "recompute"), tokens()
    with large(0 if way == "large" else inf):
        y = module(x)
    loss, leaves = y.square().sum(), list(module.parameters())
    first, second, last = (
        torch.autograd.grad(loss, leaves, retain_graph=retained) for retained in (True, True, False)
    )
    for a, b, c in zip(first, second, last, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, leaves)
