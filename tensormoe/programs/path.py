"""Paths: the order in which a contraction's operands are multiplied, found from shapes alone."""

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import opt_einsum
from opt_einsum.paths import DynamicProgramming, get_path_fn

from ..errors import TensorMoEError, non_negative_integer
from ..networks.notation import BATCH
from .contraction import Contraction
from .search import find_tree
from .trees import Products, path_of, tree_of

Pair = tuple[int, ...]
# For each step the positions of its operands among the live tensors; results are appended. The terms of a sum
# follow each other, each with positions of its own.
Path = tuple[Pair, ...]
# How to find a path: the name of a search, or the path itself.
Optimize = str | Path
# An optimizer of opt_einsum or cotengra, or your own function. It takes the indices of each operand, those of
# the output, the size of each index and the largest intermediate allowed, and returns a path.
Optimizer = Callable[..., Sequence[Sequence[int]]]
# What users may pass.
AnyOptimize = str | Sequence[Sequence[int]] | Optimizer

# The largest numbers of operands for which opt_einsum tries every path, and for which it uses dynamic
# programming. At its limit either takes some ten milliseconds, and exponentially more beyond.
_EXHAUSTIVE, _DYNAMIC = 6, 12
# Up to this many, products of operands that share no index are tried as well when memory is short.
_OUTER = 9


class _Candidate(NamedTuple):
    operations: int
    largest: int
    path: Path


class _Problem(NamedTuple):
    """A contraction in opt_einsum's terms."""

    terms: tuple[str, ...]
    output: str
    sizes: dict[str, int]

    def ask(
        self, optimizer: Optimizer, memory_limit: int | None, name: Callable[[str], object] = str
    ) -> Sequence[Sequence[int]]:
        """Ask an optimizer for a path; `name` makes what it knows the indices by."""
        *inputs, output = (frozenset(map(name, term)) for term in (*self.terms, self.output))
        # Some of cotengra's optimizers accept no limit.
        limit = () if memory_limit is None else (memory_limit,)
        return optimizer(inputs, output, {name(index): size for index, size in self.sizes.items()}, *limit)

    def search(self, optimizer: Optimizer, memory_limit: int | None) -> _Candidate | None:
        """The path that one of opt_einsum's searches finds; None if it finds no pairwise path."""
        state = random.getstate()
        try:
            # Sets of strings, unlike those of integers, are in another order in each process.
            path = self.ask(optimizer, memory_limit, ord)
        except RuntimeError:  # this is how its dynamic programming says that nothing meets the limit
            return None
        finally:
            # Its random searches seed Python's own generator, which is the user's.
            random.setstate(state)
        # Its other searches answer with one n-ary step, thousands of times as slow, or exceed the limit.
        if any(len(pair) > 2 for pair in path):
            return None
        return self.price(tuple(tuple(pair) for pair in path))

    def search_long(self, known: Sequence[Path], memory_limit: int | None) -> list[_Candidate]:
        """Paths of many operands that our own search finds, which also tries to improve on known ones."""
        candidates = [self._improve(known, None)]
        if memory_limit is not None and candidates[0].largest > memory_limit:
            # What is smallest, and from there what costs least within the limit.
            for limit in (0, memory_limit):
                candidates.append(self._improve([*known, *(each.path for each in candidates)], limit))
        return candidates

    def _improve(self, known: Sequence[Path], memory_limit: int | None) -> _Candidate:
        products = self.products(memory_limit)
        tree = find_tree(products, [tree_of(products, path) for path in known])
        return self.price(path_of(products, tree))

    def smallest(self) -> _Candidate | None:
        """The path with the smallest peak: the one whose largest intermediate is smallest."""
        operands = len(self.terms)
        if operands > _DYNAMIC:
            return self._improve((), 0)
        return self.search(DynamicProgramming("size", search_outer=operands <= _OUTER), None)

    def price(self, path: Path) -> _Candidate:
        """Count a path's operations and the elements of its largest intermediate."""
        products = self.products()
        tree = tree_of(products, path)
        return _Candidate(products.total(tree), products.largest(tree), path)

    def products(self, memory_limit: int | None = None) -> Products:
        return Products(self.terms, self.output, self.sizes, memory_limit)


