"""The demo, shortened: enough epochs to see the frameworks agree, not to reach its accuracy."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import tensormoe as tm
from tensormoe.cli import main
from tensormoe.demo import data, training
from tensormoe.demo.run import FACTORIZATIONS, MLP, MLP_PARAMETERS, spec


@pytest.mark.parametrize("name", FACTORIZATIONS)
def test_frameworks_train_the_same_layer(name: str) -> None:
    block = spec(FACTORIZATIONS[name])
    assert 0.9 * MLP_PARAMETERS < block.num_parameters <= MLP_PARAMETERS
    digits = data.load(epochs=2, batch_size=32, dtype="float64")
    assert digits.batches.shape == (2 * (1347 // 32), 32)
    pytorch = training.train_torch(block, digits, 3e-3, lambda: None)
    jax = training.train_jax(block, digits, 3e-3, lambda: None)
    np.testing.assert_allclose(pytorch.losses, jax.losses, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(pytorch.logits, jax.logits, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(pytorch.coefficients, jax.coefficients, rtol=1e-6, atol=1e-6)
    assert pytorch.losses[-1] < pytorch.losses[0] / 2
    assert pytorch.accuracy(digits.labels_test) > 0.8


@pytest.mark.parametrize(("missing", "left"), [("torch", ["JAX"]), ("optax", ["PyTorch"])])
def test_one_framework_is_enough(missing: str, left: list[str], tmp_path: Path, monkeypatch, capsys) -> None:
    there = training.find_spec
    monkeypatch.setattr(training, "find_spec", lambda name: None if name == missing else there(name))
    assert [*training.installed_trainers()] == left
    # The package's name `run` is the function.
    module = sys.modules["tensormoe.demo.run"]
    monkeypatch.setattr(module, "FACTORIZATIONS", {"CP": FACTORIZATIONS["CP"]})
    drawn: list[str] = []
    monkeypatch.setattr("matplotlib.figure.Figure.suptitle", lambda figure, text, **style: drawn.append(text))
    monkeypatch.setattr("matplotlib.axes.Axes.legend", lambda *_, **style: drawn.append("legend"))
    picture = tmp_path / "demo.png"
    assert main(["demo", "--picture", str(picture), "--epochs", "1"]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    shown = capsys.readouterr().out
    assert f"training in {left[0]}" in shown
    assert "max. diff." not in shown
    assert any(line.split()[:3] == ["MLP", "9,610", "9,472"] for line in shown.splitlines())
    (title,) = drawn
    assert title.endswith(f"its loss in training in {left[0]} (below)")


def test_without_a_framework_it_says_what_to_install(monkeypatch, capsys) -> None:
    monkeypatch.setattr(training, "find_spec", lambda name: None)
    assert main(["demo"]) == 2
    assert 'pip install "tensormoe[demo,torch]"' in capsys.readouterr().err


def test_the_mlp_of_the_table_is_an_mlp() -> None:
    module = tm.build(MLP, "torch", seed=0)
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    (first, b1), (second, b2) = ((w[0, :-1], w[0, -1]) for w in module.materialize())
    expected = torch.nn.functional.gelu(x @ first + b1) @ second + b2
    torch.testing.assert_close(module(x), expected)
    assert sum(w.numel() for w in module.materialize()) == MLP_PARAMETERS


def test_test_images_are_held_out() -> None:
    digits = data.load(epochs=1, batch_size=32, dtype="float64")
    seen = {row.tobytes() for row in digits.x}
    assert not any(row.tobytes() in seen for row in digits.x_test)
    assert len(digits.x) + len(digits.x_test) == 1797
    assert digits.batches.max() < len(digits.x)


def test_the_command_draws_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "new" / "demo.png"
    assert main(["demo", "--picture", str(picture), "--epochs", "1", "--dtype", "float32"]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    shown = capsys.readouterr().out
    for word in ("verified", "soft MoE", "training in JAX", *FACTORIZATIONS):
        assert word in shown
