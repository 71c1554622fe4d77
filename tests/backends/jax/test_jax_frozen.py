"""`tensormoe_jax.replace(…, frozen=True)`: experts beside weights that stay as they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import tensormoe as tm
from tensormoe_jax import Fixed, replace

LORA = tm.TensorNetwork("n i r, n r o", r=2)
OPTIONS: dict[str, object] = {"experts": 3, "factorization": LORA, "frozen": True, "seed": 0}
X = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8)), "float32")


class MLP(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        drawn = nnx.initializers.normal()
        self.up = nnx.Linear(8, 12, bias_init=drawn, rngs=rngs)
        self.down = nnx.Linear(12, 8, use_bias=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.down(nnx.gelu(self.up(x)))


def test_an_mlp_computes_what_it_did_and_only_experts_are_parameters() -> None:
    model = nnx.Dict(mlp=MLP())
    before, old = model.mlp(X), model.mlp
    report = replace(model, "mlp", **OPTIONS)
    np.testing.assert_allclose(model.mlp(X), before, rtol=0, atol=1e-6)
    parameters = jax.tree.leaves(nnx.state(model.mlp, nnx.Param))
    (row,) = report.rows
    assert sum(each.size for each in parameters) == row.parameters_after == 2 * 3 * 2 * (8 + 12) + 8 * 3
    fixed = jax.tree.leaves(nnx.state(model.mlp, Fixed))
    assert sum(each.size for each in fixed) == row.fixed == row.parameters_before == 2 * 8 * 12 + 12
    np.testing.assert_array_equal(model.mlp.first["W"][...], old.up.kernel[...])
    np.testing.assert_array_equal(model.mlp.first["B"][...], old.up.bias[...])
    assert {*nnx.state(model.mlp, nnx.Param)["first"]} == {"core1_2", "core2_2"}
    assert "fixed" in str(report).split()
    report.undo()
    assert model.mlp is old


def test_a_linear_layer_and_what_cannot_be_frozen() -> None:
    model = nnx.Dict(head=nnx.Linear(8, 6, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0)))
    before = model.head(X)
    replace(model, "head", **OPTIONS)
    assert model.head.cores["W"].dtype == jnp.bfloat16
    np.testing.assert_allclose(model.head(X.astype("bfloat16")), before, rtol=0, atol=0.05)
    model = nnx.Dict(head=nnx.Linear(8, 6, rngs=nnx.Rngs(0)))
    build = {"build": lambda old: tm.MuMoESpec(8, 6, 3, LORA)}
    for options, message in (({"init": "fit"}, "init: .*frozen=True"), (build, "frozen: .*build= says all")):
        with pytest.raises(tm.TensorMoEError, match=message):
            replace(model, "head", **OPTIONS | options)
    with pytest.raises(tm.TensorMoEError, match="frozen: received True; head has no values"):
        nnx.eval_shape(lambda: replace(nnx.Dict(head=nnx.Linear(8, 6, rngs=nnx.Rngs(0))), "head", **OPTIONS))
