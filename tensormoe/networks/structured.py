"""Families of structured matrices: networks of the parts of the input and of the output."""

from dataclasses import dataclass

from ..errors import TensorMoEError
from .factorization import Factorization
from .notation import expert_modes


@dataclass(frozen=True)
class Kronecker(Factorization):
    """A sum of Kronecker products: W[n] = Σ_r A[n, r] ⊗ B[n, r] ⊗ …, one factor for each part of i and o.

    Use it where few parameters matter most: a factor has the product of one part's sizes. Parameter matching
    grows `rank`, the bond `r`.

    Args:
        i: the sizes of the input's parts, whose product is I.
        o: the sizes of the output's parts, as many, whose product is O.
        rank: R, the number of products.
        shared: whether all experts share the factors, and weigh the products by a core (N, R); by default
            each expert has its own.
        pad: whether the parts may make up more than I and O, and zeros are put beyond these.

    Source: Thakker et al., "Compressing RNNs for IoT Devices by 15-38x Using Kronecker Products", 2019; as
    experts: Edalati et al., "KronA: Parameter-Efficient Tuning with Kronecker Adapter", 2022, for adapters.

    Examples:
        >>> import tensormoe as tm
        >>> tm.Kronecker(i=(24, 32), o=(48, 64)).notation(levels=1)
        'n i1 r o1, n i2 o2 r'
        >>> tm.Kronecker(i=(24, 32), o=(48, 64), rank=8, shared=True).notation(levels=1)
        'n r, r i1 o1, r i2 o2'
    """

    i: tuple[int, ...]
    o: tuple[int, ...]
    rank: int = 1
    shared: bool = False
    pad: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_parts(self, self.i, self.o)

    def notation(self, levels: int) -> str:
        own, first = _experts(levels, self.shared)
        *before, last = range(1, len(self.i) + 1)
        factors = [*(f"{own}i{part} r o{part}" for part in before), f"{own}i{last} o{last} r"]
        if self.shared:
            factors = [f"r i{part} o{part}" for part in (*before, last)]
        return ", ".join([*(f"{mode} r" for mode in first), *factors])


@dataclass(frozen=True)
class Monarch(Factorization):
    """Two block-diagonal matrices with a permutation between: W[n, i, o] = L[n, i1, i2, o1] R[o1, n, i1, o2].

    Use it for experts of full rank with few parameters, as two batched products. It is `BTT` at rank 1; no
    bond grows.

    Args:
        i: the sizes of the input's two parts.
        o: the sizes of the output's two parts.
        shared: whether all experts share both matrices, and differ by a core (N, i1, o1) between them; by
            default each expert has its own.
        pad: whether the parts may make up more than I and O, and zeros are put beyond these.

    Source: Dao et al., "Monarch: Expressive Structured Matrices for Efficient and Accurate Training", 2022.

    Examples:
        >>> import tensormoe as tm
        >>> tm.Monarch(i=(24, 32), o=(48, 64)).notation(levels=1)
        'n i1 i2 o1, o1 n i1 o2'
        >>> tm.Monarch(i=(24, 32), o=(48, 64), shared=True).notation(levels=1)
        'n o1 i1, i1 i2 o1, o1 i1 o2'
    """

    i: tuple[int, ...]
    o: tuple[int, ...]
    shared: bool = False
    pad: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_parts(self, self.i, self.o, 2)

    def notation(self, levels: int) -> str:
        own, first = _experts(levels, self.shared)
        return ", ".join([*(f"{mode} o1 i1" for mode in first), f"{own}i1 i2 o1", f"o1 {own}i1 o2"])


@dataclass(frozen=True)
class BTT(Factorization):
    """Block tensor train: W[n, i1 i2, o1 o2] = Σ_r L[n, i1, i2, o1, r] R[o1, n, i1, r, o2].

    Use it for structured experts whose cost and rank can be chosen: it holds `Monarch` (rank 1) and dense
    matrices (rank min(i2, o2)). Parameter matching grows `rank`, the bond `r`.

    Args:
        i: the sizes of the input's two parts.
        o: the sizes of the output's two parts.
        rank: R.
        shared: whether all experts share both cores, and differ by a core (N, R) on the bond; by default
            each expert has its own.
        pad: whether the parts may make up more than I and O, and zeros are put beyond these.

    Source: Qiu et al., "Compute Better Spent: Replacing Dense Layers with Structured Matrices", 2024.

    Examples:
        >>> import tensormoe as tm
        >>> tm.BTT(i=(24, 32), o=(48, 64), rank=4).notation(levels=1)
        'n i1 i2 o1 r, o1 n i1 r o2'
        >>> tm.BTT(i=(24, 32), o=(48, 64), rank=4, shared=True).notation(levels=1)
        'n r, i1 r i2 o1, o1 i1 r o2'
    """

    i: tuple[int, ...]
    o: tuple[int, ...]
    rank: int
    shared: bool = False
    pad: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_parts(self, self.i, self.o, 2)

    def notation(self, levels: int) -> str:
        own, first = _experts(levels, self.shared)
        left = "i1 r i2 o1" if self.shared else f"{own}i1 i2 o1 r"
        return ", ".join([*(f"{mode} r" for mode in first), left, f"o1 {own}i1 r o2"])


