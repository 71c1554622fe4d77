"""The arguments of the functional layer: reads frameworks' containers, checks kinds, shapes and types."""

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Protocol

from ..arrays.backend import Backend
from ..arrays.checks import check_kind, check_place, check_real, refuse_kind
from ..arrays.registry import backend_of, get_backend
from ..errors import TensorMoEError, shape_of
from ..gates.call import nothing_to_reduce
from ..typing import AllReduce, Array, Shape, Shapes
from .layer_spec import MuMoESpec
from .parameters import compare_names
from .spec import Spec, refuse_module
from .stage import Stage


class NamedArrays(Protocol):
    """Arrays by name: a mapping, or any container of a framework that has `items`."""

    def items(self) -> Iterable[tuple[str, Array]]:
        """Pairs of name and array."""


def find_backend(backend: Backend | str | None, array: Array) -> Backend:
    """The backend that was given, as an object or a name; otherwise the one that an array belongs to."""
    if backend is None:
        return backend_of(array)
    return backend if isinstance(backend, Backend) else get_backend(backend)


def find_stage(spec: Spec | Stage) -> Stage:
    """The only stage of a layer; a stage itself."""
    if isinstance(spec, MuMoESpec):
        return spec.stage
    if isinstance(spec, Stage):
        return spec
    refuse_module("spec", spec)
    raise TensorMoEError("spec", spec, "pass a MuMoESpec, or one of a block's layers: block.layers['first']")


def read(ops: Backend, argument: str, arrays: NamedArrays) -> dict[str, Array]:
    """Arrays by name, from any container."""
    if not hasattr(arrays, "items"):
        raise TensorMoEError(argument, type(arrays), "pass a mapping from names to arrays")
    return {name: ops.as_array(array) for name, array in arrays.items()}


def name_cores(cores: NamedArrays | Sequence[Array], stage: Stage) -> dict[str, Array]:
    """Cores by name, given by name or in the network's order."""
    names = tuple(stage.network.shapes)
    if hasattr(cores, "items"):
        named = dict(cores.items())
        check_names("cores", named, stage.network.shapes, stage)
        return named
    if not isinstance(cores, list | tuple):
        raise TensorMoEError("cores", type(cores), "pass a mapping such as layer.cores, or a list of arrays")
    if len(cores) != len(names):
        raise TensorMoEError("cores", len(cores), f"pass one array for each of {', '.join(names)}")
    return dict(zip(names, cores, strict=True))


def read_coefficients(
    ops: Backend, spec: Spec | Stage, coefficients: Sequence[Array], x: Array
) -> list[Array]:
    """The coefficients with the leading axes of tokens."""
    arrays = _read_levels(ops, "coefficients", coefficients, spec.experts, x, x)
    return [flatten(ops, a, x) for a in arrays]


def read_given(
    ops: Backend, spec: Spec, coefficients: Sequence[Array] | Array | None, x: Array
) -> list[Array] | None:
    """The coefficients that come with a call, checked; None if the gate is to compute them."""
    if coefficients is not None:
        return _read_levels(ops, "coefficients", coefficients, spec.experts, x, x)
    if spec.gate is not None:
        return None
    if spec.experts:
        shapes = ", ".join(str((*x.shape[:-1], n)) for n in spec.experts)
        remedy = f"the layer has no gate: pass coefficients=, of shape {shapes}"
        raise TensorMoEError("coefficients", None, remedy)
    return []


def read_router_input(
    ops: Backend, spec: Spec, router_input: Array | None, x: Array, given: object = None
) -> Array:
    """What the router reads: x, or the input of its own, checked; `given` coefficients leave it nothing."""
    if router_input is None:
        if spec.gate_features is not None and given is None:
            shape = (*x.shape[:-1], spec.gate_features)
            remedy = f"the router has an input of its own: pass router_input=, of shape {shape}"
            raise TensorMoEError("router_input", None, remedy)
        return x
    if given is not None:
        remedy = "coefficients are given, and no router is asked: leave it out"
        raise TensorMoEError("router_input", type(router_input), remedy)
    own = ops.as_array(router_input)
    _check_array(ops, "router_input", None, own, (*x.shape[:-1], spec.router_features), x)
    if ops.place(own) != ops.place(x):
        check_place(ops, "router_input", own, x)
    return own


