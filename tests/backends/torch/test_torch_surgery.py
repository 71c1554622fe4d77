"""`tensormoe_torch.replace` on models of plain PyTorch; transformers' are in integrations/test_surgery.py."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

import tensormoe as tm
import tensormoe_torch
from tensormoe_torch import MuMoE, MuMoEBlock, replace

CP: dict[str, object] = {"experts": 4, "factorization": tm.CP(3)}


class MLP(nn.Module):
    """Of the parts that GPT-2's have."""

    def __init__(self, width: int = 8, hidden: int = 16, act: object = None, bias: bool = True) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, hidden, bias=bias)
        self.act = nn.GELU(approximate="tanh") if act is None else act
        self.c_proj = nn.Linear(hidden, width, bias=bias)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.c_proj(self.act(self.c_fc(x))))


class Scaled(MLP):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * super().forward(x)


class Block(nn.Module):
    def __init__(self, mlp: nn.Module) -> None:
        super().__init__()
        self.attention = nn.Linear(8, 8)
        self.mlp = mlp

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.mlp(self.attention(x))


def model(make: Callable[[], nn.Module] = MLP, count: int = 2) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(Block(make()) for _ in range(count)), nn.Linear(8, 5))


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_same(module: nn.Module, before: dict[str, torch.Tensor]) -> None:
    after = module.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())


X = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("mlp", ["0.mlp", "1.mlp"]),
        ("1.mlp", ["1.mlp"]),
        ("[1-9].mlp", ["1.mlp"]),
        ("?.att*", ["0.attention", "1.attention"]),
        (MLP, ["0.mlp", "1.mlp"]),
        (lambda name, module: name == "2" and isinstance(module, nn.Linear), ["2"]),
    ],
)
def test_modules_are_chosen_by_name_pattern_type_or_predicate(where: object, expected: list[str]) -> None:
    module = model()
    report = replace(module, where, **CP)
    assert [row.names for row in report.rows] == [(name,) for name in expected]
    changed = [n for n, m in module.named_modules() if isinstance(m, MuMoE | MuMoEBlock)]
    assert changed == expected


def test_sizes_bias_and_nonlinearity_are_those_of_what_is_replaced() -> None:
    module = model(lambda: MLP(hidden=24, act=torch.relu, bias=False), 1)
    replace(module, "mlp", **CP)
    replace(module, nn.Linear, experts=(2, 3), factorization=tm.Tucker((2, 2, 3, 3)), gate=tm.Gate("softmax"))
    mlp, linear = module[0].mlp, module[1]
    assert mlp.spec == tm.MuMoEBlockSpec(8, 24, 8, 4, tm.CP(3), bias=False, nonlinearity="relu")
    assert linear.spec == tm.MuMoESpec(8, 5, (2, 3), tm.Tucker((2, 2, 3, 3)), tm.Gate("softmax"))


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (nn.GELU(), "gelu"),
        (nn.functional.gelu, "gelu"),
        (nn.GELU(approximate="tanh"), "gelu_tanh"),
        (lambda x: 0.5 * x * (1 + torch.tanh(0.7978845608 * x * (1 + 0.044715 * x * x))), "gelu_tanh"),
        (nn.ReLU(inplace=True), "relu"),
        (lambda x: x * torch.sigmoid(x), "silu"),
    ],
)
def test_a_nonlinearity_is_known_by_its_values(function: object, name: str) -> None:
    module = model(lambda: MLP(act=function), 1)
    replace(module, "mlp", **CP)
    assert module[0].mlp.spec.nonlinearity == name


@pytest.mark.parametrize(
    "function",
    [nn.ReLU6(), nn.PReLU(), nn.Hardswish(), nn.Softplus(), nn.Dropout(0.1).eval(), nn.LayerNorm(16)],
)
def test_another_nonlinearity_is_refused_by_the_modules_name(function: nn.Module) -> None:
    module = model(lambda: MLP(act=function), 1)
    with pytest.raises(tm.TensorMoEError, match=r"nonlinearity of 0\.mlp: .* pass build="):
        replace(module, "mlp", **CP)


