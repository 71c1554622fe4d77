"""What notation and specifications can say beyond a family: each beside every family, or in its place."""

import numpy as np
from matrix.samples import (
    EXPERTS,
    GATE,
    HIDDEN,
    INPUTS,
    OUTPUTS,
    TOKENS,
    TOLERANCE,
    Arrays,
    Family,
    array,
    block_of,
    coefficients_of,
    draw,
    layer_of,
    module_of,
    normalize,
    numbers,
    output_of,
    run,
    softmax,
    values_of,
    weight_of,
)
from support import blocks
from support.strategies import close

import tensormoe as tm


def sums(framework: str, family: Family) -> None:
    _beside(framework, tm.TensorNetwork("i o + o"), family)


def split_modes(framework: str, family: Family) -> None:
    _beside(framework, tm.TensorNetwork("n i1 o1, n i2 o2", i=(2, 4), o=(3, 2)), family)


def padding(framework: str, family: Family) -> None:
    term = tm.TensorNetwork("n i1 o1, n i2 o2", i=(3, 3), o=(2, 4), pad=True)
    _beside(framework, term, family)


def shared_cores(framework: str, family: Family) -> None:
    _beside(framework, tm.TensorNetwork("n r, A: i r, r o + A: i s, s o", r=2, s=2), family)


def fixed_cores(framework: str, family: Family) -> None:
    _beside(framework, tm.TensorNetwork("H: i q, n q, q o", q=3, fixed={"H": "signs 1"}), family)


def _beside(framework: str, term: Family, family: Family) -> None:
    spec, x = layer_of(term + family), draw(TOKENS, INPUTS)
    y = run(module_of(framework, spec), array(framework, x))
    close(numbers(framework, y), output_of(spec, values_of(spec), x), TOLERANCE)


def cores_of_several_layers(framework: str, family: Family) -> None:
    """The same as layers with equal cores of their own."""
    plain, x = block_of(family), draw(TOKENS, INPUTS)
    first, second = (stage.network.shapes for stage in plain.layers.values())
    alike = [name for name in first if first[name] == second[name]]
    spec = block_of(family, shared=next(iter(alike), "core1"))
    arrays = values_of(spec)
    assert spec.num_parameters < plain.num_parameters
    joint = {name: f"shared.{name.partition('.')[2]}" for name in plain.core_names}
    own = {name: arrays[name if name in arrays else joint[name]] for name in plain.core_names}
    y = module_of(framework, spec)(array(framework, x))
    close(numbers(framework, y), output_of(plain, arrays | own, x), TOLERANCE)


def factorizations_of_layers(framework: str, family: Family) -> None:
    """The first layer is one matrix, without experts."""
    each = tm.TensorNetwork("i o"), family
    spec = tm.MuMoEBlockSpec(INPUTS, HIDDEN, OUTPUTS, EXPERTS, each, GATE)
    arrays, x = values_of(spec), draw(TOKENS, INPUTS)
    hidden = blocks.ACTIVATIONS["gelu"][0](_with_one(x) @ arrays["first.core1"])
    second = tm.MuMoESpec(HIDDEN, OUTPUTS, EXPERTS, family)
    cores = {f"cores.{name}": arrays[f"second.{name}"] for name in second.network.shapes}
    expected = _mix(weight_of(second, cores), [coefficients_of(arrays, x)], hidden)
    y = run(module_of(framework, spec), array(framework, x))
    close(numbers(framework, y), expected, TOLERANCE)


def no_experts(framework: str, family: Family) -> None:
    spec = tm.MuMoESpec(INPUTS, OUTPUTS, (), tm.TensorNetwork("i r, r o", r=3), gate=None)
    arrays, x = values_of(spec), draw(TOKENS, INPUTS)
    y = module_of(framework, spec)(array(framework, x))
    expected = _with_one(x) @ arrays["cores.core1"] @ arrays["cores.core2"]
    close(numbers(framework, y), expected, TOLERANCE)


def given_coefficients(framework: str, family: Family) -> None:
    spec, x = layer_of(family).replace(gate=None), draw(TOKENS, INPUTS)
    a = draw(TOKENS, EXPERTS, seed=1)
    y = module_of(framework, spec)(array(framework, x), coefficients=array(framework, a))
    close(numbers(framework, y), output_of(spec, values_of(spec), x, a), TOLERANCE)


def gates_of_levels(framework: str, family: Family) -> None:
    gates = tm.Gate("softmax"), tm.Gate("sigmoid", None)
    spec = tm.MuMoESpec(INPUTS, OUTPUTS, (EXPERTS, 3), family, gates)
    arrays, x = values_of(spec), draw(TOKENS, INPUTS)
    y, mixed = module_of(framework, spec)(array(framework, x), return_coefficients=True)
    expected = [coefficients_of(arrays, x), 1 / (1 + np.exp(-x @ arrays["gate_weights.1"]))]
    for ours, theirs in zip(mixed, expected, strict=True):
        close(numbers(framework, ours), theirs, TOLERANCE)
    close(numbers(framework, y), _mix(weight_of(spec, arrays), expected, x), TOLERANCE)


def routers(framework: str, family: Family) -> None:
    logits = {
        tm.LinearRouter(bias=True): lambda p, x: x @ p["gate_weights.0"] + p["gate_bias.0"],
        tm.LowRankRouter(2): lambda p, x: x @ p["gate_projection.0"] @ p["gate_weights.0"],
        tm.CosineRouter(temperature=1.0): _cosines,
    }
    for router, formula in logits.items():
        spec, x = layer_of(family, gate=tm.Gate("softmax", None, router)), draw(TOKENS, INPUTS)
        arrays = values_of(spec)
        assert len(spec.gate_shapes) > isinstance(router, tm.LinearRouter)
        y, (a,) = module_of(framework, spec)(array(framework, x), return_coefficients=True)
        expected = softmax(formula(arrays, x))
        close(numbers(framework, a), expected, TOLERANCE)
        close(numbers(framework, y), output_of(spec, arrays, x, expected), TOLERANCE)


def _cosines(arrays: Arrays, x: np.ndarray) -> np.ndarray:
    weights = arrays["gate_weights.0"]
    lengths = np.linalg.norm(x, axis=1, keepdims=True) * np.linalg.norm(weights, axis=0)
    return np.exp(arrays["gate_scale.0"]) * (x @ weights) / lengths


def router_inputs(framework: str, family: Family) -> None:
    spec = layer_of(family).replace(gate_features=3)
    arrays, x, z = values_of(spec), draw(TOKENS, INPUTS), draw(TOKENS, 3, seed=1)
    y = module_of(framework, spec)(array(framework, x), router_input=array(framework, z))
    expected = softmax(normalize(z @ arrays["gate_weights.0"]))
    close(numbers(framework, y), output_of(spec, arrays, x, expected), TOLERANCE)


def _with_one(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)


def _mix(weight: np.ndarray, coefficients: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    """The soft MoE of a weight tensor (N1, …, NE, I+1, O)."""
    mixed = np.broadcast_to(weight, (len(x), *weight.shape))
    for a in coefficients:
        mixed = np.einsum("tn,tn...->t...", a, mixed)
    return np.asarray(np.einsum("ti,tio->to", _with_one(x), mixed))
