"""PyTorch's modules in evaluation, in forward mode, and under differentiation twice."""

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from support.strategies import close
from support.torch_modules import module_of, spec_of, tokens

import tensormoe as tm
from tensormoe.arrays.nonlinearities import NONLINEARITIES
from tensormoe_torch._backend import backend

BATCH = tm.Gate("softmax", "batch")


def test_running_statistics_stay_in_evaluation_and_so_does_what_autograd_has_saved() -> None:
    module = module_of(spec_of("layer", gate=BATCH))
    module(tokens(9))
    module.eval()
    before = {name: (buffer.clone(), buffer._version) for name, buffer in module.named_buffers()}
    y = module(tokens(4).requires_grad_())
    module(tokens(5))
    for name, buffer in module.named_buffers():
        value, version = before[name]
        assert torch.equal(buffer, value), name
        # A buffer that is written to, even with what it holds, can't be differentiated through any more.
        assert buffer._version == version, name
    y.sum().backward()


def test_evaluation_uses_the_running_statistics() -> None:
    module = module_of(spec_of("layer", gate=BATCH))
    module(tokens(9))
    module.eval()
    whole = module(tokens(6))
    # No token sees another.
    close(module(tokens(6)[:1]).detach(), whole[:1].detach())


def test_noise_is_off_in_evaluation() -> None:
    module = module_of(spec_of("layer", gate=tm.Gate("softmax", noise=0.5)))
    assert not torch.equal(module(tokens()), module(tokens()))
    module.eval()
    assert torch.equal(module(tokens()), module(tokens()))


@pytest.mark.parametrize("kind", ["block", "gated block"])
@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
def test_gradients_that_can_be_differentiated_are_the_same_gradients(nonlinearity: str, kind: str) -> None:
    spec = spec_of(kind, nonlinearity=nonlinearity)
    x = tokens().requires_grad_()
    (expected,) = torch.autograd.grad(module_of(spec)(x).square().sum(), x)
    for recompute in (False, True):
        loss = module_of(spec, recompute)(x).square().sum()
        (actual,) = torch.autograd.grad(loss, x, create_graph=True)
        close(actual.detach(), expected)


@pytest.mark.parametrize("recompute", [False, True])
def test_tangents_pass_through_a_layer_that_recomputes(recompute: bool) -> None:
    """Forward mode without torch.func: dual tensors."""
    module, x = module_of(spec_of("block"), recompute), tokens()
    step = 1e-6
    expected = (module(x + step).detach() - module(x - step).detach()) / (2 * step)
    with forward_ad.dual_level():
        dual = module(forward_ad.make_dual(x, torch.ones_like(x)))
        tangent = forward_ad.unpack_dual(dual).tangent
    assert tangent is not None
    close(tangent.detach(), expected, 1e-7)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_backward_pass_has_the_type_of_its_forward_pass(dtype: torch.dtype) -> None:
    """Where the layer's own reverse mode computes again, it does so in autocast's own type."""
    module, x = module_of(spec_of("block"), True, torch.float32), tokens(8, torch.float32).requires_grad_()
    types = set()
    matmul = backend.matmul

    def watched(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        product = matmul(a, b)
        types.add(product.dtype)
        return product

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(backend, "matmul", watched)
        with torch.autocast("cpu", dtype=dtype):
            y = module(x)
        types.clear()
        y.float().sum().backward()
    assert types == {dtype}