def test_the_sequential_of_two_linear_layers_is_an_mlp() -> None:
    parts = nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 8)
    for further in ((), (nn.Dropout(0.5),), (nn.Identity(),)):
        module = model(lambda further=further: nn.Sequential(*copy.deepcopy(parts), *further), 1)
        replace(module, "mlp", **CP)
        assert module[0].mlp.spec.nonlinearity == "silu"
    module = model(lambda: nn.Sequential(*copy.deepcopy(parts), nn.LayerNorm(8)), 1)
    with pytest.raises(tm.TensorMoEError, match=r"0\.mlp: received 'Sequential'; .* pass build="):
        replace(module, "mlp", **CP)


class Dropped(nn.Module):
    """Of the parts that timm's Mlp has, or an older one, or T5's gated MLP."""

    def __init__(self, names: str, p: float = 0.0) -> None:
        super().__init__()
        self.first, self.inner, self.second, self.last, *self.up = names.split()
        self.act = nn.GELU()
        for name in (self.first, *self.up):
            self.add_module(name, nn.Linear(8, 16))
        self.add_module(self.second, nn.Linear(16, 8))
        self.add_module("norm", nn.Identity())
        self.add_module(self.inner, nn.Dropout(p))
        if self.last not in (self.inner, "-"):
            self.add_module(self.last, nn.Dropout(0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.act(self.get_submodule(self.first)(x))
        for name in self.up:
            hidden = hidden * self.get_submodule(name)(x)
        y = self.get_submodule(self.second)(self.get_submodule(self.inner)(hidden))
        return y if self.last == "-" else self.get_submodule(self.last)(y)


@pytest.mark.parametrize(
    "names",
    [
        "fc1 drop1 fc2 drop2",
        "fc1 drop fc2 drop",
        "fc1_g drop1 fc2 drop2 fc1_x",
        "wi dropout wo -",
        "wi_0 dropout wo - wi_1",
    ],
)
def test_dropout_of_hidden_features_is_accepted_only_where_it_drops_nothing(names: str) -> None:
    module = model(lambda: Dropped(names), 1)
    expected = module.eval()(X)
    replace(module, "mlp", experts=4, factorization=tm.CP(17), init="fit")
    torch.testing.assert_close(module(X), expected, rtol=0, atol=1e-5)
    assert module[0].mlp.spec.gated == ("_" in names)
    assert hasattr(module[0].mlp, "dropout") == ("drop2" in names)
    module = model(lambda: Dropped(names, 0.1), 1)
    before = state(module)
    with pytest.raises(
        tm.TensorMoEError, match=r"0\.mlp: received Dropout\(p=0\.1.*set p of this dropout to 0"
    ):
        replace(module, "mlp", **CP)
    assert_same(module, before)


def test_a_sequential_with_dropout_between_is_an_mlp_where_it_drops_nothing() -> None:
    def make(p: float) -> nn.Module:
        parts = nn.Linear(8, 16), nn.ReLU(), nn.Dropout(p), nn.Linear(16, 8), nn.Dropout(0.5)
        return nn.Sequential(*parts)

    module = model(lambda: make(0.0), 1)
    replace(module, "mlp", **CP)
    assert module[0].mlp.spec.nonlinearity == "relu"
    with pytest.raises(tm.TensorMoEError, match="drops no hidden features"):
        replace(model(lambda: make(0.1), 1), "mlp", **CP)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_type_mode_and_dropout_are_kept(dtype: torch.dtype) -> None:
    module = model().to(dtype)
    module[0].eval()
    replace(module, "mlp", **CP)
    first, second = module[0].mlp, module[1].mlp
    assert first.dtype == second.dtype == dtype
    assert not first.training
    assert second.training
    x = X.to(dtype)
    # In training half of the values are zero, and the others doubled.
    torch.manual_seed(0)
    dropped, coefficients = second(x, return_coefficients=True)
    second.eval()
    y = second(x)
    kept = dropped != 0
    assert 0 < kept.sum() < kept.numel()
    assert torch.equal(dropped[kept], 2 * y[kept])
    assert len(coefficients) == 1
    # The dropout is no part of what is saved.
    assert second.state_dict().keys() == tm.build(second.spec, "torch").state_dict().keys()
    again = copy.deepcopy(second).train()
    torch.manual_seed(0)
    assert torch.equal(again(x), dropped)


def test_what_is_on_the_meta_device_stays_there() -> None:
    with torch.device("meta"):
        module = model()
        replace(module, "mlp", **CP)
        assert module[0].mlp.device.type == "meta"
        # Names of parts must do there: one more part that could compute something is one too many.
        module[0].mlp = MLP()
        module[0].mlp.norm = nn.LayerNorm(8)
        with pytest.raises(tm.TensorMoEError, match=r"0\.mlp: received 'MLP'; it is neither"):
            replace(module, "0.mlp", **CP)


def test_layers_differ_and_the_seed_of_pytorch_determines_them() -> None:
    first, second = model(), model()
    for module in (first, second):
        torch.manual_seed(7)
        replace(module, "mlp", **CP)
    assert (first[0].mlp.first["input"] != first[1].mlp.first["input"]).any()
    assert_same(first, state(second))


def test_a_shared_module_is_replaced_once_and_stays_shared() -> None:
    module = model()
    module[1].mlp = module[0].mlp
    module.append(module[0])
    before = state(module)
    report = replace(module, "mlp", **CP)
    assert [row.names for row in report.rows] == [("0.mlp", "1.mlp", "3.mlp")]
    assert module[0].mlp is module[1].mlp is module[3].mlp
    assert isinstance(module[0].mlp, MuMoEBlock)
    assert "0.mlp (and 2 more)" in str(report)
    report.undo()
    assert module[0].mlp is module[1].mlp
    assert_same(module, before)


def test_a_parameter_that_others_share_is_not_untied() -> None:
    module = model()
    module[2].weight = nn.Parameter(torch.zeros(8, 8))
    module[0].attention.weight = module[2].weight
    with pytest.raises(tm.TensorMoEError, match=r"0\.attention and 2 share a parameter: untie them"):
        replace(module, "attention", **CP)


@pytest.mark.parametrize("family", [tm.CP(1), tm.TensorRing((2, 2, 1)), tm.Tucker((2, 1, 1))], ids=str)
@pytest.mark.parametrize("match", ["parameters", "macs"])
def test_matched_layers_cost_at_most_what_they_replace_and_one_rank_more_costs_more(
    family: tm.Factorization, match: str
) -> None:
    module = nn.ModuleDict({"mlp": MLP(32, 128), "linear": nn.Linear(64, 48)})
    for name in ("mlp", "linear"):
        (row,) = replace(module, name, experts=4, factorization=family, match=match).rows
        before, after = getattr(row, f"{match}_before"), getattr(row, f"{match}_after")
        spec = module[name].spec
        growing = spec.factorization.growing_bonds(1)
        bonds = spec.factorization.bonds(1)
        grown = spec.replace(
            factorization=spec.factorization.with_bonds({b: n + (b in growing) for b, n in bonds.items()})
        )
        more = grown.num_parameters if match == "parameters" else grown.macs
        assert after <= before < more


def test_costs_are_counted_by_hand() -> None:
    report = replace(model(count=1), "mlp", experts=4, factorization=tm.CP(3), gate=tm.Gate("softmax"))
    (row,) = report.rows
    assert row.parameters_before == 8 * 16 + 16 + 16 * 8 + 8
    # Experts, input with its bias, output, for each layer; and the gate.
    assert row.parameters_after == 3 * (4 + 9 + 16) + 3 * (4 + 17 + 8) + 8 * 4
    assert row.macs_before == 2 * 8 * 16
    assert row.macs_after == row.parameters_after
    table = str(report)
    assert "MLP" in table
    assert "CP(rank=3)" in table
    assert table.splitlines()[-1].split() == ["total", "280", "206", "256", "206"]


def test_a_dry_run_changes_nothing_and_reports_the_same() -> None:
    module = model()
    modules, before = dict(module.named_modules()), state(module)
    generator = torch.random.get_rng_state()
    dry = replace(module, "mlp", **CP, match="parameters", dry_run=True)
    assert dict(module.named_modules()) == modules
    assert_same(module, before)
    assert torch.equal(torch.random.get_rng_state(), generator)
    assert str(replace(module, "mlp", **CP, match="parameters")) == str(dry)
    dry.undo()
    assert isinstance(module[0].mlp, MuMoEBlock)
    assert dry.pairs == ()


def test_undo_puts_the_old_modules_back_in_todays_mode() -> None:
    module = model()
    old, before, y = module[0].mlp, state(module), module.eval()(X)
    module.train()
    report = replace(module, "mlp", **CP)
    assert report.pairs[0] == ("0.mlp", old, module[0].mlp)
    module.eval()
    report.undo()
    assert module[0].mlp is old
    assert not any(each.training for each in old.modules())
    assert_same(module, before)
    assert torch.equal(module(X), y)
    report.undo()
    assert_same(module, before)


@pytest.mark.parametrize("kind", ["spec", "module"])
def test_a_function_of_the_old_module_says_what_to_build(kind: str) -> None:
    def build(old: nn.Module) -> tm.Spec | nn.Module:
        spec = tm.MuMoEBlockSpec(8, 4, 8, 3, tm.CP(2))
        return spec if kind == "spec" else tm.build(spec, "torch")

    module = model(Scaled)
    report = replace(module, "mlp", build=build, dry_run=True)
    assert report.rows[0].parameters_after == build(module).num_parameters if kind == "spec" else True
    report = replace(module, Scaled, build=build)
    assert module[1].mlp.spec.hidden_features == 4
    assert report.rows[0].macs_after == module[1].mlp.spec.macs
    module(X).sum().backward()
    plain = replace(module, "2", build=lambda old: nn.Identity())
    assert isinstance(module[2], nn.Identity)
    assert plain.rows[0].macs_after is None
    assert "unknown" in str(plain)


def test_a_specification_that_build_returns_is_matched_to_what_it_replaces() -> None:
    module = nn.ModuleDict({"mlp": nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 40))})
    spec = tm.MuMoESpec(8, 40, 3, tm.CP(1))
    replace(module, "mlp", build=lambda old: spec, match="parameters")
    assert module["mlp"].spec == spec.matched(parameters=16 + 8 * 40 + 40)
    module = nn.ModuleDict({"mlp": nn.Sequential(nn.LayerNorm(8))})
    with pytest.raises(tm.TensorMoEError, match=r"match: .* mlp"):
        replace(module, "mlp", build=lambda old: spec, match="macs")


