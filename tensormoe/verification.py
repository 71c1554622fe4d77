"""Verification: the implicit computation against the materialized soft MoE, on every backend.

The reference is NumPy's own einsum in float64: it shares no code with planning, lowering or any framework's
automatic differentiation.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from .backend import get_backend
from .errors import TensorMoEError, non_negative_integer, positive_integer
from .initialization import NumPyArray, initialize
from .layer import apply, materialize
from .layer_spec import MuMoESpec
from .reference import Reference
from .report import table
from .spec import Spec

TOLERANCE = 1e-12
_LARGEST_WEIGHT = 2**26


@dataclass(frozen=True)
class Check:
    """One comparison.

    Args:
        backend: which backend was compared, or two as "torch = numpy".
        quantity: what was compared.
        error: the largest absolute difference, relative to the reference's largest entry; a quantity of
            several arrays, such as the gradients of all cores, counts as one.
        tolerance: the largest error that passes.
    """

    backend: str
    quantity: str
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance; a NaN is not."""
        return self.error <= self.tolerance


@dataclass(frozen=True)
class Report:
    """What `verify` found; prints as a table."""

    spec: Spec
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every comparison is within its tolerance."""
        return all(check.passed for check in self.checks)

    def __str__(self) -> str:
        rows = [
            (c.backend, c.quantity, f"{c.error:.1e}", f"{c.tolerance:.0e}", "pass" if c.passed else "FAIL")
            for c in self.checks
        ]
        held = sum(check.passed for check in self.checks)
        verdict = f"gate: {self.spec.gate.steps}\n{held} of {len(rows)} comparisons hold"
        return table(("backend", "quantity", "error", "tolerance", ""), rows, text_columns=2) + f"\n{verdict}"


def verify(
    spec: Spec, backends: Sequence[str] = ("numpy", "torch", "jax"), seed: int = 0, tokens: int = 5
) -> Report:
    """Compare a spec's implicit computation with the materialized soft MoE, in float64.

    For each layer and backend: the materialized weight, the output, and the gradients with respect to
    the input, the coefficients and every core, at random values. Then across backends, for the whole spec
    with its gate in training: the output, the coefficients, the running statistics and, where there is
    automatic differentiation, the gradients. A gate's noise is left out.

    Args:
        spec: a layer or a block.
        backends: names, each of which must be installed.
        seed: of the random values.
        tokens: the number of input vectors.

    Returns:
        A report, with `.passed` and a table as its text.

    Raises:
        TensorMoEError: an unknown or missing backend, or a weight tensor too large to materialize.

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=(4, 3), factorization=tm.CP(rank=5))
        >>> tm.verify(spec, backends=("numpy",)).passed
        True
    """
    if isinstance(backends, str) or not backends:
        raise TensorMoEError("backends", backends, 'pass names, such as ("numpy", "torch")')
    tokens, seed = positive_integer("tokens", tokens), non_negative_integer("seed", seed)
    for layer in spec.layers.values():
        _check_size(layer)
    objects = {name: get_backend(name) for name in backends}
    generator = np.random.default_rng(seed)
    checks = []
    for prefix, layer in spec.layers.items():
        label = "" if prefix == "cores" else f"{prefix} layer, "
        reference = Reference(layer, generator, tokens)
        for name, tl in objects.items():
            with tl.double_precision():
                checks += list(_layer_checks(name, tl, reference, label))
    checks += list(_cross_checks(spec, objects, generator, seed, tokens))
    return Report(spec, tuple(checks))


def _check_size(layer: MuMoESpec) -> None:
    shape = layer.network.weight_shape
    if prod(shape) > _LARGEST_WEIGHT:
        raise TensorMoEError(
            "spec",
            shape,
            f"its weight tensor has {prod(shape):,} elements, more than the {_LARGEST_WEIGHT:,} that are "
            "materialized for comparison: verify the same factorization at smaller sizes, such as "
            "spec.replace(in_features=16, out_features=12, experts=(4, 3))",
        )


def _layer_checks(name: str, tl: Any, reference: Reference, label: str) -> Iterator[Check]:
    layer = reference.layer
    values = [reference.x, *reference.coefficients, *reference.cores]
    arrays = [tl.from_numpy(value) for value in values]
    cotangent = tl.from_numpy(reference.cotangent)
    first_core = 1 + layer.levels
    cores = dict(zip(layer.network.shapes, arrays[first_core:], strict=True))
    program = layer.default_plan.program

    def check(quantity: str, found: Sequence[Any], expected: Sequence[NumPyArray]) -> Check:
        return Check(name, label + quantity, _largest_error(_numpy(tl, found), expected), TOLERANCE)

    yield check("weight", [materialize(layer, cores, backend=tl)], [reference.weight])
    yield check("output", [program.run(tl, arrays)], [reference.y])
    found = tl.gradients(lambda *inputs: program.run(tl, inputs), arrays, cotangent)
    if found is None:
        found = program.vjp(tl, arrays, cotangent)
    expected = reference.gradients
    parts = {"x": slice(0, 1), "coefficients": slice(1, first_core), "cores": slice(first_core, None)}
    for quantity, part in parts.items():
        yield check(f"gradient of {quantity}", found[part], expected[part])


def _cross_checks(
    spec: Spec, objects: Mapping[str, Any], generator: np.random.Generator, seed: int, tokens: int
) -> Iterator[Check]:
    """The whole spec, gate included, on each backend against the first that can do the same."""
    # Each framework draws noise of its own.
    spec = spec.replace(gate=replace(spec.gate, noise=0.0))
    values = _whole_values(spec, generator, seed, tokens)
    references: dict[str, tuple[str, list[NumPyArray]]] = {}
    for name, tl in objects.items():
        with tl.double_precision():
            for quantity, found in _whole(tl, spec, values):
                arrays = _numpy(tl, found)
                first, expected = references.setdefault(quantity, (name, arrays))
                if first != name:
                    yield Check(f"{name} = {first}", quantity, _largest_error(arrays, expected), TOLERANCE)


@dataclass(frozen=True)
class _Values:
    """What a whole spec is computed from and differentiated by."""

    parameters: dict[str, NumPyArray]
    state: dict[str, NumPyArray]
    x: NumPyArray
    cotangent: NumPyArray
    previous: list[NumPyArray] | None


def _whole_values(spec: Spec, generator: np.random.Generator, seed: int, tokens: int) -> _Values:
    initial, state = initialize(spec, seed, "float64")
    clusters = spec.gate.router.previous_experts(spec.counts)
    return _Values(
        # At the initial values some gradients vanish, which compares rounding errors with each other.
        {name: value + generator.normal(size=value.shape) / 4 for name, value in initial.items()},
        state,
        generator.normal(size=(tokens, spec.in_features)),
        generator.normal(size=(tokens, spec.out_features)),
        None if clusters is None else [generator.dirichlet(np.ones(k), size=tokens) for k in clusters],
    )


def _whole(tl: Any, spec: Spec, values: _Values) -> Iterator[tuple[str, Sequence[Any]]]:
    fixed = {name: tl.from_numpy(value) for name, value in values.state.items()}
    previous = values.previous and [tl.from_numpy(value) for value in values.previous]
    inputs = [tl.from_numpy(value) for value in (values.x, *values.parameters.values())]

    def run(state: Mapping[str, Any], x: Any, *parameters: Any) -> Any:
        given = dict(zip(values.parameters, parameters, strict=True))
        return apply(
            spec,
            given,
            x,
            state=state,
            training=True,
            return_coefficients=True,
            previous=previous,
            backend=tl,
        )

    # By the second call running statistics have something in them.
    _, moved = run(fixed, *inputs)
    (y, coefficients), moved_on = run(moved, *inputs)
    yield "output with gate", [y]
    yield "coefficients", coefficients
    if moved_on:
        yield "running statistics", list(moved_on.values())
    cotangent = tl.from_numpy(values.cotangent)
    gradients = tl.gradients(lambda *arrays: run(moved, *arrays)[0][0], inputs, cotangent)
    if gradients is not None:
        yield "gradient of x with gate", gradients[:1]
        yield "gradient of parameters", gradients[1:]


def _numpy(tl: Any, arrays: Sequence[Any]) -> list[NumPyArray]:
    return [np.asarray(tl.to_numpy(array)) for array in arrays]


def _largest_error(found: Sequence[NumPyArray], expected: Sequence[NumPyArray]) -> float:
    """The largest difference over all arrays, relative to the largest entry expected in any."""
    if [value.shape for value in found] != [value.shape for value in expected]:
        return float("inf")
    scale = max(float(np.max(np.abs(value))) for value in expected) or 1.0
    errors = [float(np.max(np.abs(a - b))) for a, b in zip(found, expected, strict=True)]
    # Not max(), which passes over a NaN.
    return float(np.max(errors)) / scale
