"""Plans for coefficients of which at most k are not 0: whether to read all of a core, or slices of it.

A gathered program copies the slices of k experts for each token and multiplies these; the dense program reads
every core once for all tokens and multiplies all of it. Both are priced by the elements that they read and
write, since few tokens keep a processor waiting for memory, with an allowance for products. The prices come
from shapes: the choice is the same on every machine, and nothing is timed.
"""

from collections.abc import Sequence
from functools import lru_cache

from ..errors import TensorMoEError, positive_integer
from .contraction import Contraction, activate
from .path import Optimize, Path, find_path
from .plan import Plan, follow, for_batch, plans_by_batch

# The multiply-accumulates that take as long as one element's way to memory or back: on a GPU some hundreds. A
# CPU does fewer, so that gathering is chosen there for fewer tokens than it would serve.
_MACS_PER_ELEMENT = 256
# What finding the largest coefficients takes for each of them, in elements.
_CHOOSING = 16
# What a gathered program's further instructions take to call, in elements: on a CPU, as measured, and on a
# GPU, which moves a thousand elements in a nanosecond and is allowed for amply.
_CALLS, _CALLS_OF_ACCELERATORS = 2**18, 2**26
# A gathered program is chosen if it is expected to take at most this share of the time.
_WORTHWHILE = 0.8
# The batch size whose gathered path is searched, and those at which programs are compared.
_FEW = 8
_SIZES = (1, 2, *(size << shift for shift in range(9) for size in (3, 4)))


def read_active(active: object, experts: tuple[int, ...]) -> tuple[int, ...]:
    """How many coefficients of each level may differ from 0, from one count for all or one for each.

    Raises:
        TensorMoEError: anything but positive integers, or more than there are experts.
    """
    given = active if isinstance(active, list | tuple) else (active,) * len(experts)
    if len(given) != len(experts):
        remedy = f"pass one count for each of {len(experts)} expert level(s), or one count for all"
        raise TensorMoEError("active", active, remedy)
    counts = tuple(positive_integer("active", each) for each in given)
    for k, experts_of_level in zip(counts, experts, strict=True):
        if k > experts_of_level:
            remedy = f"a level has only {experts_of_level} experts: pass at most as many"
            raise TensorMoEError("active", active, remedy)
    return counts


@lru_cache(maxsize=1024)
def gathered_plan(
    contraction: Contraction,
    active: tuple[int, ...],
    batch_size: int,
    optimize: Optimize = "auto",
    memory_limit: int | None = None,
) -> Plan:
    """The plan that reads the slices of the active experts alone.

    Args:
        contraction: of x, the coefficients of each level, and cores.
        active: how many coefficients of each level may differ from 0.
        batch_size: the number of input vectors that costs are given for.
        optimize, memory_limit: as for `plan`; a path of the dense program's says nothing here.
    """
    sparse = activate(contraction, active)
    search = optimize if isinstance(optimize, str) else "auto"
    paths = [find_path(sparse, _FEW, search, memory_limit)]
    if not contraction.counts:
        paths += _coefficients_first(sparse)
    plans = (follow(sparse, path, _FEW) for path in dict.fromkeys(paths))
    return min(plans, key=price).at(batch_size)


def _coefficients_first(contraction: Contraction) -> list[Path]:
    """A path that multiplies x with the coefficients before anything, if few cores are left to order.

    It keeps each core's slices in the order in which they are read.
    """
    levels = len(contraction.data) - 1
    cores = len(contraction.operands) - 1 - levels
    if cores > 1 or levels == 0:
        return []
    count = len(contraction.operands)
    pairs = [(0, 1), *((0, count - 1 - done) for done in range(1, levels))]
    return [(*pairs, (0, 1))]


def price(plan: Plan) -> float:
    """What a plan is expected to take, in elements read or written."""
    levels = plan.contraction.data[1:] if plan.contraction.active else ()
    sizes = dict(plan.contraction.sizes)
    chosen = plan.batch_size * sum(sizes[level.indices[-1]] for level in levels)
    return plan.traffic + plan.macs / _MACS_PER_ELEMENT + _CHOOSING * chosen


@lru_cache(maxsize=1024)
def _price_by_size(plan: Plan) -> tuple[float, float]:
    """What a plan takes for no vector, and for each: programs read and write so much for cores and tokens."""
    one, two = price(plan.at(64)), price(plan.at(128))
    return 2 * one - two, (two - one) / 64


@lru_cache(maxsize=1024)
def sparse_plans(
    layers: tuple[tuple[Contraction, Optimize], ...],
    active: tuple[int, ...],
    memory_limit: int | None = None,
    accelerated: bool = False,
) -> tuple[tuple[int, tuple[Plan, ...]], ...]:
    """Plans of layers that share coefficients, gathered ones where these are expected to be faster together.

    Args:
        layers: the contraction of each, and how its paths are found.
        active: how many coefficients of each level may differ from 0.
        memory_limit: as for `plans_by_batch`.
        accelerated: whether arrays are on a GPU or the like, where a call takes long compared with its work.

    Returns:
        The plans of all layers, with the smallest batch size that they are chosen for, falling to 0.
    """
    dense = [plans_by_batch(contraction, optimize, memory_limit) for contraction, optimize in layers]
    slices = [gathered_plan(contraction, active, _FEW, optimize) for contraction, optimize in layers]
    sizes = {*_SIZES, *(least - 1 for each in dense for least, _ in each if least > 1)}
    chosen = [(0, tuple(each[0][1] for each in dense))]
    for size in sorted(sizes, reverse=True):
        best = tuple(for_batch(each, size) for each in dense)
        # A layer without experts has no slices.
        pairs = zip(slices, best, strict=True)
        gathered = tuple(each if each.contraction.active else whole for each, whole in pairs)
        if _fits(gathered, size, memory_limit) and _pays(gathered, best, size, accelerated):
            best = gathered
        # The last choice holds for more vectors than these; if this one is the same, for these as well.
        if best != chosen[-1][1]:
            chosen[-1] = (size + 1, chosen[-1][1])
            chosen.append((0, best))
    return tuple(chosen)


def _fits(plans: Sequence[Plan], batch_size: int, memory_limit: int | None) -> bool:
    return memory_limit is None or max(each.at(batch_size).largest for each in plans) <= memory_limit


def _pays(gathered: Sequence[Plan], dense: Sequence[Plan], batch_size: int, accelerated: bool) -> bool:
    calls = sum(bool(each.contraction.active) for each in gathered)
    calls *= _CALLS_OF_ACCELERATORS if accelerated else _CALLS
    return _total(gathered, batch_size) + calls <= _WORTHWHILE * _total(dense, batch_size)


def _total(plans: Sequence[Plan], batch_size: int) -> float:
    lines = map(_price_by_size, plans)
    return sum(fixed + batch_size * each for fixed, each in lines)
