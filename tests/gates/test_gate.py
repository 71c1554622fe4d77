from functools import partial

import numpy as np
import pytest
from support.activation_oracles import entmax
from support.frameworks import optional
from support.strategies import BACKENDS, close

import tensormoe as tm
from tensormoe.gates.call import Call

torch = optional("torch")

entmax15_by_bisection = partial(entmax, alpha=1.5)


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(tm.TensorMoEError, match=r"'entmx'.*'softmax', 'sparsemax', 'entmax15'"):
        tm.Gate(activation="entmx")
    with pytest.raises(tm.TensorMoEError, match=r"'group'.*'batch', 'layer', None"):
        tm.Gate(norm="group")


def test_a_call_trains_and_hears_others_only_where_it_is_told_to() -> None:
    call = Call()
    assert (call.training, call.previous, call.generator) == (False, None, None)
    assert (call.all_reduce(3), call.pool(3)) == (3, 3)


def gate_and_values(norm: str | None, tokens: int) -> tuple:
    spec = tm.MuMoESpec(6, 3, (5, 4), tm.CP(2), tm.Gate(norm=norm))
    parameters, state = tm.initialize(spec, 0, "float64")
    generator = np.random.default_rng(1)
    parameters = {k: generator.normal(size=v.shape) for k, v in parameters.items()}
    return spec, parameters, state, generator.normal(size=(tokens, 6))


@pytest.mark.parametrize("backend", BACKENDS)
def test_batch_norm_is_pytorchs(backend: str) -> None:
    """Outputs and running statistics of three training steps and an evaluation."""
    ops = tm.get_backend(backend)
    spec, parameters, state, x = gate_and_values("batch", 12)
    theirs = [torch.nn.BatchNorm1d(n, affine=False, dtype=torch.float64) for n in spec.experts]
    with ops.double_precision():
        ours = {k: ops.from_numpy(v) for k, v in state.items()}
        weights = {k: ops.from_numpy(v) for k, v in parameters.items()}
        for batch, training in ((x[:5], True), (x[5:9], True), (x[2:], True), (x, False)):
            _, coefficients, ours = tm.apply(
                spec,
                weights,
                ops.from_numpy(batch),
                state=ours,
                training=training,
            )
            for level, norm in enumerate(theirs):
                norm.train(training)
                normalized = norm(torch.tensor(batch @ parameters[f"gate_weights.{level}"])).numpy()
                expected = np.stack([entmax15_by_bisection(row) for row in normalized])
                close(ops.to_numpy(coefficients[level]), expected)
                close(ops.to_numpy(ours[f"gate_mean.{level}"]), norm.running_mean.numpy())
                close(ops.to_numpy(ours[f"gate_variance.{level}"]), norm.running_var.numpy())


def test_layer_norm_is_pytorchs_and_keeps_tokens_apart() -> None:
    spec, parameters, state, x = gate_and_values("layer", 7)
    y, coefficients, _ = tm.apply(spec, parameters, x, state=state)
    raw = torch.tensor(x @ parameters["gate_weights.0"])
    normalized = torch.nn.functional.layer_norm(raw, (5,)).numpy()
    close(coefficients[0], np.stack([entmax15_by_bisection(row) for row in normalized]))
    alone, _, _ = tm.apply(spec, parameters, x[3], state=state)
    close(alone, y[3])


def test_without_a_norm_the_logits_are_the_gates_own() -> None:
    spec, parameters, _, x = gate_and_values(None, 7)
    _, coefficients, _ = tm.apply(spec, parameters, x)
    expected = np.stack([entmax15_by_bisection(row) for row in x @ parameters["gate_weights.1"]])
    close(coefficients[1], expected)


def test_one_token_and_none_leave_the_variance_alone() -> None:
    spec, parameters, state, x = gate_and_values("batch", 1)
    y, (coefficients, _), moved = tm.apply(spec, parameters, x, state=state, training=True)
    assert np.isfinite(y).all()
    close(coefficients, np.full((1, 5), 1 / 5))
    close(moved["gate_mean.0"], 0.1 * (x @ parameters["gate_weights.0"])[0])
    close(moved["gate_variance.0"], np.ones(5))
    y, _, moved = tm.apply(spec, parameters, x[:0], state=state, training=True)
    assert y.shape == (0, 3)
    assert all((moved[name] == state[name]).all() for name in state)


def test_unfit_arguments_are_refused() -> None:
    for norm in (np.array([1, 2]), "Layer", 0):
        with pytest.raises(tm.TensorMoEError, match="gate norm"):
            tm.Gate(norm=norm)
