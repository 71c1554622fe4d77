"""The loop of the experiments: it goes on bit for bit, and its rates are the recipe's."""

from dataclasses import replace
from math import cos, pi
from pathlib import Path

import numpy as np
import pytest
from support.frameworks import optional

from tensormoe.errors import TensorMoEError

torch = optional("torch")

from benchmarks.experiments import checkpoints  # noqa: E402
from benchmarks.experiments.training import (  # noqa: E402
    Recipe,
    accuracy,
    choose_device,
    device_of,
    positions,
    train,
)

RECIPE = Recipe(steps=12, batch=4, rate=0.01, decay=0.1, warmup=3, schedule="cosine", clip=1.0, every=5)


def model() -> "torch.nn.Module":
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(3, 6), torch.nn.BatchNorm1d(6), torch.nn.Dropout(0.5), torch.nn.Linear(6, 2)
    )


def data() -> "list[torch.Tensor]":
    generator = np.random.default_rng(0)
    x = generator.normal(size=(18, 3)).astype("float32")
    return [torch.from_numpy(x), torch.from_numpy((x[:, 0] > 0).astype("int64"))]


def test_gradients_of_parts_of_a_batch_add_up_to_those_of_the_whole() -> None:
    whole, parts = (torch.nn.Linear(3, 2) for _ in range(2))
    parts.load_state_dict(whole.state_dict())
    losses = [
        train(each, data(), replace(RECIPE, at_once=size), seed=3, watch=lambda step, loss: loss)
        for each, size in ((whole, 0), (parts, 3))
    ]
    assert [loss for _, loss in losses[0]] == pytest.approx([loss for _, loss in losses[1]], rel=1e-5)
    torch.testing.assert_close(parts.weight, whole.weight)


def test_a_loop_that_was_stopped_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    def stop(step: int, loss: float) -> float | None:
        if step == 8:
            raise KeyboardInterrupt
        return loss

    free = model()
    losses = train(free, data(), RECIPE, seed=3, watch=lambda step, loss: loss)
    with pytest.raises(KeyboardInterrupt):
        train(model(), data(), RECIPE, seed=3, watch=stop, checkpoint=tmp_path / "state")
    other = model()
    torch.manual_seed(77)
    seen: list[int] = []
    again = train(
        other,
        data(),
        RECIPE,
        seed=3,
        watch=lambda step, loss: (seen.append(step), loss)[1],
        checkpoint=tmp_path / "state",
    )
    assert seen == [*range(6, 13)]
    assert again == losses
    assert [step for step, _ in again] == [*range(1, 13)]
    for name, value in free.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_every_epoch_shows_every_example_once_in_an_order_of_its_own() -> None:
    epochs = [
        torch.cat([positions(12, 4, seed=1, step=3 * epoch + step) for step in range(3)])
        for epoch in range(2)
    ]
    assert [sorted(order.tolist()) for order in epochs] == [[*range(12)]] * 2
    assert epochs[0].tolist() != epochs[1].tolist()
    assert positions(3, 8, seed=0, step=5).sort().values.tolist() == [0, 1, 2]


def test_rates_rise_and_fall_as_the_recipe_says() -> None:
    factors = [RECIPE.factor(step) for step in range(12)]
    assert factors[:3] == pytest.approx([1 / 3, 2 / 3, 1])
    assert factors[3:] == pytest.approx([(1 + cos(pi * k / 9)) / 2 for k in range(9)])
    line = Recipe(10, 1, 1.0, schedule="linear", last=0.1)
    assert [line.factor(step) for step in (0, 5, 10)] == pytest.approx([1, 0.55, 0.1])
    with pytest.raises(TensorMoEError, match="choose one of constant"):
        Recipe(1, 1, 1.0, schedule="square")


def test_the_first_step_is_adamws_at_the_rate_of_the_recipe() -> None:
    """From zero weights: the rate, or a fifth of it in a warm-up of five steps, against the gradient."""
    mse = torch.nn.functional.mse_loss
    data = [torch.ones(4, 1), torch.full((4, 1), 5.0)]
    for warmup, moved in ((0, 0.25), (5, 0.05)):
        layer = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.zeros_(layer.weight)
        train(layer, data, Recipe(1, 4, 0.25, warmup=warmup), 0, loss=lambda model, x, y: mse(model(x), y))
        assert layer.weight.item() == pytest.approx(moved, rel=1e-6)


def test_accuracy_counts_in_evaluation_mode() -> None:
    labels = torch.arange(8) % 2
    constant = torch.nn.Sequential(torch.nn.Dropout(0.99), torch.nn.Identity()).train()
    x = torch.nn.functional.one_hot(labels, 2).float()
    assert accuracy(constant, x, labels) == 1.0


def test_what_trials_share_is_made_once(tmp_path: Path) -> None:
    calls: list[int] = []

    def make() -> dict[str, np.ndarray]:
        calls.append(1)
        return {"x": np.eye(2, dtype="float32"), "labels": np.arange(2)}

    for _ in range(2):
        arrays = checkpoints.prepare(tmp_path / "features", make)
        assert arrays["x"].tolist() == np.eye(2).tolist()
        assert arrays["labels"].tolist() == [0, 1]
        assert checkpoints.decide(tmp_path / "rate", lambda: {"rate": float(len(calls))}) == {"rate": 1.0}
    assert calls == [1]


def test_a_device_is_the_graphics_processor_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device() == torch.device("cpu")
    with pytest.raises(TensorMoEError, match="device: received 'cuda:1'; PyTorch sees no graphics processor"):
        choose_device("cuda:1")
    with pytest.raises(TensorMoEError, match="pass auto, cpu, cuda or cuda:0"):
        choose_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [choose_device(name).type for name in ("auto", "cuda:1", "cpu")] == ["cuda", "cuda", "cpu"]


class Traveller(torch.nn.Linear):
    """A layer whose moves between devices are written down, and not made."""

    def __init__(self, journal: list[str]) -> None:
        super().__init__(3, 2)
        self.journal = journal

    def to(self, device: "torch.device") -> "Traveller":
        self.journal.append(f"model to {device}")
        return self


class Rows:
    """Examples whose batches write down where they are moved."""

    def __init__(self, values: "torch.Tensor", journal: list[str]) -> None:
        self.values, self.journal = values, journal

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, batch: "torch.Tensor") -> "torch.Tensor":
        rows = self.values[batch]

        def move(device: "torch.device") -> "torch.Tensor":
            self.journal.append(f"batch to {device}")
            return rows

        rows.to = move
        return rows


def test_models_and_batches_go_to_the_device_and_models_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that has no other device: what would be moved is written down."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    journal: list[str] = []
    rows = [Rows(each, journal) for each in data()]
    train(Traveller(journal), rows, Recipe(2, 4, 0.1), seed=0)
    assert journal == ["model to cuda", *["batch to cuda"] * 4, "model to cpu"]
    journal.clear()
    train(Traveller(journal), rows, Recipe(1, 4, 0.1), seed=0, device="cpu")
    assert journal == ["model to cpu", *["batch to cpu"] * 2, "model to cpu"]
    assert device_of(Traveller(journal)) == torch.device("cpu")
