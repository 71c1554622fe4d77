"""`routed`: coefficients go from block to block through a model that knows nothing of them."""

import copy
import pickle
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from support.strategies import close
from torch.utils.checkpoint import checkpoint

import tensormoe as tm
from tensormoe_torch import MuMoE, MuMoEBlock, routed

Call = Callable[..., Any]
ROUTERS = [
    tm.AdaptiveClustering(),
    tm.AdaptiveClustering(statistics="batch"),
    tm.AdaptiveClustering("vision", assignment="hard", statistics="batch", evaluation="batch"),
    tm.AdaptiveClustering(dispersion="std"),
]
every_router = pytest.mark.parametrize("router", ROUTERS, ids=str)


class Model(torch.nn.Module):
    """Residual blocks that are called with x alone, each in a checkpoint or all in one."""

    def __init__(self, gates: Sequence[tm.Gate], run: Call | None = None, together: bool = False) -> None:
        super().__init__()
        self.blocks = torch.nn.ModuleList(
            MuMoEBlock(6, 7, 6, 4, tm.CP(5), gate=gate, seed=seed, dtype=torch.float64)
            for seed, gate in enumerate(gates)
        )
        self.run, self.together = run or (lambda call, x: call(x)), together
        generator = torch.Generator().manual_seed(0)
        for block in self.blocks:
            torch.nn.init.normal_(block.gate_weights[0], generator=generator)

    def part(self, x: torch.Tensor, blocks: Any) -> torch.Tensor:
        for block in blocks:
            x = x + block(x.tanh())
        return x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [self.blocks] if self.together else [[block] for block in self.blocks]
        for blocks in parts:
            x = self.run(lambda x, blocks=blocks: self.part(x, blocks), x)
        return x


def by_hand(model: Model, x: torch.Tensor) -> torch.Tensor:
    previous = None
    for block in model.blocks:
        y, previous = block(x.tanh(), previous=previous, return_coefficients=True)
        x = x + y
    return x


def gates(router: tm.Router, count: int = 3) -> list[tm.Gate]:
    return [tm.Gate("softmax"), *[tm.Gate("softmax", router=router)] * (count - 1)]


def tokens(seed: int = 0, count: int = 9) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, count, 6, generator=generator, dtype=torch.float64)


def train(model: Model, call: Call, steps: int = 2) -> list[torch.Tensor]:
    """Gradients and statistics after steps, each on two parts of a batch."""
    for step in range(steps):
        parts = [call(tokens(10 * step + part).requires_grad_()) for part in range(2)]
        sum(y.square().sum() for y in parts).backward()
    return [*(p.grad for p in model.parameters()), *model.buffers()]


def same(actual: Sequence[torch.Tensor], expected: Sequence[torch.Tensor], tolerance: float = 1e-12) -> None:
    for ours, theirs in zip(actual, expected, strict=True):
        close(ours.detach(), theirs.detach(), tolerance)


def reentrant(call: Call, x: torch.Tensor) -> torch.Tensor:
    return checkpoint(call, x, use_reentrant=True)


def not_reentrant(call: Call, x: torch.Tensor) -> torch.Tensor:
    return checkpoint(call, x, use_reentrant=False)


@every_router
@pytest.mark.parametrize("together", [False, True], ids=["a checkpoint a block", "one checkpoint"])
@pytest.mark.parametrize("run", [None, reentrant, not_reentrant])
def test_training_is_that_with_previous_passed_by_hand(
    router: tm.Router, run: Call | None, together: bool
) -> None:
    plain, model = Model(gates(router)), Model(gates(router), run, together)
    expected = train(plain, lambda x: by_hand(plain, x))
    with routed(model):
        same(train(model, model), expected)
    unrouted = Model(gates(router))
    assert not torch.allclose(train(unrouted, unrouted)[2], expected[2]), "the coefficients matter"


@pytest.mark.parametrize("run", [reentrant, not_reentrant])
def test_a_backward_pass_after_the_context_is_that_of_its_forward_pass(run: Call) -> None:
    router = tm.AdaptiveClustering(statistics="batch", evaluation="batch")
    plain, model = Model(gates(router)), Model(gates(router), run)
    by_hand(plain, tokens()).square().sum().backward()
    with routed(model):
        loss = model(tokens().requires_grad_()).square().sum()
    loss.backward()
    same([p.grad for p in model.parameters()], [p.grad for p in plain.parameters()])


