"""Files of safetensors: raw memory, so what is written must lie in memory as its shape says."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("safetensors")

from safetensors import numpy as safetensors_numpy

import tensormoe as tm

FAMILIES = (
    tm.CP(3),
    tm.Tucker((2, 2, 3, 4)),
    tm.TensorRing((2, 2, 3, 4)),
    tm.TensorTrain((2, 3, 4)),
    tm.Dense(),
)
families = pytest.mark.parametrize("family", FAMILIES, ids=str)


@families
def test_initial_values_survive_the_numpy_module(family: tm.Factorization, tmp_path: Path) -> None:
    spec = tm.MuMoESpec(8, 6, (4, 3), family, tm.Gate(norm="batch"))
    parameters, state = tm.initialize(spec)
    safetensors_numpy.save_file(parameters | state, tmp_path / "layer.safetensors")
    loaded = safetensors_numpy.load_file(tmp_path / "layer.safetensors")
    assert loaded.keys() == (parameters | state).keys()
    assert all((loaded[name] == value).all() for name, value in (parameters | state).items())


@families
def test_a_torch_layer_is_saved_by_either_module_and_loaded_by_the_other(
    family: tm.Factorization, tmp_path: Path
) -> None:
    import torch
    from safetensors import torch as safetensors_torch

    spec = tm.MuMoESpec(8, 6, (4, 3), family, tm.Gate(norm="batch"))
    saved, other = tm.build(spec, "torch", seed=0), tm.build(spec, "torch", seed=1)
    x = np.ones((2, 8), "float32")
    arrays = {name: tensor.numpy() for name, tensor in saved.state_dict().items()}
    safetensors_numpy.save_file(arrays, tmp_path / "numpy")
    other.load_state_dict(safetensors_torch.load_file(tmp_path / "numpy"))
    assert all((other.state_dict()[name].numpy() == value).all() for name, value in arrays.items())
    safetensors_torch.save_file(saved.state_dict(), tmp_path / "torch")
    safetensors_torch.save_model(saved, str(tmp_path / "model"))
    safetensors_torch.load_model(other, str(tmp_path / "model"))
    expected = saved.eval()(torch.from_numpy(x)).detach().numpy()
    for file in ("torch", "model"):
        loaded = safetensors_numpy.load_file(tmp_path / file)
        parameters = {name: loaded[name] for name in spec.parameter_shapes}
        state = {name: loaded[name] for name in spec.state_shapes}
        y = tm.apply(spec, parameters, x, state=state).y
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-6)


@families
def test_the_package_reads_what_is_saved_and_a_state_dict_comes_of_it(
    family: tm.Factorization, tmp_path: Path
) -> None:
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file

    spec = tm.MuMoESpec(8, 6, (4, 3), family, tm.Gate(norm="batch"))
    path = tmp_path / "layer.safetensors"
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        saved, other = (tm.build(spec, "torch", seed=seed, dtype=dtype) for seed in (0, 1))
        tm.save(saved, path)
        tensors = load_file(path)
        assert tensors.keys() == saved.state_dict().keys()
        for name, tensor in saved.state_dict().items():
            assert tensors[name].dtype == tensor.dtype
            assert torch.equal(tensors[name], tensor)
        other.load_state_dict(tensors)
    with safe_open(path, framework="pt") as file:
        assert spec.to_dict() == json.loads(file.metadata()["tensormoe.layers"])["layers"][0]["spec"]


def test_a_file_of_the_package_says_what_to_do(tmp_path: Path) -> None:
    parameters, _ = tm.initialize(tm.MuMoESpec(8, 6, 4, FAMILIES[0]))
    path = tmp_path / "layer.safetensors"
    for metadata in (None, {"format": "pt"}):
        safetensors_numpy.save_file(parameters, path, metadata=metadata)
        with pytest.raises(tm.TensorMoEError, match=r"tm\.save did not write it.*tm\.from_published"):
            tm.load(path, "numpy")


def test_a_core_that_layers_share_is_written_once(tmp_path: Path) -> None:
    import torch
    from safetensors import torch as safetensors_torch

    from tensormoe_torch import MuMoE, share

    def model(seed: int) -> torch.nn.Module:
        layers = (MuMoE(8, 8, 4, tm.CP(3), seed=seed + n) for n in range(2))
        module = torch.nn.Sequential(*layers)
        share(module, "*.cores.expert1")
        return module

    saved, other = model(0), model(5)
    safetensors_torch.save_model(saved, str(tmp_path / "model"))
    names = [name for name in safetensors_torch.load_file(tmp_path / "model") if "expert1" in name]
    assert names == ["0.cores.expert1"]
    assert safetensors_torch.load_model(other, str(tmp_path / "model")) == (set(), [])
    assert other[0].cores["expert1"] is other[1].cores["expert1"]
    assert all(torch.equal(value, saved.state_dict()[name]) for name, value in other.state_dict().items())
