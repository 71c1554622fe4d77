"""Other versions of PyTorch lack some private names: then public ones serve."""

import importlib
from collections.abc import Iterator

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
