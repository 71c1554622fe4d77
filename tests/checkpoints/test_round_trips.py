"""What is saved is loaded in every framework, bit for bit."""

import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import sealing
from checkpoints.examples import BLOCK, DTYPES, GATED, LAYER, bits, draw, draw_bits, same
from hypothesis import given, settings
from support.frameworks import BACKENDS, optional
from support.strategies import EVERY, EVERY_GATE

import tensormoe as tm
from tensormoe.testing import specs

torch, jax = optional("torch"), optional("jax")
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_backend = pytest.mark.parametrize("backend", BACKENDS)
CHAIN = [name for name in ("torch", "jax", "numpy", "torch") if name in BACKENDS]


def wide(backend: str) -> Any:
    """What float64 needs."""
    return jax.enable_x64(True) if backend == "jax" else nullcontext()


def held(module: Any) -> dict[str, np.ndarray]:
    """What a module of any framework holds, to the last bit."""
    arrays = module.arrays()
    if hasattr(module, "state_dict"):
        return {
            name: (array.view(torch.int16) if array.dtype == torch.bfloat16 else array).numpy()
            for name, array in arrays.items()
        }
    return {name: np.asarray(array) for name, array in arrays.items()}


@every_dtype
@pytest.mark.parametrize("spec", [LAYER, BLOCK, GATED], ids=["layer", "block", "gated"])
def test_a_layer_goes_through_all_frameworks_and_keeps_every_bit(
    spec: tm.Spec, dtype: str, tmp_path: Path
) -> None:
    saved, file = draw_bits(spec, dtype), tmp_path / "layer.safetensors"
    memory = {name: array.tobytes() for name, array in saved.arrays().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        tm.save(saved, file)
        for backend in CHAIN:
            with wide(backend):
                module = tm.load(file, backend)
                assert module.spec == spec
                assert {name: array.tobytes() for name, array in held(module).items()} == memory
                assert dtype in str(module.dtype)
                tm.save(module, file)
        again = tm.load_arrays(file)
    assert same(again, saved)


@every_dtype
def test_a_file_is_what_its_format_says(dtype: str, tmp_path: Path) -> None:
    saved, file = draw(LAYER, dtype), tmp_path / "layer.safetensors"
    tm.save(saved, file)
    data = file.read_bytes()
    header, rest = sealing.part(data)
    assert (len(data) - len(rest)) % 8 == 0
    written = sealing.values(data)
    assert written.keys() == saved.arrays().keys()
    for name, array in saved.arrays().items():
        assert written[name].tobytes() == array.tobytes(), name
        assert written[name].shape == array.shape
    assert sealing.part(sealing.seal(header, rest)) == (header, rest)


@pytest.mark.parametrize("gate", EVERY_GATE, ids=str)
def test_every_gate_comes_back(gate: tm.Gate, tmp_path: Path) -> None:
    saved = draw(LAYER.replace(gate=gate, experts=6))
    tm.save(saved, tmp_path / "layer")
    assert same(tm.load_arrays(tmp_path / "layer"), saved)


@pytest.mark.parametrize("family", EVERY, ids=str)
def test_every_family_comes_back_from_a_module(family: tm.Factorization, tmp_path: Path) -> None:
    for spec in (tm.MuMoESpec(3, 2, 4, family, bias=False), tm.MuMoEBlockSpec(3, 4, 2, 4, family)):
        module = tm.build(spec, "numpy", seed=1)
        tm.save(module, tmp_path / "layer")
        again = tm.load(tmp_path / "layer", "numpy")
        assert bits(again.arrays()) == bits(module.arrays())
        x = np.ones((2, 3), "float32")
        assert (again(x) == module(x)).all()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("layers")


@settings(max_examples=30 if settings.default.max_examples < 1_000 else 1_000)
@given(specs())
def test_any_layer_comes_back(folder: Path, spec: tm.MuMoESpec) -> None:
    saved = draw(spec, "float16")
    tm.save(saved, folder / "layer")
    assert same(tm.load_arrays(folder / "layer"), saved)


@every_backend
def test_several_layers_keep_their_names_and_order(backend: str, tmp_path: Path) -> None:
    layers = {
        "h.1": draw(LAYER, "float32", 1),
        "h.0": draw(BLOCK, "float16", 2),
        "encoder": {"10": draw(LAYER, "bfloat16", 3), "9": {"ff": draw(LAYER, "float32", 4)}},
        "größe": draw(LAYER.replace(bias=False), "float32", 5),
    }
    tm.save(layers, tmp_path / "layers")
    assert same(tm.load_arrays(tmp_path / "layers"), layers)
    modules = tm.load(tmp_path / "layers", backend)
    assert list(modules) == list(layers)
    tm.save(modules, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "layers").read_bytes()


@every_backend
def test_options_of_the_module_are_heard(backend: str, tmp_path: Path) -> None:
    tm.save(draw(LAYER, "float32"), tmp_path / "layer")
    module = tm.load(tmp_path / "layer", backend, dtype="float16", recompute=True)
    assert "float16" in str(module.dtype)
    assert module.recompute
    # Statistics are float32 at least.
    assert all("float32" in str(module.arrays()[name].dtype) for name in LAYER.state_shapes)
    with pytest.raises(tm.TensorMoEError, match=f"option of {backend}: received 'seed'"):
        tm.load(tmp_path / "layer", backend, seed=0)
    with pytest.raises(tm.TensorMoEError, match="dtype"):
        tm.load(tmp_path / "layer", backend, dtype="int8")
    with pytest.raises(tm.TensorMoEError, match="device"):
        tm.load(tmp_path / "layer", backend, device="nowhere")


@every_backend
def test_parts_of_different_types_stay_so(backend: str, tmp_path: Path) -> None:
    saved = draw(LAYER, "float32")
    saved.parameters["cores.input"] = saved.parameters["cores.input"].astype("float16")
    tm.save(saved, tmp_path / "layer")
    module = tm.load(tmp_path / "layer", backend)
    assert bits(held(module)) == bits(saved.arrays())


@every_backend
def test_no_initial_values_are_drawn(backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tm.save(draw(LAYER), tmp_path / "layer")

    def refuse(*arguments: Any) -> None:
        raise AssertionError("initial values are drawn")

    monkeypatch.setattr("tensormoe.layers.core_recipe.CoreRecipe.draw", refuse)
    with pytest.raises(AssertionError):
        tm.build(LAYER, backend, seed=0)
    tm.load(tmp_path / "layer", backend)


@every_backend
def test_modules_built_from_the_same_arrays_share_none(backend: str) -> None:
    saved = draw(LAYER)
    first, second = saved.build(backend), saved.build(backend)
    before = bits(held(second))
    for array in saved.arrays().values():
        array += 1
    first.load_arrays(draw(LAYER, seed=7).arrays())
    assert bits(held(second)) == before
    third = type(first).from_arrays(LAYER, first.arrays())
    first.load_arrays(saved.arrays())
    assert bits(held(third)) == bits(draw(LAYER, seed=7).arrays())


@every_backend
def test_a_module_takes_arrays_that_fit_and_no_others(backend: str) -> None:
    kind = type(tm.build(LAYER, backend, seed=0))
    arrays = draw(LAYER).arrays()
    with pytest.raises(tm.TensorMoEError, match=r"missing: 'gate_mean\.0'"):
        kind.from_arrays(LAYER, {name: array for name, array in arrays.items() if name != "gate_mean.0"})
    with pytest.raises(tm.TensorMoEError, match=r"cores.input.*shape \(4, 2\)"):
        kind.from_arrays(LAYER, arrays | {"cores.input": np.ones((2, 4))})
    with pytest.raises(tm.TensorMoEError, match="spec"):
        kind.from_arrays(BLOCK, arrays)
    with pytest.raises(tm.TensorMoEError, match="copy"):
        kind.from_arrays(LAYER, arrays, copy=1)


@every_backend
def test_float64_needs_64_bit_mode_in_jax_alone(backend: str, tmp_path: Path) -> None:
    tm.save(draw(LAYER, "float64"), tmp_path / "layer")
    if backend == "jax":
        with pytest.raises(tm.TensorMoEError, match="jax_enable_x64"):
            tm.load(tmp_path / "layer", backend)
        assert tm.load(tmp_path / "layer", backend, dtype="float32").dtype == "float32"
    else:
        assert "float64" in str(tm.load(tmp_path / "layer", backend).dtype)


def test_numpy_computes_in_bfloat16_as_the_others_do() -> None:
    pytest.importorskip("torch")
    for spec in (LAYER, BLOCK):
        saved = draw(spec, "bfloat16")
        x = draw(spec, "bfloat16", 3).parameters["gate_weights.0"].T[:, :3]
        layer, other = saved.build("numpy"), saved.build("torch").eval()
        y, coefficients = layer(x, return_coefficients=True)
        assert {y.dtype.name, *(a.dtype.name for a in coefficients)} == {"bfloat16"}
        expected = other(torch.from_numpy(x.astype("float32")).bfloat16()).detach().float().numpy()
        scale = abs(expected).max()
        np.testing.assert_allclose(y.astype("float32"), expected, rtol=0, atol=0.05 * scale)


@dataclass(frozen=True)
class Doubled(tm.Factorization):
    """A family that people define themselves."""

    rank: int

    def notation(self, levels: int) -> str:
        return f"{' r, '.join(tm.expert_modes(levels))} r, i r, r o"


def test_a_family_of_your_own_comes_back(tmp_path: Path) -> None:
    saved = draw(tm.MuMoESpec(3, 2, 4, Doubled(2)))
    tm.save(saved, tmp_path / "layer")
    assert same(tm.load_arrays(tmp_path / "layer"), saved)


@dataclass(frozen=True)
class Module:
    """What a framework of its own needs to have its layers saved."""

    spec: tm.Spec
    values: dict[str, np.ndarray]

    def arrays(self) -> dict[str, np.ndarray]:
        return self.values


def test_anything_with_a_specification_and_arrays_is_saved(tmp_path: Path) -> None:
    saved = draw(LAYER)
    tm.save(Module(LAYER, saved.arrays()), tmp_path / "layer")
    assert same(tm.load_arrays(tmp_path / "layer"), saved)


def test_arrays_lie_as_they_like(tmp_path: Path) -> None:
    saved = draw(LAYER)
    parameters = {name: np.asfortranarray(array) for name, array in saved.parameters.items()}
    tm.save(tm.SavedLayer(LAYER, dict(reversed(parameters.items())), saved.state), tmp_path / "layer")
    assert same(tm.load_arrays(tmp_path / "layer"), saved)


def test_what_is_read_twice_shares_no_memory(tmp_path: Path) -> None:
    tm.save(draw(LAYER), tmp_path / "layer")
    first, second = tm.load_arrays(tmp_path / "layer"), tm.load_arrays(tmp_path / "layer")
    for array in first.arrays().values():
        array += 1
    assert same(second, tm.load_arrays(tmp_path / "layer"))


def test_nan_is_kept_and_warned_of(tmp_path: Path) -> None:
    saved = draw(LAYER)
    saved.parameters["cores.input"][0, 0] = np.nan
    for act in (
        lambda: tm.save({"a": saved}, tmp_path / "layer"),
        lambda: tm.load_arrays(tmp_path / "layer"),
        lambda: tm.load(tmp_path / "layer", "numpy"),
    ):
        with pytest.warns(UserWarning, match="there are NaN in a.cores.input") as records:
            act()
        assert [record.filename for record in records] == [__file__]
    with pytest.warns(UserWarning, match="NaN"):
        assert same(tm.load_arrays(tmp_path / "layer"), {"a": saved})
