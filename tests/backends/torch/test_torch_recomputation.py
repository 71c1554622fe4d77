"""Activation checkpointing, which runs layers a second time: noise and statistics are those of the first."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, product
from typing import Any

import pytest
import torch
from support.strategies import EVERY_GATE, close
from torch.utils.checkpoint import checkpoint

import tensormoe as tm
from tensormoe_torch._recomputation import _digest

Call = Callable[..., Any]
# Each gate, with noise and without.
GATES = [*EVERY_GATE, *(replace(gate, noise=0.5) for gate in EVERY_GATE if not gate.adds_noise)]
KINDS = {
    "reentrant": lambda call, *inputs: checkpoint(call, *inputs, use_reentrant=True),
    "not reentrant": lambda call, *inputs: checkpoint(call, *inputs, use_reentrant=False),
}
kinds = pytest.mark.parametrize("kind", KINDS)
own = pytest.mark.parametrize("own", [True, False], ids=["own generator", "global generator"])


def build(gate: tm.Gate, seed: int = 0) -> torch.nn.Module:
    routers = [gate.router] * 2
    if isinstance(gate.router, tm.AdaptiveClustering):
        routers = [replace(gate.router, clusters=n) for n in (3, 2)]
    gates = [replace(gate, router=router) for router in routers]
    layer = tm.build(tm.MuMoESpec(6, 6, (4, 3), tm.CP(5), gates), "torch", seed=seed, dtype=torch.float64)
    for weights in layer.gate_weights:
        torch.nn.init.normal_(weights, generator=torch.Generator().manual_seed(seed))
    return layer


def draw(seed: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(9, 6, generator=generator, dtype=torch.float64)
    return x, [torch.softmax(torch.randn(9, k, generator=generator), -1).double() for k in (3, 2)]


def train(gate: tm.Gate, own: bool, run: Call, steps: int = 2, parts: int = 2) -> list[torch.Tensor]:
    """Gradients and statistics after steps of two layers, each on several parts of a batch."""
    layers = [build(gate, seed) for seed in range(2)]
    generator = torch.Generator().manual_seed(5) if own else None
    torch.manual_seed(5)

    def call(x: torch.Tensor, *previous: torch.Tensor) -> torch.Tensor:
        for layer in layers:
            x = x + layer(x, previous=previous, generator=generator)
        return x

    for step in range(steps):
        outputs = []
        for part in range(parts):
            x, previous = draw(10 * step + part)
            outputs.append(run(call, x.requires_grad_(), *previous))
        sum(y.square().sum() for y in outputs).backward()
    tensors = [tensor for layer in layers for tensor in (*layer.parameters(), *layer.buffers())]
    return [tensor.grad if tensor.requires_grad else tensor for tensor in tensors]


@own
@kinds
@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.steps)
def test_gradients_and_statistics_are_those_without_a_checkpoint(gate: tm.Gate, kind: str, own: bool) -> None:
    expected = train(gate, own, lambda call, *inputs: call(*inputs))
    for actual, wanted in zip(train(gate, own, KINDS[kind]), expected, strict=True):
        close(actual, wanted)


@kinds
def test_a_graph_that_is_kept_starts_again_at_the_same_noise(kind: str) -> None:
    layer, generator = build(tm.Gate("softmax", noise=1.0)), torch.Generator().manual_seed(0)
    x, _ = draw(0)
    loss = KINDS[kind](lambda x: layer(x, generator=generator), x.requires_grad_()).square().sum()
    before = generator.get_state()
    gradients = []
    for _ in range(2):
        layer.zero_grad()
        loss.backward(retain_graph=True)
        gradients.append(layer.gate_weights[0].grad)
    close(*gradients)
    assert gradients[0].abs().max() > 0
    assert torch.equal(generator.get_state(), before), "the backward pass draws nothing from it"


@kinds
def test_a_start_that_is_not_known_is_refused(kind: str) -> None:
    gate = tm.Gate("softmax", noise=1.0)
    layer, generator = build(gate), torch.Generator().manual_seed(0)
    x, _ = draw(0)
    # One input twice: which run is run again?
    twice = [KINDS[kind](lambda x: layer(x, generator=generator), x.requires_grad_()) for _ in range(2)]
    with pytest.raises(
        tm.TensorMoEError, match=r"x: received \(9, 6\); activation checkpointing.*manual_seed"
    ):
        sum(y.square().sum() for y in twice).backward()
    # The functional API has no memory.
    parameters = {name: p.detach().requires_grad_() for name, p in layer.named_parameters()}

    def call(x: torch.Tensor) -> torch.Tensor:
        return tm.apply(layer.spec, parameters, x, training=True, generator=generator).y

    y = KINDS[kind](call, x)
    with pytest.raises(tm.TensorMoEError, match=r"generator: .*activation checkpointing cannot restore it"):
        y.square().sum().backward()


def test_what_is_remembered_stays_behind() -> None:
    """Copies start without it, and it does not grow with the steps."""
    layer, generator = build(tm.Gate("softmax", noise=1.0)), torch.Generator().manual_seed(0)
    for step in range(150):
        x, _ = draw(step)
        y = KINDS["not reentrant"](lambda x: layer(x, generator=generator), x.requires_grad_())
        if step % 2:
            y.sum().backward()
    assert len(layer.gate._first_runs.runs) == 64
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert not other.gate._first_runs.runs
    layer(x, generator=generator)
    plain = build(tm.Gate("softmax", noise=1.0))
    plain(x, generator=generator).sum().backward()
    assert not plain.gate._first_runs.runs, "without a checkpoint nothing is remembered"


@own
@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.steps)
def test_the_layers_own_recomputation_leaves_noise_and_statistics_alone(gate: tm.Gate, own: bool) -> None:
    results = []
    for recompute in (True, False):
        layer = build(gate)
        layer.recompute = recompute
        torch.manual_seed(0)
        x, previous = draw(0)
        generator = torch.Generator().manual_seed(3) if own else None
        y = layer(x, previous=previous, generator=generator)
        y.square().sum().backward()
        results.append([y.detach(), *(p.grad for p in layer.parameters()), *layer.buffers()])
    for actual, wanted in zip(*results, strict=True):
        close(actual, wanted)


def test_inputs_that_differ_in_one_bit_are_told_apart() -> None:
    digests = {int(_digest(torch.zeros(5, dtype=torch.float64)))}
    for place, bit in product(range(5), range(48)):
        bits = torch.zeros(5, dtype=torch.int64)
        bits[place] = 1 << bit
        digests.add(int(_digest(bits.view(torch.float64))))
    assert len(digests) == 1 + 5 * 48


def test_inputs_of_the_same_ones_in_other_places_are_told_apart() -> None:
    digests = set()
    for places in combinations(range(16), 2):
        x = torch.zeros(4, 4)
        x.view(-1)[list(places)] = 1
        digests.add(int(_digest(x)))
    assert len(digests) == 16 * 15 / 2
