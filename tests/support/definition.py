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
from tensormoe.networks.network import Network
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
        # A mode in parts is 1 where they number its value, the first part by the largest steps.
        parts, made = _make_up(network, letters, sizes, "".join(indices))
        lacking, constants = _without([*parts], lacking, constants)
        # A term without a row for biases is in the others.
        rows, some = letters["rows"], np.eye(sizes[modes[-2]])[: network.input_size]
        inner = [core.replace(modes[-2], rows) for core in indices]
        outer = [modes[-2] + rows] if modes[-2] not in lacking and modes[-2] not in parts else []
        terms.append(
            (
                [*inner, *lacking, *outer, *parts.values()],
                [*cores, *constants, *([some.T] if outer else []), *made],
                len(cores),
            )
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


def _make_up(
    network: Network, letters: dict[str, str], sizes: dict[str, int], carried: str
) -> tuple[dict[str, str], list[Any]]:
    """For each mode of which a term carries parts: its indices with them, and what is 1 where they belong."""
    indices, arrays = {}, []
    for split in network.splits:
        mode = letters[split.mode]
        if letters[split.parts[0]] in carried:
            numbers = np.arange(np.prod(split.sizes)).reshape(split.sizes)
            indices[mode] = mode + "".join(letters[part] for part in split.parts)
            arrays.append(1.0 * (np.arange(sizes[mode]).reshape(-1, *[1] * len(split.sizes)) == numbers))
            # Padding has numbers beyond the mode's, and a bias a row beyond those.
            arrays[-1][network.sizes[split.mode] :] = 0
    return indices, arrays


def _without(left: list[str], lacking: list[str], constants: list[Any]) -> tuple[list[str], list[Any]]:
    """What a term lacks, and the constants for it, without some modes."""
    kept = [(mode, each) for mode, each in zip(lacking, constants, strict=True) if mode not in left]
    return [mode for mode, _ in kept], [each for _, each in kept]


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
