"""What only private names of PyTorch can tell: one function each, with a public fallback.

They are resolved once, on import: a layer's call asks several times, and torch.compile knows the functions
themselves.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.autograd.forward_ad as fwAD

try:
    from torch._subclasses.fake_tensor import FakeTensor
except ImportError:  # pragma: no cover
    FakeTensor = None  # type: ignore[assignment, misc]

_functorch = getattr(torch._C, "_functorch", None)


def _is_without_memory(tensor: torch.Tensor) -> bool:
    """Whether a tensor's memory has no address: it is mapped, differentiated by a transform, or traced."""
    try:
        tensor.data_ptr()
    except RuntimeError:
        return True
    return False


def _never() -> bool:
    return False


def _is_mapped_or_differentiated(tensor: torch.Tensor) -> bool:
    return _functorch.peek_interpreter_stack() is not None or _functorch.is_legacy_batchedtensor(tensor)  # type: ignore[union-attr]


def _has_tangent(tensors: Iterable[torch.Tensor]) -> bool:
    unpack: Callable[..., Any] = fwAD.unpack_dual
    return any(unpack(tensor).tangent is not None for tensor in tensors)


def _is_in_forward_mode(tensors: Iterable[torch.Tensor]) -> bool:
    return fwAD._current_level >= 0


def _may_have_hooks(ignore_is_tracing: bool) -> bool:
    return True


def _offers(owner: object, *names: str) -> bool:
    return all(hasattr(owner, name) for name in names)


def is_fake(tensor: torch.Tensor) -> bool:
    """Whether a tensor is FakeTensorMode's, of which only shape and type are known."""
    return _is_without_memory(tensor) if FakeTensor is None else isinstance(tensor, FakeTensor)


def _is_autocast_on() -> bool:
    return torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")


# Whether autocast is on for any device.
is_autocast_on: Callable[[], bool] = getattr(torch._C, "_is_any_autocast_enabled", _is_autocast_on)

_running_task: Callable[[], int] = getattr(torch._C, "_current_graph_task_id", lambda: -1)
_top_hooks: Callable[[bool], object] = getattr(
    torch._C._autograd, "_top_saved_tensors_default_hooks", _may_have_hooks
)


def has_global_hooks() -> bool:
    """Whether forward hooks of all modules are registered; without PyTorch's list of them, perhaps."""
    return bool(getattr(torch.nn.modules.module, "_global_forward_hooks", True))


def is_in_backward() -> bool:
    """Whether a backward pass calls, as where activation checkpointing runs a function again."""
    return not torch.compiler.is_compiling() and _running_task() != -1


def has_saved_tensor_hooks() -> bool:
    """Whether what operations save goes through hooks, as activation checkpointing's first runs do."""
    return not torch.compiler.is_compiling() and bool(_top_hooks(True))


def place_of(tensor: torch.Tensor) -> object:
    """A tensor's device; of a FakeTensor whose mode takes no real ones, the mode."""
    mode = getattr(tensor, "fake_mode", None)
    return tensor.device if mode is None or getattr(mode, "allow_non_fake_inputs", True) else "FakeTensorMode"


# Whether torch.jit or make_fx traces this call.
is_tracing: Callable[[], bool] = getattr(torch._C, "_is_tracing", None) or torch.jit.is_tracing  # type: ignore[attr-defined]

# Whether a mode watches operations, such as make_fx's with tensors of the usual class. The public class of a
# tensor tells of other modes.
count_modes: Callable[[], int] = getattr(torch._C, "_len_torch_dispatch_stack", _never)

# Whether torch.func or a mapped backward pass has a part in a tensor's operations.
is_transformed: Callable[[torch.Tensor], bool] = (
    _is_mapped_or_differentiated
    if _offers(_functorch, "peek_interpreter_stack", "is_legacy_batchedtensor")
    else _is_without_memory
)

# Whether forward mode may have a part in operations on these tensors.
is_in_forward_mode: Callable[[Iterable[torch.Tensor]], bool] = (
    _is_in_forward_mode if _offers(fwAD, "_current_level") else _has_tangent
)

# Whether torch.export traces this call; before PyTorch 2.7 nothing tells it from torch.compile.
is_exporting: Callable[[], bool] = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


def clear_saved_tensors(context: Any) -> None:
    """Let go of what a function has saved, unless its graph is kept; by itself PyTorch waits for the end."""
    clear = getattr(context, "maybe_clear_saved_tensors", None)
    if clear is not None:
        clear()
