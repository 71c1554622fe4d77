"""What is ablated: a layer at given inputs, with its coefficients; and which experts of which levels."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from ..arrays.backend import Backend
from ..arrays.registry import backend_of, get_module
from ..errors import TensorMoEError, as_tuple, is_listed, non_negative_integer, one_of, shape_of
from ..fitting.target import read_values
from ..layers.functional import apply, normalize_input
from ..layers.parameters import name_core
from ..layers.spec import Spec
from ..memory import check_memory, host_memory
from ..typing import Array, NumPyArray, Shape
from .spectrum import read_expert

ZERO, RENORMALIZE = "zero", "renormalize"
# One expert, or several: each by its number, or by its numbers on the chosen levels.
Expert = int | Sequence[int]
# Together in a set, they are one ablation.
Experts = Expert | Set[Expert] | Sequence[Expert | Set[Expert]]
# An expert's number on each of the chosen levels.
Place = tuple[int, ...]


@dataclass(frozen=True)
class Ablations:
    """Several ablations, each of one expert.

    Args:
        levels: the expert levels whose experts they are.
        numbers: for each of these levels, the expert's number in every ablation, (A,).
        stages: the layers that lose it.
        renormalize: whether the other coefficients make up for it.
    """

    levels: tuple[int, ...]
    numbers: tuple[NumPyArray, ...]
    stages: frozenset[str]
    renormalize: bool

    def __len__(self) -> int:
        return len(self.numbers[0])

    def take(self, which: slice | NumPyArray) -> "Ablations":
        """Some of them."""
        return replace(self, numbers=tuple(numbers[which] for numbers in self.numbers))


@dataclass(frozen=True)
class Sets:
    """Several ablations, each of a set of experts.

    Args:
        levels, stages, renormalize: as for `Ablations`.
        places: the experts of each.
    """

    levels: tuple[int, ...]
    places: tuple[frozenset[Place], ...]
    stages: frozenset[str]
    renormalize: bool

    def __len__(self) -> int:
        return len(self.places)


@dataclass(frozen=True)
class Subject:
    """A layer's or block's mixture at given inputs.

    Args:
        ops: the backend that computes it.
        spec: a layer or a block.
        arrays: parameters and state by name.
        x: what its first layers see, (T, I), after a block's LayerNorm.
        coefficients: (T, N_e) for each level.
        values: the same in NumPy's float64.
        output: (T, O).
        y: the same in NumPy.
        leading: the leading axes of the inputs that were given.
    """

    ops: Backend
    spec: Spec
    arrays: Mapping[str, Array]
    x: Array
    coefficients: tuple[Array, ...]
    values: tuple[NumPyArray, ...]
    output: Array
    y: NumPyArray
    leading: Shape

    def cores(self, stage: str) -> dict[str, Array]:
        """The cores of one of the spec's layers by name."""
        layer = self.spec.layers[stage]
        return {name: self.arrays[name_core(stage, layer, name)] for name in layer.network.shapes}


def read_subject(
    layer: Any,
    x: Array,
    *,
    router_input: Array | None,
    coefficients: Sequence[Array] | Array | None,
    previous: Sequence[Array] | None,
) -> Subject:
    """Evaluate a layer in evaluation mode.

    Args:
        layer: a layer's or block's module of any framework, or a `SavedLayer`.
        x: (…, I) of its framework, or of NumPy.
        router_input, coefficients: as for `apply`, or of NumPy.
        previous: as for `apply`.

    Raises:
        TensorMoEError: another kind of object; no input, or inputs or outputs that are not finite; and
            as `apply`.
    """
    spec, arrays = _open(layer)
    parameters = {name: each for name, each in arrays.items() if name not in spec.state_shapes}
    state = {name: each for name, each in arrays.items() if name in spec.state_shapes}
    like = next(iter(parameters.values()))
    ops = backend_of(like)
    x = _read_inputs("x", ops, x, like)
    given = None if router_input is None else _read_inputs("router_input", ops, router_input, like)
    if coefficients is not None:
        listed = coefficients if isinstance(coefficients, list | tuple) else [coefficients]
        coefficients = [_read_inputs("coefficients", ops, each, like) for each in listed]
    with ops.without_gradients():
        output = apply(
            spec,
            parameters,
            x,
            router_input=given,
            coefficients=coefficients,
            state=state,
            previous=previous,
            backend=ops,
        )
        return _gather(ops, layer, arrays, x, output.coefficients, output.y)


def read_call(layer: Any, x: Array, coefficients: Sequence[Array], y: Array) -> Subject:
    """What a call of a layer computed, as a subject.

    Args:
        layer: a module of any framework.
        x: (…, I), what it got.
        coefficients: (…, N_e) for each level.
        y: (…, O), what it gave.

    Raises:
        TensorMoEError: outputs that are not finite.
    """
    _, arrays = _open(layer)
    ops = backend_of(next(iter(arrays.values())))
    with ops.without_gradients():
        return _gather(ops, layer, arrays, x, coefficients, y)


