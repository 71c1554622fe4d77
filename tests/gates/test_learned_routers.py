"""Routers with parameters of their own, and a gate for each level, against their equations."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.frameworks import optional
from support.strategies import BACKENDS, close

import tensormoe as tm
from tensormoe.layers.functional import compute_gate

torch = optional("torch")
jnp = optional("jax.numpy")

X = np.random.default_rng(0).normal(size=(7, 6))
backends = pytest.mark.parametrize("backend", BACKENDS)
Arrays = dict[str, np.ndarray]


def spec_of(router: tm.Router, **gate: Any) -> tm.MuMoESpec:
    return tm.MuMoESpec(6, 5, (4, 3), tm.CP(4), tm.Gate(**{"norm": None, "router": router, **gate}))


def draw(spec: tm.Spec, dtype: str = "float64") -> Arrays:
    generator = np.random.default_rng(1)
    return {k: generator.normal(size=shape).astype(dtype) for k, shape in spec.parameter_shapes.items()}


def cosine(h: np.ndarray, g: np.ndarray) -> float:
    return float(h @ g / np.sqrt(h @ h) / np.sqrt(g @ g))


def logits_of(name: str, p: Arrays, level: int) -> np.ndarray:
    """One logit at a time."""
    g = p[f"gate_weights.{level}"]
    rows = []
    for x in X:
        if name == "bias":
            rows.append([x @ g[:, n] + p[f"gate_bias.{level}"][n] for n in range(g.shape[1])])
        elif name == "low rank":
            h = [x @ p[f"gate_projection.{level}"][:, r] for r in range(2)]
            rows.append([h @ g[:, n] for n in range(g.shape[1])])
        elif name == "cosine":
            scale = np.exp(p[f"gate_scale.{level}"][0]) * np.sqrt(6)
            rows.append([scale * cosine(x, g[:, n]) for n in range(g.shape[1])])
        else:
            scale = np.exp(p[f"gate_scale.{level}"][0]) / 0.25
            h = x @ p[f"gate_projection.{level}"]
            rows.append([scale * cosine(h, g[:, n]) for n in range(g.shape[1])])
    return np.array(rows)


ROUTERS = {
    "bias": tm.LinearRouter(bias=True),
    "low rank": tm.LowRankRouter(2),
    "cosine": tm.CosineRouter(),
    "cosine of few features": tm.CosineRouter(rank=2, temperature=0.25),
}


@backends
@pytest.mark.parametrize("name", ROUTERS)
def test_logits_are_those_of_the_equations(name: str, backend: str) -> None:
    spec = spec_of(ROUTERS[name])
    parameters, ops = draw(spec), tm.get_backend(backend)
    gate = {key: parameters[key] for key in spec.gate_shapes}
    with ops.double_precision():
        arrays = {key: ops.from_numpy(value) for key, value in gate.items()}
        _, logits, _ = compute_gate(spec, arrays, ops.from_numpy(X), backend=ops)
        for level, actual in enumerate(logits):
            close(ops.to_float64(actual), logits_of(name, parameters, level))


@backends
def test_noise_has_the_size_that_the_router_learns_in_training_only(backend: str, monkeypatch: Any) -> None:
    spec, ops = spec_of(tm.NoisyRouter(noise=0.5), activation="softmax"), tm.get_backend(backend)
    parameters = draw(spec)
    drawn = [np.random.default_rng(level + 5).normal(size=(7, n)) for level, n in enumerate(spec.experts)]
    monkeypatch.setattr(type(ops), "normal", lambda self, like, source, level: ops.from_numpy(drawn[level]))
    with ops.double_precision():
        arrays = {key: ops.from_numpy(parameters[key]) for key in spec.gate_shapes}
        for training in (True, False):
            _, logits, _ = compute_gate(spec, arrays, ops.from_numpy(X), training=training, backend=ops)
            for level, actual in enumerate(logits):
                size = np.log1p(np.exp(X @ parameters[f"gate_noise.{level}"])) / 2
                expected = X @ parameters[f"gate_weights.{level}"] + training * size * drawn[level]
                close(ops.to_float64(actual), expected)


@pytest.mark.parametrize("router", [*ROUTERS.values(), tm.NoisyRouter()], ids=str)
def test_routers_multiply_in_at_least_float32(router: tm.Router) -> None:
    """In half precision the logits are float32's, and near ones keep their order."""
    spec = spec_of(router)
    parameters = {
        k: torch.tensor(v).to(torch.bfloat16) for k, v in draw(spec).items() if k in spec.gate_shapes
    }
    x = torch.tensor(X).to(torch.bfloat16)
    (a, _), (half, _), _ = compute_gate(spec, parameters, x)
    _, (wide, _), _ = compute_gate(spec, {k: v.double() for k, v in parameters.items()}, x.double())
    assert (a.dtype, half.dtype) == (torch.bfloat16, torch.float32)
    close(half, wide, 1e-5)


