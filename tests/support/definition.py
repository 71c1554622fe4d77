"""The oracle: the soft MoE by its definition, in NumPy and float64.

It knows nothing of planning or lowering. The weight tensor is one einsum of the cores, or of each term's in a
sum; the output is one einsum of that tensor. Both are linear in each operand, so a gradient is the same sum
with the cotangent in the operand's place. The gradient of a core that is used several times is the sum over
its uses.
"""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import tensormoe as tm
from tensormoe.testing import Inputs


@dataclass(frozen=True)
class Truth:
    """What the definition says: the weight tensor, the output, and the gradient of each operand."""

    weight: Any
    y: Any
    gradients: list[Any]


def truth(spec: tm.MuMoESpec, values: Inputs) -> Truth:
    """The materialized soft MoE and its gradients."""
    network = spec.network
    letters = dict(zip([*network.sizes, "rows"], string.ascii_letters, strict=False))
    modes = "".join(letters[index] for index in network.modes)
    sizes = dict(zip(modes, network.weight_shape, strict=True))
    terms, following = [], iter(values.cores)
    arrays: dict[str, Any] = {}
    names: list[str] = []
    for part in str(network).split(" + "):
        own = [core.rpartition(": ") for core in part.split(", ")]
        indices = ["".join(letters[index] for index in core.split()) for _, _, core in own]
        names += [name or f"{len(names) + place}" for place, (name, _, _) in enumerate(own)]
        for name in names[-len(own) :]:
            if name not in arrays:
                arrays[name] = np.asarray(next(following), "float64")
        cores = [arrays[name] for name in names[-len(own) :]]
        # A mode that no core of a term carries runs over ones, but a bias is in the last row of the input's.
        lacking = [mode for mode in modes if not any(mode in core for core in indices)]
        constants = [np.eye(1, n, n - 1)[0] if m == modes[-2] else np.ones(n) for m, n in sizes.items()]
        constants = [constant for mode, constant in zip(sizes, constants, strict=True) if mode in lacking]
        # A term without a row for biases is in the others.
        rows, some = letters["rows"], np.eye(sizes[modes[-2]])[: network.input_size]
        inner = [core.replace(modes[-2], rows) for core in indices]
        outer = [modes[-2] + rows] if modes[-2] not in lacking else []
        terms.append(
            ([*inner, *lacking, *outer], [*cores, *constants, *([some.T] if outer else [])], len(cores))
        )
    weight = sum(_einsum(indices, modes, cores) for indices, cores, _ in terms)

    one = np.ones((len(values.x), network.weight_shape[-2] - spec.in_features))
    operands = [weight, *values.coefficients, np.concatenate([values.x, one], axis=1)]
    mixed = [modes, *(f"Z{mode}" for mode in modes[:-1])]
    y = _einsum(mixed, f"Z{modes[-1]}", operands)
    of_weight, *of_coefficients, of_z = _gradients(mixed, f"Z{modes[-1]}", operands, values.cotangent)
    of_cores = [
        gradient
        for indices, cores, own in terms
        for gradient in _gradients(indices, modes, cores, of_weight)[:own]
    ]
    of_arrays = [
        sum(gradient for other, gradient in zip(names, of_cores, strict=True) if other == name)
        for name in arrays
    ]
    return Truth(weight, y, [of_z[:, : spec.in_features], *of_coefficients, *of_arrays])


def _gradients(terms: list[str], result: str, operands: list[Any], cotangent: Any) -> list[Any]:
    """The gradient of each operand of an einsum."""
    return [
        _einsum(
            [*terms[:k], *terms[k + 1 :], result, *term],
            term,
            # An index that no other operand has runs over ones.
            [*operands[:k], *operands[k + 1 :], cotangent, *map(np.ones, operands[k].shape)],
        )
        for k, term in enumerate(terms)
    ]


def _einsum(terms: Sequence[str], result: str, operands: Sequence[Any]) -> Any:
    # In pairs: a sum over all indices at once would take seconds.
    return np.einsum(f"{','.join(terms)}->{result}", *operands, optimize="greedy")
