"""What two processes do together, one function each; run by `test_distributed.py` as a script."""

import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

import tensormoe as tm
import tensormoe_torch
from tensormoe_torch import MuMoE, MuMoEBlock

FAMILIES = (
    tm.CP(3),
    tm.Tucker((2, 3, 4)),
    tm.TensorRing((2, 3, 4)),
    tm.TensorTrain((3, 4)),
    tm.Dense(),
    tm.TensorNetwork("n i r, n r o", r=3),
)


def layer(family: tm.Factorization, seed: int = 0) -> MuMoE:
    return MuMoE(8, 6, 4, family, gate=tm.Gate("softmax"), seed=seed)


def tokens(count: int = 8) -> torch.Tensor:
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(0))


def same(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float = 0.0) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, rtol=0, atol=tolerance, msg=name)


def whole(module: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict of a module whose parameters are sharded, gathered."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    return get_model_state_dict(
        module, options=StateDictOptions(full_state_dict=True, broadcast_from_rank0=False)
    )


def steps(module: nn.Module, x: torch.Tensor) -> None:
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        module(x).square().mean().backward()
        optimizer.step()


def modules() -> Iterator[nn.Module]:
    yield from (layer(family) for family in FAMILIES)
    shared = "expert1"
    yield MuMoEBlock(8, 12, 8, 4, tm.CP(3), gate=tm.Gate("softmax"), input_norm=True, shared=shared, seed=0)
    model = nn.Sequential(*(MuMoE(8, 8, 4, tm.CP(3), gate=tm.Gate("softmax"), seed=n) for n in range(2)))
    tensormoe_torch.share(model, "*.cores.expert1")
    yield model


def fsdp2(rank: int, world: int, folder: Path) -> None:
    """Sharded training equals training on one process, for every family."""
    from torch.distributed.fsdp import fully_shard

    mesh = dist.device_mesh.init_device_mesh("cpu", (world,))
    for plain, sharded in zip(modules(), modules(), strict=True):
        fully_shard(sharded, mesh=mesh)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # such as that the output is a view
            steps(sharded, tokens().chunk(world)[rank])
        steps(plain, tokens())
        actual = whole(sharded)
        if rank == 0:
            same(actual, plain.state_dict(), 1e-5)


def meta(rank: int, world: int, folder: Path) -> None:
    """Built on meta, sharded, given memory and reset, a layer has the initial values of one process."""
    from torch.distributed.fsdp import fully_shard

    mesh = dist.device_mesh.init_device_mesh("cpu", (world,))
    for family in FAMILIES:
        with torch.device("meta"):
            module = MuMoE(8, 6, 4, family, gate=tm.Gate(norm="batch"))
        fully_shard(module, mesh=mesh)
        module.to_empty(device="cpu")
        # The first process decides, as if the others had been seeded in another way.
        module.reset_parameters(seed=rank)
        parameters, state = tm.initialize(module.spec, seed=0)
        actual = whole(module)
        if rank == 0:
            same(actual, {name: torch.from_numpy(v) for name, v in (parameters | state).items()})


def checkpoints(rank: int, world: int, folder: Path) -> None:
    """Distributed checkpoints of sharded layers, in PyTorch's format and in Hugging Face's."""
    import torch.distributed.checkpoint as dcp
    from torch.distributed.fsdp import fully_shard

    mesh = dist.device_mesh.init_device_mesh("cpu", (world,))
    for number, family in enumerate(FAMILIES):
        saved, loaded = layer(family, seed=0), layer(family, seed=1)
        fully_shard(saved, mesh=mesh)
        path = str(folder / f"dcp{number}")
        dcp.save(saved.state_dict(), checkpoint_id=path)
        state = loaded.state_dict()
        dcp.load(state, checkpoint_id=path)
        same(state, layer(family).state_dict())


def files(rank: int, world: int, folder: Path) -> None:
    """A sharded layer is gathered by all processes, and one of them saves it."""
    from torch.distributed.fsdp import fully_shard

    mesh = dist.device_mesh.init_device_mesh("cpu", (world,))
    module = MuMoE(8, 6, 4, tm.CP(3), gate=tm.Gate(norm="batch"), seed=0)
    expected, path = module.state_dict(), folder / "layer.safetensors"
    expected = {name: tensor.clone() for name, tensor in expected.items()}
    fully_shard(module, mesh=mesh)
    with pytest.raises(tm.TensorMoEError, match=r"sharded over processes: gather it by full_tensor"):
        tm.save(module, path)
    tensors = whole(module)
    if rank == 0:
        parts = (
            {name: tensors[name] for name in shapes}
            for shapes in (module.spec.parameter_shapes, module.spec.state_shapes)
        )
        tm.save(tm.SavedLayer(module.spec, *parts), path)
    dist.barrier()
    same(tm.load(path, "torch").state_dict(), expected)


def hugging_face_writer(rank: int, world: int, folder: Path) -> None:
    import torch.distributed.checkpoint as dcp

    for number, family in enumerate(FAMILIES):
        path = str(folder / f"hf{number}")
        dcp.save(layer(family).state_dict(), storage_writer=dcp.HuggingFaceStorageWriter(path))
        state = layer(family, seed=1).state_dict()
        dcp.load(state, storage_reader=dcp.HuggingFaceStorageReader(path))
        same(state, layer(family).state_dict())


def collectives(rank: int, world: int, folder: Path) -> None:
    """Raw collectives on parameters, of which one process loaded its own and the other built them."""
    for family in FAMILIES:
        module = layer(family, seed=rank)
        expected = layer(family).state_dict()
        for name, parameter in module.named_parameters():
            if rank == 0:
                dist.send(parameter.data, 1)
            else:
                received = torch.empty_like(parameter)
                dist.recv(received, 0)
                torch.testing.assert_close(received, expected[name], rtol=0, atol=0)
            dist.broadcast(parameter.data, 0)
        same(module.state_dict(), expected)


def data_parallel(rank: int, world: int, folder: Path) -> None:
    """DistributedDataParallel takes gradients as they are: no warning of strides that do not match."""
    for plain, parallel in zip(modules(), modules(), strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            steps(nn.parallel.DistributedDataParallel(parallel), tokens().chunk(world)[rank])
        steps(plain, tokens())
        same(parallel.state_dict(), plain.state_dict(), 1e-5)


def main(scenarios: dict[str, Any]) -> None:
    name, rank, world, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    torch.set_num_threads(1)
    os.environ["TORCH_SHOW_CPP_STACKTRACES"] = "0"
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=world)
    scenarios[name](rank, world, folder)
    dist.barrier()
    dist.destroy_process_group()
    # After distributed checkpoints, two of six ordinary exits ended in "terminate called", an abort.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(globals())
