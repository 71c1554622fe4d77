"""Blocks whose layers share cores, in JAX: one variable of a group of its own."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import tensormoe as tm
from tensormoe_jax import MuMoEBlock


def test_it_is_one_variable_whose_gradients_are_added() -> None:
    module = MuMoEBlock(4, 6, 4, 3, tm.CP(rank=2), gate=tm.Gate("softmax"), shared="expert1", seed=0)
    state = nnx.state(module, nnx.Param)
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) == module.spec.num_parameters
    assert "expert1" in state["shared"]
    assert "expert1" not in state["first"]
    apart = module.spec.replace(shared=())
    arrays = module.arrays()
    own = {f"{layer}.expert1": arrays["shared.expert1"] for layer in ("first", "second")}
    values = {name: own.get(name, arrays.get(name)) for name in apart.parameter_shapes}
    x = jnp.ones((2, 4))

    def loss(spec: tm.Spec, values: dict[str, jax.Array]) -> jax.Array:
        return (tm.apply(spec, values, x).y ** 2).sum()

    expected = jax.grad(loss, argnums=1)(apart, values)
    gradients = nnx.grad(lambda module: (module(x) ** 2).sum())(module)
    summed = expected["first.expert1"] + expected["second.expert1"]
    np.testing.assert_allclose(gradients["shared"]["expert1"][...], summed, rtol=1e-4, atol=1e-6)


def test_split_and_merge_keep_it() -> None:
    module = MuMoEBlock(4, 6, 4, 3, tm.CP(rank=2), gate=tm.Gate("softmax"), shared="expert1", seed=0)
    again = nnx.merge(*nnx.split(module))
    assert [*again.arrays()] == [*module.arrays()]
    assert [*again.shared] == ["expert1"]
