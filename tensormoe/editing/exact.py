"""Whether experts' weights are equal, in exact arithmetic on the given floats.

An expert's weight is told from another by uᵀ W v, with vectors of random integers: no weight is multiplied
out, and nothing is rounded. Floats are integers times a power of two.

Source: Freivalds, "Probabilistic Machines Can Use Less Running Time", 1977; Schwartz, "Fast Probabilistic
Algorithms for Verification of Polynomial Identities", 1980: if two weights differ, they agree there with a
probability of at most 2 / 2^64.
"""

from collections.abc import Mapping
from secrets import randbits
from typing import Any

import numpy as np

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


class IntegerOps(ResidueOps):
    """The same operations on integers without a modulus."""

    def from_numpy(self, array: Any) -> Any:
        return np.asarray(array, dtype=object)


def changed_experts(before: tuple[Stage, Cores], after: tuple[Stage, Cores]) -> NumPyArray:
    """Where the weights of experts differ, (N1, …, NE) of bool.

    Args:
        before, after: layers of the same sizes, whatever their factorizations, with their cores in float64.
    """
    stage, _ = before
    u, v = (_draw(size) for size in (stage.in_features + stage.bias, stage.out_features))
    (ours, exponent), (theirs, other) = (_probe(*each, u, v) for each in (before, after))
    least = min(exponent, other)
    different: NumPyArray = (ours << exponent - least) != (theirs << other - least)
    return np.asarray(different, dtype=bool)


def _draw(size: int) -> NumPyArray:
    return np.array([randbits(BITS) for _ in range(size)], dtype=object)


def _probe(stage: Stage, cores: Cores, u: NumPyArray, v: NumPyArray) -> tuple[NumPyArray, int]:
    """For each expert, uᵀ W v as an integer, and the exponent of the power of two that multiplies all."""
    network = stage.network
    needed = _INTEGER * network.num_parameters
    check_memory("layer", str(network), "exact values of its cores", needed, host_memory())
    terms = [_probe_term(term, cores, u, v) for term in network.terms]
    least = min(exponent for _, exponent in terms)
    total = np.zeros(stage.experts, dtype=object)
    for values, exponent in terms:
        total = total + (values << exponent - least)
    return total, least


def _probe_term(term: Network, cores: Cores, u: NumPyArray, v: NumPyArray) -> tuple[NumPyArray, int]:
    integers = [_split(cores[core.name]) for core in term.cores]
    operands = [Operand("u", (INPUT,)), Operand("v", (OUTPUT,))]
    operands += [Operand(core.name, core.indices) for core in term.cores]
    modes = expert_modes(term.levels)
    carried = tuple(mode for mode in modes if mode in term.carried_modes)
    contraction = Contraction(tuple(operands), carried, tuple(term.sizes.items()))
    program = plan(contraction, 1).program
    result = np.asarray(program.run(IntegerOps(), [u, v, *(values for values, _ in integers)]), dtype=object)
    shape = [term.sizes[mode] if mode in carried else 1 for mode in modes]
    return result.reshape(shape), sum(exponent for _, exponent in integers)


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