@every_router
def test_evaluation_is_that_with_previous_passed_by_hand(router: tm.Router) -> None:
    plain, model = Model(gates(router)), Model(gates(router), not_reentrant)
    train(plain, lambda x: by_hand(plain, x))
    with routed(model):
        train(model, model)
        plain.eval()
        model.eval()
        for x in (tokens(3), tokens(4, count=1)):  # a prompt, and a step of generation
            plain.zero_grad()
            model.zero_grad()
            with torch.no_grad():
                close(model(x), by_hand(plain, x))
            by_hand(plain, x).square().sum().backward()
            model(x.requires_grad_()).square().sum().backward()
            same([p.grad for p in model.parameters()], [p.grad for p in plain.parameters()])


def test_evaluation_in_a_reentrant_checkpoint_is_refused() -> None:
    model = Model(gates(tm.AdaptiveClustering(evaluation="batch")), reentrant).eval()
    with routed(model):
        loss = model(tokens().requires_grad_()).sum()
        with pytest.raises(tm.TensorMoEError, match="use_reentrant=False"):
            loss.backward()


def test_previous_that_is_passed_is_used() -> None:
    layer = MuMoE(6, 6, 4, tm.CP(5), gate=gates(tm.AdaptiveClustering(evaluation="batch"))[1], seed=0).eval()
    torch.nn.init.normal_(layer.gate_weights[0])
    x, a = torch.randn(9, 6), torch.softmax(3 * torch.randn(9, 4), -1)
    expected = layer(x, previous=[a])
    with routed(layer):
        assert torch.equal(layer(x, previous=[a]), expected)
        assert not torch.equal(layer(x), expected)


def test_hooks_on_a_gate_change_what_the_next_layer_hears() -> None:
    model = Model(gates(tm.AdaptiveClustering(evaluation="batch"))).eval()
    uniform = torch.full((2, 9, 4), 0.25, dtype=torch.float64)
    with routed(model):
        before = model(tokens())
        model.blocks[0].gate.register_forward_hook(lambda gate, inputs, output: (uniform,))
        heard = []
        model.blocks[1].gate.register_forward_pre_hook(lambda gate, inputs: heard.append(inputs[3][0]))
        assert not torch.equal(model(tokens()), before)
    assert torch.equal(heard[0], uniform)


def test_nothing_stays_when_the_context_ends() -> None:
    model = Model(gates(tm.AdaptiveClustering()))

    def attached() -> list[dict[str, Any]]:
        hooks = ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_always_called", "channels")
        kept = [{k: copy.copy(v) for k, v in m.__dict__.items() if k in hooks} for m in model.modules()]
        return [{name: value for name, value in each.items() if value} for each in kept]

    before = attached()
    with routed(model), routed(model):
        model(tokens())
        assert attached() != before
        copies = copy.deepcopy(model.blocks), pickle.loads(pickle.dumps(model.blocks))
    assert attached() == before
    with pytest.raises(tm.TensorMoEError), routed(model):
        model(tokens()[..., :1])
    assert attached() == before
    assert not any(block.channels for blocks in copies for block in blocks)


def test_a_copy_of_a_model_that_is_routed_is_not() -> None:
    model = Model(gates(tm.AdaptiveClustering()))
    with routed(model):
        model(tokens())
        other = copy.deepcopy(model)
        before = [buffer.clone() for buffer in other.buffers()]
        model(tokens(1))
        other(tokens(1))
        same(list(other.buffers()), before)


def test_models_and_their_parts_are_routed_each_by_itself() -> None:
    router = tm.AdaptiveClustering(evaluation="batch")
    first, second = Model(gates(router)).eval(), Model(gates(router, 2)).eval()
    x = tokens()
    both = torch.nn.Sequential(first, second)
    with routed(both), routed(first), routed(second), routed(first):
        close(both(x).detach(), by_hand(second, by_hand(first, x)).detach())
        close(second(x).detach(), by_hand(second, x).detach())
    with routed(both):
        y = both(x)
    joined = Model([])
    joined.blocks = torch.nn.ModuleList([*first.blocks, *second.blocks])
    close(y.detach(), by_hand(joined, x).detach())


