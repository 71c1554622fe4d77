"""The functional layer: shapes, types, errors, blocks."""

import numpy as np
import pytest
from hypothesis import strategies as st
from support.frameworks import optional
from support.strategies import BACKENDS, close, on_every_backend

import tensormoe as tm
from tensormoe.testing import specs

torch = optional("torch")


def random_parameters(spec: tm.Spec, dtype: str = "float64") -> tuple[dict, dict]:
    parameters, state = tm.initialize(spec, 0, "float64")
    generator = np.random.default_rng(1)
    return {k: (v + generator.normal(size=v.shape) / 3).astype(dtype) for k, v in parameters.items()}, state


@on_every_backend(specs(max_levels=3), st.lists(st.integers(0, 3), max_size=3), st.booleans())
def test_any_leading_dimensions(backend: str, spec: tm.MuMoESpec, leading: list, training: bool) -> None:
    """The whole layer is the soft MoE at the coefficients that it reports, whatever the shape of x."""
    ops, spec = tm.get_backend(backend), spec.without_noise()
    parameters, state = random_parameters(spec)
    x = np.random.default_rng(2).normal(size=(*leading, spec.in_features))
    with ops.double_precision():
        values = {name: ops.from_numpy(value) for name, value in parameters.items()}
        statistics = {name: ops.from_numpy(value) for name, value in state.items()}
        y, coefficients, moved = tm.apply(
            spec, values, ops.from_numpy(x), state=statistics, training=training
        )
        y = ops.to_numpy(y)
        coefficients = [ops.to_numpy(a) for a in coefficients]
    assert moved.keys() == state.keys()
    assert y.shape == (*leading, spec.out_features)
    assert [a.shape for a in coefficients] == [(*leading, n) for n in spec.experts]
    for a in coefficients:
        assert (a >= 0).all()
        np.testing.assert_allclose(a.sum(axis=-1), 1, atol=1e-12)
    cores = tm.cores_of(spec, parameters | state)
    close(y, tm.soft_moe(tm.materialize(spec, cores), coefficients, x))
    close(y, tm.contract(spec, cores, coefficients, x))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("nonlinearity", ["gelu", "gelu_tanh", "relu", "silu"])
@pytest.mark.parametrize("input_norm", [True, False])
def test_a_block_is_two_soft_moes_with_one_set_of_coefficients(
    backend: str, nonlinearity: str, input_norm: bool
) -> None:
    block = tm.MuMoEBlockSpec(
        6, 9, 5, (4, 3), tm.CP(4), tm.Gate(norm="batch"), nonlinearity=nonlinearity, input_norm=input_norm
    )
    parameters, state = random_parameters(block)
    x = np.random.default_rng(2).normal(size=(7, 6))
    ops = tm.get_backend(backend)
    with ops.double_precision():
        values = {name: ops.from_numpy(value) for name, value in parameters.items()}
        statistics = {name: ops.from_numpy(value) for name, value in state.items()}
        y, coefficients, _ = tm.apply(block, values, ops.from_numpy(x), state=statistics, training=True)
        y, coefficients = ops.to_numpy(y), [ops.to_numpy(a) for a in coefficients]
    alone = tm.MuMoESpec(6, 9, (4, 3), tm.CP(4), tm.Gate(norm="batch"))
    gates = {f"gate_weights.{e}": parameters[f"gate_weights.{e}"] for e in range(2)}
    first = tm.cores_of(block, parameters, "first")
    # The coefficients are those of the block's own input, before its norm.
    _, expected, _ = tm.apply(
        alone,
        {**gates, **{f"cores.{name}": core for name, core in first.items()}},
        x,
        state=state,
        training=True,
    )
    for a, b in zip(coefficients, expected, strict=True):
        close(a, b)
    hidden = torch.tensor(x)
    if input_norm:
        scale, shift = (torch.tensor(parameters[f"input_norm.{name}"]) for name in ("weight", "bias"))
        hidden = torch.nn.functional.layer_norm(hidden, (6,), scale, shift)
    hidden = torch.tensor(tm.soft_moe(tm.materialize(alone, first), coefficients, hidden.numpy()))
    function = {
        "gelu": torch.nn.functional.gelu,
        "gelu_tanh": lambda h: torch.nn.functional.gelu(h, approximate="tanh"),
        "relu": torch.relu,
        "silu": torch.nn.functional.silu,
    }[nonlinearity]
    weight = tm.materialize(block.layers["second"], tm.cores_of(block, parameters, "second"))
    close(y, tm.soft_moe(weight, coefficients, function(hidden).numpy()))


