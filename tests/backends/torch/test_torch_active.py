"""Gathered programs in PyTorch: hooks, compiled and traced layers, autocast, half precision, many vectors."""

from typing import Any

import pytest
import torch
from support.strategies import close
from torch.nn.modules.module import register_module_forward_hook

import tensormoe as tm
from tensormoe.layers.functional import run_mixture
from tensormoe.programs.gathering import Gather
from tensormoe_torch import MuMoE, MuMoEBlock
from tensormoe_torch._backend import backend
from tensormoe_torch._gate import active_of

TWO = tm.Gate(tm.Activation("top_k", k=2))


def layer_of(**options: Any) -> MuMoE:
    layer = MuMoE(80, 80, 160, tm.Dense(), gate=TWO, seed=0, **options)
    with torch.no_grad():
        layer.gate_weights[0].normal_(generator=torch.Generator().manual_seed(0))
    return layer


def tokens(count: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(count, 80, generator=torch.Generator().manual_seed(1)).to(dtype)


def whole(layer: MuMoE, x: torch.Tensor) -> torch.Tensor:
    """What the layer gives without the knowledge that few coefficients are active."""
    weights = {f"gate_weights.{n}": each for n, each in enumerate(layer.gate_weights)}
    a = layer.gate(x, weights, {})
    y: torch.Tensor = run_mixture(backend, layer.spec, {"cores.core1": layer.cores["core1"]}, a, x, False)
    return y


def gathers(layer: MuMoE, count: int) -> bool:
    """Whether a call reads slices."""
    read = []

    class Watching(type(backend), backend_name="watching"):  # type: ignore[misc, call-arg]
        def gather(self, *arguments: Any) -> Any:
            read.append(1)
            return super().gather(*arguments)

    layer.mixture = lambda ops, *rest: run_mixture(Watching(), *rest)
    layer(tokens(count))
    layer.mixture = run_mixture
    return bool(read)


def test_few_vectors_read_slices_and_many_do_not() -> None:
    layer = layer_of()
    assert gathers(layer, 2)
    assert not gathers(layer, 100)
    for count in (1, 2, 100):
        close(layer(tokens(count)).detach(), whole(layer, tokens(count)).detach(), 1e-5)


def test_what_hooks_put_in_place_of_coefficients_is_used_whole() -> None:
    layer, x = layer_of(), tokens(2)
    even = torch.full((2, 160), 1 / 160)
    with layer.gate.register_forward_hook(lambda *_: (even,)):
        assert active_of(layer.gate) is None
        expected = torch.einsum(
            "nio,ti->to", layer.cores["core1"] / 160, torch.cat([x, torch.ones(2, 1)], dim=1)
        )
        close(layer(x).detach(), expected.detach(), 1e-5)
    assert active_of(layer.gate) == (2,)

    def replace(module: torch.nn.Module, *_: Any) -> Any:
        return (even,) if module is layer.gate else None

    with register_module_forward_hook(replace):
        close(layer(x).detach(), expected.detach(), 1e-5)
    layer.gate.forward = lambda *_, **__: (even,)
    close(layer(x).detach(), expected.detach(), 1e-5)


@pytest.mark.parametrize("recompute", [False, True])
def test_gradients_are_those_of_the_whole(recompute: bool) -> None:
    layer, x = layer_of(recompute=recompute), tokens(3).requires_grad_()
    weights = torch.randn(3, 80, generator=torch.Generator().manual_seed(2))
    leaves = [x, *layer.parameters()]
    own = torch.autograd.grad(layer(x), leaves, weights)
    other = torch.autograd.grad(whole(layer, x), leaves, weights)
    for one, two in zip(own, other, strict=True):
        close(one, two, 1e-5)


def test_gathered_layers_are_compiled_as_one_graph() -> None:
    layer = layer_of()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = tokens(2).requires_grad_()
    y = compiled(x)
    close(y.detach(), layer(x).detach(), 1e-5)
    y.sum().backward()
    first = layer.cores["core1"].grad
    layer.cores["core1"].grad = None
    layer(x).sum().backward()
    assert first is not None
    close(first, layer.cores["core1"].grad, 1e-5)


def test_slices_are_cast_under_autocast_and_the_type_kept_in_half_precision() -> None:
    layer = layer_of()
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(tokens(2))
    assert y.dtype is torch.bfloat16
    close(y.detach().float(), layer(tokens(2)).detach(), 0.02)
    half = layer_of().to(torch.bfloat16)
    y = half(tokens(2, torch.bfloat16))
    assert y.dtype is torch.bfloat16
    close(y.detach().float(), whole(half.float(), tokens(2, torch.bfloat16).float()).detach(), 0.03)
    y.sum().backward() if y.requires_grad else None


def test_forward_mode_and_mapped_calls_read_slices_too() -> None:
    layer, x = layer_of(), tokens(2)
    tangent = tokens(2) * 0.1
    _, moved = torch.func.jvp(layer, (x,), (tangent,))
    _, expected = torch.func.jvp(lambda x: whole(layer, x), (x,), (tangent,))
    close(moved.detach(), expected.detach(), 1e-4)
    close(torch.func.vmap(layer)(x[:, None]).detach()[:, 0], layer(x).detach(), 1e-5)


def test_exported_layers_take_any_number_of_vectors() -> None:
    layer, count = layer_of().eval(), torch.export.Dim("count", min=2, max=512)
    program = torch.export.export(layer, (tokens(2),), dynamic_shapes={"x": {0: count}}).module()
    for size in (3, 200):
        close(program(tokens(size)).detach(), layer(tokens(size)).detach(), 1e-5)


def test_blocks_read_slices_in_each_layer() -> None:
    block = MuMoEBlock(80, 96, 80, 160, tm.Dense(), gate=TWO, seed=0)
    program = next(program for least, program in block.spec.programs_for((2,)) if least == 0)
    assert sum(isinstance(each, Gather) for each in program.instructions) == 2
    x = tokens(2)
    coefficients = block(x, return_coefficients=True)[1]
    parameters = {name: value for name, value in block.arrays().items() if name in block.spec.core_names}
    expected = run_mixture(backend, block.spec, parameters, coefficients, x, False)
    close(block(x).detach(), expected.detach(), 1e-5)
