"""The layer's mathematics, once, for every framework: from parameters and inputs to outputs."""

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple, Protocol

from ..arrays.backend import Backend, at_least_float32
from ..arrays.registry import backend_of, get_backend
from ..errors import TensorMoEError
from ..gates.call import Call, nothing_to_reduce
from ..gates.norms import layer_norm
from ..programs.program import Program
from ..typing import AllReduce, Array, Shape, State
from .layer_spec import MuMoESpec
from .spec import Spec
from .stage import Stage


class NamedArrays(Protocol):
    """Arrays by name: a mapping, or any container of a framework that has `items`."""

    def items(self) -> Iterable[tuple[str, Array]]:
        """Pairs of name and array."""


class GateOutput(NamedTuple):
    """What a gate makes of an input.

    Args:
        coefficients: E arrays (…, N_e).
        logits: what the router gave, E arrays (…, N_e).
        state: the running statistics, moved in training.
    """

    coefficients: list[Array]
    logits: list[Array]
    state: State


class LayerOutput(NamedTuple):
    """What `apply` returns; a pytree in JAX and in PyTorch.

    Args:
        y: (…, O).
        coefficients: E arrays (…, N_e).
        state: the running statistics, moved in training.
    """

    y: Array
    coefficients: list[Array]
    state: State


def apply(
    spec: Spec,
    parameters: NamedArrays,
    x: Array,
    *,
    state: NamedArrays | None = None,
    training: bool = False,
    previous: Sequence[Array] | None = None,
    generator: Any = None,
    all_reduce: AllReduce | None = None,
    recompute: bool = False,
    backend: Backend | str | None = None,
) -> LayerOutput:
    """Compute a layer or a block. Nothing is changed; new running statistics are returned.

    Args:
        spec: what to compute.
        parameters: arrays by name, as `initialize` gives them, of any TensorLy backend.
        x: (…, I) with any leading dimensions, none and empty ones included, of the parameters' type.
        state: the running statistics of the gate, as `initialize` gives them.
        training: whether the gate uses this batch's statistics where it has the choice, moves the running
            ones, and adds noise.
        previous: the coefficients that the layer before returned, arrays (…, K_e), for a router that makes
            use of them; other routers pass them over.
        generator: of the gate's noise in training: a `numpy.random.Generator`, a `torch.Generator` (by
            default PyTorch's own) or a JAX key.
        all_reduce: the sum of an array over all processes that share the batch, for a router's statistics.
        recompute: whether reverse mode keeps only the results of matrix products and computes what lies
            between them again: less memory for a little time. Values and gradients stay the same.
        backend: a backend object or name; by default the one that x belongs to.

    Returns:
        y (…, O), the E coefficient arrays (…, N_e), and the new state, by these names.

    Raises:
        TensorMoEError: x has another last dimension or element type, or a name is missing.

    Source: Oldfield et al., "Multilinear Mixture of Experts: Scalable Expert Specialization through
    Factorization", 2024, section 3.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=(4, 3), factorization=tm.CP(rank=5))
        >>> parameters, state = tm.initialize(spec)
        >>> x = np.ones((2, 7, 8), dtype="float32")
        >>> result = tm.apply(spec, parameters, x, state=state)
        >>> result.y.shape, [a.shape for a in result.coefficients]
        ((2, 7, 6), [(2, 7, 4), (2, 7, 3)])
    """
    ops = _backend(backend, x)
    parameters = _read(ops, "parameters", parameters)
    gated = compute_gate(
        spec,
        {name: parameters[name] for name in spec.gate_shapes if name in parameters},
        x,
        state=state,
        training=training,
        previous=previous,
        generator=generator,
        all_reduce=all_reduce,
        backend=ops,
    )
    rest = {name: array for name, array in parameters.items() if name not in spec.gate_shapes}
    y = mix(spec, rest, gated.coefficients, x, recompute=recompute, backend=ops)
    return LayerOutput(y, gated.coefficients, gated.state)


