"""Nonlinearities of the user's own: a function of arrays of the framework that a block runs in."""

from typing import Any

import numpy as np
import pytest
from support.blocks import operands_of
from support.frameworks import BACKENDS, optional
from support.strategies import close

import tensormoe as tm

torch = optional("torch")
jax = optional("jax")


def softsign(x: Any) -> Any:
    """By operators alone, which all frameworks have. Its derivative is 1/(1 + |x|)²."""
    return x / (1 + abs(x))


def block(function: Any = softsign, gated: bool = True) -> tm.MuMoEBlockSpec:
    return tm.MuMoEBlockSpec(
        5, 7, 6, (4, 3), tm.CP(4), tm.Gate("softmax"), nonlinearity=function, gated=gated
    )


def expected_of(spec: tm.MuMoEBlockSpec, parameters: Any, x: np.ndarray) -> np.ndarray:
    """The contractions alone are the library's."""
    _, coefficients, _ = tm.apply(spec, parameters, x)
    first, *up, second = ((stage, tm.cores_of(spec, parameters, name)) for name, stage in spec.layers.items())
    hidden = tm.contract(*first, coefficients, x)
    hidden = hidden / (1 + np.abs(hidden))
    for each in up:
        hidden = hidden * tm.contract(*each, coefficients, x)
    return tm.contract(*second, coefficients, hidden)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_function_of_the_users_own_is_applied(backend: str, gated: bool) -> None:
    spec, ops = block(gated=gated), tm.get_backend(backend)
    parameters, _ = tm.initialize(spec, 0, "float64")
    x = np.random.default_rng(0).normal(size=(9, 5))
    with ops.double_precision():
        module = tm.build(spec, backend, seed=0, dtype="float64")
        y = ops.to_float64(ops.stop_gradient(module(ops.from_numpy(x))))
    close(y, expected_of(spec, parameters, x))


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("gated", [False, True])
def test_pytorch_differentiates_it_in_both_reverse_modes(gated: bool, recompute: bool) -> None:
    """Once, and twice, as automatic differentiation does; compiled as well."""
    spec = block(torch.nn.functional.softsign, gated)
    x = torch.randn(9, 5, dtype=torch.float64, requires_grad=True)

    def gradients(own: bool) -> list[Any]:
        module = tm.build(spec, "torch", seed=0, dtype="float64", recompute=own and recompute)
        module.requires_grad_(True)
        (slope,) = torch.autograd.grad(module(x).square().sum(), x, create_graph=True)
        return [slope, *torch.autograd.grad(slope.square().sum(), [x, *module.parameters()])]

    for ours, theirs in zip(gradients(True), gradients(False), strict=True):
        close(ours.detach(), theirs.detach())
    named = tm.build(block("silu", gated), "torch", seed=0, dtype="float64", recompute=recompute)
    mine = tm.build(
        block(torch.nn.functional.silu, gated), "torch", seed=0, dtype="float64", recompute=recompute
    )
    for expected, actual in zip(_first_and_second(named, x), _first_and_second(mine, x), strict=True):
        close(actual, expected)


def _first_and_second(module: Any, x: Any) -> list[Any]:
    (slope,) = torch.autograd.grad(module(x).square().sum(), x, create_graph=True)
    second = torch.autograd.grad(slope.square().sum(), [x, *module.parameters()])
    return [each.detach() for each in (slope, *second)]


def test_it_is_compiled_as_a_part_of_the_block() -> None:
    module = tm.build(block(), "torch", seed=0, dtype="float64")
    x = torch.randn(9, 5, dtype=torch.float64, requires_grad=True)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    close(compiled(x).detach(), module(x).detach())
    (ours,) = torch.autograd.grad(compiled(x).square().sum(), x)
    (theirs,) = torch.autograd.grad(module(x).square().sum(), x)
    close(ours, theirs)