def test_cosines_ignore_the_size_of_an_input_and_a_zero_has_a_gradient() -> None:
    spec = spec_of(tm.CosineRouter(), activation="softmax")
    parameters = {k: torch.tensor(v) for k, v in draw(spec, "float32").items() if k in spec.gate_shapes}
    x = torch.tensor(X, dtype=torch.float32)
    _, (logits, _), _ = compute_gate(spec, parameters, x)
    for size in (1e30, 1e-30):
        _, (scaled, _), _ = compute_gate(spec, parameters, x * size)
        close(scaled, logits, 1e-5)
    zero = torch.zeros(1, 6, requires_grad=True)
    _, (logits, _), _ = compute_gate(spec, parameters, zero)
    logits.sum().backward()
    assert not logits.any()
    assert zero.grad.isfinite().all()


def test_scales_that_a_norm_would_take_away_are_refused() -> None:
    for norm in ("layer", "batch"):
        with pytest.raises(tm.TensorMoEError, match=r"gate norm: .* the scale that CosineRouter\(\) learns"):
            tm.Gate(norm=norm, router=tm.CosineRouter())
    with pytest.raises(tm.TensorMoEError, match=r"gate noise: received 0\.5; NoisyRouter"):
        tm.Gate(norm=None, router=tm.NoisyRouter(), noise=0.5)


def test_random_inputs_have_logits_of_variance_1_at_the_start() -> None:
    x = np.random.default_rng(0).normal(size=(200, 64)).astype("float32")
    for router in (tm.CosineRouter(), tm.CosineRouter(rank=24), tm.LinearRouter(), tm.LowRankRouter(24)):
        spec = tm.MuMoESpec(64, 5, 200, tm.CP(2), tm.Gate("relu", norm=None, router=router))
        parameters, _ = tm.initialize(spec)
        _, (logits,), _ = compute_gate(spec, {key: parameters[key] for key in spec.gate_shapes}, x)
        assert 0.8 < logits.std() < 1.2


def test_routers_start_so_that_all_of_their_parameters_learn() -> None:
    """After one step of gradient descent nothing is without a gradient."""
    for router in (tm.LowRankRouter(2), tm.CosineRouter(rank=2), tm.NoisyRouter()):
        layer = tm.build(spec_of(router, activation="softmax"), "torch", seed=0)
        for _ in range(2):
            layer.zero_grad()
            layer(torch.tensor(X, dtype=torch.float32)).square().sum().backward()
            with torch.no_grad():
                for parameter in layer.parameters():
                    parameter -= 0.01 * parameter.grad
        for name, parameter in layer.named_parameters():
            if name.startswith("gate_"):
                assert parameter.grad.abs().max() > 0, (router, name)


@dataclass(frozen=True)
class Hidden(tm.Router):
    """A user's router with a layer of its own, which starts away from 0."""

    width: int = 3

    def parameter_shapes(self, in_features: int, experts: int) -> dict[str, tuple[int, ...]]:
        return {"hidden": (in_features, self.width), "shift": (self.width,), "weights": (self.width, experts)}

    def start(self, name: str, shape: tuple[int, ...]) -> tuple[float, float]:
        return {"hidden": (1.0, 3.0), "shift": (2.0, 2.0)}.get(name, (0.0, 0.0))

    def logits(self, ops: Any, x: Any, parameters: Any, state: Any, call: Any) -> Any:
        hidden = ops.tanh(ops.matmul(x, parameters["hidden"]) + parameters["shift"])
        return ops.matmul(hidden, parameters["weights"]), {}


def test_a_users_router_declares_parameters_that_every_module_holds(tmp_path: Path) -> None:
    spec = spec_of(Hidden())
    parameters, _ = tm.initialize(spec)
    assert (parameters["gate_shift.1"] == 2).all()
    assert not parameters["gate_weights.0"].any()
    assert 1 <= parameters["gate_hidden.0"].min() < 1.7 < 2.3 < parameters["gate_hidden.0"].max() <= 3
    assert spec.num_parameters == sum(value.size for value in parameters.values())
    assert tm.verify(spec, ("numpy", "torch"), methods="frameworks").passed
    assert tm.spec_from_json(spec.to_json()) == spec
    layer = tm.build(spec, "torch", seed=0)
    assert {"gate_hidden.0", "gate_shift.1"} <= layer.state_dict().keys()
    tm.save(layer, tmp_path / "layer.safetensors")
    jax_layer = tm.load(tmp_path / "layer.safetensors", "jax")
    for name, value in parameters.items():
        assert (layer.arrays()[name].numpy() == value).all()
        assert (np.asarray(jax_layer.arrays()[name]) == value).all()


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"hidden": (6, 3)}, r"router parameters: received \('hidden',\); name one of them \"weights\""),
        ({"weights": (6, 4), "a.b": (3,)}, "router parameter: received 'a.b'"),
        ({"weights": (6, 4), "mean": (3,)}, "router parameter: received 'mean'"),
        ({"weights": (6, 4), "scale": (0,)}, "size of router parameter scale: received 0"),
    ],
)
def test_parameters_that_cannot_be_held_are_refused(shapes: Any, message: str) -> None:
    class Wrong(Hidden):
        def parameter_shapes(self, in_features: int, experts: int) -> Any:
            return shapes

    with pytest.raises(tm.TensorMoEError, match=message):
        spec_of(Wrong())


