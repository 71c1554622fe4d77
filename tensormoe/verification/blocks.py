"""The floating-point method of blocks: all layers and what is between them, at given coefficients.

The error is carried through the block: what comes in is multiplied by absolute values of the cores, and each
layer adds the rounding of its own program. In half precision, the input's norm is computed in float32.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays.backend import Backend
from ..arrays.protocols import Nonlinearity
from ..layers.functional import mix
from ..layers.parameters import name_core
from ..layers.spec import Spec
from ..layers.stage import Stage
from ..typing import NumPyArray
from .arithmetic.rounding import UNITS, Counted, CountingOps, Precision
from .attempt import guard, step
from .floating import largest, round_to
from .inputs import real_inputs
from .reference.gate import normalize
from .reference.layer import contract_stage, pointwise
from .reference.routers import Bounded
from .report import Check

# The input's mean in standard deviations, which a norm in half precision would not subtract well.
_OFFSET = 64.0
# The largest slope of a nonlinearity, except that of a square; and the roundings of one, each of at most the
# size of its argument or of its value.
_SLOPE, _ROUNDINGS = 1.13, 8


@dataclass(frozen=True)
class _Given:
    """Inputs of a block by name, and the coefficients, in float64."""

    x: NumPyArray
    coefficients: list[NumPyArray]
    parameters: dict[str, NumPyArray]

    def round_to(self, dtype: str) -> "_Given":
        parameters = {name: round_to(value, dtype) for name, value in self.parameters.items()}
        return _Given(round_to(self.x, dtype), [round_to(a, dtype) for a in self.coefficients], parameters)


def block_checks(
    spec: Spec, objects: Mapping[str, Backend], generator: np.random.Generator, batch_size: int
) -> Iterator[Check]:
    """The output of a block at given coefficients, in every element type of each backend."""
    given = _draw(spec, generator, batch_size)
    for name, ops in objects.items():
        for dtype in ops.float_types:
            subject, precision = f"{name} {dtype}", Precision(dtype, ops.widens_sums)
            compare = _compare(subject, ops, spec, given.round_to(dtype), precision)
            yield from guard("float", compare, subject)


def _draw(spec: Spec, generator: np.random.Generator, batch_size: int) -> _Given:
    stages = {key: real_inputs(stage, generator, batch_size) for key, stage in spec.layers.items()}
    x = first = next(iter(stages.values())).x
    coefficients = max((inputs.coefficients for inputs in stages.values()), key=len)
    parameters: dict[str, NumPyArray] = {}
    for key, inputs in stages.items():
        stage = spec.layers[key]
        names = [name_core(key, stage, name) for name in stage.network.shapes]
        # What layers share is drawn once.
        own = dict(zip(names, inputs.cores, strict=True)) | _take(parameters, names)
        result = contract_stage(stage, key, own, coefficients, inputs.x)
        # A power of two changes no rounding. Squares and products of results must not overflow.
        for name in [each for each in names if each not in parameters][-1:]:
            own[name] = own[name] * 2.0 ** (1 - round(np.log2(np.max(np.abs(result)))))
        parameters |= own
    if "input_norm.weight" in spec.parameter_shapes:
        parameters |= {"input_norm.weight": first[0], "input_norm.bias": first[-1]}
        x = np.asarray(generator.normal(_OFFSET, size=first.shape))
    if spec.output_bias:
        parameters["output.bias"] = generator.normal(size=spec.out_features)
    return _Given(x, coefficients, parameters)


def _take(parameters: Mapping[str, NumPyArray], names: Sequence[str]) -> dict[str, NumPyArray]:
    return {name: parameters[name] for name in names if name in parameters}


def _compare(subject: str, ops: Backend, spec: Spec, given: _Given, precision: Precision) -> Iterator[Check]:
    with step("float", subject, "block's output"):
        result = _compute(ops, spec, given, precision.dtype)
    x = _normalize(given, precision.dtype)
    *before, (last, stage) = spec.layers.items()
    results = [_carry(stage, key, given, x, precision) for key, stage in before]
    hidden = _bend(spec.between, results[0], precision.dtype)
    for factor in results[1:]:
        hidden = _multiply(hidden, factor, precision.dtype)
    y, bound = _shift(_carry(stage, last, given, hidden, precision), given, precision.dtype)
    if result.shape != y.shape:
        yield Check("float", subject, "block's output", float("inf"), 0.0)
    else:
        yield Check("float", subject, "block's output", *largest(np.abs(result - y), bound))


def _compute(ops: Backend, spec: Spec, given: _Given, dtype: str) -> NumPyArray:
    names = list(given.parameters)

    def run(x: Any, *rest: Any) -> Any:
        coefficients, values = rest[: spec.levels], rest[spec.levels :]
        return mix(spec, dict(zip(names, values, strict=True)), list(coefficients), x, backend=ops)

    with ops.double_precision():
        values = (given.x, *given.coefficients, *given.parameters.values())
        return ops.to_float64(ops.compile(run)(*(ops.from_float64(value, dtype) for value in values)))


def _normalize(given: _Given, dtype: str) -> Bounded:
    """What the first layer sees, and its error."""
    weight, bias = (given.parameters.get(f"input_norm.{name}") for name in ("weight", "bias"))
    if weight is None or bias is None:
        return given.x, np.zeros_like(given.x)
    unit = UNITS[dtype]
    n, error = normalize(given.x, np.zeros_like(given.x), min(unit, UNITS["float32"]), axis=1)
    # Rounded to the type, multiplied and shifted.
    moved = (error + 3 * unit * np.abs(n)) * np.abs(weight) + 2 * unit * np.abs(bias)
    return n * weight + bias, moved * (1 + 8 * unit)


def _bend(function: Nonlinearity | None, incoming: Bounded, dtype: str) -> Bounded:
    """A nonlinearity's result, and its error."""
    x, error = incoming
    size, y = np.abs(x) + error, pointwise(function, x)
    slope = 2 * size if function == "relu2" else _SLOPE
    moved = slope * error
    return y, moved + _ROUNDINGS * UNITS[dtype] * (size + np.abs(y) + moved)


