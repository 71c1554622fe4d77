"""The layer's mathematics, once, for every framework: from parameters and inputs to outputs."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Literal, overload

from ..arrays.backend import at_least_float32
from ..arrays.registry import backend_of, get_backend
from ..errors import TensorMoEError
from ..gates.call import Call, nothing_to_reduce
from ..gates.norms import layer_norm
from ..programs.program import Program
from ..typing import AllReduce, Array, State
from .layer_spec import MuMoESpec
from .spec import Spec


@overload
def apply(
    spec: Spec,
    parameters: Mapping[str, Array],
    x: Array,
    *,
    state: Mapping[str, Array] | None = None,
    training: bool = False,
    return_coefficients: Literal[False] = False,
    previous: Sequence[Array] | None = None,
    generator: Any = None,
    all_reduce: AllReduce | None = None,
    recompute: bool = False,
    backend: Any = None,
) -> tuple[Array, State]: ...


@overload
def apply(
    spec: Spec,
    parameters: Mapping[str, Array],
    x: Array,
    *,
    state: Mapping[str, Array] | None = None,
    training: bool = False,
    return_coefficients: bool,
    previous: Sequence[Array] | None = None,
    generator: Any = None,
    all_reduce: AllReduce | None = None,
    recompute: bool = False,
    backend: Any = None,
) -> tuple[tuple[Array, list[Array]], State]: ...


def apply(
    spec: Spec,
    parameters: Mapping[str, Array],
    x: Array,
    *,
    state: Mapping[str, Array] | None = None,
    training: bool = False,
    return_coefficients: bool = False,
    previous: Sequence[Array] | None = None,
    generator: Any = None,
    all_reduce: AllReduce | None = None,
    recompute: bool = False,
    backend: Any = None,
) -> tuple[Any, State]:
    """Compute a layer or a block. Nothing is changed; new running statistics are returned.

    Args:
        spec: what to compute.
        parameters: arrays by name, as `initialize` gives them, of any TensorLy backend.
        x: (…, I) with any leading dimensions, none and empty ones included, of the parameters' type.
        state: the running statistics of the gate, as `initialize` gives them.
        training: whether the gate uses this batch's statistics where it has the choice, moves the running
            ones, and adds noise.
        return_coefficients: whether to return the coefficients too.
        previous: the coefficients that the layer before returned, arrays (…, K_e), for a router that makes
            use of them; other routers pass them over.
        generator: of the gate's noise in training: a `numpy.random.Generator`, a `torch.Generator` (by
            default PyTorch's own) or a JAX key.
        all_reduce: the sum of an array over all processes that share the batch, for a router's statistics.
        recompute: whether reverse mode keeps only the results of matrix products and computes what lies
            between them again: less memory for a little time. Values and gradients stay the same.
        backend: a backend object or name; by default the one that x belongs to.

    Returns:
        y (…, O), or the pair of y and the E coefficient arrays (…, N_e); and the new state.

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
        >>> (y, coefficients), state = tm.apply(spec, parameters, x, state=state, return_coefficients=True)
        >>> y.shape, [a.shape for a in coefficients]
        ((2, 7, 6), [(2, 7, 4), (2, 7, 3)])
    """
    tl = _backend(backend, x)
    state = {} if state is None else state
    _check_input(tl, x, spec.in_features)
    _check_arrays(tl, "parameters", parameters, spec.parameter_shapes, x)
    _check_arrays(tl, "state", state, spec.state_shapes)
    leading = tuple(x.shape[:-1])
    tokens = x if len(leading) == 1 else tl.reshape(x, (prod(leading), spec.in_features))
    before = None if previous is None else _previous(tl, spec, previous, leading)
    call = Call(training, before, generator, all_reduce or nothing_to_reduce)
    coefficients, moved = spec.gate.coefficients(tl, parameters, tokens, spec.levels, state, call)
    cores = (parameters[name] for name in spec.core_names)
    operands = (_normalized(tl, spec, parameters, tokens), *coefficients, *cores)
    y = tl.computed(_program(tl, spec, tokens), operands, recompute)
    if len(leading) != 1:
        y = tl.reshape(y, (*leading, spec.out_features))
    if not return_coefficients:
        return y, moved
    return (y, [tl.reshape(a, (*leading, a.shape[-1])) for a in coefficients]), moved


def contract(
    spec: MuMoESpec,
    cores: Mapping[str, Array] | Sequence[Array],
    coefficients: Sequence[Array],
    x: Array,
    *,
    backend: Any = None,
) -> Array:
    """The factorized contraction alone, with coefficients of your own.

    Args:
        spec: the layer.
        cores: the factors of the weight tensor, by name as `layer.cores`, or in the network's order.
        coefficients: E arrays (T, N_e).
        x: (T, I).
        backend: a backend object or name; by default the one that x belongs to.

    Returns:
        y (T, O).

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
    tl = _backend(backend, x)
    _check_input(tl, x, spec.in_features)
    if len(x.shape) != 2:
        raise TensorMoEError("x", tuple(x.shape), f"pass an array of shape (T, {spec.in_features})")
    named = _named(spec, cores)
    if len(coefficients) != spec.levels:
        raise TensorMoEError("coefficients", len(coefficients), f"pass {spec.levels}, one for each level")
    for level, (a, experts) in enumerate(zip(coefficients, spec.counts, strict=True)):
        _check_array(tl, "coefficients", level, a, (x.shape[0], experts), x)
    _check_arrays(tl, "cores", named, spec.network.shapes, x)
    ordered = (named[name] for name in spec.network.shapes)
    return tl.computed(_program(tl, spec, x), (x, *coefficients, *ordered))


