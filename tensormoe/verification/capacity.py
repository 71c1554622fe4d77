"""Capacity that can never be used: experts and values of bonds that gradient descent cannot tell apart.

The layer's function does not change if the experts of a level change places, in all cores and in the gate's
weights, or if the values of a bond do, in all cores that it joins; nor if a value of a bond changes its sign
in two cores. If such an exchange leaves all initial values as they are, it leaves their gradients as they
are, and whatever an optimizer does to each entry alike, such as gradient descent with momentum, Adam and
weight decay. So it leaves them as they are for ever: what was exchanged stays equal, and what changed its
sign stays zero. This is a proof, for all data and losses.

What is looked for are exchanges of two values of one index, which are values with equal slices everywhere;
exchanges of two values in each of several indices at once, where each follows from those before, as in
chains of identity matrices; and values with slices of zeros, in each term of a sum that has them, in two
cores or in a fixed one. What is not: exchanges that move more than two values of an index where none that
moves two exists, and what is lost in other ways, such as a gate that always chooses one expert.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from ..gates.activations import Activation
from ..gates.gate import Gate
from ..gates.routers import AdaptiveClustering, LinearRouter
from ..layers.initialization import initialize
from ..layers.parameters import name_core
from ..layers.spec import Spec
from ..networks.network import Core, Network
from ..networks.notation import expert_modes, is_mode
from ..typing import NumPyArray
from .report import Check

# Where no two values may change places.
_FIXED = ""


@dataclass(frozen=True)
class Unused:
    """Values of one index that train as fewer.

    Args:
        what: the index, such as "experts of level 2".
        groups: the positions that stay equal, group by group.
        zeros: the positions that stay zero.
        size: how many values the index has.
    """

    what: str
    groups: tuple[tuple[int, ...], ...]
    zeros: tuple[int, ...]
    size: int

    @property
    def count(self) -> int:
        """How many values add nothing."""
        return len(self.zeros) + sum(len(group) - 1 for group in self.groups)

    def __str__(self) -> str:
        equal = [f"{_abbreviate(group)} stay equal" for group in self.groups]
        zero = [f"{_abbreviate(self.zeros)} stay zero"] if self.zeros else []
        parts = "; ".join([*equal[:4], *(["…"] if len(equal) > 4 else []), *zero])
        return f"the {self.size} {self.what} train as {self.size - self.count}: {parts}"


def find_unused(spec: Spec, seed: int = 0) -> tuple[Unused, ...]:
    """What gradient descent from the initial values can never use, index by index.

    Args:
        spec: a layer or a block.
        seed: of the initial values.

    Examples:
        >>> import tensormoe as tm
        >>> from tensormoe.verification.capacity import find_unused
        >>> spec = tm.MuMoESpec(8, 6, (4, 3), tm.CP(rank=5), initialization="published")
        >>> for unused in find_unused(spec):
        ...     print(unused)
        the 3 experts of level 2 train as 1: 0, 1, 2 stay equal
        >>> find_unused(spec.replace(initialization="linear"))
        ()
    """
    parameters, state = initialize(spec, seed, "float64")
    tensors = _tensors(spec, parameters | state)
    indices = dict.fromkeys(index for tensor in tensors for index in tensor.indices if index != _FIXED)
    if not are_symmetric(spec.gates):
        indices = {index: None for index in indices if not is_mode(index)}
    unused = (
        _unused(index, [each for each in tensors if index in each.indices], tensors) for index in indices
    )
    return tuple(each for each in unused if each.count)


def capacity_checks(spec: Spec, seed: int, remarks: list[str]) -> Iterator[Check]:
    """The check of `find_unused`. What it names is added to the remarks, as are ranks without effect."""
    unused = find_unused(spec, seed)
    remarks += [f"capacity: {each}" for each in unused]
    remarks += [f"capacity: {each}" for each in excess_ranks(spec)]
    count = sum(each.count for each in unused)
    yield Check("capacity", "initial values", "equal experts and bonds", float(count), 0.0)


def are_symmetric(gates: Sequence[Gate]) -> bool:
    """Whether gates are known to treat equal experts alike; noise does not, nor does the choice of k.

    What is known of coefficients that come with a call is nothing.
    """
    return bool(gates) and all(_is_symmetric(gate) for gate in gates)


def _is_symmetric(gate: Gate) -> bool:
    known = isinstance(gate.weighting, Activation) and gate.weighting.name not in ("top_k", "relu_top_k")
    routed = type(gate.router) in (LinearRouter, AdaptiveClustering)
    return known and routed and not callable(gate.norm) and gate.noise == 0 and not gate.steering


def excess_ranks(spec: Spec) -> Iterator[str]:
    """Bonds of two cores that are larger than what one of the cores can pass on, as sentences."""
    for prefix, stage in spec.layers.items():
        network = stage.network
        for bond, size in network.bonds:
            joined = [core for core in network.cores if bond in core.indices]
            passed = [prod(network.sizes[i] for i in core.indices if i != bond) for core in joined]
            if len(joined) == 2 and size > min(passed):
                name = _bond_name(prefix, bond)
                yield f"{name} has size {size}, but no more than {min(passed)} can matter"


@dataclass(frozen=True)
class _Tensor:
    """An array with an index for each axis, named so that equal names change places together."""

    values: NumPyArray
    indices: tuple[str, ...]
    # The layer and the term of its sum that a core is in; () for a gate's parameters.
    term: tuple[str, int] | tuple[()] = ()
    is_fixed: bool = False

    def size(self, index: str) -> int:
        """The number of an index's values."""
        return int(self.values.shape[self.indices.index(index)])

    def slices(self, index: str, positions: Sequence[int]) -> NumPyArray:
        """One row for each of some values of an index."""
        axis = self.indices.index(index)
        return np.moveaxis(self.values.take(positions, axis), axis, 0).reshape(len(positions), -1)

    def empty(self, index: str) -> NumPyArray:
        """Whether the slice of each value of an index is zero."""
        axis = self.indices.index(index)
        others = tuple(each for each in range(self.values.ndim) if each != axis)
        return np.logical_not(self.values.any(axis=others))

    def exchange(self, swaps: Mapping[str, tuple[int, int]]) -> NumPyArray:
        """The values after two positions of some indices have changed places."""
        values = self.values
        for axis, index in enumerate(self.indices):
            if index in swaps:
                order = np.arange(values.shape[axis])
                order[[*swaps[index]]] = order[[*reversed(swaps[index])]]
                values = values.take(order, axis)
        return values


