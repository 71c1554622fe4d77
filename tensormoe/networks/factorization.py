"""What a factorization is: notation, and the size of every bond. Everything else derives from these two."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from ..codec import Registered
from ..errors import TensorMoEError, as_tuple, is_listed, mapping, positive_integer, true_or_false
from ..typing import Array
from .fields import bond_fields, change_sizes, check_order, read_fields, read_sizes, split_fields
from .fixed import Fixed, choose_free, fill_fixed
from .network import Core, Network, check_bonds, check_shapes, name_cores
from .notation import Indices, Notation, is_mode, read_experts, sum_of
from .splits import Split, check_level, check_sizes, whole_names


@dataclass(frozen=True)
class Factorization(Registered, ABC):
    """Base of all factorizations. To add a family, write a frozen dataclass that returns its notation.

    Its fields hold the bonds' sizes, integers or tuples of integers, in the order in which the bonds
    first appear in the notation; `bonds` and `with_bonds` may be overridden for another order. A field named
    `i`, `o` or `n` that is a tuple splits that mode into parts of these sizes; a bool is a choice, and one
    named `pad` says whether the parts may make up more than the mode has. It then serializes, plans, runs,
    initializes and verifies like every other family. The order of a core's indices is the order of its axes
    in memory; if a product reads another order, the plan says which.

    Examples:
        A mixture of low-rank experts, each with its own pair of matrices:

        >>> from dataclasses import dataclass
        >>> import tensormoe as tm
        >>> @dataclass(frozen=True)
        ... class LowRankPairs(tm.Factorization):
        ...     rank: int
        ...     def notation(self, levels):
        ...         experts = " ".join(tm.expert_modes(levels))
        ...         return f"{experts} i r, {experts} r o"
        >>> spec = tm.MuMoESpec(8, 6, experts=(3, 2), factorization=LowRankPairs(rank=4))
        >>> print(spec.network)
        n1 n2 i r, n1 n2 r o
    """

    _what = "factorization"

    def __post_init__(self) -> None:
        for name, value in read_fields(self).items():
            object.__setattr__(self, name, value)

    @abstractmethod
    def notation(self, levels: int) -> str | Notation:
        """The network in index notation for a layer with `levels` expert levels."""

    def canonical(self, levels: int) -> Notation:
        """The same network with each core's indices in the literature's order; by default the notation's.

        Initial values are drawn in this order, regardless of the order in memory. The named families use
        TensorLy's order, which `tm.from_tensorly` and `tm.to_tensorly` translate.
        """
        return Notation.parse(self.notation(levels)).for_levels(levels)

    def splits(self) -> tuple[Split, ...]:
        """The modes that the notation carries in parts, from the fields named after them."""
        given = {field.name: getattr(self, field.name) for field in split_fields(type(self))}
        pad = self.arguments.get("pad") is True
        return tuple(Split.of(mode, sizes, pad) for mode, sizes in given.items() if sizes)

    def bonds(self, levels: int) -> dict[str, int]:
        """The size of every bond by name, in order of first appearance in the notation.

        Raises:
            TensorMoEError: the number of sizes differs from the number of bonds, or a field named after one
                bond would set the size of another.
        """
        names = Notation.parse(self.notation(levels)).bonds
        sizes = read_sizes(self)
        self._check_count(sizes, len(names), levels)
        check_order(self, names)
        return dict(zip(names, sizes, strict=True))

    def with_bonds(self, bonds: Mapping[str, int]) -> Self:
        """The same family with these bond sizes, given as `bonds` returns them."""
        sizes = tuple(mapping("bonds", bonds).values())
        if len(sizes) != len(read_sizes(self)):
            remedy = (
                f"pass {len(read_sizes(self))} bond(s) with the size of each, as bonds(levels) returns them"
            )
            raise TensorMoEError("bonds", bonds, remedy)
        return type(self)(**change_sizes(self, self.arguments, sizes))

    def growing_bonds(self, levels: int) -> Indices:
        """The bonds that parameter matching grows together; by default the last one in the notation.

        With it grow all whose sizes shared cores tie to its own. A bond that they tie to a mode can't grow,
        and neither can one of a fixed core of given sizes.
        """
        notation, bonds = Notation.parse(self.notation(levels)).for_levels(levels), tuple(self.bonds(levels))
        free = choose_free(notation, bonds, self.fixed_cores(levels))
        growing = next((group for group in free if not any(map(is_mode, group))), set())
        return tuple(bond for bond in bonds if bond in growing)

    def fixed_cores(self, levels: int) -> dict[str, Fixed]:
        """The cores that are not trained by name, in the notation's order; by default none."""
        return {}

    def with_fixed(self, arrays: Mapping[str, Array]) -> Self:
        """The same with the values of fixed cores, where only digests are known, as after reading JSON.

        Args:
            arrays: by the cores' names; those that this factorization was made with.

        Raises:
            TensorMoEError: a core that is not given as an array, or other values.
        """
        fill_fixed({}, mapping("arrays", arrays))
        return self

    def core_names(self, notation: Notation, levels: int) -> tuple[str, ...]:
        """A name for each core: the notation's; its role where every core has its own; core1, core2, …"""
        return name_cores(Notation.parse(notation).for_levels(levels), levels)

    def __add__(self, other: object) -> "Factorization":
        """The sum of two factorizations."""
        return Sum((self, other)) if isinstance(other, Factorization) else NotImplemented

    def network(
        self, experts: tuple[int, ...], input_size: int, output_size: int, bias: bool = False
    ) -> Network:
        """The network of this factorization at the given mode sizes.

        Args:
            experts: N1, …, NE.
            input_size: rows of the input mode, I or I+1 with a bias.
            output_size: O.
            bias: whether the last of these rows holds biases.

        Raises:
            TensorMoEError: malformed notation, a missing or unexpected mode, a wrong number of bond sizes, a
                bond in only one core, or a shared core whose uses have different shapes.
        """
        experts, bias = read_experts(experts), true_or_false("bias", bias)
        levels, splits = len(experts), self.splits()
        check_level(splits, experts)
        notation = Notation.parse(self.notation(levels)).check_modes(levels, splits)
        bonds = self.bonds(levels)
        check_bonds(notation, bonds)
        names = self.core_names(notation, levels)
        named = tuple(Core(name, core) for name, core in zip(names, notation.cores, strict=True))
        rows, columns = (
            positive_integer("input_size", input_size),
            positive_integer("output_size", output_size),
        )
        fixed = tuple(self.fixed_cores(levels).items())
        counts = notation.counts
        network = Network(named, experts, rows, columns, tuple(bonds.items()), counts, bias, fixed, splits)
        network = network.separate_biases() if bias else network
        check_sizes(splits, network.sizes)
        check_shapes(str(notation), network)
        return network

    def _check_count(self, sizes: tuple[int, ...], count: int, levels: int) -> None:
        if len(sizes) != count:
            also = "; each count in experts is a level, not a layer" if levels > 1 else ""
            listed = ", ".join(field.name for field in bond_fields(type(self))) or "no fields"
            raise TensorMoEError(
                f"{type(self).__name__} {listed}",
                sizes,
                f"with {levels} level(s) of experts this takes {count} rank(s), not {len(sizes)}{also}",
            )


