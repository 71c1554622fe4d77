"""What two processes do that share a batch's statistics; run by `test_distributed.py` as a script."""

import copy
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from scenarios import main, same
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

import tensormoe as tm
from tensormoe_torch import MuMoEBlock, routed, synchronize

BATCH = tm.Gate("softmax", "batch")
CLUSTERS = tm.AdaptiveClustering(statistics="batch", evaluation="batch")
# How many of eight tokens each process gets.
SHARES = [(4, 4), (3, 5), (8, 0)]


class Model(nn.Module):
    """Residual blocks that are called with x alone, each in a checkpoint."""

    def __init__(self, *gates: tm.Gate, checkpoints: bool = True) -> None:
        super().__init__()
        self.checkpoints = checkpoints
        self.blocks = nn.ModuleList(
            MuMoEBlock(8, 12, 8, 4, tm.CP(3), gate=gate, seed=seed, dtype=torch.float64)
            for seed, gate in enumerate(gates)
        )
        generator = torch.Generator().manual_seed(0)
        for block in self.blocks:
            nn.init.normal_(block.gate_weights[0], generator=generator)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = x + (checkpoint(block, x, use_reentrant=False) if self.checkpoints else block(x))
        return x


def by_hand(model: Model, x: torch.Tensor) -> torch.Tensor:
    previous = None
    for block in model.blocks:
        y, previous = block(x, previous=previous, return_coefficients=True)
        x = x + y
    return x


def tokens(step: int = 0, count: int = 8) -> torch.Tensor:
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(step), dtype=torch.float64)


def own_group(rank: int, world: int) -> Any:
    """A group of this process alone, in which nothing is summed."""
    return [dist.new_group([number]) for number in range(world)][rank]


def step(call: Any, module: nn.Module, x: torch.Tensor, parts: int) -> dict[str, torch.Tensor]:
    """One step on a part of a batch of eight; the gradients, and the loss of the batch."""
    module.zero_grad()
    loss = call(x).square().sum() * parts / 8
    loss.backward()
    gradients = {name: parameter.grad.clone() for name, parameter in module.named_parameters()}
    with torch.no_grad():
        for parameter in module.parameters():
            parameter -= 0.05 * parameter.grad
    total = loss.detach() / parts
    if parts > 1:
        dist.all_reduce(total)
    return {**gradients, "loss": total}


def compare(plain: nn.Module, by_plain: Any, parallel: nn.Module, share: torch.Tensor, rank: int) -> None:
    """Several steps of one process on the whole batch, and of two on a share each."""
    wrapped = DistributedDataParallel(parallel)
    for number in range(3):
        x = tokens(number)
        expected = step(by_plain, plain, x, 1)
        actual = step(wrapped, parallel, x.split(share)[rank], 2)
        same(actual, expected, 1e-9)
        # On every process, and without its being sent from the first one.
        same(dict(parallel.named_buffers()), dict(plain.named_buffers()), 1e-9)


def routed_and_checkpointed(rank: int, world: int, folder: Path) -> None:
    """Coefficients go from block to block in each process, and clusters are those of the whole batch."""
    alone = own_group(rank, world)
    for router in (CLUSTERS, tm.AdaptiveClustering(dispersion="std", statistics="batch")):
        gates = [tm.Gate("softmax"), *[tm.Gate("softmax", router=router)] * 2]
        plain, parallel = synchronize(Model(*gates), alone), Model(*gates)
        with routed(parallel):
            compare(plain, lambda x, plain=plain: by_hand(plain, x), parallel, (4, 4), rank)


def synchronized(rank: int, world: int, folder: Path) -> None:
    """Two processes with a synchronised batch norm train as one does on the whole batch."""
    for shares in SHARES:
        for checkpoints in (False, True):
            plain, parallel = Model(BATCH, BATCH), Model(BATCH, BATCH, checkpoints=checkpoints)
            compare(plain, plain, synchronize(parallel), shares, rank)
    # As `all_reduce=` of a call, whatever autograd knows of it.
    block = Model(BATCH).blocks[0]
    whole, part = copy.deepcopy(block), copy.deepcopy(block)
    whole(tokens()).square().sum().backward()

    def total(tensor: torch.Tensor) -> torch.Tensor:
        dist.all_reduce(tensor)
        return tensor

    part(tokens().chunk(2)[rank], all_reduce=total).square().sum().backward()
    for parameter in part.parameters():
        dist.all_reduce(parameter.grad)
    same(*({n: p.grad for n, p in each.named_parameters()} for each in (part, whole)), 1e-9)
    # Tokens on no process at all leave the statistics as they are.
    before = copy.deepcopy(dict(part.named_buffers()))
    part(tokens(count=0), all_reduce=total)
    same(dict(part.named_buffers()), before)


def groups(rank: int, world: int, folder: Path) -> None:
    """Statistics are summed over the group that is named; copies keep it, and pickles say they do not."""
    alone = own_group(rank, world)
    pair = dist.new_group([0, 1])
    whole = tokens(count=9)
    x = whole.chunk(world)[rank]
    gates = [tm.Gate("softmax"), tm.Gate("softmax", "batch", CLUSTERS)]
    cases = [(alone, [rank], x), (None, [0, 1, 2], whole), (pair, [0, 1], whole[:6])]
    for group, members, expected in [case for case in cases if rank in case[1]]:
        model = synchronize(Model(*gates), process_group=group)
        keys = set(Model(*gates).state_dict())
        assert set(model.state_dict()) == keys
        model = copy.deepcopy(model)
        plain = synchronize(Model(*gates), process_group=alone)
        with routed(model), routed(plain):
            actual, wanted = model(x), plain(expected)
        wanted = wanted.chunk(len(members))[members.index(rank)]
        torch.testing.assert_close(actual, wanted, rtol=0, atol=1e-9)
    loaded = pickle.loads(pickle.dumps(synchronize(Model(*gates), process_group=alone)))
    loaded.eval()(x)
    with pytest.raises(tm.TensorMoEError, match=r"call tensormoe_torch\.synchronize"):
        loaded.train()(x)
    synchronize(loaded, alone)(x)


def evaluation(rank: int, world: int, folder: Path) -> None:
    """One process evaluates alone, unless all were asked to take part."""
    gates = [tm.Gate("softmax"), tm.Gate("softmax", router=CLUSTERS)]
    model = Model(*gates).eval()
    with routed(model):
        if rank == 0:
            torch.testing.assert_close(model(tokens()), by_hand(model, tokens()))
        expected = model(tokens()).chunk(2)[rank]
        synchronize(model, evaluation=True)
        actual = model(tokens().chunk(2)[rank])
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-9)


def warnings_of_shares(rank: int, world: int, folder: Path) -> None:
    """Training by shares is warned of once; a synchronised model and evaluation are silent."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Model(BATCH).eval()(tokens())
        synchronize(Model(BATCH))(tokens())
        Model(tm.Gate("softmax"))(tokens())
        synchronize(Model(BATCH), dist.new_group([0, 1]))(tokens())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            Model(BATCH, BATCH)(tokens())
    assert [str(each.message).count("tensormoe_torch.synchronize(model)") for each in caught] == [1], caught


if __name__ == "__main__":
    main(globals())
