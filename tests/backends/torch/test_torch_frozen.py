"""`tensormoe_torch.replace(…, frozen=True)`: experts beside weights that stay as they are."""

import copy

import pytest
import torch
from torch import nn

import tensormoe as tm
from tensormoe_torch import MuMoE, MuMoEBlock, replace

LORA = tm.TensorNetwork("n i r, n r o", r=2)
X = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))


class Gated(nn.Module):
    """Of the parts that Llama's MLP has, without biases."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(8, 12, bias=False), nn.Linear(8, 12, bias=False)
        self.down_proj, self.act_fn = nn.Linear(12, 8, bias=False), nn.SiLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


def model() -> nn.ModuleDict:
    torch.manual_seed(0)
    mlp = nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 8, bias=False))
    return nn.ModuleDict({"mlp": mlp, "gated": Gated(), "head": nn.Linear(8, 6)})


def call(model: nn.ModuleDict, x: torch.Tensor = X) -> torch.Tensor:
    return model["head"](x + model["mlp"](x) + model["gated"](x))


def freeze(model: nn.ModuleDict, where: str, **options: object) -> object:
    return replace(model, where, **{"experts": 3, "factorization": LORA, "frozen": True, **options})


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "family",
    [LORA, tm.CP(rank=3), tm.TensorNetwork("n r, A: i r, r o", r=3), tm.BTT(i=(2, 4), o=(3, 2), rank=1)],
    ids=str,
)
def test_the_model_computes_what_it_did(family: tm.Factorization, dtype: torch.dtype) -> None:
    module = model().to(dtype)
    before = call(module, X.to(dtype))
    for where in ("head",) if isinstance(family, tm.BTT) else ("mlp", "gated", "head"):
        freeze(module, where, factorization=family)
        assert isinstance(module[where], MuMoE if where == "head" else MuMoEBlock)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 0.05}[dtype]
    torch.testing.assert_close(call(module, X.to(dtype)), before, rtol=0, atol=tolerance)


def test_only_experts_and_their_gates_train_and_the_weights_are_buffers() -> None:
    module = model().requires_grad_(False)
    mlp, head = copy.deepcopy(module["mlp"]), copy.deepcopy(module["head"])
    freeze(module, "mlp")
    freeze(module, "head")
    trained = {name for name, each in module.named_parameters() if each.requires_grad}
    assert trained == {
        *(f"mlp.{layer}.core{number}_2" for layer in ("first", "second") for number in (1, 2)),
        *("head.cores.core1_2", "head.cores.core2_2", "mlp.gate_weights.0", "head.gate_weights.0"),
    }
    before = {name: value.clone() for name, value in module.state_dict().items()}
    optimizer = torch.optim.Adam([each for each in module.parameters() if each.requires_grad], lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        (call(module) ** 2).mean().backward()
        optimizer.step()
    changed = {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == trained
    # One buffer for each weight and bias, in the order of tm.materialize.
    buffers = dict(module.named_buffers())
    assert buffers.keys() == {"mlp.first.W", "mlp.first.B", "mlp.second.W", "head.cores.W", "head.cores.B"}
    assert torch.equal(buffers["mlp.first.W"], mlp[0].weight.T)
    assert torch.equal(buffers["mlp.first.B"], mlp[0].bias)
    assert torch.equal(buffers["mlp.second.W"], mlp[2].weight.T)
    assert torch.equal(buffers["head.cores.B"], head.bias)


def test_what_experts_add_is_a_mixture_beside_the_weight() -> None:
    """Against the sum written by hand, with experts that differ and a gate that tells them apart."""
    module = model().double()
    head, x = module["head"], X.double()
    freeze(module, "head", gate=tm.Gate("softmax", None))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module["head"].parameters():
            parameter.normal_(generator=generator)
    first, second = (module["head"].cores[f"core{number}_2"] for number in (1, 2))
    coefficients = (x @ module["head"].gate_weights[0]).softmax(-1)
    expected = head(x) + torch.einsum("bn,bi,nir,nro->bo", coefficients, x, first, second)
    torch.testing.assert_close(module["head"](x), expected)


def test_undo_and_a_dry_run_leave_the_model_and_the_table_says_what_is_trained() -> None:
    module = model()
    old, before = module["mlp"], call(module)
    dry = freeze(module, "mlp", dry_run=True)
    assert module["mlp"] is old
    report = freeze(module, "mlp")
    assert str(report) == str(dry)
    (row,) = report.rows
    # By hand: 3 experts of 2 (I + O) each in both layers, and the gate; W, B and W.
    assert row.parameters_before == 8 * 12 + 12 + 12 * 8
    assert row.parameters_after == 2 * 3 * 2 * (8 + 12) + 8 * 3
    assert row.fixed == row.parameters_before
    shown = "3 experts, (W + B + TensorNetwork('n i r, n r o', r=2), W + TensorNetwork('n i r, n r o', r=2))"
    assert row.after == shown
    assert "fixed" in str(report).split()
    total = ["total", "204", "264", "204", "192", f"{row.macs_after:,}"]
    assert str(report).splitlines()[-1].split() == total
    report.undo()
    assert module["mlp"] is old
    assert torch.equal(call(module), before)


def test_a_budget_is_for_what_is_trained() -> None:
    module = model()
    report = freeze(module, "head", factorization=tm.CP(1), match="parameters")
    spec = module["head"].spec
    added = tm.MuMoESpec(8, 6, 3, tm.CP(1), bias=False).matched(parameters=8 * 6 + 6)
    assert spec.factorization.terms[-1] == added.factorization
    assert report.rows[0].parameters_after == added.num_parameters


def test_without_experts_it_is_low_rank_adaptation() -> None:
    module = model()
    before, head = call(module), module["head"]
    freeze(module, "head", experts=(), gate=None, factorization=tm.TensorNetwork("i r, r o", r=2))
    assert sum(each.numel() for each in module["head"].parameters()) == 2 * (8 + 6)
    torch.testing.assert_close(call(module), before, rtol=0, atol=1e-6)
    with torch.no_grad():
        for each in module["head"].parameters():
            each.fill_(0.5)
    # By hand: every entry of the added matrix is 2 · 0.5².
    added = 0.5 * X.sum(-1, keepdim=True).expand(-1, 6)
    torch.testing.assert_close(module["head"](X), head(X) + added)


def test_state_dicts_and_files_hold_the_weight_once(tmp_path) -> None:
    module = model()
    freeze(module, "head")
    layer = module["head"]
    state = layer.state_dict()
    assert [tuple(each.shape) for each in state.values()].count((8, 6)) == 1
    other = model()
    freeze(other, "head")
    other["head"].load_state_dict(state)
    assert torch.equal(other["head"](X), layer(X))
    tm.save(layer, tmp_path / "head.safetensors")
    again = tm.load(tmp_path / "head.safetensors", "torch")
    assert torch.equal(again(X), layer(X))
    # The specification has no second copy of a weight beyond a thousand elements.
    large = nn.ModuleDict({"head": nn.Linear(64, 48, bias=False)})
    freeze(large, "head")
    assert len(large["head"].spec.to_json()) < 1000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"init": "upcycle"}, "init: received 'upcycle'; frozen=True starts as what is replaced"),
        ({"frozen": 1}, "frozen: received 1"),
        ({"build": lambda old: tm.MuMoESpec(8, 6, 3, LORA)}, "frozen: received True; build= says all"),
        ({"gate": tm.Gate("sigmoid")}, "gate activation: received 'sigmoid'; .* frozen weight of head"),
        ({"match": "macs"}, "macs of head: received 48; even with"),
    ],
)
def test_what_cannot_be_frozen_is_refused_and_nothing_changes(options: dict, message: str) -> None:
    module = model()
    old = module["head"]
    with pytest.raises(tm.TensorMoEError, match=message):
        freeze(module, "head", **options)
    assert module["head"] is old
    with torch.device("meta"):
        module["head"] = nn.Linear(8, 6)
    with pytest.raises(tm.TensorMoEError, match=r"frozen: .* head has no values yet"):
        freeze(module, "head")