@pytest.mark.parametrize("factorization", [tm.CP(8), tm.Tucker((3, 8, 8)), tm.TensorRing((3, 3, 8))], ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_frameworks_agree(factorization: tm.Factorization, dtype: str, tolerance: float) -> None:
    spec = tm.MuMoESpec(40, 30, 16, factorization, tm.Gate(norm="batch"))
    parameters, state = random_parameters(spec, dtype)
    x = np.random.default_rng(2).normal(size=(50, 40)).astype(dtype)
    cotangent = np.random.default_rng(3).normal(size=(50, 30)).astype(dtype)
    outputs, gradients = {}, {}
    for backend in BACKENDS:
        ops = tm.get_backend(backend)
        with ops.double_precision():
            statistics = {k: ops.from_numpy(v) for k, v in state.items()}

            def run(x, *values, statistics=statistics, ops=ops):
                named = dict(zip(parameters, values, strict=True))
                return tm.apply(spec, named, x, state=statistics, training=True, backend=ops)[0]

            inputs = [ops.from_numpy(value) for value in (x, *parameters.values())]
            y = run(*inputs)
            assert ops.dtype_name(y) == dtype
            outputs[backend] = ops.to_numpy(y)
            actual = ops.gradients(run, inputs, ops.from_numpy(cotangent))
            gradients[backend] = actual and [ops.to_numpy(g) for g in actual]
    for backend in ("torch", "jax"):
        close(outputs[backend], outputs["numpy"], tolerance)
    for ours, theirs in zip(gradients["torch"], gradients["jax"], strict=True):
        close(ours, theirs, tolerance)


SPEC = tm.MuMoESpec(6, 3, (4, 2), tm.CP(5), tm.Gate(norm="batch"))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.ones((2, 5)), r"x: received \(2, 5\); its last dimension must be in_features = 6"),
        (np.ones((6, 2)), "in_features = 6"),
        (np.ones(()), "in_features = 6"),
        (np.ones((2, 6), dtype="int32"), "x: received 'int32'; pass real floating-point"),
        (np.ones((2, 6), dtype="complex64"), "x: received 'complex64'"),
        (np.ones((2, 6), dtype="bool"), "pass real floating-point"),
        (np.ones((2, 6), dtype="float64"), r"parameters.* is float32: convert"),
    ],
)
def test_unfit_inputs_are_refused(backend: str, x: np.ndarray, said: str) -> None:
    ops = tm.get_backend(backend)
    layer = tm.build(SPEC, backend, seed=0)
    with ops.double_precision(), pytest.raises(tm.TensorMoEError, match=said):
        layer(ops.from_numpy(x))


def test_unfit_parameters_are_refused() -> None:
    parameters, state = tm.initialize(SPEC)
    x = np.ones((2, 6), dtype="float32")
    for unfit in (list(parameters.values()), None):
        with pytest.raises(tm.TensorMoEError, match=r"parameters.*from names to arrays"):
            tm.apply(SPEC, unfit, x, state=state)
    mixed = {**parameters, "cores.input": parameters["cores.input"].astype("float64")}
    with pytest.raises(tm.TensorMoEError, match=r"cores.input.* is float64: convert"):
        tm.apply(SPEC, mixed, x, state=state)
    missing = {name: value for name, value in parameters.items() if name != "cores.input"}
    with pytest.raises(tm.TensorMoEError, match=r"parameters.*exactly these.*cores\.input"):
        tm.apply(SPEC, missing, x, state=state)
    further = {**parameters, "scale": x}
    every = ", ".join(SPEC.parameter_shapes)
    with pytest.raises(tm.TensorMoEError, match=rf"parameters.*; unknown: 'scale'; .*by name: {every}, for"):
        tm.apply(SPEC, further, x, state=state)
    with pytest.raises(tm.TensorMoEError, match=r"state.*gate_mean\.0"):
        tm.apply(SPEC, parameters, x)
    # A transposed core would reshape without complaint and give a wrong answer.
    turned = {**parameters, "cores.input": parameters["cores.input"].T}
    with pytest.raises(tm.TensorMoEError, match=r"cores.input.*\(5, 7\); pass an array of shape \(7, 5\)"):
        tm.apply(SPEC, turned, x, state=state)


