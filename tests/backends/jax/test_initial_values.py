"""Initial values from keys and seeds, traced and not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats
from support.strategies import EVERY

import tensormoe as tm
import tensormoe_jax
from tensormoe.layers import initialization
from tensormoe_jax import MuMoE, MuMoEBlock

SPEC = tm.MuMoESpec(7, 6, (5, 2), tm.TensorRing((2, 2, 2, 3)), tm.Gate(norm="batch"))


def arrays(module: nnx.Module) -> dict[str, np.ndarray]:
    """All values by the names that `tm.initialize` gives them."""
    return {".".join(map(str, path)): np.asarray(v[...]) for path, v in nnx.to_flat_state(nnx.state(module))}


def test_a_seed_gives_numpys_bits_in_a_program_too() -> None:
    parameters, state = tm.initialize(SPEC, seed=3)
    for create in (
        lambda: MuMoE.from_spec(SPEC, seed=3),
        nnx.jit(lambda: MuMoE.from_spec(SPEC, seed=3)),
        lambda: tm.build(SPEC, "jax", seed=jnp.uint32(3)),
    ):
        actual = arrays(create())
        assert actual.keys() == (parameters | state).keys()
        assert all((actual[name] == value).all() for name, value in (parameters | state).items())


LEVELS = tm.TensorNetwork("n1 a b, n2 b c, i c, a o", a=3, b=3, c=2)


@pytest.mark.parametrize(
    ("factorization", "start"),
    [*((each, "linear") for each in (*EVERY, LEVELS)), *((each, "published") for each in (EVERY[2], LEVELS))],
    ids=str,
)
def test_a_keys_numbers_have_the_distribution_of_a_seeds(factorization: tm.Factorization, start: str) -> None:
    experts = (20, 4) if factorization is LEVELS else 20
    spec = tm.MuMoESpec(40, 30, experts, factorization, initialization=start)
    create = jax.jit(lambda key: tensormoe_jax.initialize(spec, key=key)[0])
    ours = [create(jax.random.key(seed)) for seed in range(8)]
    theirs = [tm.initialize(spec, seed)[0] for seed in range(8)]
    for name, shape in spec.parameter_shapes.items():
        value = np.stack([parameters[name] for parameters in ours])
        expected = np.stack([parameters[name] for parameters in theirs])
        assert value.shape == expected.shape == (8, *shape)
        constant = (expected == expected[0]).all(axis=0)
        # What NumPy never varies is the same here, and what it does is distributed alike.
        assert (value[:, constant] == expected[:, constant]).all(), name
        if not constant.all():
            actual, wanted = value[:, ~constant], expected[:, ~constant]
            assert stats.ks_2samp(actual.ravel(), wanted.ravel(), method="asymp").statistic < 0.12, name
            assert 0.85 < actual.std() / wanted.std() < 1.18, name


def test_cores_of_one_shape_are_drawn_apart() -> None:
    spec = tm.MuMoEBlockSpec(6, 6, 6, 5, tm.Dense())
    values = tensormoe_jax.initialize(spec, key=jax.random.key(0))[0]
    first, second = values["first.core1"], values["second.core1"]
    assert (first != second).all()


def test_an_input_norm_starts_as_the_identity() -> None:
    spec = tm.MuMoEBlockSpec(7, 8, 6, 5, tm.CP(3), input_norm=True)
    values = arrays(MuMoEBlock.from_spec(spec, rngs=nnx.Rngs(0)))
    assert (values["input_norm.weight"] == 1).all()
    assert (values["input_norm.bias"] == 0).all()
    assert (values["gate_weights.0"] == 0).all()


def test_experts_of_further_levels_start_equal_only_as_published() -> None:
    family = tm.TensorNetwork("n1 n2 r, i r, o r", r=3)
    for start, distinct in (("published", 15), ("linear", 60)):
        spec = tm.MuMoESpec(7, 6, (5, 4), family, initialization=start)
        core = tensormoe_jax.initialize(spec, key=jax.random.key(0))[0]["cores.core1"]
        assert (core == core[:, :1]).all() == (start == "published")
        assert len(np.unique(core)) == distinct


@pytest.mark.parametrize("start", ["linear", "published"])
def test_noise_is_around_what_experts_share_whatever_draws_it(start: str) -> None:
    """Sums over experts, and parts along the start, are those of NumPy's values."""
    spec = tm.MuMoESpec(40, 30, (20, 4), tm.TensorRing((3, 3, 3, 2)), initialization=start)
    for values in (tensormoe_jax.initialize(spec, key=jax.random.key(0))[0], tm.initialize(spec, 0)[0]):
        for name in ("cores.expert1", "cores.expert2"):
            core = np.asarray(values[name])
            mean = core.mean(axis=0)
            if start == "linear":
                np.testing.assert_allclose(mean @ mean.T, np.eye(3), atol=1e-5)
                np.testing.assert_allclose((core * mean).sum((1, 2)), 3, rtol=1e-4)
            elif name == "cores.expert2":
                assert (core == np.eye(3)).all()