def materialize(
    spec: MuMoESpec, cores: Mapping[str, Array] | Sequence[Array], *, backend: Any = None
) -> Array:
    """Multiply the cores out to the weight tensor.

    Args:
        spec: the layer.
        cores: arrays by name, as `layer.cores`, or in the network's order.
        backend: a backend object or name; by default the one that the cores belong to.

    Returns:
        W (N1, …, NE, I[+1], O); the last row of the input mode is the bias of each expert.

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=(4, 3), factorization=tm.CP(rank=5))
        >>> parameters, _ = tm.initialize(spec)
        >>> cores = {name: parameters[f"cores.{name}"] for name in spec.network.shapes}
        >>> tm.materialize(spec, cores).shape
        (4, 3, 9, 6)
    """
    named = _named(spec, cores)
    _check_names("cores", named, spec.network.shapes)
    ordered = [named[name] for name in spec.network.shapes]
    tl = _backend(backend, ordered[0])
    _check_arrays(tl, "cores", named, spec.network.shapes, ordered[0])
    program = spec.materialization_plan.program
    weight = tl.computed(program, ordered)
    # A dense layer's only core is its weight; what is returned is never the parameter's own memory.
    return tl.copy(weight) if program.only_views else weight


def _program(tl: Any, spec: Spec, tokens: Array) -> Program:
    """The program for so many tokens; a size that a framework only traces is not looked at without need."""
    return spec.program_for(tl.batch_size(tokens) if len(spec.programs) > 1 else None)


def _normalized(tl: Any, spec: Spec, parameters: Mapping[str, Array], tokens: Array) -> Array:
    """What the first layer of a block sees."""
    if not spec.input_norm:
        return tokens
    dtype = tl.dtype_name(tokens)
    normalized = tl.cast(layer_norm(tl, tl.cast(tokens, at_least_float32(dtype))), dtype)
    return normalized * parameters["input_norm.weight"] + parameters["input_norm.bias"]


def _previous(tl: Any, spec: Spec, previous: Sequence[Array], leading: tuple[int, ...]) -> list[Array] | None:
    """The coefficients of the layer before as (T, K_e); None if the router makes no use of them."""
    wanted = spec.gate.router.previous_experts(spec.counts)
    if wanted is None:
        return None
    if not isinstance(previous, list | tuple) or len(previous) != len(wanted):
        received = len(previous) if isinstance(previous, list | tuple) else type(previous)
        raise TensorMoEError("previous", received, f"pass a list of {len(wanted)}, one array for each level")
    for level, (a, k) in enumerate(zip(previous, wanted, strict=True)):
        _check_array(tl, "previous", level, a, (*leading, k), None)
    return [tl.reshape(a, (prod(leading), k)) for a, k in zip(previous, wanted, strict=True)]


def _backend(backend: Any, array: Array) -> Any:
    if backend is None:
        return backend_of(array)
    return get_backend(backend) if isinstance(backend, str) else backend


def _named(spec: MuMoESpec, cores: Mapping[str, Array] | Sequence[Array]) -> Mapping[str, Array]:
    if isinstance(cores, Mapping):
        return cores
    if len(cores) != len(spec.network.shapes):
        listed = ", ".join(spec.network.shapes)
        raise TensorMoEError("cores", len(cores), f"pass one array for each of {listed}")
    return dict(zip(spec.network.shapes, cores, strict=True))


def _check_names(argument: str, arrays: Mapping[str, Array], wanted: Mapping[str, Any]) -> None:
    if not isinstance(arrays, Mapping):
        raise TensorMoEError(argument, type(arrays), "pass arrays by name")
    if arrays.keys() != wanted.keys():
        listed = ", ".join(wanted) or "none"
        raise TensorMoEError(argument, sorted(arrays), f"pass exactly these arrays by name: {listed}")


def _check_arrays(
    tl: Any,
    argument: str,
    arrays: Mapping[str, Array],
    shapes: Mapping[str, tuple[int, ...]],
    x: Array | None = None,
) -> None:
    _check_names(argument, arrays, shapes)
    for name, shape in shapes.items():
        _check_array(tl, argument, name, arrays[name], shape, x)


def _check_array(
    tl: Any, argument: str, key: object, array: Array, shape: tuple[int, ...], x: Array | None
) -> None:
    """Check an array's kind and shape and, if x is given, that it has x's element type."""
    if not tl.is_tensor(array):
        remedy = f"pass an array of the backend {tl.tensormoe_name}, as x is: frameworks do not mix"
        raise TensorMoEError(f"{argument}[{key!r}]", type(array), remedy)
    # The first comparison spares a conversion at every call; some frameworks' shapes are lists.
    if array.shape != shape and tuple(array.shape) != shape:
        received = tuple(array.shape)
        raise TensorMoEError(f"{argument}[{key!r}]", received, f"pass an array of shape {shape}")
    if x is not None and array.dtype != x.dtype and not tl.mixes_precision():
        ours, theirs = tl.dtype_name(x), tl.dtype_name(array)
        raise TensorMoEError(
            "x", ours, f"{argument}[{key!r}] is {theirs}: convert one to the other's element type"
        )


def _check_input(tl: Any, x: Array, in_features: int) -> None:
    if not tl.is_tensor(x):
        raise TensorMoEError("x", type(x), f"pass an array of the backend {tl.tensormoe_name}")
    if len(x.shape) == 0 or x.shape[-1] != in_features:
        raise TensorMoEError("x", tuple(x.shape), f"its last dimension must be in_features = {in_features}")
    dtype = tl.dtype_name(x)
    if "float" not in dtype:
        raise TensorMoEError("x", dtype, "pass real floating-point numbers: convert x first")