def _gather(
    ops: Backend,
    layer: Any,
    arrays: Mapping[str, Array],
    x: Array,
    coefficients: Sequence[Array],
    y: Array,
) -> Subject:
    tokens = ops.reshape(x, (prod(x.shape[:-1]), x.shape[-1]))
    if "input_norm.weight" in arrays:
        tokens = ops.compute_precisely(normalize_input, tokens, arrays)
    flat = [ops.reshape(a, (len(tokens), a.shape[-1])) for a in coefficients]
    values = tuple(_read_result(layer, a) for a in flat)
    _read_result(layer, y)
    outputs = ops.reshape(y, (len(tokens), layer.spec.out_features))
    array, leading = np.asarray(ops.to_numpy(outputs)), tuple(x.shape[:-1])
    return Subject(ops, layer.spec, arrays, tokens, tuple(flat), values, outputs, array, leading)


def _read_inputs(argument: str, ops: Backend, x: Array, like: Array) -> Array:
    """What a layer is called with, as an array of its backend; NumPy's get the element type of an array."""
    values = read_values(argument, x)
    if values.size == 0:
        raise TensorMoEError(argument, values.shape, "pass at least one input")
    if isinstance(x, np.ndarray):
        return ops.from_float64(values, ops.dtype_name(ops.as_array(like)))
    return ops.as_array(x)


def _read_result(layer: Any, result: Array) -> NumPyArray:
    try:
        return read_values("layer", result)
    except TensorMoEError as error:
        remedy = f"what it computes is not finite ({error.received}): check its arrays"
        raise TensorMoEError("layer", type(layer), remedy) from error


def _open(layer: Any) -> tuple[Spec, Mapping[str, Array]]:
    spec, arrays = getattr(layer, "spec", None), getattr(layer, "arrays", None)
    if isinstance(spec, Spec) and callable(arrays):
        return spec, arrays()
    raise TensorMoEError("layer", type(layer), _suggest(layer))


def _suggest(model: Any) -> str:
    """What to pass instead of a whole model."""
    remedy = "pass a layer's or a block's module, with the inputs that it gets"
    try:
        observer = getattr(get_module(backend_of(model).tensormoe_name), "observer", None)
        names = [] if observer is None else list(observer.find(model))
    except TensorMoEError:
        return remedy
    if not names:
        return f"it has no μMoE layer: {remedy}"
    return f"{remedy}: this model's are {', '.join(map(repr, names))}"


def read_ablations(
    spec: Spec, experts: Experts | None, level: int | Sequence[int] | None, layers: object, mode: str
) -> Ablations | Sets:
    """Check which experts are ablated, and how.

    Raises:
        TensorMoEError: an expert, a level or a layer that there is not, or another mode.
    """
    one_of("mode", mode, (ZERO, RENORMALIZE))
    levels = _read_levels(level, spec.levels)
    sizes = tuple(spec.experts[each] for each in levels)
    known = tuple(name for name, stage in spec.layers.items() if stage.experts)
    stages = known if layers is None else as_tuple(layers)
    for stage in stages:
        one_of("layers", stage, known)
    if not stages:
        raise TensorMoEError("layers", layers, f"choose some of {', '.join(known)}")
    names = frozenset(str(stage) for stage in stages)
    together = _list_experts(experts)
    if any(isinstance(each, Set) for each in together):
        return Sets(levels, tuple(_read_set(each, sizes) for each in together), names, mode == RENORMALIZE)
    return Ablations(levels, _read_numbers(experts, sizes), names, mode == RENORMALIZE)


def _list_experts(experts: Any) -> Sequence[Any]:
    """The ablations that are asked for; none where these are all."""
    if isinstance(experts, Set):
        return [experts]
    return list(experts) if is_listed(experts) else []


def _read_set(experts: Any, sizes: tuple[int, ...]) -> frozenset[Place]:
    """Experts that are ablated together."""
    members = list(experts) if isinstance(experts, Set) else [experts]
    if not members:
        raise TensorMoEError("experts", experts, "a set has at least one expert")
    return frozenset(tuple(map(int, read_expert(each, sizes))) for each in members)


def _read_levels(level: int | Sequence[int] | None, count: int) -> tuple[int, ...]:
    if level is None:
        return tuple(range(count))
    levels = tuple(non_negative_integer("level", each) for each in as_tuple(level))
    if not levels or len({*levels}) < len(levels) or max(levels) >= count:
        remedy = f"pass one or several different ones, from 0 to {count - 1}; None for all"
        raise TensorMoEError("level", level, remedy)
    return levels


def _read_numbers(experts: Experts | None, sizes: tuple[int, ...]) -> tuple[NumPyArray, ...]:
    if experts is None:
        count = prod(sizes)
        check_memory("experts", count, "their numbers", 8 * (1 + len(sizes)) * count, host_memory())
        return tuple(np.unravel_index(np.arange(count), sizes))
    several = is_listed(experts) or len(shape_of(experts)) == 2
    listed: Sequence[Any] = list(experts) if several else [experts]  # type: ignore[arg-type]
    if not listed:
        raise TensorMoEError("experts", experts, "pass at least one; None for all")
    chosen = np.array([read_expert(each, sizes) for each in listed])
    return tuple(chosen.T)
