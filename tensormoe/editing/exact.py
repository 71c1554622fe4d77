"""Whether experts' weights are equal, in exact arithmetic on the given floats.

An expert's weight is told from another by uᵀ W v, with vectors of random integers: no weight is multiplied
out, and nothing is rounded. Floats are integers times a power of two. An output's weights for all experts,
and an input's, are told from others in the same way.

Source: Freivalds, "Probabilistic Machines Can Use Less Running Time", 1977; Schwartz, "Fast Probabilistic
Algorithms for Verification of Polynomial Identities", 1980: if two weights differ, they agree there with a
probability of at most k / 2^64 for k vectors.
"""

from collections.abc import Mapping
from math import prod
from secrets import randbits
from typing import Any

import numpy as np

from ..layers.rows import with_rows
from ..layers.stage import Stage
from ..memory import check_memory, host_memory
from ..networks.network import Network
from ..networks.notation import INPUT, OUTPUT, expert_modes
from ..programs.contraction import Contraction, Operand
from ..programs.plan import plan
from ..typing import NumPyArray
from ..verification.arithmetic.residues import ResidueOps

BITS = 64
# Bytes of one of Python's integers of some hundred bits, and of what points to it.
_INTEGER = 80

Cores = Mapping[str, NumPyArray]
Side = tuple[Stage, Cores]


class IntegerOps(ResidueOps):
    """The same operations on integers without a modulus."""

    def from_numpy(self, array: Any) -> Any:
        return np.asarray(array, dtype=object)


def changed_experts(before: Side, after: Side) -> NumPyArray:
    """Where the weights of experts differ, (N1, …, NE) of bool.

    Args:
        before, after: layers of the same sizes, whatever their factorizations, with their cores in float64.
    """
    return _compare(before, after, expert_modes(before[0].levels))


def changed_inputs(before: Side, after: Side) -> NumPyArray:
    """The inputs, and the bias at last, whose weights differ for any expert, (I[+1],) of bool."""
    return _compare(before, after, (INPUT,))


def changed_outputs(before: Side, after: Side) -> NumPyArray:
    """The outputs whose weights differ for any expert, (O,) of bool."""
    return _compare(before, after, (OUTPUT,))


def _compare(before: Side, after: Side, kept: tuple[str, ...]) -> NumPyArray:
    """Where weights differ along some modes, for any number of the others."""
    network, rows = before[0].network, max(stage.rows for stage, _ in (before, after))
    sizes = dict(zip(network.modes, network.weight_shape, strict=True)) | {INPUT: rows}
    vectors = {mode: _draw(sizes[mode]) for mode in network.modes if mode not in kept}
    (ours, exponent), (theirs, other) = (_probe(*each, vectors, kept, rows) for each in (before, after))
    least = min(exponent, other)
    different: NumPyArray = (ours << exponent - least) != (theirs << other - least)
    return np.asarray(different, dtype=bool)


def _draw(size: int) -> NumPyArray:
    return np.array([randbits(BITS) for _ in range(size)], dtype=object)


def _probe(
    stage: Stage, cores: Cores, vectors: Cores, kept: tuple[str, ...], rows: int
) -> tuple[NumPyArray, int]:
    """The weight times vectors, as integers, and the exponent of the power of two that multiplies all."""
    network, cores = with_rows(stage.network, cores, rows)
    needed = _INTEGER * (network.num_parameters + network.num_fixed)
    check_memory("layer", str(network), "exact values of its cores", needed, host_memory())
    terms = [_probe_term(term, cores, vectors, kept) for term in network.terms]
    least = min(exponent for _, exponent in terms)
    total = np.zeros([network.sizes[mode] for mode in kept], dtype=object)
    for values, exponent in terms:
        total = total + (values << exponent - least)
    return total, least


def _probe_term(term: Network, cores: Cores, vectors: Cores, kept: tuple[str, ...]) -> tuple[NumPyArray, int]:
    integers = [_split(cores[core.name]) for core in term.cores]
    # The term has the same matrix for all experts of a level that it does not carry.
    held = {mode for core in term.cores for mode in core.indices}
    given = {mode: vector for mode, vector in vectors.items() if mode in held}
    times = prod(int(vector.sum()) for mode, vector in vectors.items() if mode not in held)
    operands = [Operand(f"vector of {mode}", (mode,)) for mode in given]
    operands += [Operand(core.name, core.indices) for core in term.unshare().cores]
    carried = tuple(mode for mode in kept if mode in held)
    contraction = Contraction(tuple(operands), carried, tuple(term.sizes.items()))
    program = plan(contraction, 1).program
    values = [*given.values(), *(values for values, _ in integers)]
    result = np.asarray(program.run(IntegerOps(), values), dtype=object)
    shape = [term.sizes[mode] if mode in carried else 1 for mode in kept]
    return times * result.reshape(shape), sum(exponent for _, exponent in integers)


def _split(array: NumPyArray) -> tuple[NumPyArray, int]:
    """Integers and the exponent of a power of two, whose products are the floats."""
    fractions, exponents = np.frexp(array)
    # Of a float64, 53 bits are all that count.
    mantissas = np.ldexp(fractions, 53).astype("int64")
    nonzero = mantissas != 0
    least = int(exponents[nonzero].min()) if nonzero.any() else 0
    shifts = np.where(nonzero, exponents - least, 0)
    integers: NumPyArray = np.left_shift(mantissas.astype(object), shifts.astype(object))
    return integers, least - 53
