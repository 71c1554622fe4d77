"""TensorLy's PyTorch backend with the operations that it lacks."""

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

import torch
from tensorly.backend.pytorch_backend import PyTorchBackend

from tensormoe.arrays.numpy_kinds import import_bfloat16, object_to
from tensormoe.arrays.protocols import Computed, Differentiable, GateOps, Nonlinearity, Runnable
from tensormoe.errors import TensorMoEError
from tensormoe.typing import AllReduce

from ._distributed import SumOverProcesses
from ._measuring import Measuring
from ._memory import allocate_aligned, is_disposable, is_readable
from ._nonlinearities import NONLINEARITIES
from ._precision import multiply_precisely
from ._private import (
    is_autocast_on,
    is_exporting,
    is_in_backward,
    is_in_forward_mode,
    is_tracing,
    is_transformed,
    place_of,
)
from ._programs import compute
from ._recomputation import Replay
from ._selection import TorchSelection
from ._thresholds import TorchThresholds

# Up to this many elements, an operation takes about as long as its call: a closed form beats iterating.
_SMALL = 2**12
# So many float32 numbers may be added one after the other.
_ROWS = 2**11
_PLAIN = (torch.Tensor, torch.nn.Parameter)
_FLOATS = {getattr(torch, name): name for name in ("float64", "float32", "bfloat16", "float16")}


class _Differentiable(torch.autograd.Function):
    """A function with a symmetric Jacobian J, known through the product J v; it may depend on scalars."""

    generate_vmap_rule = True

    @staticmethod
    def forward(function: Differentiable, x: torch.Tensor, *scalars: torch.Tensor) -> torch.Tensor:
        return backend.compute_value(function, x, *scalars)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        ctx.function, _, *scalars = inputs
        ctx.save_for_backward(output, *scalars)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return None, *backend.compute_precisely(_pull_back, gradient, ctx.function, *ctx.saved_tensors)


# PyTorch asks for it at every call, and to work it out takes longer than the arithmetic of a small gate.
_Differentiable.forward.__signature__ = signature(_Differentiable.forward)  # type: ignore[attr-defined]


class _InBothModes(_Differentiable):
    """The same with forward mode, which torch.compile does not trace."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        _Differentiable.setup_context(ctx, inputs, output)
        ctx.save_for_forward(output, *inputs[2:])

    @staticmethod
    def jvp(ctx: Any, _: None, tangent: torch.Tensor | None, *tangents: torch.Tensor | None) -> torch.Tensor:
        output, *scalars = ctx.saved_tensors
        return backend.compute_precisely(_push_forward, output, ctx.function, scalars, tangent, tangents)


def _pull_back(
    ops: GateOps, gradient: torch.Tensor, function: Differentiable, y: torch.Tensor, *scalars: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Gradients with respect to x and the scalars."""
    product = function.jacobian_product(ops, y, gradient, *scalars)
    if not scalars:
        return (product,)
    slopes = function.sensitivities(ops, y, *scalars)
    sums = ((gradient * slope).sum_to_size(s.shape) for slope, s in zip(slopes, scalars, strict=True))
    return product, *sums


def _push_forward(
    ops: GateOps,
    y: torch.Tensor,
    function: Differentiable,
    scalars: Sequence[torch.Tensor],
    tangent: torch.Tensor | None,
    tangents: Sequence[torch.Tensor | None],
) -> torch.Tensor:
    """The change of y with x and with the scalars."""
    result = torch.zeros_like(y)
    if tangent is not None:
        result = result + function.jacobian_product(ops, y, tangent, *scalars)
    if scalars:
        slopes = function.sensitivities(ops, y, *scalars)
        for slope, change in zip(slopes, tangents, strict=True):
            result = result if change is None else result + slope * change
    return result


def _may_be_differentiated(tensors: tuple[torch.Tensor, ...]) -> bool:
    """Whether derivatives with respect to these tensors may be asked for."""
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        # A graph of torch.jit can be saved only if it has no function of Python's in it.
        return torch.compiler.is_compiling() or not is_tracing()
    if torch.compiler.is_compiling():
        return False
    return is_in_forward_mode(tensors) or any(is_transformed(tensor) for tensor in tensors)


