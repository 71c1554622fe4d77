"""Paths: the order in which a contraction's operands are multiplied, found from shapes alone."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import opt_einsum
from opt_einsum.paths import DynamicProgramming, get_path_fn

from ..errors import TensorMoEError, non_negative_integer
from ..networks.notation import BATCH
from .contraction import Contraction

Pair = tuple[int, ...]
# For each step the positions of its operands among the live tensors; results are appended.
Path = tuple[Pair, ...]
# How to find a path: the name of a search, or the path itself.
Optimize = str | Path
# An optimizer of opt_einsum or cotengra, or your own function. It takes the indices of each operand, those of
# the output, the size of each index and the largest intermediate allowed, and returns a path.
Optimizer = Callable[..., Sequence[Sequence[int]]]
# What users may pass.
AnyOptimize = str | Sequence[Sequence[int]] | Optimizer

# The largest numbers of operands for which opt_einsum tries every path, and for which it uses dynamic
# programming. At its limit either takes some ten milliseconds, and exponentially more beyond; the heuristics
# are quick for any number.
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

    def ask(self, optimizer: Optimizer, memory_limit: int | None) -> Sequence[Sequence[int]]:
        """Ask an optimizer for a path."""
        inputs = [frozenset(term) for term in self.terms]
        # Some of cotengra's optimizers accept no limit.
        limit = () if memory_limit is None else (memory_limit,)
        return optimizer(inputs, frozenset(self.output), self.sizes, *limit)

    def search(self, optimizer: Optimizer, memory_limit: int | None) -> _Candidate | None:
        """The path that one of opt_einsum's searches finds; None if it finds no pairwise path."""
        try:
            path = self.ask(optimizer, memory_limit)
        except RuntimeError:  # this is how its dynamic programming says that nothing meets the limit
            return None
        # Its other searches answer with one n-ary step, thousands of times as slow, or exceed the limit.
        if any(len(pair) > 2 for pair in path):
            return None
        return self.price(tuple(tuple(pair) for pair in path))

    def smallest(self) -> _Candidate | None:
        """The path with the smallest peak: the one whose largest intermediate is smallest."""
        operands = len(self.terms)
        if operands > _DYNAMIC:
            return self.search(get_path_fn("greedy"), None)
        return self.search(DynamicProgramming("size", search_outer=operands <= _OUTER), None)

    def price(self, path: Path) -> _Candidate:
        """Count a path's operations and the elements of its largest intermediate."""
        shapes = [tuple(self.sizes[index] for index in term) for term in self.terms]
        expression = f"{','.join(self.terms)}->{self.output}"
        _, info = opt_einsum.contract_path(expression, *shapes, shapes=True, optimize=path)
        return _Candidate(int(info.opt_cost), int(info.largest_intermediate), path)


def _pose(contraction: Contraction, batch_size: int) -> _Problem:
    sizes = {**dict(contraction.sizes), BATCH: batch_size}
    symbols = {index: opt_einsum.get_symbol(n) for n, index in enumerate(sizes)}
    terms = tuple("".join(symbols[index] for index in op.indices) for op in contraction.operands)
    output = "".join(symbols[index] for index in contraction.output)
    return _Problem(terms, output, {symbols[index]: size for index, size in sizes.items()})


def find_path(
    contraction: Contraction, batch_size: int, optimize: Optimize, memory_limit: int | None
) -> Path:
    """Find the path for a contraction.

    Args:
        contraction: what to compute.
        batch_size: the number of input vectors to plan for.
        optimize: "auto" for the cheapest path that several searches find, the name of one of opt_einsum's
            searches, or a path.
        memory_limit: the largest intermediate allowed, in elements, or None.

    Raises:
        TensorMoEError: a memory limit that no path found meets.
    """
    if len(contraction.operands) == 1:
        # Still one step, which sums over the indices that the output lacks.
        return ((0,),)
    problem = _pose(contraction, batch_size)
    candidates = _candidates(problem, optimize, memory_limit)
    if memory_limit is not None:
        candidates = [each for each in candidates if each.largest <= memory_limit]
        if not candidates:
            reason = f"for {batch_size:,} input vectors {_explain(problem, optimize, memory_limit)}"
            raise TensorMoEError("memory_limit", memory_limit, reason)
    if not candidates:
        raise TensorMoEError("optimize", optimize, 'this search finds no pairwise path: use "auto"')
    return min(candidates).path


def _explain(problem: _Problem, optimize: Optimize, memory_limit: int) -> str:
    """Why no path meets the limit, and what to do."""
    if not isinstance(optimize, str):
        return (
            f"the path has an intermediate of {problem.price(optimize).largest:,} elements: raise the limit"
        )
    smallest = problem.smallest()
    if smallest is not None and smallest.largest <= memory_limit:
        return f'the search {optimize!r} finds no path within this limit: use optimize="auto"'
    if smallest is None:
        return "no pairwise path was found: raise the limit"
    return f"every path found has an intermediate of {smallest.largest:,} elements or more: raise the limit"


def _candidates(problem: _Problem, optimize: Optimize, memory_limit: int | None) -> list[_Candidate]:
    if not isinstance(optimize, str):
        return [problem.price(optimize)]
    operands = len(problem.terms)
    names = ["auto"] + ["dp"] * (operands <= _DYNAMIC) + ["optimal"] * (operands <= _EXHAUSTIVE)
    searches = names if optimize == "auto" else [optimize]
    candidates = [problem.search(get_path_fn(name), memory_limit) for name in searches]
    if optimize == "auto" and memory_limit is not None:
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
        return _known_name(optimize)
    if not callable(optimize):
        return _fit_path(optimize, len(contraction.operands))
    try:
        path = _pose(contraction, batch_size).ask(cast("Optimizer", optimize), memory_limit)
    except Exception as error:
        raise TensorMoEError(
            "optimize", optimize, f'the optimizer finds no path ({error}): pass another, or "auto"'
        ) from error
    return _fit_path(path, len(contraction.operands))


def _known_name(name: str) -> str:
    try:
        get_path_fn(name)
    except KeyError as error:
        raise TensorMoEError(
            "optimize", name, 'pass "auto", the name of another opt_einsum search, a path, or an optimizer'
        ) from error
    return name.lower()


def _fit_path(path: object, operands: int) -> Path:
    try:
        steps = [tuple(non_negative_integer("optimize", n) for n in pair) for pair in path]  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        raise TensorMoEError(
            "optimize", path, "pass a search's name, an optimizer, or a pair of positions for each step"
        ) from error
    if len(steps) != operands - 1:
        raise TensorMoEError(
            "optimize", path, f"{operands} operands take {operands - 1} steps, not {len(steps)}"
        )
    for number, pair in enumerate(steps):
        live = operands - number
        if len(set(pair)) != 2 or len(pair) != 2 or max(pair) >= live:
            raise TensorMoEError(
                "optimize",
                path,
                f"step {number} is {pair}: pass two different positions from 0 to {live - 1}",
            )
    return tuple(steps)