def read_sequences(
    ops: Backend, coefficients: Sequence[Array] | Array, experts: Shape, like: Array, tokens: Shape | None
) -> tuple[list[Array], Shape]:
    """Coefficients of whole sequences as E arrays (T, N_e), and the leading axes that they come with.

    Args:
        ops: the backend object.
        coefficients: E arrays (…, N_e), or the only one.
        experts: (N1, …, NE).
        like: an array of the type and on the device that they are to have.
        tokens: the leading axes of the tokens, which begin with those of the coefficients, if there are any.
    """
    given = coefficients if isinstance(coefficients, list | tuple) else None
    listed = _as_list("coefficients", coefficients, len(experts)) if given is None else given
    first = ops.as_array(listed[0]) if len(listed) else None
    leading = shape_of(first)[:-1]
    if tokens is not None and tokens[: len(leading)] != leading:
        remedy = f"the leading axes of x are {tokens}: pass coefficients for each of the first of them"
        raise TensorMoEError("coefficients[0]", shape_of(first), remedy)
    arrays = _read_levels(ops, "coefficients", listed, experts, like, like, leading)
    return [ops.reshape(a, (prod(leading), a.shape[-1])) for a in arrays], leading


def read_previous(ops: Backend, spec: Spec, previous: Sequence[Array], x: Array) -> list[Array | None] | None:
    """The coefficients of the layer before, as the gates take them; None where a router does not use them."""
    wanted, keep = spec.previous_experts, spec.takes_leading_axes
    if wanted is None:
        return None
    arrays = _read_levels(ops, "previous", previous, wanted, x, None)
    return [None if a is None else flatten(ops, a, x, keep) for a in arrays]


def _read_levels(
    ops: Backend,
    argument: str,
    arrays: Sequence[Array],
    experts: Sequence[int | None],
    x: Array,
    like: Array | None,
    leading: Shape | None = None,
) -> list[Array]:
    if not isinstance(arrays, list | tuple):
        arrays = _as_list(argument, arrays, len(experts))
    if len(arrays) != len(experts):
        raise TensorMoEError(
            argument, len(arrays), f"pass {len(experts)} array(s), one for each expert level"
        )
    leading = x.shape[:-1] if leading is None else leading
    read: list[Array | None] = []
    for level, n in enumerate(experts):
        if n is None:
            read.append(None)
            continue
        array = ops.as_array(arrays[level])
        _check_array(ops, argument, level, array, (*leading, n), like)
        if ops.place(array) != ops.place(x):
            check_place(ops, f"{argument}[{level}]", array, x)
        read.append(array)
    return read


def _as_list(argument: str, arrays: object, levels: int) -> list[Array]:
    """The members of a framework's own kind of list; an array is the only one, if there is one level."""
    if levels == 1 and hasattr(arrays, "shape"):
        return [arrays]
    if not isinstance(arrays, Iterable) or isinstance(arrays, str | Mapping) or hasattr(arrays, "shape"):
        raise TensorMoEError(
            argument, type(arrays), f"pass a list of {levels} array(s), one for each expert level"
        )
    return list(arrays)


def flatten(ops: Backend, array: Array, x: Array, keep: bool = True) -> Array:
    """The same vectors with the leading axes of x merged, (T, …), unless the framework had better keep them.

    Args:
        ops: the backend object.
        array: has x's leading axes.
        x: the layer's input, which decides for every array of a call.
        keep: whether what computes with the array takes any leading axes.
    """
    if x.ndim == 2 or (keep and x.ndim > 2 and ops.keeps_leading_axes(x)):
        return array
    return ops.reshape(array, (prod(x.shape[:-1]), array.shape[-1]))


def check_input(ops: Backend, x: Array, spec: Spec | Stage, size: str = "in_features") -> None:
    """Raise an error unless x is an array (…, I) of real numbers; I is the specification's field `size`."""
    check_kind(ops, "x", x)
    shape = x.shape
    features = spec.in_features if size == "in_features" else getattr(spec, size)
    if len(shape) == 0 or shape[-1] != features:
        remedy = f"its last dimension must be {size} = {features}"
        raise TensorMoEError("x", tuple(shape), remedy)
    check_real(ops, "x", x)


