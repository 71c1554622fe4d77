"""From a specification to a framework's module: where the seed comes from."""

import numpy as np
import pytest
from support.frameworks import BACKENDS, optional

import tensormoe as tm

torch = optional("torch")
jax = optional("jax")
nnx = optional("flax.nnx")

SPECS = [tm.MuMoESpec(4, 3, 2, tm.CP(5)), tm.MuMoEBlockSpec(4, 5, 3, 2, tm.CP(5))]


def first_core(module: object) -> np.ndarray:
    (group,) = [name for name in ("cores", "first") if hasattr(module, name)]
    (core, *_) = dict(getattr(module, group).items()).values()
    return core.detach().numpy() if isinstance(core, torch.Tensor) else np.array(core[...])


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: type(spec).__name__)
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_stacked_layers_differ_unless_they_share_a_seed(spec: tm.Spec, backend: str) -> None:
    first, second = (first_core(tm.build(spec, backend)) for _ in range(2))
    assert (first != second).any()
    same, again = (first_core(tm.build(spec, backend, seed=3)) for _ in range(2))
    assert (same == again).all()


def test_pytorchs_generator_governs() -> None:
    torch.manual_seed(0)
    first = first_core(tm.build(SPECS[0], "torch"))
    torch.manual_seed(0)
    assert (first_core(tm.build(SPECS[0], "torch")) == first).all()


def test_jax_asks_for_a_seed_or_rngs() -> None:
    seeded = first_core(tm.build(SPECS[0], "jax", seed=0))
    assert (seeded == first_core(tm.build(SPECS[0], "numpy", seed=0))).all()
    rngs = nnx.Rngs(0)
    first, second = (first_core(tm.build(SPECS[0], "jax", rngs=rngs)) for _ in range(2))
    assert (first != second).any()
    for options, said in (
        ({}, r"rngs: received None; pass rngs=nnx.Rngs\(0\) or seed=0"),
        ({"rngs": 0}, r"rngs: received 0; pass rngs=nnx.Rngs\(0\)"),
        ({"rngs": jax.random.key(0)}, r"rngs: received [^;]*; pass .*nnx\.Rngs\(key\)"),
        ({"rngs": rngs, "seed": 7}, r"seed: received 7; rngs is given as well"),
        ({"seed": jax.random.key(0)}, r"seed: received [^;]*; pass a key as .*rngs=nnx\.Rngs\(key\)"),
    ):
        with pytest.raises(tm.TensorMoEError, match=said):
            tm.build(SPECS[0], "jax", **options)


@pytest.mark.parametrize("backend", BACKENDS)
def test_return_coefficients_is_true_or_false(backend: str) -> None:
    layer = tm.build(SPECS[0], backend, seed=0)
    x = tm.get_backend(backend).from_float64(np.ones((2, 4)), "float32")
    for unfit in ("yes", 1, x):
        with pytest.raises(
            tm.TensorMoEError, match=r"return_coefficients: received [^;]*; pass True or False"
        ):
            layer(x, unfit)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_keyword_that_a_class_does_not_take_is_named_with_the_class(backend: str) -> None:
    for spec, keyword in ((SPECS[0], "use_bias"), (SPECS[1], "activation"), (SPECS[0], "key")):
        kind = type(tm.build(spec, backend, seed=0))
        said = f"option of {kind.__name__}: received '{keyword}'; choose one of .*'seed'.*'dtype'.*'gate'"
        with pytest.raises(tm.TensorMoEError, match=said):
            kind(**spec.arguments, seed=0, **{keyword: True})


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_module_is_not_a_specification(backend: str) -> None:
    layer = tm.build(SPECS[0], backend, seed=0)
    calls = (
        lambda: tm.build(layer, backend),
        lambda: type(layer).from_spec(layer, seed=0),
        lambda: tm.apply(layer, {}, None, backend=backend),
        lambda: tm.materialize(layer, {}),
    )
    for call in calls:
        with pytest.raises(tm.TensorMoEError, match=r"spec: received <class .*; .*pass layer\.spec"):
            call()


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_unknown_option_is_named(backend: str) -> None:
    with pytest.raises(
        tm.TensorMoEError, match=f"option of {backend}: received 'sed'; choose one of .*'dtype'"
    ):
        tm.build(SPECS[0], backend, seed=0, sed=1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_modules_run_the_plans_of_their_specification(backend: str) -> None:
    path = ((0, 3), (0, 2), (1, 2), (0, 1))
    spec = SPECS[0].replace(optimize=path, memory_limit=10**6)
    module = tm.build(spec, backend, seed=0)
    assert module.spec == spec
    assert module.spec.program_for(None) == spec.plan().program
