"""Trees of cores: orthogonal gauges towards one of them.

Cores are joined by the bonds that two of them have in common. Where that makes a tree, everything outside of
a core is a product of isometries, one for each of its bonds: the norm of the core is that of the whole, and
the best approximation of the core is that of the whole. A mode that all cores carry leaves one tree for each
of its values.

Source: Holtz, Rohwedder, Schneider, "The alternating linear scheme for tensor optimization in the tensor
train format", 2012, for trains; Grasedyck, "Hierarchical singular value decomposition of tensors", 2010, for
trees.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod

import numpy as np

from ..networks.network import Core
from ..networks.notation import Indices, is_mode
from ..typing import NumPyArray

Cores = dict[str, NumPyArray]


@dataclass(frozen=True)
class Tree:
    """Cores that bonds join to a tree.

    Args:
        cores: in the order of the notation.
        batch: the modes that several cores carry.
        edges: for each core, its neighbours with the bonds to each, by name.
    """

    cores: tuple[Core, ...]
    batch: Indices
    edges: Mapping[str, Mapping[str, Indices]]

    def leads_to(self, center: str) -> bool:
        """Whether there is a gauge towards a core: what several cores carry, all on the way to it carry."""
        held = {core.name: {*self.batch} & {*core.indices} for core in self.cores}
        return all(held[name] <= held[parent] for name, parent in self._leaves_first(center))

    def orthogonalize(self, cores: Mapping[str, NumPyArray], center: str) -> Cores:
        """The same product from isometries towards a core.

        Where a bond has more values than the rest of its outer core, the isometry has columns of zeros, and
        so has the inner core.
        """
        result = {core.name: cores[core.name] for core in self.cores}
        indices = {core.name: core.indices for core in self.cores}
        for name, parent in self._leaves_first(center):
            bonds = self.edges[name][parent]
            held = tuple(mode for mode in self.batch if mode in indices[name])
            result[name], matrix = split(result[name], indices[name], bonds, held)
            result[parent] = absorb(result[parent], indices[parent], bonds, held, matrix)
        return result

    def outward(self, center: str) -> dict[str, Indices]:
        """Every core but the center, with its bonds towards it."""
        return {name: self.edges[name][parent] for name, parent in self._leaves_first(center)}

    def _leaves_first(self, center: str) -> list[tuple[str, str]]:
        """Every core but the center with its neighbour on the way there, those that are farthest first."""
        ordered = [(center, "")]
        for name, parent in ordered:
            ordered += [(each, name) for each in self.edges[name] if each != parent]
        return ordered[:0:-1]


def find_tree(
    cores: Sequence[Core], sizes: Mapping[str, int], open_bonds: Collection[str] = ()
) -> Tree | None:
    """The tree that cores make; None if they don't.

    Args:
        cores: of one term, each with a name of its own.
        sizes: of all indices; one of size 1 joins nothing.
        open_bonds: bonds that lead elsewhere.
    """
    wide = [index for index in dict.fromkeys(chain(*(core.indices for core in cores))) if sizes[index] > 1]
    carriers = {index: [core.name for core in cores if index in core.indices] for index in wide}
    inner = [index for index in wide if not is_mode(index) and index not in open_bonds]
    if len({core.name for core in cores}) < len(cores) or any(len(carriers[bond]) != 2 for bond in inner):
        return None
    edges: dict[str, dict[str, Indices]] = {core.name: {} for core in cores}
    for bond in inner:
        for one, other in (carriers[bond], carriers[bond][::-1]):
            edges[one][other] = (*edges[one].get(other, ()), bond)
    batch = tuple(index for index in wide if is_mode(index) and len(carriers[index]) > 1)
    if sum(map(len, edges.values())) != 2 * (len(cores) - 1) or not _is_connected(edges):
        return None
    return Tree(tuple(cores), batch, edges)


def find_parts(cores: Sequence[Core], sizes: Mapping[str, int]) -> list[tuple[Core, ...]]:
    """Cores in groups that bonds join, in the order of the notation."""
    parts: list[tuple[Core, ...]] = []
    for core in cores:
        joined = [part for part in parts if any(_share_bond(core, each, sizes) for each in part)]
        group = {each.name for part in joined for each in part} | {core.name}
        parts = [part for part in parts if part not in joined]
        parts.append(tuple(each for each in cores if each.name in group))
    return parts


def _share_bond(one: Core, other: Core, sizes: Mapping[str, int]) -> bool:
    return any(sizes[index] > 1 and not is_mode(index) for index in {*one.indices} & {*other.indices})


def _is_connected(edges: Mapping[str, Mapping[str, Indices]]) -> bool:
    reached = [next(iter(edges))]
    for name in reached:
        reached += [each for each in edges[name] if each not in reached]
    return len(reached) == len(edges)


def gather(array: NumPyArray, indices: Indices, last: Sequence[str], batch: Sequence[str]) -> NumPyArray:
    """The array (*batch, rest, last) as matrices."""
    held = [index for index in batch if index in indices]
    rest = [index for index in indices if index not in (*last, *batch)]
    moved = array.transpose([indices.index(index) for index in (*held, *rest, *last)])
    lead = moved.shape[: len(held)]
    columns = prod(array.shape[indices.index(index)] for index in last)
    rows = prod(moved.shape[len(held) : len(held) + len(rest)])
    return moved.reshape(*lead, rows, columns)


def scatter(
    matrices: NumPyArray,
    shape: Sequence[int],
    indices: Indices,
    last: Sequence[str],
    batch: Sequence[str],
) -> NumPyArray:
    """An array of this shape from its matrices, as `gather` returns them."""
    held = [index for index in batch if index in indices]
    rest = [index for index in indices if index not in (*last, *batch)]
    order = [indices.index(index) for index in (*held, *rest, *last)]
    moved = matrices.reshape([shape[axis] for axis in order])
    return np.ascontiguousarray(moved.transpose(np.argsort(order)))


def split(
    array: NumPyArray, indices: Indices, bonds: Sequence[str], batch: Sequence[str]
) -> tuple[NumPyArray, NumPyArray]:
    """A core as an isometry of the same shape, times a square matrix for its bonds."""
    matrices = gather(array, indices, bonds, batch)
    size = matrices.shape[-1]
    q, r = np.linalg.qr(matrices)
    missing = size - q.shape[-1]
    if missing:
        q = np.pad(q, [(0, 0)] * (q.ndim - 1) + [(0, missing)])
        r = np.pad(r, [(0, 0)] * (r.ndim - 2) + [(0, missing), (0, 0)])
    return scatter(q, array.shape, indices, bonds, batch), r


def absorb(
    array: NumPyArray, indices: Indices, bonds: Sequence[str], batch: Sequence[str], matrix: NumPyArray
) -> NumPyArray:
    """A core with bonds multiplied by a matrix (*batch, new, old)."""
    matrices = gather(array, indices, bonds, batch) @ np.swapaxes(matrix, -1, -2)
    shape = list(array.shape)
    if len(bonds) == 1:
        shape[indices.index(bonds[0])] = matrix.shape[-2]
    return scatter(matrices, shape, indices, bonds, batch)
