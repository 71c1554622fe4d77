"""Runs ablations in batches: of all inputs by linearity, or of those pairs that an ablation changes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..networks.notation import INPUT, expert_modes
from ..programs.plan import LARGE_BATCH
from ..typing import NumPyArray
from .ablation_grid import Grid
from .ablation_pairs import run_pairs
from .ablation_sets import run_set
from .ablation_subject import Ablations, Sets, Subject

# Elements of the largest array of a batch: small enough for a processor's cache to help.
_LARGEST = 2**20
# So many inputs share the work on the experts of a batch.
_TOKENS = 64
# What reading and writing an element costs, in multiply-accumulates.
_TRAFFIC = 16


@dataclass(frozen=True)
class Part:
    """The outputs of some ablations.

    Args:
        tokens, which: inputs and ablations: slices, whose outputs are a table (T, A, O), or (T, 1, O) if all
            are equal; or the numbers of pairs (P,), whose outputs are (P, O).
        y: the outputs, in NumPy.
    """

    tokens: slice | NumPyArray
    which: slice | NumPyArray
    y: NumPyArray


def run(subject: Subject, ablations: Ablations | Sets) -> Iterator[Part]:
    """The outputs of all ablations, batch by batch; of what comes twice, the later counts."""
    if isinstance(ablations, Sets):
        yield from _run_sets(subject, ablations)
        return
    width = _width(subject, ablations)
    at_once = max(1, _LARGEST // (width * min(len(subject.x), _TOKENS)))
    batches = list(_slices(len(ablations), at_once))
    count = min(len(subject.x), max(1, _LARGEST // (width * min(len(ablations), at_once))))
    with subject.ops.without_gradients():
        for which in batches:
            yield from _run(subject, ablations.take(which), which, count)


def compute_outputs(subject: Subject, ablations: Ablations | Sets) -> NumPyArray:
    """The outputs of all ablations at once, (A, …, O)."""
    outputs = np.empty((len(subject.x), len(ablations), subject.y.shape[-1]), subject.y.dtype)
    for part in run(subject, ablations):
        outputs[part.tokens, part.which] = part.y
    return np.moveaxis(outputs, 1, 0).reshape(len(ablations), *subject.leading, -1)


def find_used(subject: Subject, ablations: Ablations) -> NumPyArray:
    """Which of the ablations change anything, (A,) of bool: any input has a coefficient of their experts."""
    own, _ = _split(subject, ablations, slice(None))
    return np.asarray((own != 0).any(axis=0))


def _run(subject: Subject, ablations: Ablations, which: slice, count: int) -> Iterator[Part]:
    grid = Grid(subject, ablations, count) if _is_linear(subject, ablations) else None
    macs = 0.0
    if grid is not None:
        peak = max(each.peak for each in grid.plans)
        count = max(1, min(count, count * 4 * _LARGEST // max(1, peak)))
        macs = sum(each.macs for each in grid.plans) / grid.batch_size
        macs += _TRAFFIC * len(ablations) * _width(subject, ablations)
    for tokens in _slices(len(subject.x), count):
        own, left = _split(subject, ablations, tokens)
        pairs = own != 0
        if grid is not None and macs * len(own) <= pairs.sum() * _price(subject, ablations):
            y = np.asarray(subject.ops.to_numpy(grid.run(tokens)))
            if grid.spread and not pairs.all():
                y = np.where(pairs[..., None], y, subject.y[tokens, None])
            yield Part(tokens, which, y)
            # The difference of what is nearly equal is imprecise.
            pairs &= np.abs(left) < np.abs(own)
        else:
            yield Part(tokens, which, subject.y[tokens, None])
        rows, columns = np.nonzero(pairs)
        for chosen in _slices(len(rows), _pairs_at_once(subject)):
            numbers = rows[chosen] + tokens.start
            y = run_pairs(subject, ablations.take(columns[chosen]), numbers)
            yield Part(numbers, columns[chosen] + which.start, np.asarray(subject.ops.to_numpy(y)))


def _run_sets(subject: Subject, sets: Sets) -> Iterator[Part]:
    with subject.ops.without_gradients():
        for tokens in _slices(len(subject.x), _pairs_at_once(subject)):
            for number in range(len(sets)):
                y = run_set(subject, sets, number, tokens)
                yield Part(tokens, slice(number, number + 1), y[:, None])


def _is_linear(subject: Subject, ablations: Ablations) -> bool:
    """Whether every term has experts of these levels, or its layer has none, so that an output can, too."""
    modes = {expert_modes(subject.spec.levels)[level] for level in ablations.levels}
    for stage in subject.spec.layers.values():
        needed = modes if stage.experts else {INPUT}
        if not all(needed <= {*term.carried_modes} for term in stage.network.terms):
            return False
    return True


def _split(subject: Subject, ablations: Ablations, tokens: slice) -> tuple[NumPyArray, NumPyArray]:
    """The coefficients of the experts that are ablated, and the sum of all others, (T, A) each."""
    own, whole = np.ones((1, 1)), np.ones((1, 1))
    for level, numbers in zip(ablations.levels, ablations.numbers, strict=True):
        values = subject.values[level][tokens]
        own = own * values[:, numbers]
        whole = whole * values.sum(axis=1, keepdims=True)
    return own, whole - own


def _width(subject: Subject, ablations: Ablations) -> int:
    """The elements that one ablation of one input has in the largest array."""
    *before, last = subject.spec.layers.values()
    spread = ablations.stages & {*list(subject.spec.layers)[:-1]}
    return max(last.in_features if before and spread else 1, last.out_features)


def _price(subject: Subject, ablations: Ablations) -> float:
    """Multiply-accumulates of a pair: the whole mixture, once for each level."""
    spec = subject.spec
    traffic = _TRAFFIC * (sum(spec.experts) + max(spec.features))
    return len(ablations.levels) * (spec.plan(LARGE_BATCH).macs / LARGE_BATCH + traffic)


def _pairs_at_once(subject: Subject) -> int:
    widest = max(*subject.spec.experts, *subject.spec.features)
    peak = subject.spec.plan(LARGE_BATCH).peak // LARGE_BATCH
    return max(1, _LARGEST // max(widest, peak))


def _slices(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
