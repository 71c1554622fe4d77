"""JAX's and Flax's idioms: what users do with a flax.nnx.Module and with plain pytrees."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from support.frameworks import optional
from support.strategies import EVERY, close

import tensormoe as tm
import tensormoe_jax
from tensormoe_jax import MuMoE, MuMoEBlock

torch = optional("torch")
TorchMuMoE = optional("tensormoe_torch").MuMoE


def layer(factorization: tm.Factorization = EVERY[0], **options) -> MuMoE:
    options.setdefault("gate", tm.Gate(norm="batch"))
    return MuMoE(7, 6, experts=5, factorization=factorization, seed=0, **options)


def x(*leading: int, dtype="float32") -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(size=(*leading, 7)), dtype=dtype)


def test_arguments_are_nnxs() -> None:
    rngs = nnx.Rngs(0)
    first, second = (MuMoE(7, 6, 5, tm.CP(3), rngs=rngs) for _ in range(2))
    assert (first.cores["input"][...] != second.cores["input"][...]).all()
    again = MuMoE(7, 6, 5, tm.CP(3), rngs=nnx.Rngs(0))
    assert (first.cores["input"][...] == again.cores["input"][...]).all()
    assert list(first.cores) == ["expert1", "input", "output"]
    assert [g.shape for g in first.gate_weights] == [(7, 5)]
    assert first.spec == tm.MuMoESpec(7, 6, 5, tm.CP(3))
    assert first.materialize().shape == (5, 8, 6)
    with pytest.raises(tm.TensorMoEError, match="pass rngs"):
        MuMoE(7, 6, 5, tm.CP(3))
    with pytest.raises(tm.TensorMoEError, match="pass only one of the two"):
        MuMoE(7, 6, 5, tm.CP(3), rngs=rngs, seed=0)
    with pytest.raises(tm.TensorMoEError, match="dtype"):
        MuMoE(7, 6, 5, tm.CP(3), seed=0, dtype=jnp.int32)
    with pytest.raises(tm.TensorMoEError, match="64-bit mode"):
        MuMoE(7, 6, 5, tm.CP(3), seed=0, dtype=jnp.float64)


@pytest.mark.parametrize("factorization", EVERY, ids=str)
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_every_floating_point_type_trains(factorization: tm.Factorization, dtype: str) -> None:
    with jax.enable_x64(dtype == "float64"):
        module = layer(factorization, dtype=dtype)
        y, (a,) = module(x(4, 3, dtype=dtype), return_coefficients=True)
        assert y.dtype == a.dtype == dtype
        gradients = nnx.grad(lambda module: jnp.square(module(x(4, 3, dtype=dtype)).astype("float32")).sum())(
            module
        )
        assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(gradients))
        y = np.asarray(y.astype("float32"))
    expected = layer(factorization)(x(4, 3))
    close(y, expected, {"float64": 1e-5, "float32": 1e-6}.get(dtype, 0.05))


@pytest.mark.parametrize("factorization", EVERY, ids=str)
def test_jit_vmap_and_grad(factorization: tm.Factorization) -> None:
    module = layer(factorization, gate=tm.Gate(norm="layer"))
    expected = module(x(6))
    close(nnx.jit(lambda module, x: module(x))(module, x(6)), expected, 1e-6)
    close(nnx.vmap(lambda module, x: module(x), in_axes=(None, 0))(module, x(6)), expected, 1e-6)
    jacobian = jax.jacfwd(module)(x())
    close(jacobian, jax.jacrev(module)(x()), 1e-5)


def test_plain_pytrees() -> None:
    spec = tm.MuMoESpec(7, 6, (5, 4), tm.TensorRing((2, 2, 2, 3)), tm.Gate(norm="batch"))
    parameters, state = tensormoe_jax.initialize(spec, 0)
    assert all(isinstance(value, jax.Array) for value in parameters.values())

    @jax.jit
    def step(parameters: dict, state: dict, x: jax.Array) -> tuple:
        def loss(parameters: dict) -> tuple:
            y, _, moved = tensormoe_jax.apply(spec, parameters, x, state=state, training=True)
            return jnp.square(y - 1).mean(), moved

        (value, moved), gradients = jax.value_and_grad(loss, has_aux=True)(parameters)
        return jax.tree.map(lambda p, g: p - 0.1 * g, parameters, gradients), moved, value

    losses = []
    for _ in range(20):
        parameters, state, value = step(parameters, state, x(16))
        losses.append(float(value))
    assert losses[-1] < losses[0]


def test_statistics_move_in_training_alone() -> None:
    module = layer()
    module.gate_weights[0][...] = jnp.asarray(np.random.default_rng(1).normal(size=(7, 5)), "float32")
    before = np.asarray(module.gate_mean[0][...])
    module.eval()
    module(x(8))
    assert (np.asarray(module.gate_mean[0][...]) == before).all()
    module.train()
    nnx.jit(lambda module, x: module(x))(module, x(8))
    assert (np.asarray(module.gate_mean[0][...]) != before).all()
    assert isinstance(module.gate_mean[0], nnx.BatchStat)


def test_copies_and_pickles() -> None:
    module = layer()
    expected = module(x(8))
    for other in (copy.deepcopy(module), nnx.clone(module), pickle.loads(pickle.dumps(module))):
        close(other(x(8)), expected, 1e-6)
        assert other.spec == module.spec


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_training_steps_are_pytorchs(norm: str) -> None:
    """Ten steps of SGD in float64, running statistics included, then an evaluation."""
    gate = tm.Gate(norm=norm)
    generator = np.random.default_rng(0)
    data, targets = generator.normal(size=(10, 16, 7)), generator.normal(size=(10, 16, 6))
    theirs = TorchMuMoE(7, 6, 5, tm.CP(6), gate=gate, seed=0, dtype=torch.float64)
    descent = torch.optim.SGD(theirs.parameters(), lr=0.05)
    with jax.enable_x64(True):
        ours = layer(gate=gate, dtype="float64")
        optimizer = nnx.Optimizer(ours, optax.sgd(0.05), wrt=nnx.Param)
        for batch, target in zip(data, targets, strict=True):
            descent.zero_grad()
            ((theirs(torch.tensor(batch)) - torch.tensor(target)) ** 2).mean().backward()
            descent.step()
            gradients = nnx.grad(lambda m, b=batch, t=target: jnp.square(m(jnp.asarray(b)) - t).mean())(ours)
            optimizer.update(ours, gradients)
        state = theirs.state_dict()
        for group in ("cores", "gate_weights", "gate_mean", "gate_variance"):
            actual = getattr(ours, group, {})
            items = actual.items() if isinstance(actual, nnx.Dict) else enumerate(actual)
            for name, variable in items:
                close(variable[...], state[f"{group}.{name}"].numpy())
        assert any("gate_mean" in name for name in state) == (norm == "batch")
        ours.eval()
        close(ours(jnp.asarray(data[0])), theirs.eval()(torch.tensor(data[0])).detach().numpy())


def test_blocks() -> None:
    block = MuMoEBlock(7, 8, 6, 5, tm.CP(3), input_norm=True, seed=0)
    assert block(x(2, 3)).shape == (2, 3, 6)
    assert [w.shape for w in block.materialize()] == [(5, 8, 8), (5, 9, 6)]
    assert {"first", "second", "gate_weights", "input_norm"} <= set(vars(block))


@pytest.mark.parametrize("leading", [(2**20 - 3,), (3, 2**18 + 1)])
def test_a_compiled_sum_over_a_million_tokens_keeps_its_digits(leading: tuple[int, ...]) -> None:
    a, b = (np.random.default_rng(seed).uniform(size=(*leading, 2)).astype("float32") for seed in (0, 1))
    with jax.default_matmul_precision("highest"):
        actual = jax.jit(tm.get_backend("jax").sum_products)(a, b)
    left, right = (each.reshape(-1, 2).astype("float64") for each in (a, b))
    close(actual, left.T @ right, 1e-5)


def test_unfit_types_are_refused() -> None:
    with pytest.raises(tm.TensorMoEError, match="dtype: received 'flot'"):
        MuMoE(7, 6, 5, tm.CP(3), seed=0, dtype="flot")
