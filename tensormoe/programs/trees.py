"""Contraction trees: which products make a contraction of many operands, and what each costs.

Sets are integers with a bit for each element: sets of operands, and sets of indices.
"""

from collections.abc import Iterable, Mapping, Sequence

Pair = tuple[int, int]
# Each product, a set of operands, with its two factors.
Tree = dict[int, Pair]

# An intermediate over the limit costs more than all operations of any path, and the largest one most.
_FORBIDDEN = 4096


class Products:
    """Products of a contraction's operands at given sizes.

    Args:
        terms: the indices of each operand.
        output: the indices kept in the end.
        sizes: the size of each index.
        memory_limit: the largest intermediate allowed, in elements, or None.
    """

    def __init__(
        self,
        terms: Sequence[Iterable[str]],
        output: Iterable[str],
        sizes: Mapping[str, int],
        memory_limit: int | None = None,
    ) -> None:
        self.count = len(terms)
        self.memory_limit = memory_limit
        bits = {index: 1 << number for number, index in enumerate(sizes)}
        # For each index, the operands that carry it; the output is one more.
        self._carriers = dict.fromkeys(bits.values(), 0)
        for number, term in enumerate((*terms, output)):
            for index in term:
                self._carriers[bits[index]] |= 1 << number
        # For each set of operands, the indices of their product; for each set of indices, its elements.
        self.kept: dict[int, int] = {}
        self.elements = {0: 1, **{bits[index]: size for index, size in sizes.items()}}
        for number, term in enumerate(terms):
            self.kept[1 << number] = self._drop(sum(bits[index] for index in {*term}), 1 << number)

    def _drop(self, indices: int, operands: int) -> int:
        """Without the indices that nothing but these operands carries."""
        rest = indices
        while rest:
            index = rest & -rest
            rest ^= index
            if not self._carriers[index] & ~operands:
                indices ^= index
        return indices

    def keep(self, a: int, b: int) -> int:
        """The indices of the product of two sets of operands, whose own indices are known."""
        kept = self.kept.get(a | b)
        if kept is None:
            kept = self.kept[a | b] = self._drop(self.kept[a] | self.kept[b], a | b)
        return kept

    def size(self, indices: int) -> int:
        """The elements of an array with these indices."""
        size = self.elements.get(indices)
        if size is None:
            size, rest = 1, indices
            while rest:
                index = rest & -rest
                rest ^= index
                size *= self.elements[index]
            self.elements[indices] = size
        return size

    def excess(self, kept: int) -> int:
        """What an intermediate costs beyond its operations: nothing within the limit."""
        if self.memory_limit is None or self.size(kept) <= self.memory_limit:
            return 0
        return self.size(kept) ** 4 << _FORBIDDEN

    def cost(self, a: int, b: int) -> int:
        """The operations of one product: one for each multiplication, and one for each addition."""
        kept, joined = self.keep(a, b), self.kept[a] | self.kept[b]
        return self.size(joined) * (1 if joined == kept else 2) + self.excess(kept)

    def total(self, tree: Tree) -> int:
        """The cost of all products of a tree."""
        return sum(self.cost(a, b) for a, b in tree.values())

    def largest(self, tree: Tree) -> int:
        """The elements of the largest product."""
        return max(self.size(self.keep(a, b)) for a, b in tree.values())


def tree_of(products: Products, path: Sequence[Sequence[int]]) -> Tree:
    """The tree of a path, given as positions among the live tensors, results appended last."""
    live = [1 << number for number in range(products.count)]
    tree: Tree = {}
    for step in path:
        a, b = live[step[0]], live[step[-1]]
        # A step with one operand sums it over indices that only it carries.
        if a != b:
            products.keep(a, b)
            tree[a | b] = (a, b)
        live = [each for each in live if each not in (a, b)]
        live.append(a | b)
    return tree


def path_of(products: Products, tree: Tree) -> tuple[Pair, ...]:
    """The path of a tree in the order that takes the least memory."""
    live = [1 << number for number in range(products.count)]
    path = []
    for product in _schedule(products, tree, (1 << products.count) - 1)[2]:
        first, second = sorted(live.index(factor) for factor in tree[product])
        path.append((first, second))
        del live[second], live[first]
        live.append(product)
    return tuple(path)


def _schedule(products: Products, tree: Tree, product: int) -> tuple[int, int, list[int]]:
    """The largest memory on the way, the memory left, and the products in order."""
    if product not in tree:
        return 0, 0, []
    parts = [_schedule(products, tree, factor) for factor in tree[product]]
    first, second = sorted(parts, key=lambda part: part[1] - part[0])
    left = products.size(products.kept[product])
    peak = max(first[0], first[1] + second[0], first[1] + second[1] + left)
    return peak, left, [*first[2], *second[2], product]