def compute_gate(
    spec: Spec,
    parameters: NamedArrays,
    x: Array,
    *,
    state: NamedArrays | None = None,
    training: bool = False,
    previous: Sequence[Array] | None = None,
    generator: Any = None,
    all_reduce: AllReduce | None = None,
    backend: Backend | str | None = None,
) -> GateOutput:
    """The first half of `apply`: coefficients, logits and new statistics.

    Args:
        spec: whose gate computes.
        parameters: the gate's, by name (see `spec.gate_shapes`).
        x, state, training, previous, generator, all_reduce, backend: as for `apply`.

    Raises:
        TensorMoEError: as `apply`.
    """
    ops = _backend(backend, x)
    x = ops.as_array(x)
    parameters = _read(ops, "parameters", parameters)
    statistics = _read(ops, "state", {} if state is None else state)
    _check_input(ops, x, spec.in_features)
    _check_arrays(ops, "parameters", parameters, spec.gate_shapes, x)
    _check_arrays(ops, "state", statistics, spec.state_shapes)
    leading = tuple(x.shape[:-1])
    before = None if previous is None else _previous(ops, spec, previous, leading)
    call = Call(training, before, generator, all_reduce or nothing_to_reduce)
    coefficients, logits, moved = spec.gate.coefficients(
        ops, parameters, _flatten(ops, x), spec.levels, statistics, call
    )
    if len(leading) != 1:
        coefficients = [ops.reshape(a, (*leading, a.shape[-1])) for a in coefficients]
        logits = [ops.reshape(z, (*leading, z.shape[-1])) for z in logits]
    return GateOutput(coefficients, logits, moved)


def mix(
    spec: Spec,
    parameters: NamedArrays,
    coefficients: Sequence[Array],
    x: Array,
    *,
    recompute: bool = False,
    backend: Backend | str | None = None,
) -> Array:
    """The second half of `apply`: the mixture of experts at given coefficients.

    Args:
        spec: a layer or a block.
        parameters: by name, without the gate's.
        coefficients: E arrays (…, N_e).
        x: (…, I).
        recompute, backend: as for `apply`.

    Returns:
        y (…, O).

    Raises:
        TensorMoEError: a wrong shape or element type, or a missing name.
    """
    ops = _backend(backend, x)
    x = ops.as_array(x)
    parameters = _read(ops, "parameters", parameters)
    _check_input(ops, x, spec.in_features)
    _check_arrays(ops, "parameters", parameters, spec.mixture_shapes, x)
    leading = tuple(x.shape[:-1])
    cores = [parameters[name] for name in spec.core_names]
    tokens = _normalize(ops, parameters, _flatten(ops, x))
    flat = _check_coefficients(ops, coefficients, spec.counts, leading, x)
    y = ops.compute(_program(ops, spec, tokens), (tokens, *flat, *cores), recompute)
    return y if len(leading) == 1 else ops.reshape(y, (*leading, spec.out_features))


def contract(
    spec: MuMoESpec | Stage,
    cores: NamedArrays | Sequence[Array],
    coefficients: Sequence[Array],
    x: Array,
    *,
    backend: Backend | str | None = None,
) -> Array:
    """The factorized contraction alone, with coefficients of your own.

    Args:
        spec: the layer, or one of a block's `layers`.
        cores: the factors of the weight tensor, by name as `layer.cores`, or in the network's order.
        coefficients: E arrays (…, N_e).
        x: (…, I).
        backend: a backend object or name; by default the one that x belongs to.

    Returns:
        y (…, O).

    Raises:
        TensorMoEError: a wrong shape.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(2, 1, experts=2, factorization=tm.TensorNetwork("n o, i o"), bias=False)
        >>> cores = [np.array([[1.0], [10.0]]), np.array([[1.0], [2.0]])]
        >>> tm.contract(spec, cores, [np.array([[0.5, 0.5]])], np.array([[1.0, 1.0]]))
        array([[16.5]])
    """
    stage = spec.stage if isinstance(spec, MuMoESpec) else spec
    ops = _backend(backend, x)
    x = ops.as_array(x)
    _check_input(ops, x, stage.in_features)
    named = _named_cores(ops, stage, cores)
    leading = tuple(x.shape[:-1])
    flat = _check_coefficients(ops, coefficients, stage.experts, leading, x)
    _check_arrays(ops, "cores", named, stage.network.shapes, x)
    tokens = _flatten(ops, x)
    ordered = (named[name] for name in stage.network.shapes)
    y = ops.compute(_program(ops, stage, tokens), (tokens, *flat, *ordered))
    return y if len(leading) == 1 else ops.reshape(y, (*leading, stage.out_features))


