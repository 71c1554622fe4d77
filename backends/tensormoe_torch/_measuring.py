"""What verification and benchmarks ask of PyTorch."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

from tensormoe.arrays.backend import Backend
from tensormoe.typing import Clock

from ._memory import is_readable


def _events() -> Callable[[], float]:
    """Start the GPU's own clock."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    start.record()

    def stop() -> float:
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3

    return stop


class Measuring(Backend):
    """Times, threads and gradients as PyTorch has them."""

    def linear(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return torch.addmm(bias, x, weight)

    def with_gradients(
        self,
        function: Callable[..., tuple[torch.Tensor, Any]],
        inputs: Sequence[torch.Tensor],
        cotangent: torch.Tensor,
    ) -> tuple[torch.Tensor, Any, tuple[torch.Tensor, ...]]:
        leaves = [tensor.detach().requires_grad_() for tensor in inputs]
        value, more = function(*leaves)
        return value.detach(), more, torch.autograd.grad(value, leaves, cotangent)

    def without_gradients(self) -> AbstractContextManager[Any]:
        return torch.no_grad()

    def device_name(self, device: str) -> str:
        return torch.cuda.get_device_name(device) if device == "cuda" else super().device_name(device)

    def memory_of(self, array: torch.Tensor) -> int | None:
        if not is_readable(array):
            return None
        if array.is_cuda:
            return int(torch.cuda.mem_get_info(array.device)[1])
        return super().memory_of(array) if array.is_cpu else None

    def clock(self, device: str) -> Clock:
        return _events if device == "cuda" else super().clock(device)

    @contextmanager
    def threads(self, count: int | None) -> Iterator[int | None]:
        before = torch.get_num_threads()
        torch.set_num_threads(before if count is None else count)
        try:
            yield torch.get_num_threads()
        finally:
            torch.set_num_threads(before)
