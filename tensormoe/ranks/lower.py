"""A bond of one term with fewer values: the best that there is, or the values that are missed least.

If a bond is the only connection of two parts of a term, the term is a matrix product over it, L Rᵀ. The best
approximation of a lower rank is the singular value decomposition, cut off (Eckart and Young, "The
approximation of one matrix by another of lower rank", 1936). It takes a matrix for each of the two cores that
the bond joins; all others stay as they are. If both parts carry a mode, and both cores do, there is such a
product for each of its values.

Otherwise some values are kept. The term is a sum over the values of its bond; their inner products say by
how much the error grows with each that is left out, if those that remain are multiplied by the best numbers.
The one that is missed least goes first.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..layers.inner import inner
from ..networks.network import Core, Network
from ..networks.notation import OUTPUT, Indices, is_mode
from ..typing import NumPyArray
from .tree import Cores, absorb, find_tree, gather

# Singular values below this share of the largest count as zero.
_TINY = 1e-14


@dataclass(frozen=True)
class Cut:
    """A bond that is the only connection of two parts.

    Args:
        parts: the cores on both sides.
        ends: the core of each part that carries the bond.
        batch: the modes that both parts carry.
    """

    parts: tuple[tuple[Core, ...], tuple[Core, ...]]
    ends: tuple[Core, Core]
    batch: Indices


def find_cut(term: Network, bond: str, fixed: Collection[str]) -> Cut | None:
    """The cut of a term at a bond; None if that is not its only connection, or if a core may not change."""
    ends = [core for core in term.cores if bond in core.indices]
    if len(ends) != 2 or {core.name for core in ends} & {*fixed}:
        return None
    left, right = (_reach(term, core, bond) for core in ends)
    if left & right:
        return None
    for core in term.cores:
        # What no bond joins to either part goes with its modes.
        if core not in left | right:
            part = left if _modes(left) & {*core.indices} and not _modes(right) & {*core.indices} else right
            part |= _reach(term, core, bond)
    batch = tuple(sorted(_modes(left) & _modes(right)))
    if not {*batch} <= {*ends[0].indices} & {*ends[1].indices}:
        return None
    sides = [tuple(core for core in term.cores if core in part) for part in (left, right)]
    return Cut((sides[0], sides[1]), (ends[0], ends[1]), batch)


def cut_off(
    term: Network, cores: Mapping[str, NumPyArray], cut: Cut, bond: str, size: int
) -> dict[str, NumPyArray]:
    """The two cores of the bond, for the best approximation of the term."""
    left, right = (
        _root(part, end, cores, term, bond, cut.batch) for part, end in zip(cut.parts, cut.ends, strict=True)
    )
    x, y = balance(left, right, size)
    changed = {}
    for core, matrix in zip(cut.ends, (x, y), strict=True):
        turned = np.swapaxes(matrix, -1, -2)
        changed[core.name] = absorb(cores[core.name], core.indices, (bond,), cut.batch, turned)
    return changed


def balance(left: NumPyArray, right: NumPyArray, size: int) -> tuple[NumPyArray, NumPyArray]:
    """Matrices X and Y (*batch, old, size), for which L X Yᵀ Rᵀ is the best approximation of L Rᵀ.

    Args:
        left, right: (*batch, ·, old), with the inner products of the columns of L and of R.
        size: how many singular values remain; both sides get the root of each.
    """
    u, values, v = np.linalg.svd(left @ np.swapaxes(right, -1, -2), full_matrices=False)
    kept = min(size, values.shape[-1])
    u, values, v = u[..., :kept], values[..., :kept], np.swapaxes(v, -1, -2)[..., :kept]
    used = values > _TINY * values.max(axis=-1, keepdims=True, initial=0)
    scale = np.where(used, 1 / np.sqrt(np.where(used, values, 1)), 0)[..., None, :]
    x, y = np.swapaxes(right, -1, -2) @ v * scale, np.swapaxes(left, -1, -2) @ u * scale
    missing = [(0, 0)] * (x.ndim - 1) + [(0, size - kept)]
    x, y, used = np.pad(x, missing), np.pad(y, missing), np.pad(used, missing[1:])
    # Of what is not used one side is zero, and the other is not, so that it can learn.
    spare = np.broadcast_to(np.eye(x.shape[-2], size), x.shape)
    return np.where(used[..., None, :], x, spare), y


def choose_values(
    term: Network, cores: Mapping[str, NumPyArray], bond: str, size: int, fixed: Collection[str]
) -> dict[str, NumPyArray]:
    """The cores that carry a bond, with so many of its values."""
    carriers = [core for core in term.cores if bond in core.indices]
    free = [core for core in carriers if core.name not in fixed]
    cores = {**cores, **(_turn(free, cores, bond) if len(carriers) == len(free) == 2 else {})}
    products = inner((term, cores), (term, cores), (bond,))
    kept, factors = select(products, size, scaled=bool(free))
    changed = {}
    for core in carriers:
        axis = core.indices.index(bond)
        changed[core.name] = np.take(cores[core.name], kept, axis)
    if free:
        core = min(free, key=lambda each: OUTPUT not in each.indices)
        shape = [size if index == bond else 1 for index in core.indices]
        changed[core.name] = changed[core.name] * factors.reshape(shape)
    return changed


def select(products: NumPyArray, size: int, scaled: bool = True) -> tuple[list[int], NumPyArray]:
    """The vectors whose combination is closest to the sum of all, found by leaving out one at a time.

    Args:
        products: the inner products of the vectors.
        size: how many are kept.
        scaled: whether they may be multiplied by numbers.

    Returns:
        Their numbers, and the best factor of each.

    Examples:
        >>> import numpy as np
        >>> from tensormoe.ranks.lower import select
        >>> vectors = np.array([[1.0, 0, 0], [0, 0, 3], [0, 0.5, 0], [1, 0, 0]])
        >>> kept, factors = select(vectors @ vectors.T, 2)
        >>> kept, factors.round(6).tolist()
        ([1, 3], [1.0, 2.0])
    """
    count = len(products)
    remaining = list(range(count))
    ones = np.ones(count)
    ridge = np.finfo("float64").eps * (np.trace(products) or 1.0)
    inverse = np.linalg.inv(products + ridge * np.eye(count)) if scaled else np.eye(0)
    factors = ones.copy()
    while len(remaining) > size:
        own = np.array(remaining)
        if scaled:
            costs = factors[own] ** 2 / np.maximum(inverse[own, own], ridge)
            worst = remaining[int(np.argmin(costs))]
            column = inverse[:, worst].copy()
            factors = factors - factors[worst] / column[worst] * column
            inverse = inverse - np.outer(column, column) / column[worst]
        else:
            lost = ones.copy()
            lost[own] = 0
            costs = 2 * products[own] @ lost + np.diag(products)[own]
            worst = remaining[int(np.argmin(costs))]
        remaining.remove(worst)
    if scaled:
        block = products[np.ix_(remaining, remaining)]
        solved: NumPyArray = np.linalg.lstsq(block, products[remaining] @ ones, rcond=None)[0]
        return remaining, solved
    return remaining, np.ones(size)


def _turn(ends: Sequence[Core], cores: Mapping[str, NumPyArray], bond: str) -> Cores:
    """Two cores with the values of their bond turned to the singular vectors of their product."""
    left, right = (root(gather(cores[core.name], core.indices, (bond,), ())) for core in ends)
    x, y = balance(left, right, left.shape[-1])
    return {
        core.name: absorb(cores[core.name], core.indices, (bond,), (), matrix.T)
        for core, matrix in zip(ends, (x, y), strict=True)
    }


def _root(
    part: tuple[Core, ...],
    end: Core,
    cores: Mapping[str, NumPyArray],
    term: Network,
    bond: str,
    batch: Indices,
) -> NumPyArray:
    """A matrix with the inner products of the columns that a part has for the values of a bond."""
    tree = find_tree(part, term.sizes, (bond,))
    if tree is not None and tree.leads_to(end.name):
        center = tree.orthogonalize(cores, end.name)[end.name]
        return root(gather(center, end.indices, (bond,), batch))
    whole = replace(term, cores=part), cores
    values, vectors = np.linalg.eigh(inner(whole, whole, (*batch, bond)))
    scaled: NumPyArray = np.sqrt(np.maximum(values, 0))[..., None] * np.swapaxes(vectors, -1, -2)
    return scaled


def root(matrices: NumPyArray) -> NumPyArray:
    """Smaller matrices whose columns have the same inner products."""
    triangles: NumPyArray = np.linalg.qr(matrices)[1]
    return triangles


def _reach(term: Network, start: Core, bond: str) -> set[Core]:
    """The cores that other bonds than this one join to a core."""
    reached = [start]
    for core in reached:
        bonds = {index for index in core.indices if not is_mode(index) and term.sizes[index] > 1} - {bond}
        reached += [each for each in term.cores if bonds & {*each.indices} and each not in reached]
    return {*reached}


def _modes(part: Collection[Core]) -> set[str]:
    return {index for core in part for index in core.indices if is_mode(index)}
