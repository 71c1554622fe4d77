"""Every gate and router in layers and blocks of every framework, and the gate's own options."""

import copy
import json
import pickle
from typing import Any

import numpy as np
import pytest
from support.frameworks import optional
from support.strategies import BACKENDS, EVERY_GATE, close

import tensormoe as tm

torch = optional("torch")
jax = optional("jax")
jnp = optional("jax.numpy")
nnx = optional("flax.nnx")

every_gate = pytest.mark.parametrize("gate", EVERY_GATE, ids=lambda gate: gate.steps)


def specs_with(gate: tm.Gate) -> tuple[tm.MuMoESpec, tm.MuMoEBlockSpec]:
    block = tm.MuMoEBlockSpec(6, 7, 5, 4, tm.TensorTrain((2, 3)), gate, nonlinearity="gelu_tanh")
    return tm.MuMoESpec(6, 5, 4, tm.CP(3), gate), block


def previous_of(spec: tm.Spec, *leading: int) -> list[np.ndarray] | None:
    counts = spec.previous_experts
    generator = np.random.default_rng(2)
    return counts and [generator.dirichlet(np.ones(k), size=leading).astype("float32") for k in counts]


@every_gate
def test_layers_and_blocks_verify_and_travel_as_json(gate: tm.Gate) -> None:
    for spec in specs_with(gate):
        report = tm.verify(spec, BACKENDS, methods="frameworks")
        assert report.passed, str(report)
        assert gate.steps in str(report)
        # NumPy does not train, and one framework that does has nothing to be compared with.
        trained = {"ten training steps"} if {"torch", "jax"} <= {*BACKENDS} else set()
        expected = {"coefficients", "output"} | trained
        assert expected <= {check.quantity for check in report.checks}
        statistics = any(check.quantity == "running statistics" for check in report.checks)
        assert statistics == bool(spec.state_shapes)
        assert tm.spec_from_json(spec.to_json()) == spec
        assert hash(tm.spec_from_json(spec.to_json())) == hash(spec)
        assert pickle.loads(pickle.dumps(spec)) == spec


@every_gate
def test_what_has_travelled_as_json_computes_the_same(gate: tm.Gate) -> None:
    """Its names are other strings of the same letters."""
    for spec in specs_with(gate):
        values, state = tm.initialize(spec, 0, "float64")
        generator = np.random.default_rng(0)
        parameters = {name: value + generator.normal(size=value.shape) for name, value in values.items()}
        x, previous = generator.normal(size=(9, 6)), previous_of(spec, 9)
        call: dict[str, Any] = {"training": True}
        call["previous"] = previous and [a.astype("float64") for a in previous]
        results = []
        for each in (spec, tm.spec_from_json(spec.to_json())):
            noise = np.random.default_rng(1)
            # Running statistics have an effect once they have moved.
            moved = tm.apply(each, parameters, x, state=state, generator=noise, **call).state
            results.append(tm.apply(each, parameters, x, state=moved, generator=noise, **call))
        first, second = results
        close(second.y, first.y, 0)
        for a, b in zip(first.coefficients, second.coefficients, strict=True):
            close(b, a, 0)
        assert all((second.state[name] == value).all() for name, value in first.state.items())


@every_gate
def test_modules_of_pytorch_train_compile_and_copy(gate: tm.Gate) -> None:
    for spec in specs_with(gate):
        module = tm.build(spec, "torch", seed=0)
        for weights in module.gate_weights:
            torch.nn.init.normal_(weights, generator=torch.Generator().manual_seed(0))
        x = torch.randn(9, 6, generator=torch.Generator().manual_seed(1))
        given = previous_of(spec, 9)
        call: dict[str, Any] = {"previous": given and [torch.from_numpy(a) for a in given]}
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        losses = []
        for _ in range(5):
            optimizer.zero_grad()
            loss = (module(x, generator=torch.Generator().manual_seed(3), **call) - 1).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0]
        assert module.gate_weights[0].grad.abs().max() > 0
        module.eval()
        expected = module(x, **call)
        assert torch.equal(copy.deepcopy(module)(x, **call), expected)
        restored = tm.build(spec, "torch", seed=1)
        restored.load_state_dict(module.state_dict())
        assert torch.equal(restored.eval()(x, **call), expected)
        torch._dynamo.reset()
        compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
        close(compiled(x, **call).detach(), expected.detach(), 1e-5)


