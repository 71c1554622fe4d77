"""A search for the cheapest tree of many operands: greedy, then by random changes, then part by part.

It is bounded by work, not by time, and counts in integers, so that every process and machine finds the same.
"""

import heapq
from collections.abc import Iterable
from random import Random

from .trees import Products, Tree

# Random changes tried for each operand, and by how many thousandths the first ones may raise the cost.
_MOVES = 200
_INCREASE = 20
# The factors of a part that is solved exactly, and the splits tried for each operand after the first part.
_PART = 8
_SPLITS = 250
# A part that takes less than this share of the total is left as it is.
_NEGLIGIBLE = 1000


def find_tree(products: Products, starts: Iterable[Tree]) -> Tree:
    """The cheapest tree found from the greedy one, and from the best of others that are known."""
    first = greedy(products)
    second = min((first, *starts), key=products.total)
    annealed = [anneal(products, start, seed) for seed, start in enumerate((first, second))]
    return solve_parts(products, min(annealed, key=products.total))


def greedy(products: Products) -> Tree:
    """The tree that always takes the product which leaves the fewest elements more than its factors have."""
    queue: list[tuple[int, int, int, int]] = []
    kept = products.kept
    live: list[int] = []
    tree: Tree = {}

    def enter(a: int) -> None:
        for b in live:
            if kept[a] & kept[b]:
                gain = products.size(products.keep(a, b)) - products.size(kept[a]) - products.size(kept[b])
                heapq.heappush(queue, (gain, a | b, a, b))
        live.append(a)

    for number in range(products.count):
        enter(1 << number)
    while len(live) > 1:
        a, b = _take(products, queue, live)
        live.remove(a)
        live.remove(b)
        products.keep(a, b)
        tree[a | b] = (a, b)
        enter(a | b)
    return tree


def _take(products: Products, queue: list[tuple[int, int, int, int]], live: list[int]) -> tuple[int, int]:
    """The best pair whose members are both live; the smallest ones, if none shares an index."""
    while queue:
        _, _, a, b = heapq.heappop(queue)
        if a in live and b in live:
            return a, b
    a, b = sorted(live, key=lambda each: (products.size(products.kept[each]), each))[:2]
    return a, b


def anneal(products: Products, tree: Tree, seed: int) -> Tree:
    """Try random changes; keep one that raises the cost only by a share of it, which falls to 0.

    A change is ((a b) y) → ((a y) b). Sources: G. Kalachev, P. Panteleev and M.-H. Yung, Multi-tensor
    contraction for XEB verification of quantum circuits (2021); with a threshold in place of a temperature,
    G. Dueck and T. Scheuer, Threshold accepting (1990).
    """
    tree, cost, draw = dict(tree), products.cost, Random(seed).getrandbits
    costs = {product: cost(a, b) for product, (a, b) in tree.items()}
    total = cheapest = sum(costs.values())
    best, order, moves = dict(tree), [*tree], _MOVES * products.count
    for move in range(moves):
        # Two bits choose the change, the others its place.
        bits = draw(32)
        top = order[(bits >> 2) % len(order)]
        x, y = tree[top][::-1] if bits & 1 else tree[top]
        if x not in tree:
            x, y = y, x
            if x not in tree:
                continue
        a, b = tree[x][::-1] if bits & 2 else tree[x]
        lower, upper = cost(a, y), cost(a | y, b)
        change = lower + upper - costs[x] - costs[top]
        if change > 0 and change * 1000 * moves > total * _INCREASE * (moves - move):
            continue
        del tree[x], costs[x]
        tree[a | y], tree[top] = (a, y), (a | y, b)
        costs[a | y], costs[top] = lower, upper
        order[order.index(x)] = a | y
        total += change
        if total < cheapest:
            best, cheapest = dict(tree), total
    return best


def solve_parts(products: Products, tree: Tree) -> Tree:
    """Replace parts of a tree by the best ones there are, until none gets cheaper or the work is done."""
    tree, solved, splits = dict(tree), set(), 3**_PART + _SPLITS * products.count
    total, improved = products.total(tree), True
    while improved:
        improved = False
        for root in sorted(tree, key=lambda each: (-products.cost(*tree[each]), each)):
            if root not in tree:
                continue
            inner, factors = cut(products, tree, root)
            cost = sum(products.cost(*tree[each]) for each in inner)
            key = tuple(sorted(factors))
            if len(factors) < 3 or cost * _NEGLIGIBLE < total or key in solved:
                continue
            solved.add(key)
            splits -= 3 ** len(factors) // 2
            if splits < 0:
                return tree
            part, least = solve(products, key)
            if least < cost:
                for each in inner:
                    del tree[each]
                tree.update(part)
                total += least - cost
                improved = True
    return tree


def cut(products: Products, tree: Tree, root: int) -> tuple[list[int], list[int]]:
    """A part of a tree below a product: the products in it, and the factors that it starts from."""
    inner, factors = [], [root]
    while len(factors) < _PART:
        within = [each for each in factors if each in tree]
        if not within:
            break
        chosen = max(within, key=lambda each: (products.cost(*tree[each]), each))
        factors.remove(chosen)
        inner.append(chosen)
        factors += tree[chosen]
    return inner, factors


def solve(products: Products, factors: tuple[int, ...]) -> tuple[Tree, int]:
    """The cheapest tree of a few factors, by dynamic programming over all their subsets, and its cost."""
    count = 1 << len(factors)
    operands, kept, costs, splits = [0] * count, [0] * count, [0] * count, [0] * count
    elements, size = products.elements, products.size
    for number, factor in enumerate(factors):
        operands[1 << number], kept[1 << number] = factor, products.kept[factor]
    for whole in range(3, count):
        first = whole & -whole
        rest = whole ^ first
        if not rest:
            continue
        operands[whole] = operands[first] | operands[rest]
        kept[whole] = result = products.keep(operands[first], operands[rest])
        least, right = -1, rest
        while right:
            cost = costs[whole ^ right] + costs[right]
            if least < 0 or cost < least:
                joined = kept[whole ^ right] | kept[right]
                work = elements.get(joined) or size(joined)
                cost += work if joined == result else 2 * work
                if least < 0 or cost < least:
                    least, splits[whole] = cost, right
            right = (right - 1) & rest
        costs[whole] = least + products.excess(result)
    tree: Tree = {}
    pending = [count - 1]
    while pending:
        whole = pending.pop()
        if right := splits[whole]:
            tree[operands[whole]] = (operands[whole ^ right], operands[right])
            pending += [whole ^ right, right]
    return tree, costs[count - 1]
