"""Where PyTorch's results and parameters lie in memory makes no difference to anyone."""

import copy
import io
import pickle
from math import inf

import pytest
import torch
from support.strategies import close
from support.torch_modules import large, module_of, owns, spec_of, tokens, ways

import tensormoe as tm
import tensormoe_torch
from tensormoe_torch._backend import backend


def test_copies_keep_values_and_stay_contiguous() -> None:
    spec, x = spec_of("block", "ring"), tokens()
    module = module_of(spec)
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    buffer.seek(0)
    restored = type(module).from_spec(spec, seed=7, dtype=torch.float64)
    restored.load_state_dict(torch.load(buffer, weights_only=True))
    for other in (module, copy.deepcopy(module), pickle.loads(pickle.dumps(module)), restored):
        assert torch.equal(other(x), module(x))
        assert all(parameter.is_contiguous() for parameter in other.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("columns", [556, 557])
@pytest.mark.parametrize("rows", [0, 1, 3, 200])
def test_products_with_aligned_rows(rows: int, columns: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(shape, generator=generator, dtype=dtype) for shape in ((rows, 30), (31, columns)))
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    actual = backend.matmul(a, b[:-1]), backend.affine(a, b)
    for product, expected in zip(actual, (a @ b[:-1], a @ b[:-1] + b[-1]), strict=True):
        close(product, expected, tolerance)
        if rows == 200:
            assert product.stride(0) * product.element_size() % 32 == 0
        elif rows > 1:
            assert product.stride(0) == columns
    # Memory of one's own has no derivative.
    a, b = a.requires_grad_(), b.requires_grad_()
    actual = backend.matmul(a, b[:-1]).sum() + backend.affine(a, b).sum()
    expected = (a @ b[:-1]).sum() + (a @ b[:-1] + b[-1]).sum()
    for ours, theirs in zip(*(torch.autograd.grad(loss, (a, b)) for loss in (actual, expected)), strict=True):
        close(ours, theirs, tolerance)


@pytest.mark.parametrize("count", [0, 1, 200])
@ways
def test_outputs_are_contiguous(count: int, way: str) -> None:
    """A product of 556 columns is computed in wider memory."""
    spec = tm.MuMoESpec(5, 556, 8, tm.CP(4), tm.Gate("softmax"))
    module, x = module_of(spec, recompute=way == "recompute"), tokens(count)
    with large(0 if way == "large" else inf):
        y = module(x)
    assert owns(y)
    with torch.no_grad():
        evaluated = module(x)
    assert y.is_contiguous()
    assert evaluated.is_contiguous()
    close(y.detach(), evaluated)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_a_transposed_weight_is_never_the_parameter_itself(backend: str) -> None:
    layer = tm.build(tm.MuMoESpec(6, 5, 1, tm.TensorNetwork("i n o")), backend, seed=0)
    weight, (core,) = layer.materialize(), layer.cores.values()
    with torch.no_grad():
        weight[...] = 7
    assert float(abs(core - 7).min()) > 0


def test_a_large_materialized_weight_is_never_the_parameter_itself() -> None:
    module = tensormoe_torch.MuMoE(64, 64, 128, tm.Dense())
    weight, (core,) = module.materialize(), module.cores.values()
    assert weight.untyped_storage().data_ptr() != core.untyped_storage().data_ptr()