@pytest.mark.parametrize("recompute", [False, True])
def test_jax_differentiates_it_under_jit(recompute: bool) -> None:
    named, mine = (block(function) for function in ("silu", lambda x: x * jax.nn.sigmoid(x)))
    parameters, _ = tm.initialize(named, 0)
    x = np.random.default_rng(0).normal(size=(9, 5)).astype("float32")

    def gradients(spec: tm.MuMoEBlockSpec) -> Any:
        def loss(parameters: Any, x: Any) -> Any:
            return (tm.apply(spec, parameters, x, recompute=recompute, backend="jax").y ** 2).sum()

        arrays = {name: jax.numpy.asarray(value) for name, value in parameters.items()}
        return jax.jit(jax.grad(loss, argnums=(0, 1)))(arrays, jax.numpy.asarray(x))

    ours, theirs = (jax.tree.leaves(gradients(spec)) for spec in (mine, named))
    for a, b in zip(ours, theirs, strict=True):
        close(a, b, 1e-5)


def test_numpy_cannot_differentiate_it() -> None:
    spec = block()
    with pytest.raises(
        tm.TensorMoEError, match="nonlinearity: received 'softsign'; the backend numpy cannot"
    ):
        spec.program_for(None).vjp(tm.get_backend("numpy"), operands_of(spec), np.ones((3, 6)))


def test_a_function_has_no_json_and_is_shown_by_its_name() -> None:
    spec = block()
    with pytest.raises(tm.TensorMoEError, match=r"spec nonlinearity: .* cannot be written as JSON"):
        spec.to_json()
    assert "and any elementwise function softsign, the program computes" in str(tm.prove(spec).chain)
    assert "with softsign" in str(tm.bench(spec, "numpy", 4, rounds=1))
    assert "f(u) v" in str(tm.prove(block(lambda x: x)).chain)


def test_what_a_function_returns_stays_the_users() -> None:
    """It may return the same array at every call, to which a product must not be written."""
    ones = torch.ones(9, 7)
    module = tm.build(block(lambda x: ones), "torch", seed=0)
    with torch.no_grad():
        module(torch.ones(9, 5))
    assert (ones == 1).all()


def test_a_result_of_another_shape_is_refused() -> None:
    spec = block(lambda x: x.sum())
    parameters, _ = tm.initialize(spec)
    with pytest.raises(tm.TensorMoEError, match=r"nonlinearity: .* of the shape that it is given, \(2, 7\)"):
        tm.apply(spec, parameters, np.ones((2, 5), "float32"))


@pytest.mark.parametrize("value", [None, 3, "swish", ["gelu"]])
def test_anything_but_a_name_or_a_function_is_refused(value: object) -> None:
    with pytest.raises(tm.TensorMoEError, match="nonlinearity: received"):
        block(value)


def test_a_function_with_parameters_of_its_own_is_refused_by_modules() -> None:
    with pytest.raises(tm.TensorMoEError, match="its parameters would be no part of the block"):
        tm.build(block(torch.nn.PReLU()), "torch", seed=0)
    assert tm.build(block(torch.nn.Mish()), "torch", seed=0)(torch.ones(2, 5)).shape == (2, 6)


def test_verification_takes_a_function_as_its_own_definition() -> None:
    report = tm.verify(block(), ("numpy", "torch"))
    assert report.passed, str(report)
    assert any(check.quantity == "nonlinearity of each element" for check in report.checks)
    assert any("a function that has no bound here" in line for line in report.unchecked)
    of_torch = tm.verify(block(torch.nn.functional.softsign), "torch", methods="frameworks")
    assert of_torch.passed, str(of_torch)


def test_verification_refuses_a_function_that_mixes_elements() -> None:
    report = tm.verify(block(lambda x: x - x.mean()), "numpy", methods="frameworks")
    failed = [check.quantity for check in report.checks if not check.passed]
    assert "nonlinearity of each element" in failed
    (refused,) = tm.verify(block(len), "numpy", methods="frameworks").checks
    assert "pass a function from an array of a framework" in refused.reason
