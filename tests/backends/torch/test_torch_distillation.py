"""Blocks that learn the outputs of what they replace, against training loops written out."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tensormoe as tm
import tensormoe_torch
from tensormoe_torch import distill


def mlp(width: int = 8, dropout: float = 0.0) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 16), nn.GELU(), nn.Linear(16, width), nn.Dropout(dropout))


def block(width: int = 8, gate: tm.Gate = tm.Gate()) -> nn.Module:
    return tensormoe_torch.MuMoEBlock(width, 16, width, 4, tm.CP(9), gate=gate)


class Model(nn.Module):
    """Two residual MLPs, the first one's input a projection."""

    def __init__(self) -> None:
        super().__init__()
        self.inlet, self.norm = nn.Linear(5, 8), nn.BatchNorm1d(8)
        self.mlps = nn.ModuleList([mlp(), mlp(dropout=0.5)])

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        x = self.norm(self.inlet(x)) * scale
        for each in self.mlps:
            x = x + each(x)
        return x


def replaced(seed: int = 0) -> tuple[nn.Module, nn.Module, list[Any]]:
    """A model, itself with new modules, and the pairs."""
    torch.manual_seed(seed)
    old = Model()
    new = deepcopy(old)
    new.mlps = nn.ModuleList([block(), block()])
    return old, new, [(f"mlps.{n}", old.mlps[n], new.mlps[n]) for n in range(2)]


def relative(y: Tensor, target: Tensor) -> float:
    return float(((y - target).norm() / target.norm()).detach())


def batches(count: int, width: int = 8, seed: int = 7) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(32, width, generator=generator) for _ in range(count)]


@pytest.mark.parametrize("gate", [tm.Gate(), tm.Gate("softmax", "batch")])
def test_a_block_learns_an_mlp(gate: tm.Gate) -> None:
    torch.manual_seed(0)
    old, new = mlp(dropout=0.5), block(gate=gate)
    held = batches(3, seed=1)
    wanted, y = old.eval()(torch.cat(held)), new.eval()(torch.cat(held))
    report = distill([("mlp", old, new)], batches(20), steps=300, learning_rate=0.01, validation=iter(held))
    (row,) = report.rows
    assert row.name == "mlp"
    assert row.before == pytest.approx(relative(y, wanted), rel=1e-5)
    assert row.after == pytest.approx(relative(new.eval()(torch.cat(held)), wanted), rel=1e-5)
    assert row.after < 0.3 * row.before
    assert len(report.losses) == 300
    assert f"{row.after:.4f}" in str(report)
    if gate.norm == "batch":
        assert not torch.equal(new.state_dict()["gate_mean.0"], torch.zeros(4))


def test_the_steps_are_those_of_adamw_with_a_falling_rate() -> None:
    torch.manual_seed(0)
    old, new = mlp(), block()
    by_hand = deepcopy(new).train()
    data = batches(2)
    optimizer = torch.optim.AdamW(by_hand.parameters(), 0.02, weight_decay=0.3)
    losses = []
    for step in range(3):
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / 3)
        target = old(data[step % 2]).detach()
        loss = ((by_hand(data[step % 2]) - target) ** 2).sum() / (target**2).sum()
        losses.append(float(loss))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    report = distill([("mlp", old, new)], data, steps=3, learning_rate=0.02, weight_decay=0.3)
    assert report.losses == pytest.approx(losses, rel=1e-5)
    for ours, theirs in zip(new.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["tensor", "tuple", "mapping"])
def test_inside_a_model_each_module_gets_the_inputs_of_the_old_model(kind: str) -> None:
    old, new, pairs = replaced()
    old.eval()
    data = batches(4, 5)
    shown: dict[str, Callable[[Tensor], Any]] = {
        "tensor": lambda x: x,
        "tuple": lambda x: (x, 1.0),
        "mapping": lambda x: {"x": x, "scale": 1.0},
    }
    x = torch.cat(data)
    first = old.norm(old.inlet(x))
    second = first + old.mlps[0](first)
    before = [relative(new.mlps[n].eval()(h), old.mlps[n](h)) for n, h in enumerate((first, second))]
    report = distill(pairs, [shown[kind](each) for each in data], model=new, steps=200, learning_rate=0.01)
    after = [relative(new.mlps[n].eval()(h), old.mlps[n](h)) for n, h in enumerate((first, second))]
    for row, expected, reached in zip(report.rows, before, after, strict=True):
        assert row.before == pytest.approx(expected, rel=1e-4)
        assert row.after == pytest.approx(reached, rel=1e-4)
        assert reached < 0.4 * expected
    assert relative(new.eval()(x), old(x)) < 0.3


