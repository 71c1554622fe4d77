"""What two processes do that share out a rank or experts; run by `test_distributed.py` as a script."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from scenarios import main, same, tokens, whole
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ParallelStyle, parallelize_module

import tensormoe as tm
from tensormoe_torch import MuMoE, MuMoEBlock
from tensormoe_torch.parallel import ExpertParallel, RankParallel

FAMILIES = (
    tm.CP(4),
    tm.Tucker((2, 4, 3)),
    tm.TensorRing((2, 3, 4)),
    tm.TensorTrain((3, 4)),
    tm.TensorNetwork("n i r, n r o", r=2),
)
CASES = [
    *((family, RankParallel()) for family in FAMILIES),
    *((family, ExpertParallel()) for family in (*FAMILIES, tm.Dense())),
    (tm.Tucker((2, 3, 4)), RankParallel("s")),
]


def modules(family: tm.Factorization) -> Iterator[nn.Module]:
    router = tm.AdaptiveClustering(statistics="batch")
    levels = (4, 2) if isinstance(family, tm.CP | tm.Dense) else 4
    yield MuMoE(8, 6, levels, family, gate=tm.Gate("softmax", "batch", router), seed=0)
    options = {"gated": isinstance(family, tm.TensorRing), "input_norm": True, "seed": 0}
    shared = ("expert1",) if isinstance(family, tm.CP | tm.TensorRing) else ()
    yield MuMoEBlock(8, 12, 8, 4, family, gate=tm.Gate("softmax"), shared=shared, **options)


def train(module: nn.Module) -> list[torch.Tensor]:
    """The outputs, losses and the input's gradients of three steps."""
    for weights in module.gate_weights:
        nn.init.normal_(weights, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2)
    seen = []
    for _ in range(3):
        optimizer.zero_grad()
        x = tokens(6).requires_grad_()
        y = module(x)
        y.square().mean().backward()
        optimizer.step()
        seen += [y.detach(), x.grad]
    return seen


def share(module: nn.Module, style: ParallelStyle) -> nn.Module:
    mesh = dist.device_mesh.init_device_mesh("cpu", (dist.get_world_size(),))
    return parallelize_module(module, mesh, style)


def shares(rank: int, world: int, folder: Path) -> None:
    """Shared-out training equals training on one process, in outputs, gradients and all tensors."""
    for family, style in CASES:
        for plain, shared in zip(modules(family), modules(family), strict=True):
            if rank:  # the first process decides
                shared.reset_parameters(seed=7)
            share(shared, style)
            local = sum(_size(parameter) for parameter in shared.parameters())
            assert local < shared.spec.num_parameters
            for actual, expected in zip(train(shared), train(plain), strict=True):
                torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)
            same(gathered(shared), plain.state_dict(), 1e-5)
            train(copy.deepcopy(shared))
    with pytest.raises(tm.TensorMoEError, match="shared out already"):
        share(shared, style)
    with pytest.raises(tm.TensorMoEError, match="divides r = 3"):
        share(MuMoE(8, 6, 4, tm.CP(3)), RankParallel())
    with pytest.raises(tm.TensorMoEError, match="name a MuMoE"):
        share(nn.Linear(2, 2), RankParallel())


def _size(parameter: torch.Tensor) -> int:
    return (parameter.to_local() if hasattr(parameter, "to_local") else parameter).numel()


def gathered(module: nn.Module) -> dict[str, torch.Tensor]:
    state = module.state_dict()
    return {k: v.full_tensor() if hasattr(v, "full_tensor") else v for k, v in state.items()}


def resharding(rank: int, world: int, folder: Path) -> None:
    """Checkpoints of shares load on one device, into shares of another index, and the other way round."""
    gate = tm.Gate("softmax", "batch")

    def build(seed: int, style: ParallelStyle | None) -> nn.Module:
        module = MuMoEBlock(8, 12, 8, 4, tm.CP(4), gate=gate, seed=seed)
        return module if style is None else share(module, style)

    styles = {"rank": RankParallel(), "experts": ExpertParallel(), "none": None}
    for saver, saving in styles.items():
        saved = build(0, saving)
        dcp.save(saved.state_dict(), checkpoint_id=str(folder / saver))
        for loading in styles.values():
            loaded = build(1, loading)
            state = loaded.state_dict()
            dcp.load(state, checkpoint_id=str(folder / saver))
            loaded.load_state_dict(state)
            same(gathered(loaded), build(0, None).state_dict())
            torch.testing.assert_close(loaded(tokens()), build(0, None)(tokens()), rtol=0, atol=1e-6)
    compiled()
    # Built on meta, shared out and reset.
    with torch.device("meta"):
        module = MuMoEBlock(8, 12, 8, 4, tm.CP(4), gate=gate)
    share(module, RankParallel()).to_empty(device="cpu").reset_parameters(seed=rank)
    same(gathered(module), build(0, None).state_dict())


def compiled() -> None:
    """A shared-out layer is compiled as one graph, collectives included, and trains as it does eagerly."""
    plain, shared = (MuMoE(8, 6, 4, tm.CP(4), gate=tm.Gate("softmax"), seed=0) for _ in range(2))
    share(shared, ExpertParallel())
    whole_graph = torch.compile(shared, backend="aot_eager", fullgraph=True)
    for actual, expected in zip(train(whole_graph), train(plain), strict=True):
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)
    same(gathered(shared), plain.state_dict(), 1e-5)


def with_fsdp(rank: int, world: int, folder: Path) -> None:
    """On a mesh of two axes, FSDP2 shards along one what is shared out along the other."""
    mesh = dist.device_mesh.init_device_mesh("cpu", (2, world // 2), mesh_dim_names=("data", "model"))
    part = mesh.get_local_rank("data")
    for style in (RankParallel(), ExpertParallel()):
        plain, shared = (MuMoEBlock(8, 12, 8, 4, tm.CP(4), gate=tm.Gate("softmax"), seed=0) for _ in range(2))
        parallelize_module(shared, mesh["model"], style)
        fully_shard(shared, mesh=mesh["data"])
        local = sum(_size(parameter) for parameter in shared.parameters())
        assert local < 0.6 * shared.spec.num_parameters
        for module, x in ((plain, tokens()), (shared, tokens().chunk(2)[part])):
            optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2)
            for _ in range(3):
                optimizer.zero_grad()
                module(x).square().mean().backward()
                optimizer.step()
        actual = whole(shared)
        if rank == 0:
            same(actual, plain.state_dict(), 1e-5)
        for name, parameter in plain.named_parameters():
            gradient = shared.get_parameter(name).grad.full_tensor()
            torch.testing.assert_close(gradient, parameter.grad, rtol=0, atol=1e-5, msg=name)


if __name__ == "__main__":
    main(globals())
