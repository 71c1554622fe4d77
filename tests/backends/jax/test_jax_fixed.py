"""Fixed cores in JAX: variables that are no parameters."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import tensormoe as tm
import tensormoe_jax
from tensormoe_jax import Fixed, MuMoE

WEIGHT = np.random.default_rng(0).normal(size=(8, 6)).astype("float32")
LORA = tm.TensorNetwork("W: i o + n i r, n r o", r=3, fixed={"W": WEIGHT})
SPEC = tm.MuMoESpec(8, 6, 5, LORA, gate=tm.Gate("softmax", "batch"), bias=False)


def test_a_fixed_core_is_a_variable_of_its_own_kind_among_the_cores() -> None:
    layer = MuMoE.from_spec(SPEC, seed=0)
    assert [*layer.cores] == ["W", "core2", "core3"]
    assert sum(each.size for each in jax.tree.leaves(nnx.state(layer, nnx.Param))) == SPEC.num_parameters
    assert [each.shape for each in jax.tree.leaves(nnx.state(layer, Fixed))] == [(8, 6)]
    assert sum(each.size for each in jax.tree.leaves(nnx.state(layer, nnx.BatchStat))) == 10
    numpy = tm.build(SPEC, "numpy", seed=0)
    for name, value in layer.arrays().items():
        assert (np.asarray(value) == numpy.arrays()[name]).all()


def test_gradients_and_calls_in_training_leave_it_as_it_is() -> None:
    layer = MuMoE.from_spec(SPEC, seed=0)
    x = jnp.asarray(np.random.default_rng(1).normal(size=(20, 8)), "float32")
    np.testing.assert_allclose(layer(x), x @ WEIGHT, atol=1e-5)
    gradients = nnx.grad(lambda layer: (layer(x) ** 2).mean())(layer)
    assert "W" not in gradients["cores"]
    assert (np.asarray(layer.cores["W"][...]) == WEIGHT).all()


def test_the_functions_take_it_in_the_state() -> None:
    parameters, state = tensormoe_jax.initialize(SPEC, seed=0)
    assert [*state] == ["cores.W", "gate_mean.0", "gate_variance.0"]
    half, of_half = tensormoe_jax.initialize(SPEC, key=jax.random.key(0), dtype="bfloat16")
    assert {str(each.dtype) for each in half.values()} == {"bfloat16"}
    assert (of_half["cores.W"].dtype, of_half["gate_mean.0"].dtype) == ("bfloat16", "float32")
    apply = jax.jit(tm.apply, static_argnums=0, static_argnames="training")
    result = apply(SPEC, parameters, jnp.ones((2, 8)), state=state, training=True)
    assert (np.asarray(result.state["cores.W"]) == WEIGHT).all()


def test_no_value_is_needed_or_embedded_where_only_shapes_are() -> None:
    large = np.random.default_rng(0).normal(size=(40, 40))
    spec = tm.MuMoESpec(40, 40, 2, tm.TensorNetwork("W: i o, n i", fixed={"W": large}), bias=False)
    unknown = tm.spec_from_json(spec.to_json())
    shapes = jax.eval_shape(lambda: tensormoe_jax.initialize(unknown, seed=0))
    assert shapes[1]["cores.W"].shape == (40, 40)
    layer = MuMoE.from_arrays(unknown, MuMoE.from_spec(spec, seed=0).arrays())
    np.testing.assert_allclose(layer.cores["W"][...], large.astype("float32"))


def test_stacked_layers_have_one_each_and_files_go_to_other_frameworks(tmp_path) -> None:
    layers = tensormoe_jax.stacked(SPEC, n=2, seed=0)
    assert layers.cores["W"].shape == (2, 8, 6)
    layer = MuMoE.from_spec(SPEC, seed=0)
    layer.eval()
    tm.save(layer, tmp_path / "layer")
    x = np.ones((2, 8), "float32")
    np.testing.assert_allclose(tm.load(tmp_path / "layer", "numpy")(x), layer(x), atol=1e-5)
