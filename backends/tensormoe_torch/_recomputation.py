"""What calls of a gate started from, for activation checkpointing, which runs them again.

PyTorch's checkpoints restore the global generator. They know nothing of a generator of the caller's, nor of
statistics that have moved since. A gate with either therefore remembers where its first runs started, and a
second run of the same input starts there again.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from tensormoe.errors import TensorMoEError

from ._memory import is_readable
from ._private import has_saved_tensor_hooks, is_in_backward

Statistics = Mapping[str, torch.Tensor]

# First runs that are remembered: of one layer, between a forward pass and its backward pass.
_REMEMBERED = 64


class Replay(torch.Generator):
    """A generator in the state that a first run started from."""


@dataclass
class _Run:
    shape: torch.Size
    digest: torch.Tensor
    state: torch.Tensor | None
    statistics: dict[str, torch.Tensor]
    again: bool = False


class FirstRuns:
    """The first runs of one gate. Copies of it start empty."""

    def __init__(self) -> None:
        self.runs: deque[_Run] = deque(maxlen=_REMEMBERED)

    def __reduce__(self) -> tuple[type["FirstRuns"], tuple[()]]:
        return FirstRuns, ()

    def start(
        self, x: torch.Tensor, generator: torch.Generator | None, statistics: Statistics
    ) -> tuple[torch.Generator | None, Statistics]:
        """Where a call starts: from the arguments, or, if it runs again, where it first did.

        Raises:
            TensorMoEError: it runs again, and the first run is unknown, or one of several with the same x.
        """
        if is_in_backward():
            run = self._find(x)
            return _replay(generator, run.state), run.statistics
        # Only these two can make a call run again: saved tensors that are made anew, and no graph as yet.
        if is_readable(x) and (has_saved_tensor_hooks() or not torch.is_grad_enabled()):
            self.runs = deque((run for run in self.runs if not run.again), _REMEMBERED)
            state = None if generator is None else generator.get_state()
            before = {name: tensor.detach().clone() for name, tensor in statistics.items()}
            self.runs.append(_Run(x.shape, _digest(x), state, before))
        return generator, statistics

    def _find(self, x: torch.Tensor) -> _Run:
        digest = _digest(x)
        runs = [run for run in self.runs if run.shape == x.shape and torch.equal(run.digest, digest)]
        if len(runs) != 1:
            remedy = (
                "activation checkpointing runs this call again, and which noise and statistics it first had "
                "is not known: omit generator and use torch.manual_seed, pass each x once, or leave the "
                "layer out of the checkpoint"
            )
            raise TensorMoEError("x", tuple(x.shape), remedy)
        # It is kept until the next first run: a graph that is kept runs the call a third time.
        runs[0].again = True
        return runs[0]


def _replay(generator: torch.Generator | None, state: torch.Tensor | None) -> torch.Generator | None:
    if generator is None or state is None:
        return generator
    replay = Replay(device=generator.device)
    replay.set_state(state)
    return replay


def _digest(x: torch.Tensor) -> torch.Tensor:
    """A number that other values of x are most unlikely to have: the sum of all bits, weighted by place."""
    kinds = {2: torch.int16, 4: torch.int32, 8: torch.int64}
    bits = x.detach().contiguous().view(kinds[x.element_size()]).reshape(-1).long()
    places = torch.arange(1, 2 * bits.numel(), 2, device=x.device)
    return (bits * (places * 0x9E3779B1)).sum()