@dataclass(frozen=True, init=False)
class Sum(Factorization):
    """A sum of factorizations: W is the sum of the weight tensors of the terms. Write `a + b`.

    Use it for what all experts share beside what each adds, such as a dense weight with low-rank experts, or
    for a correction beside a trained network. A term without an expert mode is the same for all experts. With
    the gate's coefficients summing to 1, it is an ordinary layer beside the mixture. A term without the input
    mode is a bias.

    From the second term on, names of cores and of bonds end in the term's number: `expert1_2`, `r_2`. By
    default, parameter matching grows the bonds of the first term that has any.

    Args:
        terms: the factorizations, at least two. Sums among them are taken apart.

    Raises:
        TensorMoEError: fewer than two terms, or what is not a factorization.

    Examples:
        >>> import tensormoe as tm
        >>> shared = tm.TensorNetwork("i o") + tm.CP(rank=4)
        >>> spec = tm.MuMoESpec(8, 6, experts=5, factorization=shared, bias=False)
        >>> print(spec.network)
        i o + n r_2, i r_2, r_2 o
        >>> spec.network.shapes
        {'core1': (8, 6), 'expert1_2': (5, 4), 'input_2': (8, 4), 'output_2': (4, 6)}
    """

    terms: tuple[Factorization, ...]

    def __init__(self, terms: Iterable[Factorization]) -> None:
        parts: list[Factorization] = []
        for term in as_tuple(terms):
            if not isinstance(term, Factorization):
                raise TensorMoEError(
                    "terms", term, "pass factorizations, such as (tm.Dense(), tm.CP(rank=4))"
                )
            parts += term.terms if isinstance(term, Sum) else [term]
        if len(parts) < 2:
            raise TensorMoEError("terms", terms, "pass at least two")
        object.__setattr__(self, "terms", tuple(parts))

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.terms))

    def notation(self, levels: int) -> Notation:
        return self._join(levels, [Notation.parse(term.notation(levels)) for term in self.terms])

    def canonical(self, levels: int) -> Notation:
        return self._join(levels, [term.canonical(levels) for term in self.terms])

    def splits(self) -> tuple[Split, ...]:
        return tuple(
            split.name_parts(_number("", number))
            for number, term in enumerate(self.terms, start=1)
            for split in term.splits()
        )

    def bonds(self, levels: int) -> dict[str, int]:
        bonds: dict[str, int] = {}
        for number, term in enumerate(self.terms, start=1):
            bonds |= {_number(name, number): size for name, size in term.bonds(levels).items()}
        return bonds

    def with_bonds(self, bonds: Mapping[str, int]) -> Self:
        named, parts = mapping("bonds", bonds), []
        for number, term in enumerate(self.terms, start=1):
            own = {each: size for each, size in named.items() if self._term_of(str(each)) == number}
            end = _number("", number)
            parts.append(term.with_bonds({str(each).removesuffix(end): size for each, size in own.items()}))
        return type(self)(parts)

    def growing_bonds(self, levels: int) -> Indices:
        growing = [
            tuple(_number(name, number) for name in term.growing_bonds(levels))
            for number, term in enumerate(self.terms, start=1)
        ]
        return next((bonds for bonds in growing if bonds), ())

    def core_names(self, notation: Notation, levels: int) -> tuple[str, ...]:
        return tuple(
            _number(name, number)
            for number, term in enumerate(self.terms, start=1)
            for name in term.core_names(Notation.parse(term.notation(levels)), levels)
        )

    def fixed_cores(self, levels: int) -> dict[str, Fixed]:
        numbered = enumerate((term.fixed_cores(levels) for term in self.terms), start=1)
        return {_number(name, number): each for number, own in numbered for name, each in own.items()}

    def with_fixed(self, arrays: Mapping[str, Array]) -> Self:
        parts, named = [], mapping("arrays", arrays)
        if not named:
            return self
        for number, term in enumerate(self.terms, start=1):
            own = [name for name in named if self._term_of(name) == number]
            end = _number("", number)
            parts.append(term.with_fixed({name.removesuffix(end): named[name] for name in own}))
        return type(self)(parts)

    def _term_of(self, name: str) -> int:
        """The number of the term that a bond or a core belongs to."""
        numbers = range(2, len(self.terms) + 1)
        return next((number for number in numbers if name.endswith(_number("", number))), 1)

    def _join(self, levels: int, notations: Sequence[Notation]) -> Notation:
        """One notation; the bonds, the parts of modes and the names of each term have its number."""
        numbered = [*enumerate((each.for_levels(levels) for each in notations), start=1)]
        parts = [whole_names(term.splits()) for term in self.terms]

        def rename(index: str, number: int) -> str:
            own = index in parts[number - 1] or not is_mode(index)
            return _number(index, number) if own else index

        joined = sum_of(
            [
                [tuple(rename(each, number) for each in core) for core in cores]
                for number, notation in numbered
                for cores in notation.terms
            ]
        )
        names = tuple(
            name and _number(name, number)
            for number, notation in numbered
            for name in notation.name_cores([""] * len(notation.cores))
        )
        return replace(joined, names=names) if any(names) else joined

    @classmethod
    def _from_data(cls, data: Mapping[str, object]) -> Self:
        if set(data) != {"terms"} or not is_listed(data["terms"]):
            raise TensorMoEError(cls._what, dict(data), "pass one field: terms, a list of factorizations")
        return cls([Factorization.from_dict(term) for term in as_tuple(data["terms"])])


def _number(name: str, term: int) -> str:
    """A name of a term's own, told from the first term's by the number at its end."""
    return name if term == 1 else f"{name}_{term}"
