"""What users and their tools did to the library, as they would do it: one test for each kind.

`tests/README.md` says which test stands for each of the other kinds.
"""

import numpy as np
import pytest
from support.frameworks import BACKENDS, optional

import tensormoe as tm

torch, jax = optional("torch"), optional("jax")

FAMILIES = (tm.CP(3), tm.Tucker((2, 3, 4)), tm.TensorRing((2, 3, 4)), tm.TensorTrain((3, 4)), tm.Dense())
# Twelve matrices of one shape and size: nothing but the order tells one from another.
MANY = tm.MuMoESpec(3, 3, 3, tm.TensorNetwork(", ".join(["i r", *["n r"] * 10, "r o"]), r=3), bias=False)


def make(backend: str, array: np.ndarray):
    return {"torch": torch.tensor, "jax": jax.numpy.asarray, "numpy": np.asarray}[backend](array)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_list_of_a_modules_cores_is_the_networks(backend: str) -> None:
    """core2 comes before core10, in a container and in the weight tensor that is computed from it."""
    for spec in (MANY, *(tm.MuMoESpec(5, 4, 3, family) for family in FAMILIES)):
        module = tm.build(spec, backend, seed=0)
        assert [*dict(module.cores.items())] == [*spec.network.shapes]
    ops, module = tm.get_backend(backend), tm.build(MANY, backend, seed=0)
    cores = [ops.to_float64(core) for core in dict(module.cores.items()).values()]
    letters = "xcdefghjklm"
    expected = np.einsum(",".join(["ir", *["nr"] * 10, "ro"]) + "->nio", *cores)
    assert len(cores) == len(letters) + 1
    np.testing.assert_allclose(ops.to_float64(module.materialize()), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_a_modules_cores_are_taken_wherever_a_mapping_is(backend: str, family: tm.Factorization) -> None:
    spec = tm.MuMoESpec(5, 4, 3, family)
    rng, ops = np.random.default_rng(0), tm.get_backend(backend)
    x, a = rng.normal(size=(2, 5)).astype("float32"), rng.dirichlet(np.ones(3), size=2).astype("float32")
    module = tm.build(spec, backend, seed=0)
    weight = ops.to_float64(tm.materialize(spec, module.cores))
    expected = np.einsum("tn,nio,ti->to", a, weight, np.c_[x, np.ones(2)])
    y = tm.contract(spec, module.cores, [make(backend, a)], make(backend, x))
    np.testing.assert_allclose(ops.to_float64(y), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(weight, ops.to_float64(module.materialize()), rtol=1e-5, atol=1e-6)
