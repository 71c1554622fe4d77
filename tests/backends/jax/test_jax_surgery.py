"""`tensormoe_jax.replace` on nnx models."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import tensormoe as tm
import tensormoe_jax
from tensormoe_jax import MuMoE, MuMoEBlock, replace

CP: dict[str, object] = {"experts": 4, "factorization": tm.CP(3), "seed": 0}


class MLP(nnx.Module):
    def __init__(self, rngs: nnx.Rngs, bias: bool = True) -> None:
        self.up = nnx.Linear(8, 16, use_bias=bias, rngs=rngs)
        self.down = nnx.Linear(16, 8, use_bias=bias, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.down(nnx.gelu(self.up(x)))


class Sized(nnx.Module):
    """An MLP of other names, in the order up, gate and down where it is gated."""

    def __init__(
        self, sizes: tuple[int, int, int] = (8, 16, 8), act: Any = nnx.silu, gated: bool = False, p: float = 0
    ) -> None:
        rngs = nnx.Rngs(3)
        first, hidden, last = sizes
        self.act = act
        # The last layer begins at zero, as many people have it.
        self.c = nnx.Linear(hidden, last, kernel_init=nnx.initializers.zeros, rngs=rngs)
        self.a = nnx.Linear(first, hidden, use_bias=not gated, rngs=rngs)
        self.b = nnx.Linear(first, hidden, use_bias=False, rngs=rngs) if gated else None
        self.dropout = nnx.Dropout(p, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        hidden = self.a(x) if self.b is None else self.act(self.b(x)) * self.a(x)
        return self.c(self.dropout(hidden if self.b is not None else self.act(hidden)))


class Doubled(Sized):
    def __call__(self, x: jax.Array) -> jax.Array:
        return 2 * super().__call__(x)


class Normed(Sized):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nnx.LayerNorm(8, rngs=nnx.Rngs(0))


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


LAST = nnx.Linear(9, 6, rngs=nnx.Rngs(1))
X = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8)), "float32")


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("up", ["mlps.0.up", "mlps.1.up"]),
        ("mlps.1.*", ["mlps.1.up", "mlps.1.down"]),
        (nnx.Linear, ["mlps.0.up", "mlps.0.down", "mlps.1.up", "mlps.1.down", "heads.a"]),
        (lambda name, module: name == "mlps.0.down", ["mlps.0.down"]),
        (nnx.PathContains("a"), ["heads.a"]),
        (nnx.All(nnx.Linear, nnx.PathContains(0), nnx.Not(nnx.PathContains("up"))), ["mlps.0.down"]),
        (nnx.filterlib.PathIn(("mlps", 1, "up")), ["mlps.1.up"]),
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
    assert planned.pairs == ()
    report = replace(model, MLP, build=as_block, match="parameters", seed=1)
    assert [row.parameters_before for row in report.rows] == [280, 256]
    assert all(row.parameters_after <= row.parameters_before for row in report.rows)
    assert planned.rows[0].names == report.rows[0].names == ("mlps.0",)
    assert model.mlps[0].spec.hidden_features == 16
    assert nnx.jit(lambda block, x: block(x))(model.mlps[0], X).shape == (3, 8)
    assert [name for name, _, _ in report.pairs] == ["mlps.0", "mlps.1"]
    assert report.pairs[0][1:] == (old, model.mlps[0])
    report.undo()
    assert model.mlps[0] is old
    assert jnp.array_equal(model(X), before)


@pytest.mark.parametrize(
    ("mlp", "nonlinearity"),
    [
        (lambda: MLP(nnx.Rngs(0)), "gelu_tanh"),
        (lambda: Sized((8, 20, 5), nnx.relu), "relu"),
        (lambda: Sized((8, 8, 8)), "silu"),
        (lambda: nnx.Sequential(nnx.Linear(8, 9, rngs=nnx.Rngs(0)), nnx.tanh, LAST), "tanh"),
        (lambda: Sized((8, 8, 8), nnx.gelu, gated=True), "gelu_tanh"),
        (lambda: Sized((8, 8, 8), lambda x: nnx.gelu(x, approximate=False)), "gelu"),
    ],
)
def test_mlps_tell_their_nonlinearity_and_start_as_what_they_replace(
    mlp: Callable[[], nnx.Module], nonlinearity: str
) -> None:
    model, init = nnx.Dict(mlp=mlp()), "upcycle" if nonlinearity in ("silu", "relu") else "fit"
    for leaf in nnx.iter_graph(model):
        if isinstance(leaf[1], nnx.Param):
            drawn = np.random.default_rng(leaf[1].size).normal(size=leaf[1].shape)
            leaf[1].set_value(jnp.asarray(0.3 * drawn, "float32"))
    expected = model.mlp(X)
    report = replace(model, "mlp", experts=4, factorization=tm.CP(21), init=init, rngs=nnx.Rngs(1))
    assert isinstance(model.mlp, MuMoEBlock)
    assert model.mlp.spec.nonlinearity == nonlinearity
    spec = model.mlp.spec
    assert report.rows[0].macs_before == spec.hidden_features * (16 if spec.gated else 8) + (
        spec.hidden_features * spec.out_features
    )
    np.testing.assert_allclose(model.mlp(X), expected, rtol=0, atol=2e-5)
    apart = np.ptp(model.mlp.first["expert1"].get_value(), axis=0).max()
    assert (apart > 0) == (init == "upcycle")


def test_a_function_that_builds_may_give_a_nonlinearity_of_ones_own_and_start_from_the_weights() -> None:
    model = nnx.Dict(mlp=Sized(act=jnp.sin))
    model.mlp.c.kernel.set_value(jnp.asarray(np.random.default_rng(0).normal(size=(16, 8)), "float32"))
    expected = model.mlp(X)
    sine = tm.MuMoEBlockSpec(8, 16, 8, 4, tm.CP(9), nonlinearity=jnp.sin)
    replace(model, "mlp", build=lambda old: sine, init="fit", seed=0)
    np.testing.assert_allclose(model.mlp(X), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nnx.LinearGeneral(8, 5, bias_init=nnx.initializers.normal(), rngs=nnx.Rngs(0)),
        lambda: einsum("bti,io->bto", (8, 5), (5,)),
        lambda: einsum("... d, f d -> ... f", (5, 8)),
    ],
)
def test_general_layers_and_einsums_that_are_a_matrix_are_linear_layers(
    make: Callable[[], nnx.Module],
) -> None:
    model, x = nnx.Dict(head=make()), X.reshape(1, 3, 8)
    expected, bias = model.head(x), model.head.bias is not None
    replace(model, "head", experts=3, factorization=tm.CP(9), init="fit", seed=0)
    assert model.head.spec == tm.MuMoESpec(8, 5, 3, tm.CP(9), bias=bias)
    np.testing.assert_allclose(model.head(x), expected, rtol=0, atol=1e-5)


def test_an_optax_mask_trains_what_was_replaced_alone() -> None:
    model = nnx.Dict(mlp=MLP(nnx.Rngs(0)), head=nnx.Linear(8, 5, rngs=nnx.Rngs(0)))
    report = replace(model, MLP, **CP)
    names = tuple(f"{row.names[0]}." for row in report.rows)

    def mask(parameters: Any) -> Any:
        return nnx.map_state(lambda path, _: ".".join(map(str, path)).startswith(names), parameters)

    optimizer = nnx.Optimizer(model, optax.masked(optax.scale(0.0), mask), wrt=nnx.Param)
    before = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    optimizer.update(model, jax.tree.map(jnp.ones_like, nnx.state(model, nnx.Param)))
    after = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    same = jax.tree.map(lambda a, b: bool((a == b).all()), after, before)
    assert jax.tree.all(same["mlp"])
    assert not any(jax.tree.leaves(same["head"]))


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


def heads() -> nnx.Module:
    return nnx.LinearGeneral(8, (2, 5), rngs=nnx.Rngs(0))


def einsum(equation: str, shape: tuple[int, ...], bias: tuple[int, ...] | None = None) -> nnx.Module:
    return nnx.Einsum(equation, shape, bias, bias_init=nnx.initializers.normal(), rngs=nnx.Rngs(0))


def as_any(old: nnx.Module) -> tm.MuMoEBlockSpec:
    return tm.MuMoEBlockSpec(8, 16, 8, 4, tm.CP(3))


def tied() -> nnx.Module:
    model = Model()
    model.mlps[0].up.kernel = model.mlps[1].up.kernel
    return model


@pytest.mark.parametrize(
    ("make", "where", "options", "reason"),
    [
        (Model, "nothing", CP, r"where: .*modules are called mlps, up, down, heads, a, again"),
        (Model, "mlp*", CP, r"where: .* is inside mlps"),
        (lambda: nnx.Dict(mlp=Doubled()), "mlp", CP, r"mlp: received 'Doubled'; it is no nonlinearity of bl"),
        (
            lambda: nnx.Dict(mlp=Sized(act=jnp.sin)),
            "mlp",
            CP,
            r"mlp: .*does more than that.*: pass build=",
        ),
        (lambda: nnx.Dict(mlp=Normed()), "mlp", CP, r"mlp: .*parameters of a LayerNorm: pass build="),
        (
            lambda: nnx.Dict(mlp=Sized(p=0.5)),
            "mlp",
            CP,
            r"mlp: received 'Dropout\(0\.5\)'; .*set its rate to 0",
        ),
        (lambda: nnx.Dict(model=Model()), "model", CP, r"model: received 'Model'; it is neither a linear"),
        (lambda: nnx.Dict(norm=nnx.LayerNorm(8, rngs=nnx.Rngs(0))), "norm", CP, r"norm: .*of a LayerNorm"),
        (lambda: nnx.Dict(a=heads()), "a", CP, r"a: received 'LinearGeneral'"),
        (lambda: nnx.Dict(a=einsum("bi,hio->bho", (2, 8, 5))), "a", CP, r"a: received 'Einsum'"),
        (lambda: nnx.Dict(a=einsum("bi,ij->ij", (8, 5))), "a", CP, r"a: received 'Einsum'"),
        (stacked, "layers", CP, r"layers: .*several layers in one"),
        (tied, "mlps.0.up", CP, r"where: .* share a parameter"),
        (Model, "up", CP | {"seed": None}, r"rngs: received None"),
        (Model, "up", CP | {"experts": None}, r"experts: received None; pass experts= and"),
        (Model, "up", CP | {"match": "rank"}, r"match: received 'rank'"),
        (Model, "up", CP | {"init": "dense"}, r"init: received 'dense'"),
        (Model, MLP, {"build": lambda old: MLP(nnx.Rngs(0)), "init": "fit"}, r"init: .*a module for mlps\.0"),
        (
            lambda: nnx.Dict(mlp=Normed()),
            "mlp",
            {"build": as_any, "init": "fit", "seed": 0},
            r"mlp are not known",
        ),
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