# A gate for each level.

GATES = (tm.Gate("softmax", norm=None), tm.Gate(tm.Activation("top_k", k=2), "batch"))


def test_each_level_has_its_own_gate() -> None:
    spec = tm.MuMoESpec(6, 5, (4, 3), tm.CP(4), GATES)
    parameters, (_, state) = draw(spec), tm.initialize(spec, dtype="float64")
    assert list(state) == ["gate_mean.1", "gate_variance.1"]
    _, (first, second), moved = tm.apply(spec, parameters, X, state=state, training=True)
    powers = np.exp(X @ parameters["gate_weights.0"])
    close(first, powers / powers.sum(1, keepdims=True))
    z = X @ parameters["gate_weights.1"]
    z = (z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5)
    powers = np.exp(z) * (z > z.min(1, keepdims=True))
    close(second, powers / powers.sum(1, keepdims=True))
    close(moved["gate_mean.1"], 0.1 * (X @ parameters["gate_weights.1"]).mean(0))


def test_gates_of_levels_verify_travel_and_are_held_by_modules() -> None:
    spec = tm.MuMoEBlockSpec(6, 7, 5, (4, 3), tm.CP(4), GATES)
    report = tm.verify(spec, methods="frameworks")
    assert report.passed, str(report)
    assert all(f"gate: {gate.steps}" in report.remarks for gate in GATES)
    assert tm.spec_from_json(spec.to_json()) == spec
    values, state = tm.initialize(spec, 3)
    for backend in ("torch", "jax"):
        layer = tm.build(spec, backend, seed=0)
        layer.load_arrays(values | state)
        assert layer.arrays().keys() == (values | state).keys()
    assert spec.replace(gate=[GATES[0]] * 2) == spec.replace(gate=GATES[0])


def test_gates_that_do_not_fit_the_levels_are_refused() -> None:
    with pytest.raises(tm.TensorMoEError, match="pass one gate, or one for each of 3 levels"):
        tm.MuMoESpec(6, 5, (4, 3, 2), tm.CP(4), GATES)
    with pytest.raises(tm.TensorMoEError, match="a level has only 1 experts"):
        tm.MuMoESpec(6, 5, (4, 1), tm.CP(4), GATES)
    with pytest.raises(tm.TensorMoEError, match="gate: received 'softmax'"):
        tm.MuMoESpec(6, 5, (4, 3), tm.CP(4), (GATES[0], "softmax"))
    steered = tm.editing.Steer(1, set=0.5, level=1).respecify(tm.MuMoESpec(6, 5, (4, 3), tm.CP(4)))
    with pytest.raises(tm.TensorMoEError, match="it is for a level with another gate"):
        tm.MuMoESpec(6, 5, (4, 3), tm.CP(4), (steered.gate, GATES[0]))


def test_an_edit_steers_the_gate_of_its_level_and_is_certified() -> None:
    layer = tm.build(tm.MuMoESpec(6, 5, (4, 3), tm.CP(4), GATES), "numpy", seed=0)
    edited = tm.editing.edit(layer, tm.editing.Steer(2, set=0.5, level=1))
    assert edited.layer.spec.gates[0] == GATES[0]
    assert "a2[2] = 0.5" in edited.layer.spec.gates[1].steps
    _, (_, second) = edited.layer(X.astype("float32"), return_coefficients=True)
    assert (second[:, 2] == 0.5).all()
    assert "a2[2]" in str(edited.certificate())
    split = tm.editing.edit(layer, tm.editing.Split(1, level=0)).layer
    close(split(X.astype("float32")), layer(X.astype("float32")), 1e-6)


def test_columns_for_shares_need_weights_of_all_features() -> None:
    layer = tm.build(spec_of(tm.LowRankRouter(2)), "numpy", seed=0)
    with pytest.raises(tm.TensorMoEError, match=r"the weights of LowRankRouter\(rank=2\) are not \(I, N\)"):
        tm.editing.edit(layer, tm.editing.Split(1))


def test_gradients_of_a_layer_with_gates_of_two_kinds_flow_to_both() -> None:
    layer = tm.build(tm.MuMoESpec(6, 5, (4, 3), tm.CP(4), (GATES[0], tm.Gate("relu"))), "torch", seed=0)
    layer(torch.tensor(X, dtype=torch.float32)).square().sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in layer.gate_weights.parameters())
