"""`tensormoe_jax.replace` on nnx models."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import tensormoe as tm
import tensormoe_jax
from tensormoe_jax import MuMoE, replace

CP: dict[str, object] = {"experts": 4, "factorization": tm.CP(3), "seed": 0}


class MLP(nnx.Module):
    def __init__(self, rngs: nnx.Rngs, bias: bool = True) -> None:
        self.up = nnx.Linear(8, 16, use_bias=bias, rngs=rngs)
        self.down = nnx.Linear(16, 8, use_bias=bias, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.down(nnx.gelu(self.up(x)))


class Model(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.mlps = nnx.List([MLP(rngs), MLP(rngs, bias=False)])
        self.heads = nnx.Dict(a=nnx.Linear(8, 5, rngs=rngs))
        self.again = self.heads["a"]

    def __call__(self, x: jax.Array) -> jax.Array:
        for mlp in self.mlps:
            x = x + mlp(x)
        return self.heads["a"](x) + self.again(x)


def as_block(mlp: nnx.Module) -> tm.MuMoEBlockSpec:
    assert isinstance(mlp, MLP)
    return tm.MuMoEBlockSpec(8, 16, 8, 4, tm.CP(3))


X = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8)), "float32")


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("up", ["mlps.0.up", "mlps.1.up"]),
        ("mlps.1.*", ["mlps.1.up", "mlps.1.down"]),
        (nnx.Linear, ["mlps.0.up", "mlps.0.down", "mlps.1.up", "mlps.1.down", "heads.a"]),
        (lambda name, module: name == "mlps.0.down", ["mlps.0.down"]),
    ],
)
def test_linear_layers_are_chosen_by_name_pattern_type_or_predicate(
    where: object, expected: list[str]
) -> None:
    model = Model()
    report = replace(model, where, **CP)
    assert sorted(row.names[0] for row in report.rows) == sorted(expected)
    assert len({id(m) for _, m in nnx.iter_modules(model) if isinstance(m, MuMoE)}) == len(expected)
    assert model(X).shape == (3, 5)


def test_sizes_and_bias_are_kept_and_what_is_shared_stays_shared() -> None:
    model = Model()
    report = replace(model, nnx.Linear, **CP, gate=tm.Gate("softmax"))
    assert model.mlps[1].down.spec == tm.MuMoESpec(16, 8, 4, tm.CP(3), tm.Gate("softmax"), bias=False)
    assert model.again is model.heads["a"]
    assert {"heads.a", "again"} in [set(row.names) for row in report.rows]
    macs = {row.names[0].split(".")[-1]: row.macs_before for row in report.rows}
    assert (macs["up"], macs["down"]) == (8 * 16, 16 * 8)
    assert {40} == {row.macs_before for row in report.rows if "again" in row.names}
    seeds = np.random.SeedSequence(0).generate_state(5, "uint64")
    row = next(n for n, row in enumerate(report.rows) if "again" in row.names)
    own, _ = tm.initialize(model.again.spec, seed=int(seeds[row]))
    assert np.array_equal(model.again.cores["input"][...], own["cores.input"])


def test_mlps_are_replaced_by_a_function_and_come_back() -> None:
    model = Model()
    before, old = model(X), model.mlps[0]
    assert "replaced" not in str(planned := replace(model, MLP, build=as_block, dry_run=True))
    assert model.mlps[0] is old
    report = replace(model, MLP, build=as_block, match="parameters", rngs=nnx.Rngs(1))
    assert [row.parameters_before for row in report.rows] == [280, 256]
    assert all(row.parameters_after <= row.parameters_before for row in report.rows)
    assert planned.rows[0].names == report.rows[0].names == ("mlps.0",)
    assert model.mlps[0].spec.hidden_features == 16
    assert not jnp.allclose(nnx.jit(lambda model, x: model(x))(model, X), before)
    report.undo()
    assert model.mlps[0] is old
    assert jnp.array_equal(model(X), before)


def test_a_module_of_the_callers_own_goes_in_as_it_is() -> None:
    model, own = Model(), MLP(nnx.Rngs(5))
    replace(model, "mlps.0", build=lambda old: own)
    assert model.mlps[0] is own


def test_element_type_and_devices_are_those_of_what_is_replaced() -> None:
    mesh = jax.make_mesh((1,), ("model",))
    spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, "model"))
    model = nnx.Dict(head=nnx.Linear(8, 5, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0)))
    model.head.kernel.set_value(jax.device_put(model.head.kernel.get_value(), spread))
    replace(model, "head", **CP)
    assert model.head.dtype == jnp.bfloat16
    assert model.head.cores["input"].get_value().sharding.mesh == mesh


def stacked() -> nnx.Module:
    make = nnx.vmap(lambda key: nnx.Linear(8, 8, rngs=nnx.Rngs(key)))
    return nnx.Dict(layers=make(jax.random.split(jax.random.key(0), 3)))


def tied() -> nnx.Module:
    model = Model()
    model.mlps[0].up.kernel = model.mlps[1].up.kernel
    return model


@pytest.mark.parametrize(
    ("make", "where", "options", "reason"),
    [
        (Model, "nothing", CP, r"where: .*modules are called mlps, up, down, heads, a, again"),
        (Model, "mlp*", CP, r"where: .* is inside mlps"),
        (Model, MLP, CP, r"mlps\.0: received 'MLP'; it is not an nnx\.Linear: pass build="),
        (stacked, "layers", CP, r"layers: .*several layers in one"),
        (tied, "mlps.0.up", CP, r"where: .* share a parameter"),
        (Model, "up", CP | {"seed": None}, r"rngs: received None"),
        (Model, "up", CP | {"experts": None}, r"experts: received None; pass experts= and"),
        (Model, "up", CP | {"match": "rank"}, r"match: received 'rank'"),
        (Model, "up", CP | {"experts": 1000, "match": "parameters"}, r"of mlps\.0\.up"),
        (Model, MLP, {"build": lambda old: 3}, r"build for mlps\.0: received 3"),
    ],
)
def test_what_cannot_be_replaced_is_refused_and_nothing_changes(
    make: Callable[[], nnx.Module], where: object, options: dict[str, object], reason: str
) -> None:
    model = make()
    before = [(path, id(module)) for path, module in nnx.iter_modules(model)]
    with pytest.raises(tm.TensorMoEError, match=reason):
        tensormoe_jax.replace(model, where, **options)
    assert [(path, id(module)) for path, module in nnx.iter_modules(model)] == before