def _tensors(spec: Spec, parameters: Mapping[str, NumPyArray]) -> list[_Tensor]:
    # Experts in parts don't change places one by one: whether any are equal is not looked for.
    split = {each.mode for stage in spec.layers.values() for each in stage.network.splits}
    experts = tuple(_FIXED if mode in split else mode for mode in expert_modes(spec.levels))
    tensors = []
    for prefix, stage in spec.layers.items():
        fixed = {name for name, _ in stage.network.fixed}
        for number, core in _number_terms(stage.network):
            # Levels of experts are shared by all layers, bonds are not.
            indices = tuple(
                index if index in experts else _FIXED if is_mode(index) else _bond_name(prefix, index)
                for index in core.indices
            )
            # Minus zero is zero.
            array = parameters[name_core(prefix, stage, core.name)] + 0.0
            tensors.append(_Tensor(array, indices, (prefix, number), core.name in fixed))
    for level, mode in enumerate(experts):
        for name, indices in (("weights", (_FIXED, mode)), ("bias", (mode,))):
            if (values := parameters.get(f"gate_{name}.{level}")) is not None:
                tensors.append(_Tensor(values + 0.0, indices))
    return tensors


def _number_terms(network: Network) -> Iterator[tuple[int, Core]]:
    """The cores with the number of their term."""
    for number, term in enumerate(network.terms):
        for core in term.cores:
            yield number, core