def test_a_layer_that_is_called_outside_of_the_model_is_refused() -> None:
    model = Model(gates(tm.AdaptiveClustering()))
    with routed(model):
        for _ in range(2):
            with pytest.raises(tm.TensorMoEError, match="routed: received 'a call of a layer outside"):
                model.blocks[1](tokens())
            model(tokens())

        def fail(module: object, inputs: object) -> None:
            raise ZeroDivisionError

        handle = model.blocks[2].register_forward_pre_hook(fail)
        with pytest.raises(ZeroDivisionError):
            model(tokens())
        handle.remove()
        with pytest.raises(tm.TensorMoEError, match="a call of a layer outside"):
            model.blocks[1](tokens())
    model.blocks[1](tokens())


def test_other_tokens_and_counts_are_refused() -> None:
    gate = tm.Gate(router=tm.AdaptiveClustering())

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = MuMoE(6, 6, 4, tm.CP(5))
            self.head = MuMoE(6, 6, 4, tm.CP(5), gate=gate)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(x).mean(1))

    model = Pooled()
    with routed(model), pytest.raises(tm.TensorMoEError, match=r"\[\(2, 9, 4\)\].*route each part"):
        model(torch.randn(2, 9, 6))
    pair = torch.nn.Sequential(MuMoE(6, 6, 3, tm.CP(5)), MuMoE(6, 6, 4, tm.CP(5), gate=gate))
    with routed(pair), pytest.raises(tm.TensorMoEError, match=r"\[\(2, 3\)\].*clusters="):
        pair(torch.randn(2, 6))
    with (
        pytest.raises(tm.TensorMoEError, match="none of its layers has a router"),
        routed(torch.nn.Linear(2, 2)),
    ):
        pass


def test_threads_have_their_own_passes() -> None:
    model = Model(gates(tm.AdaptiveClustering(evaluation="batch"))).eval()
    expected = [by_hand(model, tokens(seed)).detach() for seed in range(2)]
    meeting, results = threading.Barrier(2), [[], []]

    # Both threads are in the same block before either goes on.
    def meet(module: object, inputs: object) -> None:
        meeting.wait(60)

    for block in model.blocks:
        block.register_forward_pre_hook(meet)

    def work(number: int) -> None:
        with routed(model):
            results[number] += [model(tokens(number)).detach() for _ in range(2)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for given, wanted in zip(results, expected, strict=True):
        same(given, [wanted, wanted])
    assert not any(block.channels for block in model.blocks)


@pytest.mark.parametrize("regional", [False, True], ids=["whole", "blocks"])
def test_compiled_models_are_routed(regional: bool) -> None:
    router = tm.AdaptiveClustering()
    plain, model = Model(gates(router)), Model(gates(router))
    if regional:
        for block in model.blocks:
            block.compile(backend="aot_eager", fullgraph=True)
        compiled: Any = model
    else:
        compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    unrouted = copy.deepcopy(plain)
    close(compiled(tokens()).detach(), unrouted(tokens()).detach())
    with routed(model):
        expected = train(plain, lambda x: by_hand(plain, x))
        same(train(model, compiled), expected)
    masses = [buffer.clone() for buffer in model.buffers()]
    compiled(tokens())
    same(list(model.buffers()), masses)


@dataclass(frozen=True)
class Following(tm.Router):
    """A router that differentiates by the coefficients of the layer before."""

    strength: float = 1.0

    def previous_experts(self, experts: int) -> int:
        return experts

    def logits(self, ops: Any, x: Any, parameters: Any, state: Any, call: Any) -> Any:
        before = 0.0 if call.previous is None else call.previous
        return ops.matmul(x, parameters["weights"]) + self.strength * before, {}


def test_gradients_go_through_coefficients_where_a_router_has_them() -> None:
    plain, model = Model(gates(Following())), Model(gates(Following()), not_reentrant)
    expected = train(plain, lambda x: by_hand(plain, x))
    with routed(model):
        same(train(model, model), expected)
    lossy = Model(gates(Following()), reentrant)
    with routed(lossy), pytest.raises(tm.TensorMoEError, match="use_reentrant: received True"):
        train(lossy, lossy)


def test_clusters_are_those_of_another_number_of_experts() -> None:
    router = tm.AdaptiveClustering(clusters=3, evaluation="batch")
    model = Model(gates(router, 2)).eval()
    model.blocks[0] = MuMoEBlock(6, 7, 6, 3, tm.CP(5), seed=0, dtype=torch.float64).eval()
    with routed(model):
        close(model(tokens()).detach(), by_hand(model, tokens()).detach())
    assert replace(router, clusters=None) != router