class TorchBackend(TorchSelection, Measuring, PyTorchBackend, backend_name="tensormoe-torch"):  # type: ignore[misc, call-arg]
    """Arrays are `torch.Tensor`, on any device."""

    tensormoe_name = "torch"
    widens_sums = True
    float_types = tuple(_FLOATS.values())
    nonlinearities = NONLINEARITIES
    threshold_kernel = TorchThresholds

    @staticmethod
    def is_tensor(value: object) -> bool:
        # Sparse and nested tensors lack most operations.
        return isinstance(value, torch.Tensor) and value.layout is torch.strided and not value.is_nested

    def objection(self, value: object) -> str | None:
        if isinstance(value, torch.fx.Proxy):
            # torch.fx.symbolic_trace hands these on, of which not even the shape is known.
            return "use torch.export.export, or a torch.fx.Tracer to which this module is a leaf"
        if isinstance(value, torch.Tensor) and not self.is_tensor(value):
            return "sparse and nested tensors lack operations: pass a dense tensor"
        return object_to(value)

    def place(self, array: torch.Tensor) -> object:
        return array.device if type(array) in _PLAIN else place_of(array)

    def dtype_name(self, array: torch.Tensor) -> str:
        # A type's own name takes ten times as long, and each call needs several.
        return _FLOATS.get(array.dtype) or super().dtype_name(array)

    def cast(self, array: torch.Tensor, dtype: str) -> torch.Tensor:
        return array if self.dtype_name(array) == dtype else array.to(getattr(torch, dtype))

    def from_numpy(self, array: Any) -> torch.Tensor:
        return torch.tensor(array)  # a copy: the caller's array stays the caller's

    def to_numpy(self, array: torch.Tensor) -> Any:
        if hasattr(array, "full_tensor"):
            remedy = "it is sharded over processes: gather it by full_tensor(), which all of them must call"
            raise TensorMoEError("tensor", type(array), remedy)
        if not isinstance(array, torch.Tensor) or array.dtype is not torch.bfloat16:
            return PyTorchBackend.to_numpy(array)
        # Between the two there is no conversion, but their bits are the same.
        return array.detach().cpu().contiguous().view(torch.int16).numpy().view(import_bfloat16())

    def devices(self) -> tuple[str, ...]:
        return ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)

    def from_float64(self, array: Any, dtype: str, device: str = "cpu") -> torch.Tensor:
        return self.cast(torch.tensor(array), dtype).to(device)

    def reduce(self, function: AllReduce, array: torch.Tensor) -> torch.Tensor:
        if not (torch.is_grad_enabled() and array.requires_grad):
            constant: torch.Tensor = function(array)
            return constant
        total: torch.Tensor = SumOverProcesses.apply(array, function)  # type: ignore[no-untyped-call]
        return total

    def stop_gradient(self, array: torch.Tensor) -> torch.Tensor:
        return array.detach()

    def matmul(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        memory = allocate_aligned(a, b)
        return torch.matmul(a, b) if memory is None else torch.mm(a, b, out=memory)

    def affine(self, x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        weight, bias = matrix.split_with_sizes((x.shape[-1], 1), -2)
        if x.dim() != 2:
            return torch.matmul(x, weight) + bias
        return torch.addmm(bias, x, weight, out=allocate_aligned(x, weight))

    def compute(
        self,
        program: Runnable,
        inputs: Sequence[torch.Tensor],
        cores: Sequence[torch.Tensor],
        recompute: bool = False,
    ) -> torch.Tensor:
        return compute(self, program, (*inputs, *cores), recompute)

    def nonlinear_product_overwrite(
        self, function: Nonlinearity, x: torch.Tensor, factor: torch.Tensor
    ) -> torch.Tensor:
        y: torch.Tensor = self.nonlinear_overwrite(function, x)
        # What a function of the user's own returns may be anybody's memory.
        own = isinstance(function, str) and is_disposable(y) and y.dtype == factor.dtype
        return y.mul_(factor) if own and not factor.requires_grad else y * factor

    def batch_size(self, x: torch.Tensor) -> int | None:
        # An exported graph is to take any.
        return None if is_exporting() else super().batch_size(x)

    def sum_products(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        whole = len(a) - len(a) % _ROWS
        if whole <= _ROWS or not a.is_cpu:
            return self.matmul(a.mT, b)
        # On a CPU some products add one after the other, and a million float32 numbers lose digits.
        left, right = (each[:whole].reshape(-1, _ROWS, each.shape[-1]) for each in (a, b))
        total: torch.Tensor = torch.matmul(left.mT, right).sum(0)
        return total + self.matmul(a[whole:].mT, b[whole:])

    def layer_norm(self, x: torch.Tensor, epsilon: float) -> torch.Tensor:
        return torch.layer_norm(x, x.shape[-1:], eps=epsilon)

    def softmax(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(x, dim=-1)

    def positions(self, count: int, like: torch.Tensor) -> torch.Tensor:
        return torch.arange(count, device=like.device)

    def random_source(self, seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    def normal(self, like: torch.Tensor, generator: torch.Generator | None, number: int) -> torch.Tensor:
        if generator is None:
            return torch.randn_like(like)  # torch.manual_seed sets it, as for nn.Dropout
        if not isinstance(generator, torch.Generator):
            raise TensorMoEError("generator", generator, "pass a torch.Generator")
        if is_in_backward() and not isinstance(generator, Replay):
            remedy = (
                "activation checkpointing cannot restore it: omit it and use torch.manual_seed, or a module"
            )
            raise TensorMoEError("generator", generator, remedy)
        return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)

    def max(self, tensor: torch.Tensor, axis: int | None = None) -> torch.Tensor:
        # torch.max finds the positions as well, which takes ten times as long.
        return torch.amax(tensor, dim=() if axis is None else axis)

    def kth_largest(self, x: torch.Tensor, k: int) -> torch.Tensor:
        return torch.topk(x, k).values[..., -1:]

    def beyond_largest(self, x: torch.Tensor, k: int) -> torch.Tensor:
        if x.device.type == "cpu" and is_readable(x):
            values = torch.topk(x, min(k + 1, x.shape[-1])).values
            kth = values[..., k - 1 : k]
            # Rarely are there equal ones, of which the first count. On a GPU to ask would be to wait.
            if bool((values[..., k:] != kth).all()):
                return x < kth
        beyond: torch.Tensor = super().beyond_largest(x, k)
        return beyond

    def holds(self, condition: torch.Tensor) -> bool | None:
        return bool(condition.all()) if is_readable(condition) else None

    def differentiable(
        self, function: Differentiable, x: torch.Tensor, *scalars: torch.Tensor
    ) -> torch.Tensor:
        result: torch.Tensor
        if _may_be_differentiated((x, *scalars)):
            kind = _Differentiable if torch.compiler.is_compiling() else _InBothModes
            result = kind.apply(function, x, *scalars)  # type: ignore[no-untyped-call]
        else:
            # autograd.Function costs tens of microseconds a call, which evaluation need not pay.
            result = self.compute_value(function, x, *scalars)
        return result

    def compute_value(
        self, function: Differentiable, x: torch.Tensor, *scalars: torch.Tensor
    ) -> torch.Tensor:
        """The function's value; by NumPy if call overhead dominates: its calls are shorter."""
        closed = function.closed_form
        # In this order: a traced batch has no size to compare.
        if (
            closed is not None
            and x.dtype == torch.float32
            and x.is_cpu
            and is_readable(x)
            and x.numel() <= _SMALL
            and not x.is_neg()
        ):
            return torch.from_numpy(closed((x.detach() if x.requires_grad else x).numpy()))
        result: torch.Tensor = function.value(self, x, *scalars)
        return result

    def gradients(
        self,
        function: Callable[..., torch.Tensor],
        inputs: Sequence[torch.Tensor],
        cotangent: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        # Within a reverse mode that is itself differentiated, the gradients have to depend on the inputs.
        again = torch.is_grad_enabled() and any(each.requires_grad for each in (*inputs, cotangent))
        leaves = [x if again and x.requires_grad else x.detach().requires_grad_() for x in inputs]
        with torch.enable_grad():
            y = function(*leaves)
        if not y.requires_grad:
            return tuple(torch.zeros_like(leaf) for leaf in leaves)
        # A user's router may ignore an input, whose gradient is then 0.
        return torch.autograd.grad(y, leaves, cotangent, create_graph=again, materialize_grads=True)

    def mixes_precision(self) -> bool:
        return is_autocast_on()

    def compute_precisely(
        self, function: Callable[..., Computed], x: torch.Tensor, *arguments: object
    ) -> Computed:
        if not is_autocast_on() or x.is_meta:
            return function(self, x, *arguments)
        with torch.autocast(x.device.type, enabled=False):
            return function(_precise, x, *arguments)


class _Precise(TorchBackend, backend_name="tensormoe-torch-precise"):  # type: ignore[call-arg]
    """The same while autocast is on, which would cast in a backward pass, too, that runs within it."""

    def matmul(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return multiply_precisely(a, b)


backend = TorchBackend()
_precise = _Precise()
