"""Faults in one framework's backend or module classes."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from mutants.harness import Mutant, Patch, assign, edit
from mutants.specs import (
    BATCH_NORM,
    BLOCK,
    CLUSTERS,
    CP,
    ENTMAX15,
    HARD_CLUSTERS,
    LONG,
    MANY_SOFT_TOP_K,
    MANY_SPARSEMAX,
    MOVED,
    SOFTMAX,
    SPARSEMAX,
    SQUARE,
    TOP_K,
    TURNED,
)

NUMPY, TORCH, JAX = (f"tensormoe_{name}._backend" for name in ("numpy", "torch", "jax"))
PROGRAMS, NONLINEARITIES = "tensormoe_torch._programs", "tensormoe_torch._nonlinearities"
THRESHOLDS = "tensormoe_torch._thresholds"
# Only these two differentiate by themselves.
BOTH = ("torch", "jax")


def _product_in_float32(ops: Any, a: Any, b: Any) -> Any:
    return np.matmul(a.astype("float32"), b.astype("float32")).astype(a.dtype)


def _reshaped_in_memory(ops: Any, array: Any, shape: Any) -> Any:
    return np.reshape(array, shape, order="A")


def _permuted_backwards(ops: Any, tensor: Any, axes: Any = None) -> Any:
    return tensor.T if axes is None else tensor.permute(*np.argsort(axes).tolist())


def _product_with_transposed(ops: Any, a: Any, b: Any) -> Any:
    return a @ b.transpose(-1, -2)


def _product_term_by_term(ops: Any, a: Any, b: Any) -> Any:
    return sum(a[..., :, k, None] * b[..., None, k, :] for k in range(a.shape[-1]))


def _largest_over_tokens(ops: Any, tensor: Any, axis: Any = None) -> Any:
    return tensor.argmax(0)


def _gelu_of_tanh(*parts: str) -> Patch:
    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        from tensormoe_torch._nonlinearities import NONLINEARITIES as table

        changes = {part: getattr(table["gelu_tanh"], part) for part in parts}
        monkeypatch.setitem(table, "gelu", replace(table["gelu"], **changes))

    return patch


def _tangent_at_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    from tensormoe_jax import _backend

    function = _backend._differentiable
    # Defining a derivative leaves it with the function.
    monkeypatch.setattr(function, "jvp", function.jvp)
    old, new = "function.jacobian_product(backend, y, ", "function.jacobian_product(backend, primals[0], "
    edit("", f"{JAX}:_tangent", old, new, SPARSEMAX, None).patch(monkeypatch)


PRODUCTS = [
    assign(
        "NumPy: products in float32",
        f"{NUMPY}:NumPyBackend.matmul",
        _product_in_float32,
        CP,
        "float",
        ("numpy",),
    ),
    assign(
        "NumPy: memory is reshaped, not the array",
        f"{NUMPY}:NumPyBackend.reshape",
        _reshaped_in_memory,
        MOVED,
        "float",
        ("numpy",),
    ),
    assign(
        "PyTorch: axes are permuted backwards",
        f"{TORCH}:TorchBackend.transpose",
        _permuted_backwards,
        TURNED,
        "float",
        ("torch",),
    ),
    assign(
        "PyTorch: right sides are transposed",
        f"{TORCH}:TorchBackend.matmul",
        _product_with_transposed,
        SQUARE,
        "float",
        ("torch",),
    ),
    assign(
        "PyTorch: sums accumulate in half precision",
        f"{TORCH}:TorchBackend.matmul",
        _product_term_by_term,
        LONG,
        "float",
        ("torch",),
    ),
    edit(
        "PyTorch: a product lacks its bias",
        f"{TORCH}:TorchBackend.affine",
        "torch.addmm(bias",
        "torch.addmm(0 * bias",
        CP,
        "float",
        ("torch",),
    ),
    edit(
        "PyTorch: the first row is taken for the bias",
        f"{TORCH}:TorchBackend.affine",
        "weight, bias = matrix.split_with_sizes((x.shape[-1], 1), -2)",
        "bias, weight = matrix.split_with_sizes((1, x.shape[-1]), -2)",
        CP,
        "float",
        ("torch",),
    ),
    edit(
        "JAX: float64 is lost",
        f"{JAX}:JaxBackend.double_precision",
        "enable_x64(True)",
        "enable_x64(False)",
        CP,
        "float",
        ("jax",),
    ),
]

GATES = [
    edit(
        "PyTorch: the layer norm lacks its ε",
        f"{TORCH}:TorchBackend.layer_norm",
        "eps=epsilon",
        "eps=0",
        SOFTMAX,
        "float",
        ("torch",),
    ),
    edit(
        "NumPy: softmax sums over tokens",
        "arrays.backend:Backend.softmax",
        "exponentials, axis=-1)[..., None]",
        "exponentials, axis=0)",
        SOFTMAX,
        "float",
        ("numpy",),
    ),
    edit(
        "PyTorch: softmax is over tokens",
        f"{TORCH}:TorchBackend.softmax",
        "dim=-1",
        "dim=0",
        SOFTMAX,
        "float",
        ("torch",),
    ),
    edit(
        "PyTorch: softmax is off by a thousandth",
        f"{TORCH}:TorchBackend.softmax",
        "torch.softmax(x",
        "1.001 * torch.softmax(x",
        SOFTMAX,
        "float",
        ("torch",),
    ),
    edit(
        "PyTorch: soft top-k has no upper bound",
        f"{THRESHOLDS}:TorchThresholds.clip",
        "if top is None else",
        "if top else",
        MANY_SOFT_TOP_K,
        "float",
        ("torch",),
    ),
    edit(
        "PyTorch: the iteration ends with the first token's",
        f"{THRESHOLDS}:TorchThresholds.largest",
        "torch.linalg.vector_norm(size, torch.inf).item()",
        "size.abs().min().item()",
        MANY_SPARSEMAX,
        "float",
        ("torch",),
    ),
    edit(
        "JAX: the iteration ends with the first token's",
        f"{JAX}:_Thresholds.refine",
        "~jnp.all(",
        "~jnp.any(",
        SPARSEMAX,
        "frameworks",
        BOTH,
    ),
    edit(
        "PyTorch: top-k starts at the largest",
        f"{TORCH}:TorchBackend.beyond_largest",
        "[..., k - 1 : k]",
        "[..., :1]",
        TOP_K,
        "frameworks",
    ),
    assign(
        "PyTorch: a cluster is chosen among tokens",
        f"{TORCH}:TorchBackend.argmax",
        _largest_over_tokens,
        HARD_CLUSTERS,
        "frameworks",
    ),
]

DERIVATIVES = [
    edit(
        "PyTorch: a gate's derivative is the identity",
        f"{TORCH}:_pull_back",
        "product = function.jacobian_product(ops, y, gradient, *scalars)",
        "product = gradient",
        SPARSEMAX,
        "frameworks",
        BOTH,
    ),
    edit(
        "PyTorch: a root in place lacks a factor",
        f"{THRESHOLDS}:TorchThresholds.root",
        "rsqrt_().mul_(x)",
        "rsqrt_()",
        ENTMAX15,
        "frameworks",
        BOTH,
    ),
    Mutant(
        "JAX: a gate's derivative is taken at its logits",
        f"{JAX}:_tangent",
        _tangent_at_logits,
        SPARSEMAX,
        "frameworks",
        BOTH,
    ),
    edit(
        "PyTorch: the router's weights are differentiated",
        f"{TORCH}:TorchBackend.stop_gradient",
        "array.detach()",
        "array",
        CLUSTERS,
        "frameworks",
        BOTH,
    ),
    edit(
        "PyTorch: statistics keep their gradient",
        f"{TORCH}:TorchBackend.stop_gradient",
        "array.detach()",
        "array",
        BATCH_NORM,
        "backends/torch/test_torch.py::test_no_graph_is_kept_on_the_module",
    ),
]

WHOLE = [
    edit(
        "NumPy: GELU is approximated",
        f"{NUMPY}:_gelu",
        "erf(x / np.sqrt(2))",
        "np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))",
        BLOCK,
        "frameworks",
        ("numpy",),
    ),
    Mutant(
        "PyTorch: GELU is approximated",
        f"{NONLINEARITIES}:NONLINEARITIES",
        _gelu_of_tanh("value", "overwrite"),
        BLOCK,
        "frameworks",
        ("torch",),
    ),
    edit(
        "JAX: GELU is approximated",
        f"{JAX}:_gelu",
        "approximate=False",
        "approximate=True",
        BLOCK,
        "frameworks",
        ("jax",),
    ),
    edit(
        "PyTorch: the module keeps old statistics",
        "tensormoe_torch._gate:GateModule.forward",
        "buffer.copy_(output.state[name])",
        "buffer.copy_(buffer)",
        BATCH_NORM,
        "backends/torch/test_torch.py::test_evaluation_is_deterministic_and_training_moves_statistics",
    ),
]

OWN_REVERSE_MODE = [
    edit(
        "NumPy: GELU's derivative lacks the density",
        f"{NUMPY}:_gelu_vjp",
        " + x * density",
        "",
        BLOCK,
        "programs/test_program.py::test_reverse_mode_is_the_definitions[True-plain-1-CP]",
    ),
    edit(
        "JAX: recomputation keeps everything",
        f"{JAX}:JaxBackend.compute",
        "dots_saveable",
        "everything_saveable",
        BLOCK,
        "programs/test_program.py::test_jax_keeps_the_same_products",
        BOTH,
    ),
    Mutant(
        "PyTorch: GELU's derivative is approximated",
        f"{NONLINEARITIES}:NONLINEARITIES",
        _gelu_of_tanh("vjp"),
        BLOCK,
        "backends/torch/test_torch_modes.py::test_gradients_that_can_be_differentiated_are_the_same_gradients[gelu-block]",
    ),
    edit(
        "PyTorch: recomputation waits for a large layer",
        f"{PROGRAMS}:_own_reverse_mode",
        "recompute or sum(",
        "sum(",
        BLOCK,
        "layers/test_modules.py::test_recomputation_keeps_less_for_the_backward_pass",
    ),
    edit(
        "PyTorch: the operand before is asked for its gradient",
        f"{PROGRAMS}:_Program.backward",
        "needs_input_grad[3:]",
        "needs_input_grad[2:]",
        BLOCK,
        "backends/torch/test_torch_programs.py::test_frozen_parameters_and_inputs_have_no_gradient[frozen0-recompute]",
    ),
    edit(
        "PyTorch: a second derivative takes intermediates for constants",
        f"{PROGRAMS}:_Program.backward",
        "if torch.is_grad_enabled():",
        "if False:",
        BLOCK,
        "backends/torch/test_torch_programs.py::test_second_derivatives[gelu-False-recompute]",
    ),
    edit(
        "PyTorch: the backward pass forgets autocast",
        f"{PROGRAMS}:_Program.backward",
        "torch.autocast(device, dtype, enabled)",
        "torch.autocast(device, dtype, False)",
        BLOCK,
        "backends/torch/test_torch_modes.py::test_a_backward_pass_has_the_type_of_its_forward_pass",
    ),
    edit(
        "PyTorch: outputs are returned with their padding",
        f"{PROGRAMS}:_Program.forward",
        "result.contiguous()",
        "result",
        BLOCK,
        "backends/torch/test_torch_memory.py::test_outputs_are_contiguous",
    ),
    edit(
        "PyTorch: products under differentiation choose their memory",
        "tensormoe_torch._memory:allocate_aligned",
        "torch.is_grad_enabled() and (a.requires_grad or b.requires_grad)",
        "False",
        BLOCK,
        "backends/torch/test_torch_memory.py::test_products_with_aligned_rows",
    ),
]

MUTANTS = [*PRODUCTS, *GATES, *DERIVATIVES, *WHOLE, *OWN_REVERSE_MODE]
