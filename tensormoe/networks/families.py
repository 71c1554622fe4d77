"""The named factorizations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from ..errors import TensorMoEError, mapping, positive_integer
from .factorization import Factorization
from .notation import Indices, Notation, expert_modes, modes


@dataclass(frozen=True)
class CP(Factorization):
    """Canonical polyadic: W[n1 … nE, i, o] = Σ_r Π_e U_e[n_e, r] U_I[i, r] U_O[o, r].

    A good first choice: there is one rank to set, and no core carries two modes. Parameter matching grows
    `rank`, the bond `r`.

    Args:
        rank: R, the number of rank-one terms.

    Source: Oldfield et al., "Multilinear Mixture of Experts: Scalable Expert Specialization through
    Factorization", 2024, the CPμMoE layer.

    Examples:
        >>> import tensormoe as tm
        >>> tm.CP(rank=64).notation(levels=2)
        'n1 r, n2 r, i r, r o'
    """

    rank: int

    def notation(self, levels: int) -> str:
        return ", ".join([*(f"{mode} r" for mode in (*expert_modes(levels), "i")), "r o"])

    def canonical(self, levels: int) -> Notation:
        return Notation(tuple((mode, "r") for mode in modes(levels)))


@dataclass(frozen=True)
class Tucker(Factorization):
    """Tucker: a core tensor with one factor matrix for each mode. Use it to give every mode its own rank.

    Parameter matching grows the input and output ranks together, the bonds `q` and `s`.

    Args:
        ranks: one rank per mode, (R_1, …, R_E, R_I, R_O).

    Examples:
        >>> import tensormoe as tm
        >>> tm.Tucker(ranks=(8, 64, 64)).notation(levels=1)
        'n p, i q, s o, q p s'
    """

    ranks: tuple[int, ...]

    def notation(self, levels: int) -> str:
        factors = [f"{mode} {_expert_bond(mode)}" for mode in expert_modes(levels)]
        core = ["q", *map(_expert_bond, expert_modes(levels)), "s"]
        return ", ".join([*factors, "i q", "s o", " ".join(core)])

    def canonical(self, levels: int) -> Notation:
        bonds = (*map(_expert_bond, expert_modes(levels)), "q", "s")
        return Notation((*zip(modes(levels), bonds, strict=True), bonds))

    def growing_bonds(self, levels: int) -> Indices:
        return ("q", "s")


@dataclass(frozen=True)
class TensorRing(Factorization):
    """Tensor ring: a cycle of cores with two ranks and a mode, one core for each mode.

    Parameter matching grows the last rank, the bond between the input and the output core.

    Args:
        ranks: (R_1, …, R_{E+2}), where R_k enters the k-th core and R_1 also closes the ring.

    Source: Oldfield et al., "Multilinear Mixture of Experts: Scalable Expert Specialization through
    Factorization", 2024, the TRμMoE layer.

    Examples:
        >>> import tensormoe as tm
        >>> tm.TensorRing(ranks=(4, 4, 64)).notation(levels=1)
        'n r1 r2, i r2 r3, r1 r3 o'
    """

    ranks: tuple[int, ...]

    def notation(self, levels: int) -> str:
        *before, last = self.canonical(levels).cores
        cores = [f"{mode} {entering} {leaving}" for entering, mode, leaving in before]
        entering, mode, leaving = last
        return ", ".join([*cores, f"{leaving} {entering} {mode}"])

    def canonical(self, levels: int) -> Notation:
        names = modes(levels)
        following = [*range(2, len(names) + 1), 1]
        pairs = enumerate(zip(names, following, strict=True), start=1)
        return Notation(tuple((f"r{k}", mode, f"r{after}") for k, (mode, after) in pairs))


@dataclass(frozen=True)
class TensorTrain(Factorization):
    """Tensor train: a tensor ring whose closing rank is 1.

    Parameter matching grows the last rank, the bond between the input and the output core.

    Args:
        ranks: the E+1 inner ranks, between neighbouring cores. The outer cores have a rank of 1 at
            their ends: shapes (N1, 1, R_1), …, (1, R_{E+1}, O).

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=5, factorization=tm.TensorTrain(ranks=(4, 3)))
        >>> spec.network.shapes
        {'expert1': (5, 1, 4), 'input': (9, 4, 3), 'output': (1, 3, 6)}
    """

    ranks: tuple[int, ...]

    def notation(self, levels: int) -> str:
        return TensorRing(self.ranks).notation(levels)

    def canonical(self, levels: int) -> Notation:
        return TensorRing(self.ranks).canonical(levels)

    def bonds(self, levels: int) -> dict[str, int]:
        names = Notation.parse(self.notation(levels)).bonds
        self._check_count(self.ranks, len(names) - 1, levels)
        return dict(zip(names, (1, *self.ranks), strict=True))

    def with_bonds(self, bonds: Mapping[str, int]) -> Self:
        closing, *inner = (*mapping("bonds", bonds).values(), None)
        if not inner or positive_integer("bond r1", closing) != 1:
            remedy = "the closing rank r1 of a tensor train is 1: grow another bond, or use TensorRing"
            raise TensorMoEError("bonds", bonds, remedy)
        return type(self)(tuple(inner[:-1]))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Dense(Factorization):
    """The weight tensor itself, without any factorization: a soft MoE.

    Its axes have the order of the weight tensor (N1, …, NE, I[+1], O). If inputs outnumber experts, products
    read the input mode first: `TensorNetwork("i n o")` avoids the copy that the plan shows. Use it as the
    uncompressed baseline.

    Examples:
        >>> import tensormoe as tm
        >>> tm.Dense().notation(levels=2)
        'n1 n2 i o'
    """

    def notation(self, levels: int) -> str:
        return " ".join((*expert_modes(levels), "i", "o"))


def _expert_bond(mode: str) -> str:
    """Tucker's bond of an expert mode: p for n, p1 for n1."""
    return mode.replace("n", "p")
