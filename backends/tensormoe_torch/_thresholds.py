"""The inner loops of sparse gates, in memory that is used again."""

import torch

from tensormoe.arrays.thresholds import ThresholdKernel

from ._memory import is_disposable, is_readable


def _tiny() -> float:
    """A power of two that is lost when added to any weight."""
    # Returned: see the core's arrays/tracing.py.
    return 2.0**-100


class TorchThresholds(ThresholdKernel):
    """In place where no derivative needs the values."""

    def allocate(self, array: torch.Tensor) -> torch.Tensor | None:
        # Fresh memory for every intermediate takes several times as long as the arithmetic.
        return torch.empty_like(array) if is_readable(array) else None

    def root(self, x: torch.Tensor) -> torch.Tensor:
        if not is_disposable(x):
            slope: torch.Tensor = super().root(x)
            return slope
        # Without a further derivative the slope at zero has no effect; sqrt takes ten times as long there.
        return x.clamp_min(_tiny()).rsqrt_().mul_(x)

    def multiply_rows(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = torch.linalg.vecdot(a, b)
        return product.unsqueeze(-1)

    def multiply(self, x: torch.Tensor, factor: torch.Tensor | float) -> torch.Tensor:
        # Compiled, a product in place is computed some hundred times slower than one that is not.
        return x.mul_(factor) if is_disposable(x) else x * factor

    def clip(
        self,
        x: torch.Tensor,
        offsets: tuple[torch.Tensor, ...],
        top: float | None = None,
        memory: torch.Tensor | None = None,
    ) -> torch.Tensor:
        part = torch.sub(x, offsets[0], out=memory)
        for offset in offsets[1:]:
            part = part.sub_(offset)
        return part.relu_() if top is None else torch.nn.functional.hardtanh_(part, 0, top)

    def sum_clipped(
        self,
        x: torch.Tensor,
        offsets: tuple[torch.Tensor, ...],
        top: float | None = None,
        memory: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        part = self.clip(x, offsets, top, memory)
        total = part.sum(dim=-1, keepdim=True)
        if top is not None:
            part = (part if top == 1 else part.div_(top)).frac_()
        # Counting what is cut to a power of two takes a tenth of the time of counting what is positive.
        tiny = _tiny()
        return total, part.clamp_max_(tiny).sum(dim=-1, keepdim=True) / tiny

    def measure_clipped(
        self, x: torch.Tensor, offsets: tuple[torch.Tensor, ...], memory: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        part = self.clip(x, offsets, None, memory)
        norm = torch.linalg.vector_norm(part, dim=-1, keepdim=True)
        return norm, part.sum(dim=-1, keepdim=True)

    def largest(self, size: torch.Tensor) -> float | None:
        if not is_readable(size):
            return None
        # An empty tensor has no such norm.
        return torch.linalg.vector_norm(size, torch.inf).item() if size.numel() else 0.0
