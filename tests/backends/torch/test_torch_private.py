"""Other versions of PyTorch lack some private names: then public ones serve."""

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as fwAD

from tensormoe_torch import _private


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The module as it is where all of these names are gone."""
    with monkeypatch.context() as without:
        for owner, name in (
            (torch._C, "_is_tracing"),
            (torch._C, "_len_torch_dispatch_stack"),
            (torch._C._functorch, "peek_interpreter_stack"),
            (torch.compiler, "is_exporting"),
            (torch._C, "_current_graph_task_id"),
            (torch._C, "_is_any_autocast_enabled"),
            (torch._C._autograd, "_top_saved_tensors_default_hooks"),
        ):
            without.delattr(owner, name)
        importlib.reload(_private)
    yield
    importlib.reload(_private)


@pytest.mark.usefixtures("bare")
def test_public_names_tell_the_same() -> None:
    x = torch.ones(3)
    assert not _private.is_tracing()
    assert not _private.count_modes()
    assert not _private.is_exporting()
    assert not _private.is_transformed(x)
    assert not _private.is_in_backward()
    assert _private.has_saved_tensor_hooks(), "nothing says that there are none"
    assert not _private.is_autocast_on()
    with torch.autocast("cpu"):
        assert _private.is_autocast_on()
    seen = []

    def watch(x: torch.Tensor) -> torch.Tensor:
        seen.append(_private.is_transformed(x))
        return x.sum()

    torch.func.grad(watch)(x)
    torch.func.vmap(watch)(torch.ones(2, 3))
    assert seen == [True, True]


def test_tangents_tell_of_forward_mode() -> None:
    x = torch.ones(3)
    assert not _private._has_tangent([x])
    with fwAD.dual_level():
        dual = fwAD.make_dual(x, x)
        assert _private._has_tangent([x, dual])
        assert _private.is_in_forward_mode([dual])
    assert not _private.is_in_forward_mode([x])


class Double(torch.autograd.Function):
    """2 x, whose backward pass reads what it saved once more after letting go of it."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return 2 * x

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        _private.clear_saved_tensors(ctx)
        assert len(ctx.saved_tensors) == 1
        return 2 * gradient


def test_what_a_function_saved_is_let_go_of_unless_its_graph_is_kept() -> None:
    y = Double.apply(torch.ones(3, requires_grad=True)).sum()
    y.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="freed"):
        y.backward()
    _private.clear_saved_tensors(object())