def _pose(contraction: Contraction, batch_size: int) -> _Problem:
    contraction = contraction.in_parts
    sizes = {**dict(contraction.sizes), BATCH: batch_size}
    symbols = {index: opt_einsum.get_symbol(n) for n, index in enumerate(sizes)}
    terms = tuple("".join(symbols[index] for index in op.indices) for op in contraction.operands)
    output = "".join(symbols[index] for index in contraction.output)
    return _Problem(terms, output, {symbols[index]: size for index, size in sizes.items()})


def count_steps(term: Contraction) -> int:
    """The steps in the path of a contraction of one term: a single operand has one, which sums it."""
    return max(len(term.operands) - 1, 1)


def split_path(contraction: Contraction, path: Path) -> tuple[Path, ...]:
    """The part of a path that belongs to each term, in order."""
    if not contraction.counts:
        return (tuple(path),)
    parts, start = [], 0
    for term in contraction.terms:
        stop = start + count_steps(term)
        parts.append(tuple(path[start:stop]))
        start = stop
    return tuple(parts)


def find_path(
    contraction: Contraction,
    batch_size: int,
    optimize: Optimize,
    memory_limit: int | None,
    known: Sequence[Path] = (),
) -> Path:
    """Find the path for a contraction.

    Args:
        contraction: what to compute.
        batch_size: the number of input vectors to plan for.
        optimize: "auto" for the cheapest path that several searches find, the name of one of opt_einsum's
            searches, or a path.
        memory_limit: the largest intermediate allowed, in elements, or None.
        known: paths for other batch sizes, one of which may be the best here.

    Raises:
        TensorMoEError: a memory limit that no path found meets.
    """
    if contraction.counts:
        return _find_paths(contraction, batch_size, optimize, memory_limit, known)
    contraction = contraction.gathered
    if len(contraction.operands) == 1:
        # Still one step, which sums over the indices that the output lacks.
        return ((0,),)
    problem = _pose(contraction, batch_size)
    candidates = _candidates(problem, optimize, memory_limit, known)
    fitting = [each for each in candidates if memory_limit is None or each.largest <= memory_limit]
    if fitting:
        return min(fitting).path
    if memory_limit is None:
        raise TensorMoEError("optimize", optimize, 'this search finds no pairwise path: use "auto"')
    reason = _explain(problem, optimize, memory_limit, candidates)
    raise TensorMoEError("memory_limit", memory_limit, f"for {batch_size:,} input vectors {reason}")


def _find_paths(
    contraction: Contraction,
    batch_size: int,
    optimize: Optimize,
    memory_limit: int | None,
    known: Sequence[Path],
) -> Path:
    """The paths of all terms, one after the other."""
    terms = contraction.terms
    parts = [split_path(contraction, path) for path in known]
    asked: Sequence[Optimize] = [optimize] * len(terms)
    if not isinstance(optimize, str):
        asked = split_path(contraction, optimize)
    path: list[Pair] = []
    for number, (term, search) in enumerate(zip(terms, asked, strict=True)):
        own = find_path(term, batch_size, search, memory_limit, [part[number] for part in parts])
        path += own if len(term.operands) == 1 else _keep_pairs(own, len(term.operands))
    return tuple(path)


def _keep_pairs(path: Path, operands: int) -> list[Pair]:
    """A path without the steps of one operand, which some searches put where an index is in no other."""
    live = [*range(operands)]
    kept, pairs = [*live], []
    for number, step in enumerate(path, start=operands):
        chosen = [live[position] for position in step]
        live = [each for each in live if each not in chosen]
        if len(chosen) == 1:
            live += chosen
            continue
        pairs.append(tuple(kept.index(each) for each in chosen))
        kept = [each for each in kept if each not in chosen]
        live.append(number)
        kept.append(number)
    return pairs


