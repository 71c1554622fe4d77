"""Modules: views, loading, attributes, order of cores, and arrays from NumPy."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support.strategies import close

import tensormoe as tm
import tensormoe_jax
from tensormoe_jax import MuMoE, MuMoEBlock

SPEC = tm.MuMoESpec(7, 6, 5, tm.Tucker((2, 3, 4)), tm.Gate("softmax", norm="batch"))
BLOCK = tm.MuMoEBlockSpec(7, 8, 6, (5, 2), tm.CP(3), tm.Gate(norm="batch"), input_norm=True)


def x(*leading: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(0).normal(size=(*leading, 7)).astype(dtype)


def everything(spec: tm.Spec, seed: int, dtype: str = "float32") -> dict[str, np.ndarray]:
    parameters, state = tm.initialize(spec, seed, dtype)
    return parameters | {name: value + 0.5 for name, value in state.items()}


def value(module: nnx.Module, name: str) -> np.ndarray:
    group, _, member = name.partition(".")
    return np.asarray(getattr(module, group)[int(member) if member.isdigit() else member][...])


@pytest.mark.parametrize("spec", [SPEC, BLOCK], ids=["layer", "block"])
def test_loaded_arrays_are_what_the_module_computes_with(spec: tm.Spec) -> None:
    module = tm.build(spec, "jax", seed=0)
    arrays = everything(spec, seed=1, dtype="float64")
    module.load_arrays(arrays)
    for name, array in arrays.items():
        assert (value(module, name) == array.astype("float32")).all()
    module.eval()
    parameters = {name: arrays[name].astype("float32") for name in spec.parameter_shapes}
    expected = tm.apply(spec, parameters, x(4), state={name: arrays[name] for name in spec.state_shapes}).y
    close(module(x(4)), expected, 1e-5)


def test_nothing_is_loaded_unless_everything_fits() -> None:
    module = tm.build(SPEC, "jax", seed=0)
    before = {name: value(module, name) for name in everything(SPEC, 0)}
    arrays = everything(SPEC, seed=1)
    for unfit, said in (
        (list(arrays.values()), "arrays.*from names to arrays"),
        (nnx.state(module), r"arrays: received \['cores',.*nnx\.update"),
        ({name: arrays[name] for name in arrays if name != "gate_mean.0"}, r"missing: 'gate_mean\.0';"),
        (arrays | {"cores.inputs": arrays["cores.input"]}, r"unknown: 'cores\.inputs';"),
        (arrays | {"gate_mean.0": np.zeros(6)}, r"gate_mean\.0.*\(6,\); pass an array of shape \(5,\)"),
        (arrays | {"gate_mean.0": [0.0] * 5}, r"gate_mean\.0.*pass an array"),
        (arrays | {"gate_mean.0": np.zeros(5, int)}, r"gate_mean\.0.*floating-point"),
    ):
        with pytest.raises(tm.TensorMoEError, match=said):
            module.load_arrays(unfit)
    for name, array in before.items():
        assert (value(module, name) == array).all()


def test_a_call_says_where_the_mode_and_the_noise_come_from() -> None:
    module = tm.build(SPEC.replace(gate=tm.Gate(noise=0.1)), "jax", seed=0)
    with pytest.raises(tm.TensorMoEError, match=r"generator: received None; .*layer\(x, generator=rngs\)"):
        module(x(4))
    for keyword in ("training", "use_running_average"):
        with pytest.raises(tm.TensorMoEError, match=rf"keyword: received '{keyword}'; .*layer\.eval\(\)"):
            module(x(4), **{keyword: True})


@pytest.mark.parametrize(
    "generator",
    [
        lambda: nnx.Rngs(params=0),
        lambda: jax.random.split(jax.random.key(0)),
        lambda: jax.random.PRNGKey(0)[None],
        lambda: jnp.ones((2, 3)),
        lambda: jnp.ones(2, "int32"),
        lambda: jnp.ones(()),
    ],
    ids=["no stream", "two keys", "one too deep", "a matrix", "signed", "a scalar"],
)
def test_what_is_not_one_key_is_refused_and_statistics_stay(generator: Callable[[], object]) -> None:
    module = tm.build(SPEC.replace(gate=tm.Gate(norm="batch", noise=0.1)), "jax", seed=0)
    before = {name: value(module, name) for name in module.spec.state_shapes}
    with pytest.raises(tm.TensorMoEError, match=r"(?s)generator: received .*jax\.random\.key"):
        module(x(4), generator=generator())
    assert all((value(module, name) == array).all() for name, array in before.items())


def test_streams_are_asked_for_only_where_there_is_noise() -> None:
    module = tm.build(SPEC.replace(gate=tm.Gate()), "jax", seed=0)
    close(module(x(4), generator=nnx.Rngs(params=0)), module(x(4)), 0)


def test_initialize_says_where_a_key_goes() -> None:
    for key in (jax.random.key(0), jax.random.PRNGKey(0)):
        with pytest.raises(tm.TensorMoEError, match=r"seed: received [^;]*; pass a key as key="):
            tensormoe_jax.initialize(SPEC, key)
    for key in (3, np.zeros(2, "uint32"), jnp.zeros(2, "int32"), jnp.zeros(3, "uint32")):
        with pytest.raises(tm.TensorMoEError, match=r"key: received .*pass a key, such as jax\.random"):
            tensormoe_jax.initialize(SPEC, key=key)


def test_loaded_arrays_are_copies_and_keep_type_and_sharding() -> None:
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("model",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    module = MuMoE.from_spec(SPEC, seed=0, dtype="bfloat16", device=sharding)
    arrays = everything(SPEC, seed=1)
    module.load_arrays(arrays)
    arrays["gate_mean.0"][...] = 100
    assert module.cores["input"].dtype == module.dtype == "bfloat16"
    assert module.cores["input"][...].sharding == sharding
    assert (module.gate_mean[0][...] == 0.5).all()


def test_an_element_type_is_that_of_the_parameters_alone() -> None:
    arrays = everything(SPEC, seed=1)
    module = MuMoE.from_arrays(SPEC, arrays, dtype="bfloat16")
    assert (module.dtype, module.gate_mean[0].dtype) == ("bfloat16", "float32")
    arrays["gate_mean.0"] = arrays["gate_mean.0"].astype("float16")
    assert MuMoE.from_arrays(SPEC, arrays).gate_mean[0].dtype == "float16"


def test_arrays_of_every_framework_are_loaded() -> None:
    torch = pytest.importorskip("torch")
    theirs = tm.build(BLOCK, "torch", seed=4, dtype=torch.bfloat16)
    theirs(torch.tensor(x(8)).bfloat16())
    arrays = {name: tensor.detach().float().numpy() for name, tensor in theirs.state_dict().items()}
    for source in (dict(theirs.named_parameters()) | dict(theirs.named_buffers()), theirs.state_dict()):
        for module in (MuMoEBlock.from_spec(BLOCK, seed=0), tm.build(BLOCK, "numpy", seed=0)):
            module.load_arrays(source)
            again = MuMoEBlock.from_spec(BLOCK, seed=0, dtype="bfloat16")
            again.load_arrays(module.parameters | module.state if hasattr(module, "parameters") else source)
            assert all((value(again, name) == array).all() for name, array in arrays.items())


def test_shapes_alone_become_a_module_by_loading() -> None:
    module = nnx.eval_shape(lambda: MuMoEBlock.from_spec(BLOCK, seed=0))
    module.load_arrays(everything(BLOCK, seed=1))
    other = MuMoEBlock.from_spec(BLOCK, seed=0)
    other.load_arrays(everything(BLOCK, seed=1))
    close(module(x(4)), other(x(4)))


@pytest.mark.skipif(not hasattr(nnx, "view"), reason="this Flax has no views yet")
def test_views_set_the_mode_of_the_gate() -> None:
    module = tm.build(SPEC, "jax", seed=0)
    module.gate_weights[0][...] = jnp.asarray(np.random.default_rng(1).normal(size=(7, 5)), "float32")
    evaluation = nnx.view(module, use_running_average=True)
    # A token's output does not depend on the rest of the batch, and nothing moves.
    close(evaluation(x(8))[:2], evaluation(x(8)[:2]), 1e-6)
    assert (module.gate_mean[0][...] == 0).all()
    # Views share variables.
    module(x(8))
    assert (evaluation.gate_mean[0][...] != 0).all()
    assert not nnx.view(evaluation, use_running_average=False).use_running_average
    assert nnx.view(evaluation).use_running_average
    assert list(evaluation.cores) == list(SPEC.network.shapes)
    if hasattr(nnx, "view_info"):
        assert "use_running_average" in nnx.view_info(module)


def test_attributes_are_linears() -> None:
    for module, features in (
        (tm.build(SPEC, "jax", seed=0), (7, 6)),
        (tm.build(BLOCK, "jax", seed=0), (7, 6)),
    ):
        assert (module.in_features, module.out_features) == features
        assert module.experts == module.spec.experts
        assert module.dtype == "float32"
        assert module.recompute is False
    assert MuMoE.from_spec(SPEC, seed=0, dtype=jnp.float16).dtype == jnp.float16


ELEVEN = tm.TensorNetwork(", ".join(["n r"] * 9 + ["i r", "o r"]), r=3)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m,
        nnx.clone,
        copy.deepcopy,
        lambda m: pickle.loads(pickle.dumps(m)),
        lambda m: nnx.merge(*nnx.split(m)),
    ],
    ids=["new", "clone", "deepcopy", "pickle", "merge"],
)
def test_cores_come_in_the_networks_order(change: Callable) -> None:
    # Eleven matrices of one shape: nothing but the order tells core2 from core10.
    spec = tm.MuMoESpec(3, 3, 3, ELEVEN, bias=False)
    module = change(tm.build(spec, "jax", seed=0))
    module.load_arrays(
        {
            name: np.random.default_rng(n).normal(size=shape)
            for n, (name, shape) in enumerate(spec.parameter_shapes.items())
        }
    )
    assert list(module.cores) == list(spec.network.shapes)
    listed = tm.materialize(spec, [core[...] for core in module.cores.values()])
    close(listed, module.materialize(), 1e-5)
    nnx.jit(lambda m: m.cores["core1"][...])(module)
    assert list(module.cores) == list(spec.network.shapes)


def test_containers_of_variables_are_taken_where_arrays_are() -> None:
    module = tm.build(SPEC, "jax", seed=3)
    parameters, _ = tm.initialize(SPEC, seed=3)
    plain = {name: parameters[f"cores.{name}"] for name in SPEC.network.shapes}
    a = [np.random.default_rng(1).normal(size=(4, 5)).astype("float32")]
    close(tm.materialize(SPEC, module.cores), tm.materialize(SPEC, plain), 1e-6)
    close(tm.contract(SPEC, module.cores, a, jnp.asarray(x(4))), tm.contract(SPEC, plain, a, x(4)), 1e-6)


def test_numpys_arrays_are_taken_where_jax_computes() -> None:
    parameters, state = tm.initialize(SPEC, seed=3)
    expected = tm.apply(SPEC, parameters, x(4), state=state).y
    close(tensormoe_jax.apply(SPEC, parameters, x(4), state=state, backend="jax").y, expected, 1e-6)
    close(tensormoe_jax.apply(SPEC, parameters, jnp.asarray(x(4)), state=state).y, expected, 1e-6)
    module = tm.build(SPEC, "jax", seed=3)
    module.eval()
    close(module(x(4)), expected, 1e-6)
    # What a restored checkpoint leaves behind.
    restored = tm.build(SPEC, "jax", seed=0)
    nnx.replace_by_pure_dict(
        pure := nnx.state(restored),
        {"cores": {name: parameters[f"cores.{name}"] for name in SPEC.network.shapes}},
    )
    nnx.update(restored, pure)
    restored.eval()
    close(restored(x(4)), expected, 1e-6)


def test_apply_gives_a_pytree() -> None:
    parameters, state = tensormoe_jax.initialize(SPEC)
    step = jax.jit(tensormoe_jax.apply, static_argnums=0, static_argnames="training")
    result = step(SPEC, parameters, x(4), state=state, training=True)
    assert result.y.shape == (4, 6)
    assert [a.shape for a in result.coefficients] == [(4, 5)]
    assert result.state.keys() == SPEC.state_shapes.keys()
    assert (result.state["gate_mean.0"] == 0).all()


def test_a_checkpoint_of_orbax_is_read_back(tmp_path: Path) -> None:
    ocp = pytest.importorskip("orbax.checkpoint")
    module = MuMoEBlock.from_spec(BLOCK, seed=5)
    module(x(8))
    checkpointer = ocp.StandardCheckpointer()
    checkpointer.save(tmp_path / "state", nnx.state(module))
    checkpointer.wait_until_finished()
    abstract = nnx.eval_shape(lambda: MuMoEBlock.from_spec(BLOCK, rngs=nnx.Rngs(0)))
    graph, shapes = nnx.split(abstract)
    restored = nnx.merge(graph, checkpointer.restore(tmp_path / "state", shapes))
    for other in (module, restored):
        other.eval()
    close(restored(x(8)), module(x(8)))
    assert list(restored.first) == list(BLOCK.layers["first"].network.shapes)


def test_specs_of_the_other_kind_are_refused() -> None:
    with pytest.raises(tm.TensorMoEError, match="pass a MuMoESpec"):
        MuMoE.from_spec(BLOCK, seed=0)
    with pytest.raises(tm.TensorMoEError, match="pass a MuMoEBlockSpec"):
        MuMoEBlock.from_spec(SPEC, seed=0)


def test_plans_options_reach_the_layer() -> None:
    module = MuMoE(7, 6, 5, tm.Tucker((2, 3, 4)), optimize="greedy", memory_limit=10_000, seed=0)
    assert module.spec == tm.MuMoESpec(7, 6, 5, tm.Tucker((2, 3, 4)), optimize="greedy", memory_limit=10_000)


CLUSTERS = tm.MuMoESpec(7, 6, 5, tm.CP(3), tm.Gate("softmax", router=tm.AdaptiveClustering()))


@pytest.mark.parametrize("spec", [SPEC, CLUSTERS], ids=["batch norm", "clusters"])
def test_a_gradient_that_closes_over_a_training_layer_says_that_statistics_stay(spec: tm.MuMoESpec) -> None:
    module, twin = (tm.build(spec, "jax", seed=0) for _ in range(2))
    previous, inputs = [jnp.full((3, 5), 0.2)], jnp.asarray(x(3))
    before = {name: value(module, name) for name in spec.state_shapes}
    with pytest.warns(UserWarning, match="running statistics stay as they are") as warned:
        actual = jax.grad(lambda x: module(x, previous=previous)[..., 0].sum())(inputs)
    expected = nnx.grad(lambda layer, x: layer(x, previous=previous)[..., 0].sum(), argnums=1)(twin, inputs)
    close(actual, expected)
    assert {each.filename for each in warned} == {__file__}
    assert all((value(module, name) == statistic).all() for name, statistic in before.items())
    assert any((value(twin, name) != statistic).any() for name, statistic in before.items())
