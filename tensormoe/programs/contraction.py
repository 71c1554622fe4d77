"""The contractions of a μMoE layer, as operands and output indices; no arrays, no order of steps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ..networks.network import Network, tell_apart
from ..networks.notation import BATCH, INPUT, OUTPUT, Indices, expert_modes, modes, split
from ..networks.splits import Split, find_carried, use_parts, whole_names


@dataclass(frozen=True)
class Operand:
    """A future array: its name and the indices of its axes."""

    name: str
    indices: Indices


@dataclass(frozen=True)
class Contraction:
    """A sum of products over every index that the output lacks; or a sum of several such contractions.

    In a sum each contraction multiplies the data, which carry the batch, with cores of its own; without the
    first of the data, x, if none of these cores carries the input mode. It is the same along every index of
    the output that none of its operands carries.

    Args:
        operands: what is multiplied; those of one name are one array, which is passed once.
        output: the indices kept, in order.
        sizes: the size of each index; the batch has none.
        affine: whether the operand `x` is one entry short along the input mode: it stands for x followed by a
            constant 1, which multiplies the bias, the last row of the input mode.
        counts: how many of the cores, which follow the data, each term of a sum has; () if there is only one.
        bias: "row" if terms without the input mode stand in its last row alone, in place of being the same
            along it; "further row" if that row is one more than the cores have.
        fixed: the names of the cores that are not trained.
        active: for expert modes of which only so many coefficients of a token may differ from 0: how many.
            Then only their slices of cores are read; see `gathered`.
        splits: the indices whose parts some of the cores carry. These cores are multiplied with a view of the
            data, in which the parts take the index's place, and so is the output a view of their product. See
            `padded` for parts that make up more.
        joint: the names of the cores that other contractions of a block use, too: the same arrays.
    """

    operands: tuple[Operand, ...]
    output: Indices
    sizes: tuple[tuple[str, int], ...]
    affine: bool = False
    counts: tuple[int, ...] = ()
    bias: str = ""
    fixed: tuple[str, ...] = ()
    active: tuple[tuple[str, int], ...] = ()
    splits: tuple[Split, ...] = ()
    joint: tuple[str, ...] = ()

    @cached_property
    def in_parts(self) -> "Contraction":
        """The contraction of views: the parts take the place of each split index. For one term."""
        if not self.splits:
            return self
        operands = (Operand(each.name, use_parts(each.indices, self.splits)) for each in self.operands)
        return replace(self, operands=tuple(operands), output=use_parts(self.output, self.splits), splits=())

    @cached_property
    def padded(self) -> dict[str, int]:
        """How many values the parts of an index make up, for those that make up more than it has.

        Data are 0 at the values beyond, and the output is without them.
        """
        sizes = dict(self.sizes)
        whole = {split.mode: split.size for split in self.splits if split.mode in sizes}
        return {mode: size for mode, size in whole.items() if size > sizes[mode]}

    @cached_property
    def data(self) -> tuple[Operand, ...]:
        """The operands that carry the batch; they come first."""
        return tuple(operand for operand in self.operands if BATCH in operand.indices)

    @cached_property
    def cores(self) -> tuple[Operand, ...]:
        """The operands without a batch."""
        return tuple(operand for operand in self.operands if BATCH not in operand.indices)

    @cached_property
    def arrays(self) -> tuple[Operand, ...]:
        """What a program takes, in order: the operands, a shared one once, as in its first use."""
        first = {operand.name: operand for operand in reversed(self.operands)}
        return tuple(first[name] for name in self._names)

    @cached_property
    def is_shared(self) -> bool:
        """Whether an array is used more than once."""
        return len(self._names) < len(self.operands)

    def unshare(self) -> "Contraction":
        """The contraction with an array of its own for each use of a shared one: A, A(2), A(3), …"""
        if not self.is_shared:
            return self
        names = tell_apart([operand.name for operand in self.operands])
        operands = (Operand(name, each.indices) for name, each in zip(names, self.operands, strict=True))
        return replace(self, operands=tuple(operands))

    @cached_property
    def gathered(self) -> "Contraction":
        """What is multiplied: of active modes, for each token its own choice of their slices.

        It has the same operands in the same order; those that carry an active mode carry the batch, too.
        """
        if not self.active:
            return self
        chosen = dict(self.active)
        operands = (replace(each, indices=self._gather(each.indices)) for each in self.operands)
        sizes = tuple((index, chosen.get(index, size)) for index, size in self.sizes)
        return replace(self, operands=tuple(operands), sizes=sizes, active=())

    def _gather(self, indices: Indices) -> Indices:
        """The indices of what is gathered: of a core, the batch and the active modes come first."""
        chosen = tuple(index for index in indices if index in dict(self.active))
        if not chosen or BATCH in indices:
            return indices
        return (BATCH, *chosen, *(index for index in indices if index not in chosen))

    @cached_property
    def terms(self) -> tuple["Contraction", ...]:
        """The contractions whose sum it is."""
        if not self.counts:
            return (self,)
        return tuple(
            self._term((*self.data[self._is_bias(cores) :], *cores))
            for cores in split(self.cores, self.counts)
        )

    @cached_property
    def positions(self) -> tuple[tuple[int, ...], ...]:
        """For each term, where its operands are among the arrays."""
        places = {name: place for place, name in enumerate(self._names)}
        first = len(self.data)
        own = split([places[operand.name] for operand in self.operands[first:]], self.counts)
        terms = zip(own, split(self.cores, self.counts), strict=True)
        return tuple((*range(self._is_bias(cores), first), *numbers) for numbers, cores in terms)

    @cached_property
    def is_weight(self) -> bool:
        """Whether the result is a weight tensor or several, so that x is not among the data."""
        return INPUT in self.output

    def _is_bias(self, cores: Sequence[Operand]) -> bool:
        """Whether cores are a bias, which is not multiplied with the first of the data, x."""
        if self.is_weight or not self.data:
            return False
        index, whole = self.data[0].indices[-1], whole_names(self.splits)
        return all(whole.get(each, each) != index for core in cores for each in core.indices)

    @cached_property
    def _names(self) -> tuple[str, ...]:
        """The names of the operands, each once."""
        return tuple(dict.fromkeys(operand.name for operand in self.operands))

    def _term(self, operands: tuple[Operand, ...]) -> "Contraction":
        splits = find_carried(self.splits, [operand.indices for operand in operands])
        carried = {index for operand in operands for index in operand.indices}
        carried |= {split.mode for split in splits}
        sizes = tuple((index, size) for index, size in self.sizes if index in carried)
        output = tuple(index for index in self.output if index in carried)
        active = tuple((index, k) for index, k in self.active if index in carried)
        affine = self.affine and self.operands[0] in operands
        return Contraction(operands, output, sizes, affine, active=active, splits=splits)


def layer_contraction(network: Network) -> Contraction:
    """y[b, o] = Σ W[n1 … nE, i, o] Π_e a_e[b, n_e] x[b, i] from the cores of W.

    Operands: x, the coefficients of each level, the cores.
    """
    return Contraction(
        (Operand("x", (BATCH, INPUT)), *_coefficients(network), *_cores(network)),
        (BATCH, OUTPUT),
        tuple(network.sizes.items()),
        affine=network.bias,
        counts=network.counts,
        fixed=_fixed(network),
        splits=network.splits,
        joint=network.joint,
    )


def name_operands(contractions: Sequence[Contraction]) -> list[list[tuple[int, str]]]:
    """What names the cores of each of a block's layers among those of all; joint ones have the same name.

    Examples:
        >>> import tensormoe as tm
        >>> from tensormoe.programs.contraction import name_operands
        >>> block = tm.MuMoEBlockSpec(8, 16, 6, 4, tm.CP(rank=5), shared=("expert1",))
        >>> name_operands([stage.contraction for stage in block.layers.values()])[1]
        [(-1, 'expert1'), (1, 'input'), (1, 'output')]
    """
    return [
        [identify_core(each, number, core.name) for core in each.arrays[len(each.data) :]]
        for number, each in enumerate(contractions)
    ]


def identify_core(contraction: Contraction, number: int, core: str) -> tuple[int, str]:
    """What names a core of a block's layer of this number among the cores of all layers."""
    return (-1 if core in contraction.joint else number, core)