def _multiply(a: Bounded, b: Bounded, dtype: str) -> Bounded:
    """An elementwise product, and its error."""
    (left, off), (right, wrong) = a, b
    moved = off * np.abs(right) + wrong * np.abs(left) + off * wrong
    return left * right, moved + UNITS[dtype] * (np.abs(left * right) + moved)


def _shift(outgoing: Bounded, given: _Given, dtype: str) -> Bounded:
    """The mixture with the block's output bias, if there is one, and its error."""
    bias = given.parameters.get("output.bias")
    if bias is None:
        return outgoing
    mixture, error = outgoing
    y = mixture + bias
    return y, error + UNITS[dtype] * (np.abs(y) + error)


def _carry(stage: Stage, key: str, given: _Given, incoming: Bounded, precision: Precision) -> Bounded:
    """A stage's result, and its error: that of what comes in, and that of the stage's own program."""
    x, error = incoming
    cores = [given.parameters[name_core(key, stage, name)] for name in stage.network.shapes]
    operands = [x, *given.coefficients[: stage.levels], *cores]
    counted = [Counted(value.shape, precision) for value in operands]
    program = stage.program_for(len(x))
    relative = program.run(CountingOps(), counted).bound
    relative += Precision("float64").rounding(sum(value.size for value in cores))
    absolute = {name: np.abs(value) for name, value in given.parameters.items()}

    def contract(parameters: Mapping[str, NumPyArray], values: NumPyArray) -> NumPyArray:
        return contract_stage(stage, key, parameters, given.coefficients, values)

    least, most = contract(absolute, np.abs(x)), contract(absolute, np.abs(x) + error)
    return contract(given.parameters, x), (most - least) + relative * most
