"""What calls of a gate started from, for activation checkpointing, which runs them again.

PyTorch's checkpoints restore the global generator. They know nothing of a generator of the caller's, of
statistics that have moved since, nor of coefficients that came through a channel. A gate with any of these
therefore remembers where its first runs started, and a second run of the same input starts there again.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from tensormoe.errors import TensorMoEError

from ._memory import is_readable
from ._private import has_saved_tensor_hooks, is_in_backward

Statistics = Mapping[str, torch.Tensor]
Coefficients = Sequence[torch.Tensor]


class _Remembered(tuple[torch.Tensor, ...]):
    """Coefficients that a run which is run again had, and that only the gate knows."""


REMEMBERED = _Remembered()


class Start(NamedTuple):
    """Where a call starts: besides its input, all that it depends on."""

    generator: torch.Generator | None
    statistics: Statistics
    previous: Coefficients | None


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
    previous: list[torch.Tensor] | None
    # Whether coefficients needed gradients then; unknown if the run recorded no graph at all.
    differentiable: list[bool] | None
    again: bool = False


class FirstRuns:
    """The first runs of one gate. Copies of it start empty."""

    def __init__(self) -> None:
        self.runs: deque[_Run] = deque(maxlen=_REMEMBERED)

    def __reduce__(self) -> tuple[type["FirstRuns"], tuple[()]]:
        return FirstRuns, ()

    def start(self, x: torch.Tensor, start: Start, needed: bool, training: bool) -> Start:
        """Where a call starts: from the arguments, or, if it runs again, where it first did.

        Args:
            x: the gate's input.
            start: the arguments.
            needed: whether a second run must find the first one, as noise or statistics differ otherwise.
            training: whether the gate trains; without a graph it is not run again in evaluation.

        Raises:
            TensorMoEError: it runs again, and the first run is unknown, or one of several with the same x.
        """
        if is_in_backward():
            return self._replay(x, start, needed or start.previous is REMEMBERED)
        # Only these two can make a call run again: saved tensors that are made anew, and no graph as yet.
        again = has_saved_tensor_hooks() or (training and not torch.is_grad_enabled())
        if again and is_readable(x):
            self.runs = deque((run for run in self.runs if not run.again), _REMEMBERED)
            self.runs.append(_run(x, start))
        return start

    def _replay(self, x: torch.Tensor, start: Start, needed: bool) -> Start:
        digest = _digest(x)
        runs = [run for run in self.runs if run.shape == x.shape and torch.equal(run.digest, digest)]
        if not needed and all(run.previous is None for run in runs):
            return start
        if len(runs) != 1:
            remedy = (
                "activation checkpointing runs this call again, and which noise, statistics and previous "
                "coefficients it first had is not known: omit generator and use torch.manual_seed, pass each "
                "x once, use use_reentrant=False, or leave the layer out of the checkpoint"
            )
            raise TensorMoEError("x", tuple(x.shape), remedy)
        (run,) = runs
        # It is kept until the next first run: a graph that is kept runs the call a third time.
        run.again = True
        # Arguments of the checkpoint carry gradients.
        given = start.previous is not None and start.previous is not REMEMBERED
        previous = start.previous if given else _previous(run)
        return Start(_generator(start.generator, run.state), run.statistics, previous)


def _run(x: torch.Tensor, start: Start) -> _Run:
    state = None if start.generator is None else start.generator.get_state()
    statistics = {name: tensor.detach().clone() for name, tensor in start.statistics.items()}
    if not isinstance(start.previous, list | tuple):
        return _Run(x.shape, _digest(x), state, statistics, None, None)
    previous = [tensor.detach() for tensor in start.previous]
    needs = [tensor.requires_grad for tensor in start.previous] if torch.is_grad_enabled() else None
    return _Run(x.shape, _digest(x), state, statistics, previous, needs)


def _previous(run: _Run) -> Coefficients | None:
    """The coefficients of a first run, whose own graph takes their gradients if it has one."""
    if run.previous is None:
        return None
    if run.differentiable is not None:
        pairs = zip(run.previous, run.differentiable, strict=True)
        return [tensor.detach().requires_grad_(needs) for tensor, needs in pairs]
    again = [tensor.detach().requires_grad_() for tensor in run.previous]
    for tensor in again:
        tensor.register_hook(_refuse_gradient)  # type: ignore[no-untyped-call]
    return again


def _refuse_gradient(gradient: torch.Tensor) -> None:
    remedy = (
        "the router differentiates by the coefficients of the layer before, and use_reentrant=True loses "
        "that gradient: checkpoint with use_reentrant=False"
    )
    raise TensorMoEError("use_reentrant", True, remedy)


def _generator(generator: torch.Generator | None, state: torch.Tensor | None) -> torch.Generator | None:
    if generator is None or state is None:
        return generator
    replay = Replay(device=generator.device)
    replay.set_state(state)
    return replay


def _digest(x: torch.Tensor) -> torch.Tensor:
    """A number that other values of x are most unlikely to have: the sum of all bits, weighted by place."""
    kinds = {2: torch.int16, 4: torch.int32, 8: torch.int64}
    bits = x.detach().contiguous().view(kinds[x.element_size()]).reshape(-1).long()
    places = torch.arange(1, 2 * bits.numel(), 2, device=x.device) * 0x9E3779B1
    # Weights that grow evenly would not notice two ones that move by as much, as in one-hot rows that trade.
    weights = ((places ^ (places >> 16)) * places) | 1
    return (bits * weights).sum()