def materialize(
    spec: MuMoESpec | Stage,
    cores: NamedArrays | Sequence[Array],
    *,
    backend: Backend | str | None = None,
) -> Array:
    """Multiply the cores out to the weight tensor.

    Args:
        spec: the layer, or one of a block's `layers`.
        cores: arrays by name, as `layer.cores`, or in the network's order.
        backend: a backend object or name; by default the one that the cores belong to.

    Returns:
        W (N1, …, NE, I[+1], O); the last row of the input mode is the bias of each expert.

    Raises:
        TensorMoEError: a missing or unknown name, or a wrong shape.

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=(4, 3), factorization=tm.CP(rank=5))
        >>> parameters, _ = tm.initialize(spec)
        >>> cores = {name: parameters[f"cores.{name}"] for name in spec.network.shapes}
        >>> tm.materialize(spec, cores).shape
        (4, 3, 9, 6)
    """
    stage = spec.stage if isinstance(spec, MuMoESpec) else spec
    first = next((array for _, array in _pairs("cores", cores)), None)
    ops = _backend(backend, first)
    named = _named_cores(ops, stage, cores)
    _check_names("cores", named, stage.network.shapes)
    ordered = [named[name] for name in stage.network.shapes]
    _check_arrays(ops, "cores", named, stage.network.shapes, ordered[0])
    program = stage.materialization_plan.program
    weight = ops.compute(program, ordered)
    # A dense layer's only core is its weight; what is returned is never the parameter's own memory.
    return ops.copy(weight) if program.only_views else weight


def _program(ops: Backend, spec: Spec | Stage, tokens: Array) -> Program:
    """The program for so many tokens; a size that a framework only traces is not looked at without need."""
    return spec.program_for(ops.batch_size(tokens) if len(spec.programs) > 1 else None)


def _flatten(ops: Backend, x: Array) -> Array:
    """The same vectors as (T, …)."""
    return x if len(x.shape) == 2 else ops.reshape(x, (prod(x.shape[:-1]), x.shape[-1]))


def _normalize(ops: Backend, parameters: Mapping[str, Array], tokens: Array) -> Array:
    """What the first layer of a block sees."""
    if "input_norm.weight" not in parameters:
        return tokens
    dtype = ops.dtype_name(tokens)
    normalized = ops.cast(layer_norm(ops, ops.cast(tokens, at_least_float32(dtype))), dtype)
    return normalized * parameters["input_norm.weight"] + parameters["input_norm.bias"]


def _previous(ops: Backend, spec: Spec, previous: Sequence[Array], leading: Shape) -> list[Array] | None:
    """The coefficients of the layer before as (T, K_e); None if the router makes no use of them."""
    wanted = spec.gate.router.previous_experts(spec.counts)
    if wanted is None:
        return None
    if not isinstance(previous, list | tuple) or len(previous) != len(wanted):
        received = len(previous) if isinstance(previous, list | tuple) else type(previous)
        raise TensorMoEError("previous", received, f"pass a list of {len(wanted)}, one array for each level")
    arrays = [ops.as_array(a) for a in previous]
    for level, (a, k) in enumerate(zip(arrays, wanted, strict=True)):
        _check_array(ops, "previous", level, a, (*leading, k), None)
    return [_flatten(ops, a) for a in arrays]