@every_gate
def test_modules_of_flax_train_and_jit(gate: tm.Gate) -> None:
    for spec in specs_with(gate):
        module = tm.build(spec, "jax", seed=0)
        x = jnp.asarray(np.random.default_rng(1).normal(size=(9, 6)), "float32")
        for weights in module.gate_weights:
            weights[...] = jnp.asarray(np.random.default_rng(0).normal(size=weights.shape), "float32")
        given = previous_of(spec, 9)
        previous = given and [jnp.asarray(a) for a in given]

        @nnx.jit
        def step(module: Any, x: jax.Array, previous: Any, key: jax.Array) -> jax.Array:
            def loss(module: Any) -> jax.Array:
                return jnp.square(module(x, previous=previous, generator=key) - 1).mean()

            value, gradients = nnx.value_and_grad(loss)(module)
            parameters = nnx.state(module, nnx.Param)
            nnx.update(module, jax.tree.map(lambda p, g: p - 0.1 * g, parameters, gradients))
            return value

        losses = [float(step(module, x, previous, jax.random.key(0))) for _ in range(5)]
        assert losses[-1] < losses[0]
        module.eval()
        jitted = nnx.jit(lambda module, x, previous: module(x, previous=previous))
        close(jitted(module, x, previous), module(x, previous=previous), 1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_temperature_divides_the_normalized_logits(backend: str) -> None:
    ops = tm.get_backend(backend)
    cold, plain = (tm.MuMoESpec(6, 5, 4, tm.CP(3), tm.Gate("softmax", None, temperature=t)) for t in (0.5, 1))
    generator = np.random.default_rng(0)
    values = {k: generator.normal(size=shape) for k, shape in plain.parameter_shapes.items()}
    x = generator.normal(size=(7, 6))
    logits = x @ values["gate_weights.0"]
    with ops.double_precision():
        arrays = {name: ops.from_numpy(value) for name, value in values.items()}
        _, (actual,), _ = tm.apply(cold, arrays, ops.from_numpy(x))
    exponentials = np.exp(2 * logits)
    close(ops.to_numpy(actual), exponentials / exponentials.sum(1, keepdims=True))


def noisy(backend: str, training: bool, generator: Any) -> np.ndarray:
    """Softmax's logarithm, up to a constant of each token: the logits with their noise."""
    ops = tm.get_backend(backend)
    spec = tm.MuMoESpec(6, 5, (400, 300), tm.CP(3), tm.Gate("softmax", None, noise=0.25))
    parameters, _ = tm.initialize(spec)
    arrays = {name: ops.from_numpy(value) for name, value in parameters.items()}
    x = ops.from_numpy(np.ones((50, 6), "float32"))
    _, (a, b), _ = tm.apply(spec, arrays, x, training=training, generator=generator)
    logits = np.log(np.concatenate([ops.to_numpy(a), ops.to_numpy(b)], axis=1))
    return logits - np.concatenate([np.full(400, -np.log(400)), np.full(300, -np.log(300))])


GENERATORS = {
    "numpy": np.random.default_rng,
    "torch": lambda seed: torch.Generator().manual_seed(seed),
    "jax": jax.random.key,
}


@pytest.mark.parametrize("backend", BACKENDS)
def test_noise_is_normal_in_training_alone_and_follows_its_generator(backend: str) -> None:
    logits = noisy(backend, True, GENERATORS[backend](0))
    assert abs(logits.std() - 0.25) < 0.005
    assert (logits[:, :300] != logits[:, 400:]).all(), "levels draw apart"
    close(noisy(backend, True, GENERATORS[backend](0)), logits)
    assert (noisy(backend, True, GENERATORS[backend](1)) != logits).any()
    assert abs(noisy(backend, False, None)).max() < 1e-5
    with pytest.raises(tm.TensorMoEError, match="generator"):
        noisy(backend, True, "seed 0")


def test_noise_without_a_generator() -> None:
    for backend in ("numpy", "jax"):
        with pytest.raises(tm.TensorMoEError, match="generator: received None"):
            noisy(backend, True, None)
    torch.manual_seed(0)
    first = noisy("torch", True, None)
    torch.manual_seed(0)
    close(noisy("torch", True, None), first)
    module = tm.build(tm.MuMoESpec(6, 5, 4, tm.CP(3), tm.Gate(noise=0.5)), "jax", seed=0)
    rngs = nnx.Rngs(noise=0)
    x = jnp.ones((3, 6))
    assert (module(x, generator=rngs) != module(x, generator=rngs)).any()


def squares(logits: Any) -> Any:
    return logits**2 / (logits**2).sum(-1)[..., None]


def halved(logits: Any) -> Any:
    return logits / 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_functions_of_ones_own(backend: str) -> None:
    ops = tm.get_backend(backend)
    spec = tm.MuMoESpec(6, 5, 4, tm.CP(3), tm.Gate(squares, norm=halved))
    assert pickle.loads(pickle.dumps(spec)) == spec
    generator = np.random.default_rng(0)
    values = {k: generator.normal(size=shape) for k, shape in spec.parameter_shapes.items()}
    x = generator.normal(size=(7, 6))
    with ops.double_precision():
        arrays = {name: ops.from_numpy(value) for name, value in values.items()}
        _, (actual,), _ = tm.apply(spec, arrays, ops.from_numpy(x))
        for t in (0.5, 1, 2):
            own = spec.replace(gate=tm.Gate(halved, None, temperature=t))
            _, (scaled,), _ = tm.apply(own, arrays, ops.from_numpy(x))
            close(ops.to_numpy(scaled), x @ values["gate_weights.0"] / t / 2)
    close(ops.to_numpy(actual), squares(x @ values["gate_weights.0"]))
    with pytest.raises(tm.TensorMoEError, match=r"gate activation: received <function squares.*JSON"):
        spec.to_json()
    with pytest.raises(tm.TensorMoEError, match="gate norm"):
        tm.Gate(norm=halved).to_dict()
    for wrong in (tm.Gate(lambda logits: logits[:, :1]), tm.Gate(norm=lambda logits: logits.sum())):
        with pytest.raises(tm.TensorMoEError, match="logits' shape"):
            tm.apply(spec.replace(gate=wrong), values, x)
    report = tm.verify(spec.replace(gate=tm.Gate(squares)))
    assert report.passed
    assert "not checked: float: the errors of this gate's coefficients" in str(report)


def test_unfit_options_are_refused() -> None:
    refused: list[tuple[str, Any]] = [
        (
            "gate activation: received 'soft_top_k'; it needs an option: .*'soft_top_k', k=…",
            lambda: tm.Gate("soft_top_k"),
        ),
        ("gate activation: received 'soft_rank'", lambda: tm.Gate("soft_rank")),
        ("option of softmax: received 'k'", lambda: tm.Activation("softmax", k=2)),
        ("alpha: received 5", lambda: tm.Activation("entmax", alpha=5)),
        ("alpha: received array", lambda: tm.Activation("entmax", alpha=np.array(1.5))),
        ("eps: received -1", lambda: tm.Activation("soft_top_k", k=1, eps=-1)),
        ("k: received 1.5", lambda: tm.Activation("top_k", k=1.5)),
        ("gate temperature: received 0", lambda: tm.Gate(temperature=0)),
        ("gate noise: received -0.1", lambda: tm.Gate(noise=-0.1)),
        ("gate noise: received 'loud'", lambda: tm.Gate(noise="loud")),
        ("gate router: received 'linear'", lambda: tm.Gate(router="linear")),
    ]
    for match, make in refused:
        with pytest.raises(tm.TensorMoEError, match=match):
            make()
    with pytest.raises(tm.TensorMoEError, match=r"gate activation: .*k=5.*3 experts"):
        tm.MuMoESpec(6, 5, (8, 3), tm.CP(3), tm.Gate(tm.Activation("top_k", k=5)))


def test_unfit_json_is_refused() -> None:
    data = json.loads(tm.MuMoESpec(6, 5, 4, tm.CP(3)).to_json())
    for gate, match in (
        ({"activation": {"k": 2}}, "gate activation: received None"),
        ({"activation": {"name": "top_k", "k": 2, "eps": 1}}, "option of top_k: received 'eps'"),
        ({"router": "Linear"}, "router: received 'Linear'"),
        ({"router": {"type": "Quadratic"}}, "router type: received 'Quadratic'; choose one of .*'Linear'"),
        ({"router": {"type": "Linear", "scale": 2}}, "router field: received 'scale'"),
        ({"router": {"type": "Linear", "bias": "yes"}}, "bias: received 'yes'"),
        ({"router": {"type": "AdaptiveClustering", "eps": "small"}}, "eps: received 'small'"),
    ):
        with pytest.raises(tm.TensorMoEError, match=match):
            tm.spec_from_json(json.dumps({**data, "gate": gate}))
    # Fields may be left out.
    assert tm.spec_from_json(json.dumps({**data, "gate": {"norm": None}})).gate == tm.Gate(norm=None)
