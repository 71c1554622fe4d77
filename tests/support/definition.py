"""The oracle: the soft MoE by its definition, in NumPy and float64.

It knows nothing of planning or lowering. The weight tensor is one einsum of the cores, the output one einsum
of that tensor. Both are linear in each operand, so a gradient is the same sum with the cotangent in the
operand's place.
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
    letters = dict(zip(network.sizes, string.ascii_letters, strict=False))
    terms = ["".join(letters[index] for index in core.indices) for core in network.cores]
    modes = "".join(letters[index] for index in network.modes)
    cores = [np.asarray(core, "float64") for core in values.cores]
    weight = _einsum(terms, modes, cores)

    one = np.ones((len(values.x), int(spec.bias)))
    operands = [weight, *values.coefficients, np.concatenate([values.x, one], axis=1)]
    mixed = [modes, *(f"Z{mode}" for mode in modes[:-1])]
    y = _einsum(mixed, f"Z{modes[-1]}", operands)
    of_weight, *of_coefficients, of_z = _gradients(mixed, f"Z{modes[-1]}", operands, values.cotangent)
    of_cores = _gradients(terms, modes, cores, of_weight)
    return Truth(weight, y, [of_z[:, : spec.in_features], *of_coefficients, *of_cores])


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