def _check_coefficients(
    ops: Backend, coefficients: Sequence[Array], experts: Shape, leading: Shape, x: Array
) -> list[Array]:
    """The coefficients as (T, N_e)."""
    if len(coefficients) != len(experts):
        raise TensorMoEError("coefficients", len(coefficients), f"pass {len(experts)}, one for each level")
    arrays = [ops.as_array(a) for a in coefficients]
    for level, (a, n) in enumerate(zip(arrays, experts, strict=True)):
        _check_array(ops, "coefficients", level, a, (*leading, n), x)
    return [_flatten(ops, a) for a in arrays]


def _backend(backend: Backend | str | None, array: Array) -> Backend:
    if backend is None:
        return backend_of(array)
    return get_backend(backend) if isinstance(backend, str) else backend


def _pairs(argument: str, arrays: NamedArrays | Sequence[Array]) -> Iterable[tuple[object, Array]]:
    if hasattr(arrays, "items"):
        return arrays.items()
    if isinstance(arrays, list | tuple):
        return enumerate(arrays)
    raise TensorMoEError(argument, type(arrays), "pass arrays by name, such as layer.cores, or a list")


def _read(ops: Backend, argument: str, arrays: NamedArrays) -> dict[str, Array]:
    if not hasattr(arrays, "items"):
        raise TensorMoEError(argument, type(arrays), "pass arrays by name")
    return {name: ops.as_array(array) for name, array in arrays.items()}


def _named_cores(ops: Backend, stage: Stage, cores: NamedArrays | Sequence[Array]) -> dict[str, Array]:
    names = tuple(stage.network.shapes)
    pairs = dict(_pairs("cores", cores))
    if hasattr(cores, "items"):
        return {str(name): ops.as_array(array) for name, array in pairs.items()}
    if len(pairs) != len(names):
        raise TensorMoEError("cores", len(pairs), f"pass one array for each of {', '.join(names)}")
    return {name: ops.as_array(pairs[number]) for number, name in enumerate(names)}


def _check_names(argument: str, arrays: Mapping[str, Array], wanted: Mapping[str, Any]) -> None:
    if not isinstance(arrays, Mapping):
        raise TensorMoEError(argument, type(arrays), "pass arrays by name")
    if arrays.keys() != wanted.keys():
        listed = ", ".join(wanted) or "none"
        raise TensorMoEError(argument, sorted(arrays), f"pass exactly these arrays by name: {listed}")


def _check_arrays(
    ops: Backend,
    argument: str,
    arrays: Mapping[str, Array],
    shapes: Mapping[str, tuple[int, ...]],
    x: Array | None = None,
) -> None:
    _check_names(argument, arrays, shapes)
    for name, shape in shapes.items():
        _check_array(ops, argument, name, arrays[name], shape, x)


def _check_array(
    ops: Backend, argument: str, key: object, array: Array, shape: tuple[int, ...], x: Array | None
) -> None:
    """Check an array's kind and shape and, if x is given, that it has x's element type."""
    if not ops.is_tensor(array):
        remedy = f"pass an array of the backend {ops.tensormoe_name}, as x is: frameworks do not mix"
        raise TensorMoEError(f"{argument}[{key!r}]", type(array), remedy)
    # The first comparison spares a conversion at every call; some frameworks' shapes are lists.
    if array.shape != shape and tuple(array.shape) != shape:
        received = tuple(array.shape)
        raise TensorMoEError(f"{argument}[{key!r}]", received, f"pass an array of shape {shape}")
    if x is not None and array.dtype != x.dtype and not ops.mixes_precision():
        ours, theirs = ops.dtype_name(x), ops.dtype_name(array)
        raise TensorMoEError(
            "x", ours, f"{argument}[{key!r}] is {theirs}: convert one to the other's element type"
        )


def _check_input(ops: Backend, x: Array, in_features: int) -> None:
    if not ops.is_tensor(x):
        raise TensorMoEError("x", type(x), f"pass an array of the backend {ops.tensormoe_name}")
    if len(x.shape) == 0 or x.shape[-1] != in_features:
        raise TensorMoEError("x", tuple(x.shape), f"its last dimension must be in_features = {in_features}")
    dtype = ops.dtype_name(x)
    if "float" not in dtype:
        raise TensorMoEError("x", dtype, "pass real floating-point numbers: convert x first")