def test_layers_of_a_vmap_differ() -> None:
    @nnx.split_rngs(splits=3)
    @nnx.vmap
    def create(rngs: nnx.Rngs) -> MuMoE:
        return MuMoE.from_spec(SPEC, rngs=rngs)

    module = create(nnx.Rngs(0))
    for variable in module.cores.values():
        assert variable.shape[0] == 3
    first, second, _ = module.cores["input"][...]
    assert (first != second).all()
    by_seed = nnx.vmap(lambda seed: MuMoE.from_spec(SPEC, seed=seed))(jnp.arange(3))
    assert (by_seed.cores["input"][0] != by_seed.cores["input"][1]).all()


def test_an_ensemble_is_its_members() -> None:
    keys = jax.random.split(jax.random.key(1), 3)
    x = np.random.default_rng(0).normal(size=(4, 7)).astype("float32")
    together = jax.vmap(lambda key: tensormoe_jax.initialize(SPEC, key=key))(keys)
    y = jax.vmap(lambda p, s: tensormoe_jax.apply(SPEC, p, x, state=s, backend="jax").y)(*together)
    for number, key in enumerate(keys):
        parameters, state = tensormoe_jax.initialize(SPEC, key=key)
        expected = tensormoe_jax.apply(SPEC, parameters, jnp.asarray(x), state=state).y
        np.testing.assert_allclose(y[number], expected, atol=1e-5)


def test_rngs_give_the_same_values_in_a_program() -> None:
    eager = arrays(MuMoE.from_spec(SPEC, rngs=nnx.Rngs(0)))
    compiled = arrays(nnx.jit(lambda: MuMoE.from_spec(SPEC, rngs=nnx.Rngs(0)))())
    for name, value in eager.items():
        np.testing.assert_allclose(compiled[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("source", ["seed", "rngs"])
def test_nothing_is_drawn_for_shapes_alone(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(initialization, "initialize", refuse)
    given = {"seed": lambda: 0, "rngs": lambda: nnx.Rngs(0)}[source]
    abstract = nnx.eval_shape(lambda: MuMoE.from_spec(SPEC, **{source: given()}))
    assert abstract.cores["input"].shape == SPEC.network.shapes["input"]
    assert isinstance(abstract.cores["input"].get_value(), jax.ShapeDtypeStruct)


@pytest.mark.parametrize(
    "factorization", [tm.CP(64), tm.TensorRing((4, 4, 64)), tm.TensorNetwork("i r, n r s, s o", r=64, s=64)]
)
@pytest.mark.parametrize("start", ["published", "linear"])
def test_programs_that_create_parameters_hold_no_values(factorization: tm.Factorization, start: str) -> None:
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("model",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    sizes = [(32, 32, 32, 8), (512, 512, 512, 64)]
    for source in ("seed", "rngs"):
        lengths = []
        for size in sizes:
            spec = tm.MuMoEBlockSpec(*size, factorization, initialization=start)

            def create(key: jax.Array, spec: tm.MuMoEBlockSpec = spec, source: str = source) -> nnx.State:
                given = {"seed": 0} if source == "seed" else {"rngs": nnx.Rngs(key)}
                return nnx.state(MuMoEBlock.from_spec(spec, **given))

            lowered = jax.jit(create, out_shardings=sharding).lower(jax.random.key(0))
            lengths.append(len(lowered.as_text()))
        assert lengths[1] < 1.1 * lengths[0] + 1000


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_rounded_float32(dtype: str) -> None:
    for source in ({"seed": 1}, {"key": jax.random.key(1)}):
        half, state = tensormoe_jax.initialize(SPEC, dtype=dtype, **source)
        whole, _ = tensormoe_jax.initialize(SPEC, **source)
        for name, value in half.items():
            assert value.dtype == dtype
            assert (value == whole[name].astype(dtype)).all()
        assert all(value.dtype == "float32" for value in state.values())


def test_float64_is_drawn_in_float64() -> None:
    with jax.enable_x64(True):
        parameters, state = tensormoe_jax.initialize(SPEC, dtype="float64", key=jax.random.key(0))
        assert all(value.dtype == "float64" for value in (parameters | state).values())
        core = np.asarray(parameters["cores.input"])
    assert (core != core.astype("float32")).any()


def test_unfit_seeds_are_refused() -> None:
    for seed in (-1, 1.5, "0", True):
        with pytest.raises(tm.TensorMoEError, match="seed"):
            MuMoE.from_spec(SPEC, seed=seed)
