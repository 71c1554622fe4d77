"""A tensor network with every size known: what a factorization becomes inside a layer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING

from ..displays import draw, draw_inline, draw_table
from ..errors import TensorMoEError
from ..typing import NumPyArray
from .fixed import Fixed
from .notation import INPUT, OUTPUT, Indices, Notation, expert_modes, is_mode, modes, split
from .splits import Split, find_carried, part_sizes, whole_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Core:
    """One factor of the weight tensor: a name and its indices, in the order of its axes.

    Factors of one name are one array, which is used more than once.

    Examples:
        >>> import tensormoe as tm
        >>> tm.MuMoESpec(4, 3, experts=5, factorization=tm.CP(rank=2)).network.cores[0]
        Core(name='expert1', indices=('n', 'r'))
    """

    name: str
    indices: Indices

    def __str__(self) -> str:
        return " ".join(self.indices)


@dataclass(frozen=True)
class Network:
    """The factorized weight tensor W (N1, …, NE, I[+1], O), given by its cores and sizes.

    A term without the input mode is a bias: it stands in the last row of W, which multiplies the constant 1.

    Args:
        cores: the factors, in order; a shared core is one for each of its uses.
        experts: N1, …, NE.
        input_size: rows of the input mode: I, or I+1 with a bias.
        output_size: O.
        bonds: each bond with its size (its rank), in order of first appearance.
        counts: how many of the cores each term of a sum has, in order; () if there is only one term.
        bias: whether the last row of the input mode holds biases.
        fixed: the cores that are not trained, by name.
        splits: the modes whose parts some cores carry. Where the input is among them, biases are a term.
        joint: the names of the cores that other layers of a block use, too.

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(4, 3, experts=5, factorization=tm.CP(rank=2), bias=False)
        >>> print(spec.network)
        n r, i r, r o
        >>> spec.network.shapes
        {'expert1': (5, 2), 'input': (4, 2), 'output': (2, 3)}
        >>> spec.network.num_parameters
        24
    """

    cores: tuple[Core, ...]
    experts: tuple[int, ...]
    input_size: int
    output_size: int
    bonds: tuple[tuple[str, int], ...]
    counts: tuple[int, ...] = ()
    bias: bool = False
    fixed: tuple[tuple[str, Fixed], ...] = ()
    splits: tuple[Split, ...] = ()
    joint: Indices = ()

    def __str__(self) -> str:
        named = {*self.shared, *dict(self.fixed)}
        shown = [f"{core.name}: {core}" if core.name in named else str(core) for core in self.cores]
        return " + ".join(map(", ".join, split(shown, self.counts)))

    def draw(self, title: str | None = None) -> "Figure":
        """Draw the network: a circle is a core, a line is an index. See `tensormoe.draw`.

        Args:
            title: of the figure; by default the notation.

        Raises:
            TensorMoEError: the title is not text, or Matplotlib or networkx is missing.

        Examples:
            >>> import tensormoe as tm
            >>> figure = tm.MuMoESpec(4, 3, experts=5, factorization=tm.CP(rank=2)).network.draw()
            >>> figure.get_suptitle()
            'n r, i r, r o'
        """
        return draw(self, title)

    def _repr_html_(self) -> str:
        return draw_inline(self) + self.list_cores()

    def list_cores(self) -> str:
        """A table of the cores as HTML."""
        fixed = dict(self.fixed)
        rows = []
        for name, shape in self.shapes.items():
            uses = ", ".join(str(core) for core in self.cores if core.name == name)
            known = f"{prod(shape):,}{' (fixed)' * (name in fixed)}"
            rows.append((name, uses, " × ".join(f"{size:,}" for size in shape), known))
        return draw_table(("core", "indices", "shape", "elements"), rows, text_columns=2)

    @cached_property
    def terms(self) -> tuple["Network", ...]:
        """The networks whose sum it is; one that lacks an expert mode is the same for all its experts."""
        if not self.counts:
            return (self,)
        return tuple(
            Network(
                term,
                self.experts,
                self.input_size,
                self.output_size,
                tuple(bond for bond in self.bonds if any(bond[0] in core.indices for core in term)),
                bias=self.bias,
                fixed=tuple(each for each in self.fixed if any(core.name == each[0] for core in term)),
                splits=find_carried(self.splits, [core.indices for core in term]),
            )
            for term in split(self.cores, self.counts)
        )

    @cached_property
    def shared(self) -> tuple[str, ...]:
        """The names of the cores that are used more than once."""
        names = [core.name for core in self.cores]
        return tuple(name for name in dict.fromkeys(names) if names.count(name) > 1)

    def unshare(self) -> "Network":
        """The network with a core of its own for each use of a shared one: A, A(2), A(3), …"""
        if not self.shared:
            return self
        names = tell_apart([core.name for core in self.cores])
        cores = tuple(Core(name, core.indices) for name, core in zip(names, self.cores, strict=True))
        fixed, uses = dict(self.fixed), zip(names, self.cores, strict=True)
        every = tuple((name, fixed[core.name]) for name, core in uses if core.name in fixed)
        return replace(self, cores=cores, fixed=every)

    def separate_biases(self) -> "Network":
        """The same with biases in a term of their own if cores carry the input in parts: these have no row.

        Each expert of a level has its own bias for each output, unless some terms are biases already.
        """
        if all(split.mode != INPUT for split in self.splits):
            return self
        whole = replace(self, input_size=self.input_size - 1, bias=False)
        if whole.has_bias_terms:
            return whole
        experts = [*expert_modes(self.levels)]
        biases = [Core(f"bias{number}", (mode, OUTPUT)) for number, mode in enumerate(experts, start=1)]
        if len(experts) < 2:
            biases = [Core("bias", (*experts, OUTPUT))]
        counts = (*(self.counts or [len(self.cores)]), *[1] * len(biases))
        return replace(whole, cores=(*self.cores, *biases), counts=counts)

    @cached_property
    def carried_modes(self) -> Indices:
        """The modes that its cores carry, whole or in parts, in the weight tensor's order."""
        whole = whole_names(self.splits)
        carried = {whole.get(index, index) for core in self.cores for index in core.indices}
        return tuple(mode for mode in self.modes if mode in carried)

    def require_whole_experts(self, remedy: str) -> None:
        """Raise an error if cores carry experts in parts, where what is asked for takes them one by one."""
        for each in self.splits:
            if each.mode in expert_modes(self.levels):
                raise TensorMoEError("factorization", str(self), f"{each} splits {each.mode!r}: {remedy}")

    @cached_property
    def is_bias(self) -> bool:
        """Whether it lacks the input mode, so that it stands in the last row of W alone."""
        return INPUT not in self.carried_modes

    @cached_property
    def has_bias_terms(self) -> bool:
        """Whether some of its terms stand in the last row of W alone."""
        return any(term.is_bias for term in self.terms)

    @property
    def has_bias(self) -> bool:
        """Whether W has a row that multiplies the constant 1."""
        return self.bias or self.has_bias_terms

    @property
    def weight_rows(self) -> int:
        """The rows of W: those of the input mode, and one more if only terms without it are a bias."""
        return self.input_size + self.has_bias - self.bias

    @property
    def levels(self) -> int:
        """The number of expert levels, E."""
        return len(self.experts)

    @property
    def modes(self) -> Indices:
        """The indices of the weight tensor, in its order."""
        return modes(self.levels)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """The size of every mode, part of a mode, and bond by name."""
        experts = dict(zip(expert_modes(self.levels), self.experts, strict=True))
        modes = {**experts, INPUT: self.input_size, OUTPUT: self.output_size}
        return {**modes, **part_sizes(self.splits), **dict(self.bonds)}

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every core by name, each once."""
        return {core.name: tuple(self.sizes[index] for index in core.indices) for core in self.cores}

    @cached_property
    def axes(self) -> dict[str, dict[str, int]]:
        """The axis of every core that carries an index, by index and core; a shared core's first use."""
        axes: dict[str, dict[str, int]] = {index: {} for index in self.sizes}
        for core in self.cores:
            for axis, index in enumerate(core.indices):
                axes[index].setdefault(core.name, axis)
        return axes

    @cached_property
    def trained(self) -> tuple[str, ...]:
        """The names of the cores that are parameters, each once."""
        fixed = dict(self.fixed)
        return tuple(name for name in self.shapes if name not in fixed)

    @cached_property
    def held(self) -> frozenset[str]:
        """The names of the cores that take no factor from another: used again, also elsewhere, or fixed."""
        return frozenset((*self.shared, *self.joint, *dict(self.fixed)))

    @property
    def num_parameters(self) -> int:
        """The number of elements in all cores that are trained, those of a shared one counted once."""
        return sum(prod(self.shapes[name]) for name in self.trained)

    @property
    def num_fixed(self) -> int:
        """The number of elements in fixed cores."""
        return sum(prod(self.shapes[name]) for name, _ in self.fixed)

    def fixed_values(self) -> dict[str, NumPyArray]:
        """The values of fixed cores by name, in float32 or float64.

        Raises:
            TensorMoEError: the values of an array are not known; see `Factorization.with_fixed`.
        """
        return {name: each.values(name, self.shapes[name]) for name, each in self.fixed}

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """The shape of the materialized weight tensor, (N1, …, NE, I[+1], O)."""
        return (*self.experts, self.weight_rows, self.output_size)


