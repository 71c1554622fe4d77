"""Features that every framework has: one function each, of the framework and the family."""

import copy
import pickle
import tempfile
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
from matrix.samples import (
    EXPERTS,
    INPUTS,
    OUTPUTS,
    TOKENS,
    TOLERANCE,
    Family,
    array,
    block_of,
    coefficients_of,
    draw,
    layer_of,
    module_of,
    numbers,
    output_of,
    run,
    softmax,
    values_of,
    weight_of,
)
from support.clusters import weights_by_formula
from support.strategies import close

import tensormoe as tm


def forward(framework: str, family: Family) -> None:
    spec, x = layer_of(family), draw(2, TOKENS // 2, INPUTS)
    y, (a,) = module_of(framework, spec)(array(framework, x), return_coefficients=True)
    close(numbers(framework, y), output_of(spec, values_of(spec), x), TOLERANCE)
    close(numbers(framework, a), coefficients_of(values_of(spec), x), TOLERANCE)


def blocks(framework: str, family: Family) -> None:
    _compare(framework, block_of(family))


def gated_blocks(framework: str, family: Family) -> None:
    _compare(framework, block_of(family, gated=True, nonlinearity="silu"))


def _compare(framework: str, spec: tm.Spec) -> None:
    x = draw(TOKENS, INPUTS)
    y = module_of(framework, spec)(array(framework, x))
    close(numbers(framework, y), output_of(spec, values_of(spec), x), TOLERANCE)


def functions(framework: str, family: Family) -> None:
    spec, x = layer_of(family), draw(TOKENS, INPUTS)
    arrays = values_of(spec)
    given = {name: array(framework, value) for name, value in arrays.items()}
    result = tm.apply(spec, given, array(framework, x))
    expected = output_of(spec, arrays, x)
    close(numbers(framework, result.y), expected, TOLERANCE)
    y = tm.contract(spec, tm.cores_of(spec, given), result.coefficients, array(framework, x))
    close(numbers(framework, y), expected, TOLERANCE)


def weight_tensor(framework: str, family: Family) -> None:
    spec = layer_of(family)
    weight = module_of(framework, spec).materialize()
    close(numbers(framework, weight), weight_of(spec, values_of(spec)), TOLERANCE)


def half_precision(framework: str, family: Family) -> None:
    spec, x = layer_of(family), draw(TOKENS, INPUTS)
    y = run(module_of(framework, spec, dtype="bfloat16"), array(framework, x, "bfloat16"))
    assert "bfloat16" in str(y.dtype)
    close(numbers(framework, y), output_of(spec, values_of(spec), x), 0.05)


def eight_bits(framework: str, family: Family) -> None:
    tm.build(layer_of(family), framework, seed=0, dtype="float8_e4m3fn")


def files(framework: str, family: Family) -> None:
    spec = layer_of(family)
    arrays = values_of(spec)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layer.safetensors"
        tm.save(module_of(framework, spec), path)
        loaded, saved = tm.load(path, backend=framework), tm.load_arrays(path)
    assert loaded.spec == saved.spec == spec
    for name, value in arrays.items():
        assert (numbers(framework, loaded.arrays()[name]) == value.astype("float32")).all()
        assert (saved.parameters[name] == value.astype("float32")).all()


def arrays_by_name(framework: str, family: Family) -> None:
    """From NumPy into the framework, and back."""
    spec = layer_of(family)
    module, back = module_of(framework, spec), tm.build(spec, "numpy", seed=1)
    back.load_arrays(module.arrays())
    for name, value in values_of(spec).items():
        assert (back.arrays()[name] == value.astype("float32")).all()


def copies(framework: str, family: Family) -> None:
    module, x = module_of(framework, layer_of(family)), array(framework, draw(TOKENS, INPUTS))
    expected = numbers(framework, module(x))
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert other.spec == module.spec
        assert (numbers(framework, other(x)) == expected).all()


def _low_rank() -> tuple[np.ndarray, np.ndarray]:
    """A weight (I, O) and a bias (O,) that are one matrix of rank 1, which every family here can hold."""
    rows = np.outer(draw(INPUTS + 1), draw(OUTPUTS, seed=1))
    return rows[:-1], rows[-1]


def fit(framework: str, family: Family) -> None:
    spec, x = layer_of(family), draw(TOKENS, INPUTS)
    weight, bias = _low_rank()
    fitted = tm.fit(weight, spec, bias=bias)
    cores = {f"cores.{name}": core for name, core in fitted.cores.items()}
    module = module_of(framework, spec, {**values_of(spec), **cores})
    close(numbers(framework, module(array(framework, x))), x @ weight + bias, TOLERANCE)


def upcycle(framework: str, family: Family) -> None:
    spec, x = layer_of(family), draw(TOKENS, INPUTS)
    weight, bias = _low_rank()
    parameters, state = tm.upcycle(weight, spec, bias=bias)
    module = module_of(framework, spec, parameters | state)
    close(numbers(framework, module(array(framework, x))), x @ weight + bias, TOLERANCE)
    experts = numbers(framework, module.materialize())
    assert np.abs(experts[0] - experts[1]).max() > 1e-4


def adaptive_clustering(framework: str, family: Family) -> None:
    router = tm.AdaptiveClustering(statistics="batch", evaluation="batch")
    spec, x = layer_of(family, gate=tm.Gate("softmax", None, router)), draw(TOKENS, INPUTS)
    previous = np.random.default_rng(1).dirichlet(np.ones(EXPERTS), len(x))
    module, arrays = module_of(framework, spec), values_of(spec)
    y, (a,) = module(array(framework, x), True, previous=[array(framework, previous)])
    weighted = weights_by_formula(x, previous, "language") * x
    expected = softmax(weighted @ arrays["gate_weights.0"])
    close(numbers(framework, a), expected, 1e-4)
    close(numbers(framework, y), output_of(spec, arrays, x, expected), 1e-4)


def batch_norm(framework: str, family: Family) -> None:
    spec, arrays, x = _normed(family)
    logits = x @ arrays["gate_weights.0"]
    expected = softmax((logits - logits.mean(0)) / np.sqrt(logits.var(0) + 1e-5))
    result = _train(framework, spec, arrays, x)
    close(numbers(framework, result.coefficients[0]), expected, 1e-4)
    close(numbers(framework, result.y), output_of(spec, arrays, x, expected), 1e-4)
    moved = 0.9 * arrays["gate_mean.0"] + 0.1 * logits.mean(0)
    close(numbers(framework, result.state["gate_mean.0"]), moved, TOLERANCE)


def synchronized_batch_norm(framework: str, family: Family) -> None:
    """Two threads, each with a part of the batch, stand for two processes."""
    spec, arrays, x = _normed(family)
    whole = _train(framework, spec, arrays, x)
    barrier, given = Barrier(2, timeout=60), {}

    def part(rank: int) -> Any:
        def total(tensor: Any) -> Any:
            given[rank] = tensor
            barrier.wait()
            summed = given[0] + given[1]
            barrier.wait()
            return summed

        return _train(framework, spec, arrays, (x[:2], x[2:])[rank], all_reduce=total)

    with ThreadPoolExecutor(2) as threads:
        parts = [*threads.map(part, range(2))]
    y = np.concatenate([numbers(framework, each.y) for each in parts])
    close(y, numbers(framework, whole.y), 1e-4)
    for name, value in whole.state.items():
        close(numbers(framework, parts[1].state[name]), numbers(framework, value), 1e-4)


def _normed(family: Family) -> tuple[tm.MuMoESpec, dict[str, np.ndarray], np.ndarray]:
    spec = layer_of(family, gate=tm.Gate("softmax", "batch"))
    return spec, values_of(spec), draw(TOKENS, INPUTS)


def _train(framework: str, spec: tm.Spec, arrays: Any, x: np.ndarray, **call: Any) -> Any:
    given = {name: array(framework, value) for name, value in arrays.items()}
    parameters, state = (
        {name: given[name] for name in shapes} for shapes in (spec.parameter_shapes, spec.state_shapes)
    )
    return tm.apply(spec, parameters, array(framework, x), state=state, training=True, **call)


def proof_and_verification(framework: str, family: Family) -> None:
    spec = layer_of(family)
    assert tm.verify(spec, (framework,), methods=("proof", "exact")).passed


def tensorly(framework: str, family: Family) -> None:
    spec = layer_of(family)
    arrays = module_of(framework, spec).arrays()
    factors = tm.to_tensorly(spec, {name: arrays[name] for name in spec.core_names})
    again = tm.materialize(spec, tm.cores_of(spec, tm.from_tensorly(spec, factors)))
    close(numbers(framework, again), weight_of(spec, values_of(spec)), TOLERANCE)


def matching(framework: str, family: Family) -> None:
    spec = layer_of(family).matched(parameters=200)
    matched = spec.factorization
    growing = matched.growing_bonds(spec.levels)
    larger = {bond: size + (bond in growing) for bond, size in matched.bonds(spec.levels).items()}
    one_more = spec.replace(factorization=matched.with_bonds(larger))
    assert spec.num_parameters <= 200 < one_more.num_parameters
    held = module_of(framework, spec).arrays().values()
    assert sum(prod(each.shape) for each in held) == spec.num_parameters