def test_frameworks_do_not_mix() -> None:
    """NumPy would turn tensors into arrays without a word."""
    import tensormoe_jax

    parameters, state = tm.initialize(SPEC)
    x = {"numpy": np.ones((2, 6), dtype="float32"), "torch": torch.ones(2, 6)}
    x["jax"] = tm.get_backend("jax").from_numpy(x["numpy"])
    tensors = {name: torch.tensor(value) for name, value in parameters.items()}
    traced, _ = tensormoe_jax.initialize(SPEC)
    for ours, given_x in (("torch", parameters), ("numpy", tensors), ("jax", tensors), ("numpy", traced)):
        with pytest.raises(tm.TensorMoEError, match=f"backend {ours}: frameworks cannot be mixed"):
            tm.apply(SPEC, given_x, x[ours], state=state)


def test_contract_refuses_unfit_arrays() -> None:
    spec = SPEC
    cores = [np.ones(shape) for shape in spec.network.shapes.values()]
    x, a = np.ones((3, 6)), [np.ones((3, 4)), np.ones((3, 2))]
    assert tm.contract(spec, cores, a, x).shape == (3, 3)
    for call, said in (
        (
            lambda: tm.contract(spec, cores, a[:1], x),
            r"received 1; pass 2 array\(s\), one for each expert level",
        ),
        (lambda: tm.contract(spec, cores, a[::-1], x), r"coefficients\[0\]"),
        (lambda: tm.contract(spec, cores[:-1], a, x), "cores"),
        (lambda: tm.contract(spec, cores[::-1], a, x), "cores"),
        (lambda: tm.contract(spec, cores, a, x[:2]), "coefficients"),
        (lambda: tm.contract(spec, [*cores, cores[0]], a, x), "cores: received 5"),
        (lambda: tm.contract(spec, cores, a, x.astype("complex64")), "real floating-point"),
        (lambda: tm.contract(spec, cores, a, x.astype("int64")), "real floating-point"),
        (lambda: tm.contract(spec, cores, a, x.astype("float32")), "is float64: convert"),
        (lambda: tm.contract(spec, cores, a, x, backend="torch"), "x: received"),
        (lambda: tm.contract(spec, cores, a, np.matrix(x)), "x: received"),
        (lambda: tm.materialize(spec, {}), "cores.*exactly these"),
        (lambda: tm.materialize(spec, cores[:-1]), "cores: received 3"),
        (lambda: tm.materialize(spec, [core.tolist() for core in cores]), "pass an array"),
        (lambda: tm.contract(spec, cores, a, x[:, :5]), "in_features = 6"),
    ):
        with pytest.raises(tm.TensorMoEError, match=said):
            call()


def test_an_error_says_which_core_of_which_layer() -> None:
    parameters, state = tm.initialize(SPEC)
    x = np.ones((2, 6), dtype="float32")
    turned = {**parameters, "cores.input": parameters["cores.input"].T}
    layer = r"for MuMoESpec\(6 → 3, experts=\(4, 2\), CP\(rank=5\)\)"
    with pytest.raises(tm.TensorMoEError, match=rf"parameters\['cores.input'\]: .*{layer}"):
        tm.apply(SPEC, turned, x, state=state)
    block = tm.MuMoEBlockSpec(6, 9, 3, 4, tm.CP(5))
    first, second = (tm.cores_of(block, tm.initialize(block)[0], name) for name in ("first", "second"))
    with pytest.raises(tm.TensorMoEError, match=r"cores\['input'\]: .*for Stage\(9 → 3"):
        tm.materialize(block.layers["second"], first)
    assert tm.materialize(block.layers["second"], second).shape == (4, 10, 3)
    with pytest.raises(tm.TensorMoEError, match=r"spec: .*block.layers\['first'\]"):
        tm.materialize(block, first)