def _find_empty(index: str, carriers: Sequence[_Tensor], size: int) -> NumPyArray:
    """Whether each value of an index is zero in two cores, or a fixed one, of every term that has it."""
    stay = np.ones(size, dtype=bool)
    for term in {each.term for each in carriers if each.term}:
        cores = [each for each in carriers if each.term == term]
        # Whatever a fixed core multiplies by zero gets no gradient, either.
        count = sum((each.empty(index) * (2 if each.is_fixed else 1) for each in cores), np.zeros(size, int))
        stay &= count >= 2
    return stay


def _unused(index: str, carriers: Sequence[_Tensor], tensors: Sequence[_Tensor]) -> Unused:
    carriers = sorted(carriers, key=lambda tensor: tensor.values.size)
    size = carriers[0].size(index)
    empty = _find_empty(index, carriers, size)
    zeros = tuple(np.flatnonzero(empty).tolist())
    groups = _group(np.flatnonzero(~empty).tolist(), index, carriers)
    members = {group[0]: group for group in groups}
    joined = []
    # Values that change places together with those of other indices hold the same numbers in another order.
    for first, *others in _group(list(members), index, carriers, in_order=False):
        tied = [each for each in others if _can_exchange(index, (first, each), tensors)]
        joined.append([position for each in (first, *tied) for position in members[each]])
        joined += [list(members[each]) for each in others if each not in tied]
    what = f"experts of level {_level(index)}" if is_mode(index) else f"values of {index}"
    return Unused(what, tuple(tuple(sorted(group)) for group in joined if len(group) > 1), zeros, size)


def _group(
    positions: Sequence[int], index: str, carriers: Sequence[_Tensor], in_order: bool = True
) -> list[tuple[int, ...]]:
    """The positions of an index, grouped by equal slices, or by the same numbers in any order."""
    groups = [tuple(positions)]
    for tensor in carriers:
        split = [each for group in groups for each in _split(group, index, tensor, in_order)]
        groups = [group for group in split if group]
    return groups


def _split(group: tuple[int, ...], index: str, tensor: _Tensor, in_order: bool) -> list[tuple[int, ...]]:
    if len(group) < 2:
        return [group]
    rows = tensor.slices(index, group)
    rows = rows if in_order else np.sort(rows, axis=1)
    parts: dict[bytes, list[int]] = {}
    for position, row in zip(group, rows, strict=True):
        parts.setdefault(row.tobytes(), []).append(position)
    return [tuple(part) for part in parts.values()]


def _can_exchange(index: str, pair: tuple[int, int], tensors: Sequence[_Tensor]) -> bool:
    """Whether two values may change places, if need be with two values each of other indices."""
    swaps = {index: pair}
    settled = False
    while not settled:
        settled = True
        for tensor in tensors:
            if not {*swaps} & {*tensor.indices}:
                continue
            swapped = tensor.exchange(swaps)
            if np.array_equal(swapped, tensor.values):
                continue
            further = _follow(tensor, swapped, swaps)
            if further is None:
                return False
            swaps |= further
            settled = False
    return True


def _follow(
    tensor: _Tensor, swapped: NumPyArray, swaps: Mapping[str, tuple[int, int]]
) -> dict[str, tuple[int, int]] | None:
    """Two values of another index that undo, in this tensor, what has changed."""
    for axis, index in enumerate(tensor.indices):
        if index == _FIXED or index in swaps:
            continue
        others = tuple(each for each in range(swapped.ndim) if each != axis)
        changed = np.flatnonzero((swapped != tensor.values).any(axis=others))
        if len(changed) == 2:
            pair = (int(changed[0]), int(changed[1]))
            if np.array_equal(tensor.exchange({**swaps, index: pair}), tensor.values):
                return {index: pair}
    return None


def _bond_name(prefix: str, bond: str) -> str:
    return f"bond {bond}" if prefix == "cores" else f"the {prefix} layer's bond {bond}"


def _level(mode: str) -> int:
    return int(mode[1:] or 1)


def _abbreviate(positions: Sequence[int]) -> str:
    if len(positions) <= 4:
        return ", ".join(map(str, positions))
    return f"{positions[0]}, {positions[1]}, …, {positions[-1]}"
