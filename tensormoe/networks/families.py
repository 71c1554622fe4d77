"""The named factorizations, and the one that takes any notation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from ..codec import Data
from ..errors import TensorMoEError, mapping, positive_integer
from ..typing import Array
from .factorization import Factorization
from .fixed import Fixed, fill_fixed, read_all_fixed
from .habits import explain
from .identities import check_identities, drop_identities
from .network import Network
from .notation import Indices, Notation, expert_modes, is_mode, modes


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


@dataclass(frozen=True, init=False)
class TensorNetwork(Factorization):
    """Any factorization, in one line of index notation.

    Cores are separated by commas, the indices of a core by spaces. The modes are `i` (input), `o` (output)
    and `n` (experts), or `n1`, `n2`, … with several expert levels; every other name is a bond: it is summed
    over, and its size is a keyword argument. A bond may join any number of cores (a hyperedge). With several
    levels, a core written with `n` is repeated for each of them. By default, parameter matching grows the
    last bond in the notation.

    A name before a colon names a core, and the same name again is the same core: in `A: i r, A: o r` one
    parameter is used twice. It is counted, drawn and saved once, and its gradient is the sum over its uses.

    A named core may be fixed: it is not trained, and not counted among the parameters. Its values follow
    from a name, such as "hadamard", or are an array.

    Args:
        notation: the network.
        fixed: the values of fixed cores by name: an array of the core's shape; or "identity", "hadamard",
            "dct", "dft" (the real Fourier basis), "blocks 4" (a mask of ones in 4 diagonal blocks),
            "gaussian", "signs" (1 or −1) and "hash" (one 1 or −1 in each row), the last three with a seed, as
            in "gaussian 7".
        bonds: the size of every bond, by name.

    Raises:
        TensorMoEError: malformed notation, a bond without a size, a size without a bond, a fixed core that
            the notation does not name, values that are not those of a core.

    Examples:
        >>> import tensormoe as tm
        >>> tm.TensorNetwork("n r, i r, o r", r=64)
        TensorNetwork('n r, i r, o r', r=64)
        >>> tm.TensorNetwork("n o, i o")                     # Mixture of Decoders
        TensorNetwork('n o, i o')
        >>> tm.TensorNetwork("n r, A: i r, A: o r", r=4).network((5,), 8, 8).shapes
        {'core1': (5, 4), 'A': (8, 4)}
        >>> mixed = tm.TensorNetwork("H: i q, n q, q o", q=8, fixed={"H": "hadamard"})
        >>> mixed.network((5,), 8, 6).num_parameters        # 5 · 8 + 8 · 6
        88
    """

    text: str
    ranks: tuple[tuple[str, int], ...]
    fixed: tuple[tuple[str, Fixed], ...]

    def __init__(
        self, notation: str, /, *, fixed: Mapping[str, Array | str] | None = None, **bonds: int
    ) -> None:
        parsed = Notation.parse(notation)
        names = parsed.bonds
        for name, size in bonds.items():
            if name not in names:
                unknown = f"unknown bond {name!r}: {notation!r} has no such index"
                unknown += explain(str(notation), bonds, name, names)
                mode = f"{name!r} is a mode, whose size comes from the layer: leave it out"
                raise TensorMoEError(name, size, mode if is_mode(name) else unknown)
        for name in names:
            if name not in bonds:
                remedy = f"bond {name!r} has no size: pass {name}=…; modes are called i, o and n (n1, n2, …)"
                raise TensorMoEError(
                    "notation", notation, remedy + explain(str(notation), bonds, name, bonds)
                )
        sizes = tuple((name, positive_integer(f"bond {name}", bonds[name])) for name in names)
        object.__setattr__(self, "text", str(parsed))
        object.__setattr__(self, "ranks", sizes)
        object.__setattr__(self, "fixed", read_all_fixed(parsed, fixed))

    @classmethod
    def with_sizes(
        cls, notation: str, bonds: Mapping[str, int], fixed: Mapping[str, Array | str] | None = None
    ) -> Self:
        """The network of a notation with the size of every bond in a mapping."""
        if "fixed" in bonds:
            remedy = "this keyword is for fixed cores: call the bond by another name"
            raise TensorMoEError("bond fixed", bonds["fixed"], remedy)
        return cls(notation, fixed=fixed, **bonds)

    def __repr__(self) -> str:
        sizes = "".join(f", {name}={size}" for name, size in self.ranks)
        fixed = f", fixed={dict(self.fixed)}" if self.fixed else ""
        return f"TensorNetwork({self.text!r}{sizes}{fixed})"

    def notation(self, levels: int) -> Notation:
        return self._drop(levels)[0]

    def bonds(self, levels: int) -> dict[str, int]:
        """The size of every bond; those that an identity makes equal are one."""
        renamed = self._drop(levels)[1]
        return {name: size for name, size in self.ranks if name not in renamed}

    def with_bonds(self, bonds: Mapping[str, int]) -> Self:
        given = mapping("bonds", bonds)
        written, square = Notation.parse(self.text), [name for name, each in self.fixed if each.is_identity]
        sizes = {**given}
        for name, size in self.ranks if square else ():
            equal = [given[each] for each in sorted(written.find_tied(name, square)) if each in given]
            sizes.setdefault(name, equal[0] if equal else size)
        return type(self).with_sizes(self.text, sizes, dict(self.fixed))

    def fixed_cores(self, levels: int) -> dict[str, Fixed]:
        needed = {*self.notation(levels).names}
        return {name: fixed for name, fixed in self.fixed if name in needed}

    def with_fixed(self, arrays: Mapping[str, Array]) -> Self:
        filled = fill_fixed(dict(self.fixed), mapping("arrays", arrays))
        if not arrays:
            return self
        return type(self)(self.text, fixed=filled, **dict(self.ranks))

    def network(
        self, experts: tuple[int, ...], input_size: int, output_size: int, bias: bool = False
    ) -> Network:
        network = super().network(experts, input_size, output_size, bias)
        check_identities(self.text, dict(self.ranks), self._drop(len(network.experts))[1], network)
        return network

    def _drop(self, levels: int) -> tuple[Notation, dict[str, str]]:
        """The notation without identities that are not needed, and the bonds that these rename."""
        written = Notation.parse(self.text).at_levels(levels)
        return drop_identities(written, [name for name, each in self.fixed if each.is_identity])

    def core_names(self, notation: Notation, levels: int) -> tuple[str, ...]:
        return Notation.parse(notation).core_numbers

    def _to_data(self) -> dict[str, Data]:
        data: dict[str, Data] = {"notation": self.text, "bonds": dict(self.ranks)}
        if self.fixed:
            data["fixed"] = {name: each.to_data() for name, each in self.fixed}
        return data

    @classmethod
    def _from_data(cls, data: Mapping[str, object]) -> Self:
        notation, bonds = data.get("notation"), data.get("bonds")
        if {*data} - {"fixed"} != {"notation", "bonds"}:
            raise TensorMoEError(
                cls._what, dict(data), "pass two fields: notation, and bonds with the size of each"
            )
        return cls.with_sizes(notation, mapping("bonds", bonds), data.get("fixed"))  # type: ignore[arg-type]


def _expert_bond(mode: str) -> str:
    """Tucker's bond of an expert mode: p for n, p1 for n1."""
    return mode.replace("n", "p")