def test_cores_of_names_the_layer() -> None:
    block = tm.MuMoEBlockSpec(6, 9, 3, 4, tm.CP(5))
    parameters, _ = tm.initialize(block)
    assert tm.cores_of(block, parameters, "second")["input"] is parameters["second.input"]
    for layer in (None, "third"):
        with pytest.raises(tm.TensorMoEError, match=r"layer: .* choose one of 'first', 'second'"):
            tm.cores_of(block, parameters, layer)
    with pytest.raises(tm.TensorMoEError, match=r"parameters: .* missing cores.expert1, "):
        tm.cores_of(SPEC, parameters)


def test_coefficients_come_in_a_list() -> None:
    cores = tm.cores_of(SPEC, tm.initialize(SPEC, dtype="float64")[0])
    x, a = np.ones((3, 6)), [np.ones((3, 4)), np.ones((3, 2))]
    assert tm.contract(SPEC, cores, (each for each in a), x).shape == (3, 3)
    for unfit in (a[0], {"0": a[0], "1": a[1]}, None, "ab"):
        with pytest.raises(tm.TensorMoEError, match=r"coefficients: .* pass a list of 2"):
            tm.contract(SPEC, cores, unfit, x)


def test_soft_moe_refuses_shapes_that_do_not_fit() -> None:
    weight = np.ones((4, 2, 7, 3))
    a = [np.ones((5, 4)), np.ones((5, 2))]
    assert tm.soft_moe(weight, a, np.ones((5, 6))).shape == (5, 3)
    assert tm.soft_moe(weight, a, np.ones((5, 7))).shape == (5, 3)
    with pytest.raises(tm.TensorMoEError, match="weight has 7 input rows"):
        tm.soft_moe(weight, a, np.ones((5, 5)))
    with pytest.raises(tm.TensorMoEError, match="coefficients"):
        tm.soft_moe(weight, a[::-1], np.ones((5, 6)))
    with pytest.raises(tm.TensorMoEError, match="coefficients"):
        tm.soft_moe(weight, a[:1], np.ones((5, 6)))
    for unfit in ((weight[0, 0, 0], a, np.ones((5, 6))), (weight, a, np.ones(()))):
        with pytest.raises(tm.TensorMoEError, match="x, weight"):
            tm.soft_moe(*unfit)
    with pytest.raises(tm.TensorMoEError, match="pass arrays of the backend numpy"):
        tm.soft_moe(torch.ones(weight.shape), a, np.ones((5, 6)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_materialized_weight_is_never_the_parameter_itself(backend: str) -> None:
    layer = tm.build(tm.MuMoESpec(4, 3, 2, tm.Dense()), backend, seed=0)
    core = next(iter(layer.cores.values()))
    weight = layer.materialize()
    assert weight is not core
    if backend == "numpy":
        weight[:] = 0
        assert layer.materialize().any()
    if backend == "torch":
        assert weight.data_ptr() != core.data_ptr()
        assert weight.requires_grad


@pytest.mark.parametrize("backend", BACKENDS)
def test_build_takes_the_options_of_modules_and_names_others(backend: str) -> None:
    layer = tm.build(SPEC, backend, seed=0, dtype="float32", recompute=True)
    assert layer.recompute
    with pytest.raises(tm.TensorMoEError, match=f"option of {backend}: received 'devise'; .*'dtype'"):
        tm.build(SPEC, backend, seed=0, devise="cpu")
    with pytest.raises(tm.TensorMoEError, match="option of"):
        tm.build(SPEC, backend, seed=0, bias=False)