def tell_apart(names: Sequence[str]) -> tuple[str, ...]:
    """The same names, those that occur again with a number: A, A(2), A(3), …"""
    return tuple(
        name if (number := names[:position].count(name)) == 0 else f"{name}({number + 1})"
        for position, name in enumerate(names)
    )


def check_shapes(notation: str, network: Network) -> None:
    """Reject a shared core whose uses ask for different sizes, and a fixed one that can't have its shape."""
    for name, fixed in network.fixed:
        fixed.check(name, network.shapes[name])
    first: dict[str, Core] = {}
    for core in network.cores:
        other = first.setdefault(core.name, core)
        shapes = [tuple(network.sizes[index] for index in each.indices) for each in (other, core)]
        if shapes[0] != shapes[1]:
            raise TensorMoEError(
                "notation",
                notation,
                f"core {core.name!r} is one array, and has the shape {shapes[0]} as {str(other)!r} and "
                f"{shapes[1]} as {str(core)!r} (a bias adds a row to i); "
                "give the cores different names, or equal sizes",
            )


def check_bonds(notation: Notation, bonds: Mapping[str, int]) -> None:
    """Reject a bond in only one core: it would sum over that core alone and join nothing."""
    for name, size in bonds.items():
        carriers = [number for number, core in enumerate(notation.cores, start=1) if name in core]
        if len(carriers) == 1 and size > 1:
            raise TensorMoEError(
                "notation",
                str(notation),
                f"bond {name!r} is in core {carriers[0]} only and joins nothing; add it to another core, "
                "or leave it out",
            )


def name_cores(notation: Notation, levels: int) -> tuple[str, ...]:
    """A name for each core: the notation's; its role where every core has its own; core1, core2, …"""
    roles = {mode: f"expert{level + 1}" for level, mode in enumerate(expert_modes(levels))}
    roles |= {INPUT: "input", OUTPUT: "output"}
    names = []
    for core in notation.cores:
        carried = [index for index in core if is_mode(index)]
        names.append(roles.get(carried[0], "") if len(carried) == 1 else "" if carried else "core")
    others = [name for name, own in zip(names, notation.names or [""] * len(names), strict=True) if not own]
    if "" in others or len(set(others)) < len(others):
        return notation.core_numbers
    return notation.name_cores(names)
