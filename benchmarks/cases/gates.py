"""Gate activations: against the `entmax` package and torch.softmax, and JAX against PyTorch."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product
from typing import Any

import entmax  # type: ignore[import-untyped]
import jax
import jax.numpy as jnp
import numpy as np
import torch

import tensormoe as tm
from tensormoe.benching.timing import Call

from ..suite import Measurement, Settings

Shape = tuple[int, int]
Function = Callable[..., Any]

MIDDLE, LARGE, TINY, CHOICE = (1024, 256), (1024, 4096), (32, 16), (4096, 1024)
SCALES = (1, 5)
PACKAGE = {"entmax15": (tm.entmax15, entmax.entmax15), "sparsemax": (tm.sparsemax, entmax.sparsemax)}
CHOICES = {
    f"soft_top_k k={k} ε={eps}": partial(tm.soft_top_k, k=k, eps=eps)
    for k, eps in product((1, 2, 8), (1.0, 0.1))
}
OTHERS: Mapping[str, Function] = {
    "softmax": tm.softmax,
    "top_k k=2": partial(tm.top_k, k=2),
    "entmax α=1.3": partial(tm.entmax, alpha=1.3),
}
# There are many comparisons of short calls: the time for each is a part of a case's.
SHARE = 0.25


def gates(settings: Settings) -> Iterator[Measurement | str]:
    """Activations of standard normal logits and of these times 5, in evaluation and with a gradient."""
    for scale in SCALES:
        for shape in (MIDDLE, LARGE, TINY):
            x, v = scale * settings.normal(*shape), settings.normal(*shape)
            for (mode, cotangent), name in product((("forward", None), ("gradient", v)), PACKAGE):
                yield _four(title(name, mode, shape, scale), name, x, cotangent, settings)
        yield from _to_softmax(CHOICES, CHOICE, scale, settings)
    yield from _to_softmax(OTHERS, MIDDLE, 1, settings)
    yield from _to_softmax({**OTHERS, **CHOICES, "soft_rank": tm.soft_rank}, TINY, 1, settings)


def title(name: str, mode: str, shape: Shape, scale: int) -> str:
    """What a measurement of this case is called."""
    rows, columns = shape
    times = f", logits × {scale}" if scale != 1 else ""
    return f"{name}, {mode}, {rows} × {columns}{times}"


def _four(
    name: str, function: str, x: torch.Tensor, cotangent: torch.Tensor | None, settings: Settings
) -> Measurement:
    """Ours in PyTorch and in JAX, and the package with its default and with a partial sort."""
    here, theirs = PACKAGE[function]
    sides = {
        "ours": _torch_side(here, x, cotangent),
        "entmax": _torch_side(theirs, x, cotangent),
        # Told how many logits to sort at first, the package is faster. Its default sorts all.
        "entmax, k=100": _torch_side(partial(theirs, k=100), x, cotangent),
    }
    if x.shape[-1] <= 100:
        del sides["entmax, k=100"]
    # JAX is often installed without support for the GPU that PyTorch runs on.
    if x.device.type == "cpu" or jax.default_backend() == "gpu":
        sides["ours in JAX"] = _jax_side(here, x, cotangent)
    first, *others = (_on_host(side()) for side in sides.values())
    for other in others:
        np.testing.assert_allclose(other, first, atol=2e-6, rtol=1e-5)
    wait = _waiting if x.device.type == "cuda" else None
    seconds = SHARE * settings.seconds
    return settings.times(name, sides, grad=cotangent is not None, seconds=seconds, wait=wait)


def _to_softmax(
    functions: Mapping[str, Function], shape: Shape, scale: int, settings: Settings
) -> Iterator[Measurement]:
    """Functions of the same logits against PyTorch's softmax of these."""
    x = scale * settings.normal(*shape)
    sides = {"torch.softmax": _torch_side(partial(torch.softmax, dim=-1), x, None)}
    sides |= {name: _torch_side(function, x, None) for name, function in functions.items()}
    seconds = SHARE * settings.seconds * len(functions)
    yield settings.times(title("softmax", "forward", shape, scale), sides, seconds=seconds)


def _torch_side(function: Function, x: torch.Tensor, cotangent: torch.Tensor | None) -> Call:
    """A call in PyTorch; with a cotangent, the gradient."""
    if cotangent is None:
        return lambda: function(x)
    leaf = x.detach().requires_grad_()
    return lambda: torch.autograd.grad(function(leaf), leaf, cotangent)[0]


def _jax_side(function: Function, x: torch.Tensor, cotangent: torch.Tensor | None) -> Call:
    """The same call in JAX under jit, until its result is there."""

    def gradient(logits: jax.Array, cotangent: jax.Array) -> jax.Array:
        (pulled,) = jax.vjp(function, logits)[1](cotangent)
        return jnp.asarray(pulled)

    tensors = (x,) if cotangent is None else (x, cotangent)
    device = jax.devices("gpu" if x.is_cuda else "cpu")[0]
    arrays = [jax.device_put(tensor.numpy(force=True), device) for tensor in tensors]
    compiled = jax.jit(function if cotangent is None else gradient)
    wait: Callable[[Any], Any] = jax.block_until_ready
    return lambda: wait(compiled(*arrays))


def _on_host(array: Any) -> Any:
    return array.numpy(force=True) if isinstance(array, torch.Tensor) else np.asarray(array)


def _waiting(result: Any) -> None:
    """Until PyTorch's queue is empty; a side in JAX waits by itself."""
    if isinstance(result, torch.Tensor):
        torch.cuda.synchronize()