def check_reduction(ops: Backend, reduce: AllReduce | None) -> AllReduce:
    """The user's sum over processes, with a check of what it returns; that of one process for None."""
    if reduce is None or reduce is nothing_to_reduce:
        return nothing_to_reduce
    remedy = "pass a function that returns an array's sum over processes, of the same shape"
    if not callable(reduce):
        raise TensorMoEError("all_reduce", reduce, remedy)

    def check(array: Array) -> Array:
        total = ops.as_array(reduce(array))
        if not ops.is_tensor(total) or tuple(total.shape) != tuple(array.shape):
            raise TensorMoEError("all_reduce", getattr(total, "shape", type(total)), remedy)
        return total

    return check


def check_arrays(
    ops: Backend,
    argument: str,
    arrays: Mapping[str, Array],
    shapes: Shapes,
    spec: Spec | Stage,
    x: Array | None = None,
) -> None:
    """Check names, kinds and shapes, and that all are real and, if x is given, of x's element type."""
    check_names(argument, arrays, shapes, spec)
    is_tensor, dtype = ops.is_tensor, getattr(x, "dtype", None)
    for name, shape in shapes.items():
        array = arrays[name]
        # Nearly always all is well: a call of a function takes longer than these comparisons.
        if not (is_tensor(array) and array.shape == shape and x is not None and array.dtype == dtype):
            _check_array(ops, argument, name, array, shape, x, spec)
        if x is not None and ops.place(array) != ops.place(x):
            check_place(ops, f"{argument}[{name!r}]", array, x)


def read_state(
    ops: Backend, spec: Spec, state: NamedArrays | None, x: Array
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The running statistics and the fixed cores of a state."""
    arrays = {} if state is None else read(ops, "state", state)
    if not spec.fixed_shapes:
        check_arrays(ops, "state", arrays, spec.state_shapes, spec)
        return arrays, {}
    check_names("state", arrays, spec.state_shapes, spec)
    fixed = {name: arrays.pop(name) for name in spec.fixed_shapes}
    check_arrays(ops, "state", fixed, spec.fixed_shapes, spec, x)
    check_arrays(ops, "state", arrays, spec.statistics_shapes, spec)
    return arrays, fixed


def check_names(argument: str, arrays: Mapping[str, Array], shapes: Shapes, spec: Spec | Stage) -> None:
    """Raise an error if a name is missing or unknown."""
    if arrays.keys() != shapes.keys():
        remedy = compare_names(arrays, shapes) + _of(spec)
        raise TensorMoEError(argument, sorted(arrays, key=str), remedy)


def _check_array(
    ops: Backend,
    argument: str,
    key: object,
    array: Array,
    shape: Shape,
    x: Array | None,
    spec: Spec | Stage | None = None,
) -> None:
    if not ops.is_tensor(array):
        remedy = f"{refuse_kind(ops, array)}: frameworks cannot be mixed"
        raise TensorMoEError(_name(argument, key), type(array), remedy)
    # The first comparison saves a conversion at every call; some frameworks' shapes are lists.
    if array.shape != shape and tuple(array.shape) != shape:
        remedy = f"pass an array of shape {shape}{_of(spec)}"
        raise TensorMoEError(_name(argument, key), tuple(array.shape), remedy)
    if x is None:
        check_real(ops, _name(argument, key), array)
    elif array.dtype != x.dtype:
        _check_type(ops, argument, key, array, x)


def check_types(ops: Backend, argument: str, arrays: Mapping[str, Array], x: Array) -> None:
    """Raise an error unless all arrays have x's element type, or may be mixed with it, and its place."""
    dtype = x.dtype
    for name, array in arrays.items():
        if array.dtype != dtype:
            _check_type(ops, argument, name, array, x)
    # A module's tensors move together. Texts for errors take time.
    if arrays and ops.place(array) != ops.place(x):
        check_place(ops, f"{argument}[{name!r}]", array, x)


def _check_type(ops: Backend, argument: str, key: object, array: Array, x: Array) -> None:
    check_real(ops, _name(argument, key), array)
    if not ops.mixes_precision():
        ours, theirs = ops.dtype_name(x), ops.dtype_name(array)
        remedy = f"{_name(argument, key)} is {theirs}: convert one to the other's element type"
        raise TensorMoEError("x", ours, remedy)


def _name(argument: str, key: object) -> str:
    """An argument, or one of several under its key."""
    return argument if key is None else f"{argument}[{key!r}]"


def _of(spec: Spec | Stage | None) -> str:
    """Which layer of a model an error is about."""
    if spec is None:
        return ""
    sizes = f"{spec.in_features} → {spec.out_features}, experts={spec.experts}, {spec.factorization}"
    return f", for {type(spec).__name__}({sizes})"
