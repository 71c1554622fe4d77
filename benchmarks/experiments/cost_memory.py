"""What blocks hold in memory: each in a process of its own."""

import gc
import json
import os
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection

import torch
from torch import nn

from ..processes import forget_peak, output_of, peak, resident
from .cost_sides import Size, build

# Arrays from this size on are mapped for themselves, and given back when they are freed.
_MAPPED = {"MALLOC_MMAP_THRESHOLD_": str(2**12), "OMP_NUM_THREADS": "1"}


def step(module: nn.Module, x: torch.Tensor, upstream: torch.Tensor) -> None:
    """Forward and backward as inside a network: gradients of all parameters and of the input."""
    x = x.detach().requires_grad_()
    for parameter in module.parameters():
        parameter.grad = None
    module(x).backward(upstream)


def call(module: nn.Module, x: torch.Tensor, training: bool) -> None:
    """One training step or one forward pass."""
    if training:
        step(module.train(), x, torch.ones_like(x))
    else:
        with torch.no_grad():
            module.eval()(x)


def measure(sides: Sequence[str], size: Size, seed: int, device: str) -> Mapping[str, int]:
    """The most bytes of each side's calls, its parameters included, by `name_mode`."""
    asked = [(side, training) for side in sides for training in (False, True)]
    if device == "cuda":
        held = [_on_gpu(side, size, seed, training) for side, training in asked]
    else:
        arguments = json.dumps([asked, size, seed])
        program = f"from {__name__} import print_all; print_all({arguments!r})"
        held = json.loads(output_of(program, _MAPPED))
    return {name_mode(side, training): each for (side, training), each in zip(asked, held, strict=True)}


def name_mode(side: str, training: bool) -> str:
    """The name of a timing."""
    return f"{side}, {'training' if training else 'inference'}"


def print_all(arguments: str) -> None:
    """What each side holds most, as JSON: run in a fresh process, which forks one for each."""
    asked, size, seed = json.loads(arguments)
    torch.set_num_threads(1)
    # What all of them import is imported once, before they part.
    for side, _ in asked:
        call(build(side, Size(16, 4, 1), seed, "cpu"), torch.ones(1, 16), training=False)
    context = get_context("fork")
    held = []
    for side, training in asked:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_hold, args=(sender, side, Size(*size), seed, training))
        process.start()
        sender.close()
        held.append(receiver.recv())
        process.join()
    print(json.dumps(held))


def _hold(sender: Connection, side: str, size: Size, seed: int, training: bool) -> None:
    """Send what this process holds most in a call, less what it held before the module was made.

    The same has been done before, so that neither plans nor what libraries allocate once count.
    """
    for _ in range(2):
        gc.collect()
        before = resident()
        x = torch.ones(size.batch, size.width)
        module = build(side, size, seed, "cpu")
        forget_peak()
        call(module, x, training)
        held = peak() - before
        del module, x
    sender.send(held)
    sender.close()
    os._exit(0)


def _on_gpu(side: str, size: Size, seed: int, training: bool) -> int:
    before = torch.cuda.memory_allocated()
    module = build(side, size, seed, "cuda")
    x = torch.randn(size.batch, size.width, device="cuda")
    torch.cuda.reset_peak_memory_stats()
    call(module, x, training)
    return torch.cuda.max_memory_allocated() - before
