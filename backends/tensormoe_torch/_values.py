"""Values of parameters and statistics: drawn, checked and written, wherever the tensors live."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch

from tensormoe.arrays.numpy_kinds import NUMPY_TYPES
from tensormoe.errors import TensorMoEError
from tensormoe.layers.initialization import drawn_names, initialize, initialize_constants
from tensormoe.layers.loading import check_fixed, read_arrays
from tensormoe.layers.spec import Spec
from tensormoe.typing import NumPyArray

from ._private import is_fake

Device: TypeAlias = torch.device | str | int | None
DType: TypeAlias = torch.dtype | str | None

# Smaller types have no arithmetic.
_KINDS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def element_type(dtype: DType) -> torch.dtype:
    """The floating-point type that an argument names; by default PyTorch's own default."""
    if dtype is None:
        return torch.get_default_dtype()
    kind = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(kind, torch.dtype) or kind not in _KINDS:
        raise TensorMoEError("dtype", dtype, f"pass one of {', '.join(map(str, _KINDS))}")
    return kind


def on_device(device: Device) -> torch.Tensor:
    """An empty tensor on a device; an error if there is no such device."""
    try:
        return torch.empty(0, device=device)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        remedy = f'pass a device that is present, such as "cpu" ({" ".join(str(error).split())})'
        raise TensorMoEError("device", device, remedy) from error


def has_values(tensor: torch.Tensor) -> bool:
    """Whether a tensor has memory to fill: it is not on the meta device and not FakeTensorMode's."""
    return tensor.device.type != "meta" and not is_fake(tensor)


def reset(tensors: Mapping[str, torch.Tensor], spec: Spec, seed: int | None) -> None:
    """Give tensors the initial values that a spec has under their names.

    Where no tensor has values nothing is drawn: a large model takes no time on the meta device.
    """
    filled = {name: tensor for name, tensor in tensors.items() if has_values(tensor)}
    if not filled:
        return
    dtype = "float64" if any(tensor.dtype == torch.float64 for tensor in filled.values()) else "float32"
    if filled.keys().isdisjoint(drawn_names(spec)):
        parameters, state = initialize_constants(spec, dtype)
    else:
        parameters, state = initialize(spec, draw_seed() if seed is None else seed, dtype)
    values = parameters | state
    fill((tensor, torch.from_numpy(values[name])) for name, tensor in filled.items())


def draw_seed() -> int:
    """A seed from PyTorch's global generator, which torch.manual_seed sets, as for nn.Linear."""
    return int(torch.randint(2**63 - 1, (), device="cpu"))


@torch.no_grad()
def fill(pairs: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Write values into tensors; a tensor that is sharded over processes takes its own part."""
    for tensor, value in pairs:
        tensor.copy_(_distribute(value, tensor) if hasattr(tensor, "device_mesh") else value)


def read(
    arrays: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], spec: Spec
) -> dict[str, torch.Tensor]:
    """Arrays of any framework as tensors, checked against those that are to take their values."""
    values = read_arrays(arrays, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
    check_fixed(spec, values)
    return {name: to_tensor(value) for name, value in values.items()}


def take(
    arrays: Mapping[str, Any], spec: Spec, dtype: DType, device: Device, copy: bool
) -> dict[str, torch.Tensor]:
    """Arrays of any framework as the tensors of a layer, which may share memory that needs no copy.

    Args:
        arrays: all parameters and running statistics of the layer.
        spec: of the layer.
        dtype: of the parameters; None if every array keeps its type.
        device: of all.
        copy: whether what is shared is copied.
    """
    target = on_device(device).device
    kind = None if dtype is None else element_type(dtype)
    wide = torch.float64 if kind == torch.float64 else torch.float32
    kinds = dict.fromkeys(spec.statistics_shapes, None if kind is None else wide)
    values = read_arrays(arrays, spec.parameter_shapes | spec.state_shapes)
    check_fixed(spec, values)
    return {name: to_tensor(value, copy).to(target, kinds.get(name, kind)) for name, value in values.items()}


def to_tensor(array: NumPyArray, copy: bool = True) -> torch.Tensor:
    """A tensor with a NumPy array's values and type; types that PyTorch lacks become float64."""
    kind = array.dtype if array.dtype.name in NUMPY_TYPES else np.float64
    # What NumPy may not write to, PyTorch must not.
    fresh = np.array(array, kind, order="C", copy=True if copy or not array.flags.writeable else None)
    if fresh.dtype.name == "bfloat16":
        return torch.from_numpy(fresh.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(fresh)


def _distribute(value: torch.Tensor, like: Any) -> torch.Tensor:
    from torch.distributed.tensor import distribute_tensor

    # Every process gets the values of the first, even if the others drew different seeds.
    return distribute_tensor(value.to(like.device, like.dtype), like.device_mesh, like.placements)