def activate(contraction: Contraction, active: Sequence[int]) -> Contraction:
    """The contraction of a layer of whose coefficients of each level at most so many differ from 0.

    Args:
        contraction: of x, the coefficients of each level, and cores.
        active: for each level; one of which all may differ is left as it is, and so is one in parts.
    """
    # The parts of a chosen expert are no choice of parts.
    sizes = dict(contraction.sizes) | {split.mode: 0 for split in contraction.splits}
    modes = (operand.indices[-1] for operand in contraction.data[1:])
    # A layer of a block may have no experts.
    chosen = tuple((mode, k) for mode, k in zip(modes, active, strict=False) if k < sizes[mode])
    return replace(contraction, active=chosen)


def weight_contraction(network: Network) -> Contraction:
    """W[n1 … nE, i, o] from its cores."""
    return Contraction(
        _cores(network),
        network.carried_modes,
        tuple(network.sizes.items()),
        counts=network.counts,
        bias=_place_bias(network),
        fixed=_fixed(network),
        splits=network.splits,
    )


def merging_contraction(network: Network) -> Contraction:
    """W[b, i, o] = Σ W[n1 … nE, i, o] Π_e a_e[b, n_e] from the coefficients of each level and the cores."""
    return Contraction(
        (*_coefficients(network), *_cores(network)),
        (BATCH, INPUT, OUTPUT),
        tuple(network.sizes.items()),
        counts=network.counts,
        bias=_place_bias(network),
        fixed=_fixed(network),
        splits=network.splits,
    )


def dense_contraction(contraction: Contraction) -> Contraction:
    """The same contraction with the materialized weight tensor instead of its cores: a soft MoE."""
    x = contraction.data[0]
    weight = Operand("weight", modes(len(contraction.data) - 1))
    affine = contraction.affine or any(x not in term.operands for term in contraction.terms)
    rows = {**dict(contraction.sizes)}
    rows[x.indices[-1]] += affine - contraction.affine
    return replace(
        contraction,
        operands=(*contraction.data, weight),
        sizes=tuple(rows.items()),
        affine=affine,
        counts=(),
        fixed=(),
        splits=(),
        joint=(),
    )


def _place_bias(network: Network) -> str:
    """The rows of a weight tensor that terms without the input mode stand in."""
    if not (network.counts and network.has_bias_terms):
        return ""
    return "row" if network.bias else "further row"


def _coefficients(network: Network) -> tuple[Operand, ...]:
    experts = enumerate(expert_modes(network.levels), start=1)
    return tuple(Operand(f"a{level}", (BATCH, mode)) for level, mode in experts)


def _cores(network: Network) -> tuple[Operand, ...]:
    return tuple(Operand(core.name, core.indices) for core in network.cores)


def _fixed(network: Network) -> tuple[str, ...]:
    return tuple(name for name, _ in network.fixed)
