"""Arrays that modules of every framework load by name."""

from typing import Any

import numpy as np
import pytest
from support.frameworks import BACKENDS

import tensormoe as tm

every_backend = pytest.mark.parametrize("backend", BACKENDS)
SPEC = tm.MuMoESpec(5, 4, (3, 2), tm.CP(3), tm.Gate("softmax", "batch"))


def arrays_of(dtype: str) -> dict[str, np.ndarray]:
    """Values that no module starts with, running statistics among them."""
    generator = np.random.default_rng(0)
    shapes = SPEC.parameter_shapes | SPEC.state_shapes
    return {name: generator.uniform(1, 2, shape).astype(dtype) for name, shape in shapes.items()}


def values_of(module: Any, backend: str) -> dict[str, np.ndarray]:
    """What a module holds, by full names, in float64."""
    ops = tm.get_backend(backend)
    if backend == "numpy":
        held = module.parameters | module.state
    elif backend == "torch":
        held = module.state_dict()
    else:
        held = {
            name: module._variable(name).get_value() for name in SPEC.parameter_shapes | SPEC.state_shapes
        }
    return {name: ops.to_float64(value).copy() for name, value in held.items()}


@every_backend
def test_parameters_and_statistics_are_loaded_by_name(backend: str) -> None:
    ops = tm.get_backend(backend)
    dtype = "float32" if backend == "jax" else "float64"
    module = tm.build(SPEC, backend, seed=0, dtype=dtype)
    arrays = arrays_of(dtype)
    # Names count, not the order in which they come.
    module.load_arrays(dict(reversed(arrays.items())))
    loaded = values_of(module, backend)
    assert loaded.keys() == arrays.keys()
    for name, value in arrays.items():
        assert (loaded[name] == value).all(), name
    module.load_arrays({name: ops.from_numpy(value + 1) for name, value in arrays.items()})
    for name, value in values_of(module, backend).items():
        assert (value == arrays[name] + np.ones((), dtype)).all(), name


@every_backend
def test_arrays_in_another_order_of_bytes_are_loaded(backend: str) -> None:
    """As files of HDF5 and FITS hold them."""
    module, arrays = tm.build(SPEC, backend, seed=0), arrays_of("float32")
    swapped = {name: value.astype(value.dtype.newbyteorder()) for name, value in arrays.items()}
    assert not any(value.dtype.isnative for value in swapped.values())
    module.load_arrays(swapped)
    rebuilt = tm.SavedLayer(SPEC, swapped, {}).build(backend)
    for values in (values_of(module, backend), values_of(rebuilt, backend)):
        for name, value in values.items():
            assert (value == arrays[name]).all(), name


@every_backend
def test_loaded_arrays_are_copies(backend: str) -> None:
    module, arrays = tm.build(SPEC, backend, seed=0), arrays_of("float32")
    module.load_arrays(arrays)
    before = values_of(module, backend)
    for value in arrays.values():
        value += 1
    for name, value in values_of(module, backend).items():
        assert (value == before[name]).all(), name


@every_backend
def test_a_module_keeps_its_types(backend: str) -> None:
    module = tm.build(SPEC, backend, seed=0, dtype="float16")
    module.load_arrays(arrays_of("float64"))
    assert "float16" in str(module.dtype)
    loaded, arrays = values_of(module, backend), arrays_of("float64")
    for name in SPEC.parameter_shapes:
        assert (loaded[name] == arrays[name].astype("float16")).all(), name
    # Statistics are float32 at least, whatever the parameters are.
    for name in SPEC.state_shapes:
        assert (loaded[name] == arrays[name].astype("float32")).all(), name


@every_backend
def test_what_does_not_fit_is_refused_and_nothing_changes(backend: str) -> None:
    module, arrays = tm.build(SPEC, backend, seed=0), arrays_of("float32")
    before = values_of(module, backend)
    last = [*arrays][-1]
    for unfit in (
        {name: value for name, value in arrays.items() if name != last},
        arrays | {"more": np.ones(2, "float32")},
        arrays | {last: np.ones((*arrays[last].shape[:-1], 7), "float32")},
        arrays | {last: np.ones((*arrays[last].shape[:-1], 1), "float32")},
        arrays | {last: arrays[last].astype(int)},
        arrays | {last: arrays[last].tolist()},
        arrays | {last: {"nested": arrays[last]}},
        [*arrays.values()],
    ):
        with pytest.raises(tm.TensorMoEError, match=r"^arrays"):
            module.load_arrays(unfit)
    for name, value in values_of(module, backend).items():
        assert (value == before[name]).all(), name
