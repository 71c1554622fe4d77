"""Files that appear whole or not at all: checkpoints of a trial, and what trials share."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from tensormoe.checkpoints.files import write_file
from tensormoe.checkpoints.tensor_file import pack, unpack
from tensormoe.typing import NumPyArray

# Steps, each with a value that was measured after it.
Watched = list[tuple[int, float]]


def prepare(path: Path, make: Callable[[], Mapping[str, NumPyArray]]) -> dict[str, NumPyArray]:
    """Arrays that several trials need: made once, and read from the file `path` ever after.

    They are of floats or int64, and none is empty.
    """
    if not path.exists():
        _write(path, make())
    return unpack(str(path), integers=True)[0]


def decide(path: Path, choose: Callable[[], Mapping[str, float]]) -> dict[str, float]:
    """Numbers that several trials need, such as a tuned rate: chosen once, and read from then on."""
    if not path.exists():
        write_file(str(path), [json.dumps(dict(choose())).encode()])
    numbers: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    return numbers


def save(
    path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, step: int, watched: Watched
) -> None:
    """Keep a model, its optimizer, the steps that are done, and the state of PyTorch's random numbers."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for number, own in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in own.items()}
    arrays = {name: value.detach().cpu().numpy() for name, value in tensors.items()}
    arrays |= {"step": np.array(step), "random": torch.get_rng_state().numpy().astype("int64")}
    if watched:
        arrays["watched"] = np.array(watched)
    _write(path, arrays)


def restore(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, Watched]:
    """Put back what `save` kept, if it did, and return the steps that are done and what was watched."""
    if not path.exists():
        return 0, []
    arrays = unpack(str(path), integers=True)[0]
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    weights = {name.removeprefix("model."): v for name, v in tensors.items() if name.startswith("model.")}
    model.load_state_dict(weights)
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, number, field = name.split(".", 2)
            state.setdefault(int(number), {})[field] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    torch.set_rng_state(tensors["random"].to(torch.uint8))
    watched = [(int(step), value) for step, value in arrays.get("watched", np.empty((0, 2))).tolist()]
    return int(arrays["step"]), watched


def _write(path: Path, arrays: Mapping[str, NumPyArray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(str(path), pack(arrays, layers=""))
