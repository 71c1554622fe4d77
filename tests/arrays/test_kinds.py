"""Special kinds of arrays are computed right or refused by name; none is computed wrong or fails inside."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.frameworks import BACKENDS, optional
from support.strategies import close

import tensormoe as tm

torch = optional("torch")
jax = optional("jax")
jnp = optional("jax.numpy")

X = np.random.default_rng(0).normal(size=(3, 8)).astype("float32")
A = np.random.default_rng(1).dirichlet(np.ones(5), size=3).astype("float32")
SPEC = tm.MuMoESpec(8, 4, 5, tm.CP(3), tm.Gate("softmax", None, tm.AdaptiveClustering()))


def nested() -> Any:
    return torch.nested.nested_tensor([torch.ones(2, 8), torch.ones(1, 8)])


def fake() -> Any:
    with torch._subclasses.fake_tensor.FakeTensorMode():
        return torch.ones(3, 8)


def quantized() -> Any:
    return torch.quantize_per_tensor(torch.from_numpy(X), 0.1, 0, torch.qint8)


def sparse_in_jax() -> Any:
    from jax.experimental import sparse

    return sparse.BCOO.fromdense(jnp.asarray(X))


# Those of one framework, and whether they hold X.
KINDS: dict[str, dict[str, tuple[Callable[[], Any], bool]]] = {
    "numpy": {
        "plain": (lambda: X, True),
        "big-endian": (lambda: X.astype(">f4"), True),
        "reversed": (lambda: np.ascontiguousarray(X[::-1])[::-1], True),
        "Fortran order": (lambda: np.asfortranarray(X), True),
        "masked": (lambda: np.ma.masked_greater(X, 0.5), False),
        "masked, nothing masked": (lambda: np.ma.array(X), False),
        "matrix": (lambda: np.matrix(X), True),
        "complex": (lambda: X + 0j, False),
        "object": (lambda: X.astype(object), False),
        "bool": (lambda: X > 0, False),
        "integer": (lambda: X.astype("int32"), False),
        "long double": (lambda: X.astype("longdouble"), True),
        "text": (lambda: X.astype(str), False),
        "dates": (lambda: X.astype("datetime64[s]"), False),
        "records": (lambda: np.zeros((3, 8), [("a", "f4")]), False),
        "list": (lambda: X.tolist(), False),
        "scalar": (lambda: np.float32(1), False),
        "nothing": (lambda: None, False),
    },
    "torch": {
        "plain": (lambda: torch.from_numpy(X), True),
        "negative view": (lambda: torch.complex(torch.from_numpy(X), -torch.from_numpy(X)).conj().imag, True),
        "transposed": (lambda: torch.from_numpy(np.ascontiguousarray(X.T)).T, True),
        "float8": (lambda: torch.from_numpy(X).to(torch.float8_e4m3fn), False),
        "sparse": (lambda: torch.from_numpy(X).to_sparse(), False),
        "compressed": (lambda: torch.from_numpy(X).to_sparse_csr(), False),
        "nested": (nested, False),
        "quantized": (quantized, False),
        "opaque": (lambda: torch.from_numpy(X).to_mkldnn(), False),
        "complex": (lambda: torch.from_numpy(X) + 0j, False),
        "integer": (lambda: torch.from_numpy(X).int(), False),
        "bool": (lambda: torch.from_numpy(X) > 0, False),
        "double": (lambda: torch.from_numpy(X).double(), True),
    },
    "jax": {
        "plain": (lambda: jnp.asarray(X), True),
        "float8": (lambda: jnp.asarray(X).astype(jnp.float8_e4m3fn), False),
        "sparse": (sparse_in_jax, False),
        "shape": (lambda: jax.ShapeDtypeStruct((3, 8), jnp.float32), False),
        "keys": (lambda: jax.random.split(jax.random.key(0), 3), False),
        "complex": (lambda: jnp.asarray(X) + 0j, False),
        "integer": (lambda: jnp.asarray(X).astype("int32"), False),
    },
}
EVERY = [(home, kind) for home in BACKENDS for kind in KINDS[home]]


def array(backend: str, values: np.ndarray) -> Any:
    return tm.get_backend(backend).from_numpy(values)


def call_layer(backend: str, x: Any) -> Any:
    layer = tm.build(SPEC, backend, seed=0)
    return layer.eval()(x) if backend == "torch" else layer(x)


def call_apply(backend: str, x: Any) -> Any:
    parameters, state = ({k: array(backend, v) for k, v in part.items()} for part in tm.initialize(SPEC))
    return tm.apply(SPEC, parameters, x, state=state).y


def pass_previous(backend: str, a: Any) -> Any:
    """X in place of the coefficients, so that its kind is what matters."""
    spec = SPEC.replace(gate=tm.Gate("softmax", None, tm.AdaptiveClustering(clusters=8)))
    parameters, state = ({k: array(backend, v) for k, v in part.items()} for part in tm.initialize(spec))
    x = array(backend, X)
    return tm.apply(spec, parameters, x, state=state, previous=[a], training=True).state["router_mass.0"]


def pass_parameters(backend: str, g: Any) -> Any:
    spec = tm.MuMoESpec(3, 4, 8, tm.CP(3), tm.Gate("softmax", None))
    parameters = {name: array(backend, value) for name, value in tm.initialize(spec)[0].items()}
    x = array(backend, np.ascontiguousarray(X[:, :3]))
    return tm.apply(spec, {**parameters, "gate_weights.0": g}, x).coefficients[0]


CALLS = {
    "module": call_layer,
    "apply": call_apply,
    "previous": pass_previous,
    "parameters": pass_parameters,
    **{
        function.__name__: (lambda backend, x, function=function: function(x))
        for function in (tm.softmax, tm.sparsemax, tm.entmax15, tm.soft_rank)
    },
    "entmax": lambda _, x: tm.entmax(x, 1.3),
    "soft_top_k": lambda _, x: tm.soft_top_k(x, 2),
    "top_k": lambda _, x: tm.top_k(x, 2),
    "cluster weights": lambda backend, x: tm.adaptive_clustering_weights(x, array(backend, A)),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(("home", "kind"), EVERY)
def test_a_kind_is_computed_right_or_refused(home: str, kind: str, name: str) -> None:
    make, holds = KINDS[home][kind]
    for backend in BACKENDS:
        ops = tm.get_backend(backend)
        expected = np.asarray(ops.to_float64(CALLS[name](backend, array(backend, X))))
        try:
            actual = CALLS[name](backend, make())
        except tm.TensorMoEError:
            assert kind != "plain" or home != backend
            continue
        assert holds, f"{backend} takes it"
        close(
            tm.get_backend(backend if name in ("module", "apply") else home).to_float64(actual),
            expected,
            1e-5,
        )


def test_errors_name_the_kind_and_what_to_pass() -> None:
    layer = tm.build(SPEC, "torch", seed=0)
    meta = torch.ones(3, 8, device="meta")
    cases: list[tuple[str, Callable[[], Any]]] = [
        (
            r"x: received .*MaskedArray.*; masked entries would count .*filled",
            lambda: tm.softmax(np.ma.array(X)),
        ),
        (r"x: received .*matrix.*np.asarray\(x\)", lambda: tm.softmax(np.matrix(X))),
        (r"x: received .*; sparse and nested tensors", lambda: layer(torch.from_numpy(X).to_sparse())),
        (
            r"x: received 'float8_e4m3fn'; convert .* float32",
            lambda: tm.softmax(KINDS["torch"]["float8"][0]()),
        ),
        (r"x: received device\(type='meta'\); parameters.*is on cpu: move", lambda: layer(meta)),
        (
            r"x: received device\(type='meta'\)",
            lambda: tm.apply(SPEC, values(), meta, state=values(state=True)),
        ),
        (r"x: received 'FakeTensorMode'; parameters.* is on cpu", lambda: layer(fake())),
        (r"previous: received .*MaskedArray", lambda: tm.adaptive_clustering_weights(X, np.ma.array(A))),
        (
            "it is a NumPy array of object",
            lambda: tm.build(SPEC, "jax", seed=0)(X.astype(object)),
        ),
    ]
    for match, call in cases:
        with pytest.raises(tm.TensorMoEError, match=match):
            call()


def values(state: bool = False) -> dict[str, Any]:
    return {name: torch.from_numpy(value) for name, value in tm.initialize(SPEC)[state].items()}