def _explain(problem: _Problem, optimize: Optimize, memory_limit: int, candidates: list[_Candidate]) -> str:
    """Why no path meets the limit, and what to do."""
    if not isinstance(optimize, str):
        return f"the path has an intermediate of {candidates[0].largest:,} elements: raise the limit"
    smallest = problem.smallest()
    sizes = [each.largest for each in (*candidates, *([smallest] if smallest else []))]
    if not sizes:
        return "no pairwise path was found: raise the limit"
    if min(sizes) <= memory_limit:
        return f'the search {optimize!r} finds no path within this limit: use optimize="auto"'
    return f"every path found has an intermediate of {min(sizes):,} elements or more: raise the limit"


def _candidates(
    problem: _Problem, optimize: Optimize, memory_limit: int | None, known: Sequence[Path]
) -> list[_Candidate]:
    if not isinstance(optimize, str):
        return [problem.price(optimize)]
    operands = len(problem.terms)
    candidates: list[_Candidate | None] = [problem.price(path) for path in known]
    if optimize != "auto":
        candidates.append(problem.search(get_path_fn(optimize), memory_limit))
    elif operands > _DYNAMIC:
        candidates += problem.search_long(known, memory_limit)
    else:
        names = ["auto", "dp"] + ["optimal"] * (operands <= _EXHAUSTIVE)
        candidates += [problem.search(get_path_fn(name), memory_limit) for name in names]
        if memory_limit is not None:
            # Searches for few operations may miss the few paths that meet a narrow limit.
            candidates.append(problem.smallest())
    return [each for each in candidates if each is not None]


def resolve(
    optimize: object, contraction: Contraction, batch_size: int, memory_limit: int | None
) -> Optimize:
    """Check a search's name or a path; for an optimizer, return the path that it finds.

    Raises:
        TensorMoEError: an unknown name, a path that does not fit, an optimizer that fails.
    """
    if isinstance(optimize, str):
        return known_name(optimize)
    if not callable(optimize):
        return _fit_path(optimize, contraction)
    try:
        path = [
            pair
            for term in contraction.terms
            for pair in _pose(term, batch_size).ask(cast("Optimizer", optimize), memory_limit)
        ]
    except Exception as error:
        raise TensorMoEError(
            "optimize", optimize, f'the optimizer finds no path ({error}): pass another, or "auto"'
        ) from error
    return _fit_path(path, contraction)


def known_name(name: str) -> str:
    """The name of a search as opt_einsum knows it.

    Raises:
        TensorMoEError: an unknown name.
    """
    try:
        get_path_fn(name)
    except KeyError as error:
        raise TensorMoEError(
            "optimize", name, 'pass "auto", the name of another opt_einsum search, a path, or an optimizer'
        ) from error
    return name.lower()


def _fit_path(path: object, contraction: Contraction) -> Path:
    try:
        steps = [tuple(non_negative_integer("optimize", n) for n in pair) for pair in path]  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        raise TensorMoEError(
            "optimize", path, "pass a search's name, an optimizer, or a pair of positions for each step"
        ) from error
    live = [len(term.operands) - done for term in contraction.terms for done in range(count_steps(term))]
    if len(steps) != len(live):
        whole = f"{len(contraction.operands)} operands"
        if contraction.counts:
            whole += f" in {len(contraction.terms)} terms"
        raise TensorMoEError("optimize", path, f"{whole} take {len(live)} steps, not {len(steps)}")
    for number, (pair, count) in enumerate(zip(steps, live, strict=True)):
        if len(set(pair)) != 2 or len(pair) != 2 or max(pair) >= count:
            raise TensorMoEError(
                "optimize",
                path,
                f"step {number} is {pair}: pass two different positions from 0 to {count - 1}",
            )
    return tuple(steps)