def test_nothing_else_changes() -> None:
    old, new, pairs = replaced()
    new.train()
    new.norm.eval()
    new.inlet.weight.requires_grad_(False)
    rest = {n: p.clone() for n, p in new.state_dict().items() if "mlps" not in n}
    taught = {n: p.clone() for n, p in old.state_dict().items()}
    flags = [p.requires_grad for p in new.parameters()], [m.training for m in new.modules()]
    distill(pairs, batches(2, 5), model=new, steps=3)
    for name, value in rest.items():
        assert torch.equal(new.state_dict()[name], value), name
    for name, value in taught.items():
        assert torch.equal(old.state_dict()[name], value), name
    assert flags == ([p.requires_grad for p in new.parameters()], [m.training for m in new.modules()])
    assert not any(module._forward_hooks for module in new.modules())
    assert all(parameter.grad is None for name, parameter in new.named_parameters() if "mlps" not in name)


def test_a_module_in_two_places_learns_from_both() -> None:
    old, new, _ = replaced()
    old.mlps[1], new.mlps[1] = old.mlps[0], new.mlps[0]
    old.eval()
    data = batches(2, 5)
    first = old.norm(old.inlet(torch.cat(data)))
    h = torch.cat([first, first + old.mlps[0](first)])
    expected = relative(new.mlps[0].eval()(h), old.mlps[0](h))
    report = distill([("mlp", old.mlps[0], new.mlps[0])], data, model=new, steps=1)
    assert report.rows[0].before == pytest.approx(expected, rel=1e-4)


def test_what_replace_put_in_learns_what_it_took_out() -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"mlp": nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))})
    old = model["mlp"]
    tensormoe_torch.replace(model, "mlp", experts=4, factorization=tm.CP(9))
    report = distill([("mlp", old, model["mlp"])], batches(8), steps=200, learning_rate=0.01)
    assert report.rows[0].after < 0.4 * report.rows[0].before


def test_a_progress_bar_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    distill([("mlp", mlp(), block())], batches(1), steps=2, progress=True)
    assert "squared error" in capsys.readouterr().out
    distill([("mlp", mlp(), block())], batches(1), steps=2)
    assert not capsys.readouterr().out


OLD, NEW = mlp(), block()
PAIR = [("mlp", OLD, NEW)]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: distill([], batches(1)), "pairs: .*old module, new module"),
        (lambda: distill([(OLD, NEW)], batches(1)), "pairs: .*old module, new module"),
        (lambda: distill(OLD, batches(1)), "pairs: .*old module, new module"),
        (lambda: distill(PAIR * 2, batches(1)), "pairs: received 2; pass the model"),
        (lambda: distill(PAIR, []), "data: .*at least one batch"),
        (lambda: distill(PAIR, iter(batches(2)), steps=3), "data: .*no batch left"),
        (lambda: distill(PAIR, batches(1)[0]), "data: .*iterable of batches"),
        (lambda: distill(PAIR, [1.0]), "data: .*batches of inputs x, as tensors"),
        (lambda: distill(PAIR, batches(1), validation=3), "validation: .*iterable of batches"),
        (lambda: distill(PAIR, batches(1), model=3), "model: .*pass the torch.nn.Module"),
        (
            lambda: distill(PAIR, batches(1), model=nn.Linear(8, 8)),
            "model: .*not call the new module of 'mlp'",
        ),
        (lambda: distill(PAIR, batches(1), steps=0), "steps: received 0"),
        (lambda: distill(PAIR, batches(1), learning_rate=0), "learning_rate: received 0"),
        (lambda: distill(PAIR, batches(1), weight_decay=-1), "weight_decay: received -1"),
        (lambda: distill(PAIR, batches(1), progress=1), "progress: received 1"),
        (lambda: distill([("mlp", nn.Linear(8, 3), NEW)], batches(1)), "pairs: .*outputs differ in shape"),
        (lambda: distill(PAIR, [batches(1)[0] * float("nan")]), "learning_rate: .*step 0 is not finite"),
    ],
)
def test_what_does_not_fit_is_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(tm.TensorMoEError, match=said):
        make()