@pytest.mark.parametrize("init", ["fit", "upcycle"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_rank_that_allows_it_starts_as_what_is_replaced(init: str, dtype: torch.dtype) -> None:
    module = model().to(dtype).eval()
    x = X.to(dtype)
    expected = module(x)
    # Rank 9 is that of the larger of the two matrices with its biases.
    for where in ("mlp", "attention"):
        replace(module, where, experts=(2, 3), factorization=tm.CP(9), init=init)
    # With noise the mean over experts is the dense weight, and coefficients start uniform.
    tolerance = 1e-9 if dtype == torch.float64 else 0.1
    torch.testing.assert_close(module(x), expected, rtol=0, atol=tolerance)
    weight = module[0].attention.materialize()
    spread = (weight - weight.mean((0, 1))).norm() / weight.norm()
    assert spread < 1e-2 if init == "fit" else 1e-3 < spread < 0.1


def test_weights_to_start_from_that_are_not_known_are_an_error() -> None:
    module = model(Scaled)
    spec = tm.MuMoEBlockSpec(8, 16, 8, 4, tm.CP(2))
    changes = (
        (lambda old: spec.replace(hidden_features=4), r"weight of 0\.mlp: .*"),
        (lambda old: MLP(), "init: .*"),
    )
    for build, message in changes:
        with pytest.raises(tm.TensorMoEError, match=message):
            replace(module, "mlp", build=build, init="fit")
    with torch.device("meta"):
        module = model()
    with pytest.raises(tm.TensorMoEError, match=r"init: .* 0\.mlp has no values yet"):
        replace(module, "mlp", **CP, init="upcycle")


@pytest.mark.parametrize(
    ("where", "changes", "message"),
    [
        ("nothing", {}, "where: received 'nothing'; no module fits; modules are called attention, mlp"),
        (lambda name, module: True, {}, r"where: received '0\.attention'; it is inside 0,"),
        (3, {}, "where: received 3; pass a name"),
        (int, {}, "where: received <class 'int'>; pass a name"),
        (Block, {}, r"0: received 'Block'; it is neither a linear layer nor an MLP .* pass build="),
        ("dropout", {}, r"0\.mlp\.dropout: received 'Dropout'; it is neither"),
        ("mlp", {"experts": None}, "experts: received None; pass experts= and factorization=, or build="),
        ("mlp", {"factorization": None}, "factorization: received None"),
        ("mlp", {"experts": 0}, "experts: received 0"),
        ("mlp", {"match": "flops"}, "match: received 'flops'"),
        ("mlp", {"init": "zeros"}, "init: received 'zeros'"),
        ("mlp", {"dry_run": 1}, "dry_run: received 1"),
        ("mlp", {"build": 3}, "build: received 3"),
        ("mlp", {"build": lambda old: 3}, r"build for 0\.mlp: received 3; return a specification, or"),
        ("mlp", {"experts": 400, "match": "parameters"}, r"parameters of 0\.mlp: received 280; even with"),
        ("mlp", {"experts": 400, "match": "macs"}, r"macs of 0\.mlp: received 256; even with"),
    ],
)
def test_errors_name_the_module_and_change_nothing(where, changes: dict, message: str) -> None:
    module = model()
    before = state(module)
    with pytest.raises(tm.TensorMoEError, match=message):
        replace(module, where, **{**CP, **changes})
    assert_same(module, before)
    with pytest.raises(tm.TensorMoEError, match=r"model: .* pass a torch.nn.Module"):
        replace(tm, "mlp", **CP)


def test_nothing_changes_if_the_last_module_fails() -> None:
    module = model()
    module[1].mlp = Scaled()
    before = state(module)
    with pytest.raises(tm.TensorMoEError, match=r"1\.mlp: received 'Scaled'; its forward does"):
        replace(module, "mlp", **CP)
    assert_same(module, before)
    assert isinstance(module[0].mlp, MLP)


def test_a_subclass_of_the_linear_layer_with_a_forward_of_its_own_is_not_one() -> None:
    class Doubled(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    class Named(nn.Linear):
        pass

    module = nn.ModuleDict({"doubled": Doubled(8, 8), "named": Named(8, 8)})
    replace(module, "named", **CP)
    with pytest.raises(tm.TensorMoEError, match="doubled: received 'Doubled'"):
        replace(module, "doubled", **CP)


def test_a_replaced_model_trains_and_compiles() -> None:
    module = model()
    tensormoe_torch.replace(module, "mlp", experts=4, factorization=tm.CP(1), match="parameters")
    module.eval()
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(X), module(X))
    module.train()(X).square().mean().backward()
    assert all(p.grad is not None for p in module.parameters())


def test_the_layers_of_a_block_may_have_factorizations_of_their_own() -> None:
    """The first layer has no experts: it is the dense one, and the second starts as equal experts."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"mlp": nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 6))})
    old, x = model["mlp"], torch.randn(3, 6)
    each = tm.TensorNetwork("i o"), tm.CP(9)
    tensormoe_torch.replace(model, "mlp", experts=4, factorization=each, init="fit")
    assert [stage.experts for stage in model["mlp"].spec.layers.values()] == [(), (4,)]
    torch.testing.assert_close(model["mlp"](x), old(x), rtol=1e-5, atol=1e-5)
    linear = nn.ModuleDict({"head": nn.Linear(6, 8)})
    with pytest.raises(tm.TensorMoEError, match="factorization: received"):
        tensormoe_torch.replace(linear, "head", experts=4, factorization=each)
