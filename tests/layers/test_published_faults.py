"""Faults of the published layer, each of which must not come back here.

They were found by running the authors' layer (Oldfield et al., 2024); none of its code is here.
"""

import copy
import sys
import types

import numpy as np
import pytest
from support.frameworks import optional
from support.strategies import BACKENDS, close

import tensormoe as tm
from tensormoe_torch import MuMoE

torch = optional("torch")

CP = tm.CP(6)


@pytest.mark.parametrize("levels", [3, 4])
@pytest.mark.parametrize("backend", BACKENDS)
def test_more_than_two_levels_run(levels: int, backend: str) -> None:
    experts = (5, 4, 3, 2)[:levels]
    for factorization in (CP, tm.TensorRing((2,) * (levels + 2))):
        assert tm.verify(tm.MuMoESpec(7, 6, experts, factorization), (backend,), methods="float").passed


def test_the_levels_are_the_expert_counts_and_cannot_contradict_them() -> None:
    layer = MuMoE(7, 6, experts=(5, 4), factorization=CP)
    assert layer(torch.ones(3, 7)).shape == (3, 6)
    assert layer.spec.levels == 2
    with pytest.raises(tm.TensorMoEError, match="option of MuMoE: received 'hierarchy'"):
        MuMoE(7, 6, experts=(5, 4), factorization=CP, hierarchy=1)
    with pytest.raises(tm.TensorMoEError, match="takes 4 rank"):
        MuMoE(7, 6, experts=(5, 4), factorization=tm.TensorRing((2, 2, 2)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_runs_with_a_bias(dtype: torch.dtype) -> None:
    layer = MuMoE(7, 6, experts=5, factorization=CP, bias=True).to(dtype)
    y = layer(torch.ones(3, 7, dtype=dtype))
    assert y.dtype == dtype
    assert torch.isfinite(y).all()


@pytest.mark.parametrize("shape", [(7,), (3, 7), (2, 3, 7), (2, 2, 3, 7), (0, 7), (2, 0, 7)])
def test_outputs_keep_the_inputs_leading_dimensions(shape: tuple[int, ...]) -> None:
    assert MuMoE(7, 6, experts=5, factorization=CP)(torch.ones(shape)).shape == (*shape[:-1], 6)


def test_batch_norm_trains_on_one_sample() -> None:
    layer = MuMoE(7, 6, experts=5, factorization=CP, gate=tm.Gate(norm="batch")).train()
    y = layer(torch.randn(1, 7))
    y.sum().backward()
    assert torch.isfinite(y).all()
    assert all(torch.isfinite(value).all() for value in layer.state_dict().values())


def test_the_module_copies_after_a_forward_and_keeps_no_graph() -> None:
    layer = MuMoE(7, 6, experts=5, factorization=CP, gate=tm.Gate(norm="batch"))
    y = layer(torch.randn(3, 7, requires_grad=True))
    clone = copy.deepcopy(layer)
    assert clone is not layer
    held = [v for module in layer.modules() for v in vars(module).values() if isinstance(v, torch.Tensor)]
    assert held == []
    assert y.grad_fn is not None


@pytest.mark.parametrize("width", [1, 3, 256])
def test_entmax_compiles_maps_and_survives_bfloat16(width: int) -> None:
    x = 10 * torch.randn(4, width, generator=torch.Generator().manual_seed(0))
    expected = tm.entmax15(x)
    torch._dynamo.reset()
    close(torch.compile(tm.entmax15, fullgraph=True, backend="aot_eager")(x), expected, 1e-6)
    close(torch.func.vmap(tm.entmax15)(x), expected, 1e-6)
    half = tm.entmax15(x.to(torch.bfloat16))
    assert torch.isfinite(half).all()
    close(half.float().sum(-1), np.ones(4), 0.02)


def test_a_gradient_reaches_the_gate_through_batch_norm_and_entmax() -> None:
    layer = MuMoE(7, 6, experts=5, factorization=CP, gate=tm.Gate(norm="batch"), dtype=torch.float64)
    layer(torch.randn(16, 7, dtype=torch.float64)).square().sum().backward()
    assert layer.gate_weights[0].grad.abs().max() > 0


def test_nothing_needs_the_entmax_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "entmax", types.ModuleType("entmax"))
    assert MuMoE(7, 6, experts=5, factorization=CP)(torch.ones(3, 7)).shape == (3, 6)