@dataclass(frozen=True)
class TTMatrix(Factorization):
    """Tensor train of a matrix: W[n, i1 … id, o1 … od] is a product of d cores, the k-th with i_k and o_k.

    Use it for the strongest compression of large layers. Parameter matching grows the last rank.

    Args:
        i: the sizes of the input's d parts.
        o: the sizes of the output's d parts.
        ranks: the d − 1 ranks between neighbouring cores; with `shared`, one more before them.
        shared: whether all experts share the cores, and the train begins with a core (N, R) for each level;
            by default each expert has its own.
        pad: whether the parts may make up more than I and O, and zeros are put beyond these.

    Source: Novikov et al., "Tensorizing Neural Networks", 2015.

    Examples:
        >>> import tensormoe as tm
        >>> tm.TTMatrix(i=(8, 8, 12), o=(8, 16, 24), ranks=(4, 4)).notation(levels=1)
        'n i1 o1 r1, n r1 i2 o2 r2, n r2 i3 o3'
        >>> tm.TTMatrix(i=(24, 32), o=(48, 64), ranks=(8, 4), shared=True).notation(levels=1)
        'n r1, r1 i1 o1 r2, r2 i2 o2'
    """

    i: tuple[int, ...]
    o: tuple[int, ...]
    ranks: tuple[int, ...]
    shared: bool = False
    pad: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_parts(self, self.i, self.o)

    def notation(self, levels: int) -> str:
        own, first = _experts(levels, self.shared)
        count, begin = len(self.i), int(bool(first))
        bonds = [f"r{number}" for number in range(1, count + begin)]
        entering, leaving = ["", *bonds] if not begin else bonds, [*bonds[begin:], ""]
        cores = [
            f"{own}{before} i{part} o{part} {after}"
            for part, (before, after) in enumerate(zip(entering, leaving, strict=True), start=1)
        ]
        cores = [" ".join(core.split()) for core in cores]
        return ", ".join([*(f"{mode} r1" for mode in first), *cores])


@dataclass(frozen=True)
class Butterfly(Factorization):
    """A product of d sparse matrices, each of which replaces one part of the input by one of the output.

    Use it for fast transforms that are learnt: with parts of size 2 it holds the fast Fourier transform's
    factors, up to the order of outputs, at 2 I log2 I parameters. `Monarch` is the one with two parts. Each
    expert has its own matrices; no bond grows.

    Args:
        i: the sizes of the input's d parts.
        o: the sizes of the output's d parts.
        pad: whether the parts may make up more than I and O, and zeros are put beyond these.

    Source: Dao et al., "Learning Fast Algorithms for Linear Transforms Using Butterfly Factorizations", 2019.

    Examples:
        >>> import tensormoe as tm
        >>> tm.Butterfly(i=(2, 2, 2), o=(2, 2, 2)).notation(levels=1)
        'n i1 i2 i3 o1, o1 n i1 i2 o2, o1 o2 n i1 o3'
    """

    i: tuple[int, ...]
    o: tuple[int, ...]
    pad: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_parts(self, self.i, self.o)

    def notation(self, levels: int) -> str:
        own, _ = _experts(levels, shared=False)
        numbers = range(1, len(self.i) + 1)
        cores = []
        for step in numbers:
            done = [f"o{number}" for number in numbers[: step - 1]]
            left = [f"i{number}" for number in numbers[: len(numbers) + 1 - step]]
            cores.append(" ".join([*done, *own.split(), *left, f"o{step}"]))
        return ", ".join(cores)


def _experts(levels: int, shared: bool) -> tuple[str, tuple[str, ...]]:
    """What each core begins with where experts have their own; otherwise the modes of the cores before."""
    modes = expert_modes(levels)
    return ("", modes) if shared else ("".join(f"{mode} " for mode in modes), ())


def _check_parts(
    family: Factorization, inputs: tuple[int, ...], outputs: tuple[int, ...], count: int = 0
) -> None:
    """Reject another number of parts of the output than of the input."""
    name = type(family).__name__
    if len(inputs) != len(outputs) or len(inputs) < 2 or (count and len(inputs) != count):
        wanted = "two sizes" if count else "two or more sizes"
        remedy = f"pass {wanted} for i, and as many for o"
        raise TensorMoEError(f"{name} i, o", (inputs, outputs), remedy)
