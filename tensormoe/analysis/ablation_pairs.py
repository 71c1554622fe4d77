"""Ablations of single inputs: the mixture at edited coefficients, for pairs of an input and an expert.

Without expert (n, m) of two levels, the coefficients are a product of levels no more, but a sum of two such
products: those with another first number, and those with n and another second one. Nothing is subtracted, so
that what is left of a nearly one-hot coefficient is as precise as any output.
"""

from collections.abc import Callable
from functools import reduce
from operator import add, mul

from ..arrays.backend import Backend, at_least_float32
from ..layers.functional import choose_program
from ..layers.spec import Spec
from ..typing import Array, NumPyArray
from .ablation_subject import Ablations, Sets, Subject

# The coefficients of each level, (P, N_e).
Rows = list[Array]


def run_pairs(subject: Subject, ablations: Ablations, tokens: NumPyArray) -> Array:
    """The outputs (P, O) of inputs, (P,), each under the ablation of the same place."""
    rows = [a[tokens] for a in subject.coefficients]
    terms = _edit(subject.ops, rows, ablations)
    return run_terms(subject, tokens, rows, terms, ablations)


def run_terms(
    subject: Subject, tokens: NumPyArray | slice, rows: Rows, terms: list[Rows], removed: Ablations | Sets
) -> Array:
    """The outputs (P, O) of inputs whose coefficients, in some layers, are these sums of products."""
    ops, spec = subject.ops, subject.spec
    scale = rescale(ops, rows, terms, removed.levels) if removed.renormalize else None

    def run(stage: str, x: Array) -> Array:
        program = choose_program(ops, spec.layers[stage], x)
        cores = list(subject.cores(stage).values())
        if stage not in removed.stages:
            return ops.compute(program, (x, *rows[: spec.layers[stage].levels]), cores)
        y = reduce(add, (ops.compute(program, (x, *term), cores) for term in terms))
        return y if scale is None else y * scale

    return run_stages(ops, spec, subject.x[tokens], run)


def run_stages(ops: Backend, spec: Spec, x: Array, run: Callable[[str, Array], Array]) -> Array:
    """A layer, or the layers of a block: f of the first, times the second of three, through the last.

    Args:
        ops, spec, x: the backend, the specification, and what the first layers see.
        run: computes a layer, by its name, of its input; with an axis for ablations where it has some.
    """
    *before, last = spec.layers
    if not before:
        return run(last, x)
    first, *factors = (run(stage, x) for stage in before)
    # Nothing else needs the first result: it was computed for this.
    hidden = ops.nonlinear_overwrite(spec.between or "identity", first)
    for factor in factors:
        axes = max(hidden.ndim, factor.ndim)
        hidden = _spread(hidden, axes) * _spread(factor, axes)
    return run(last, hidden)


def _spread(array: Array, axes: int) -> Array:
    """The array with an axis for ablations, which are all the same."""
    return array if array.ndim == axes else array[:, None]


def _edit(ops: Backend, rows: Rows, ablations: Ablations) -> list[Rows]:
    """The coefficients without an expert, as a sum of products: one term for each level that it is of."""
    terms: list[Rows] = []
    before = list(rows)
    for level, numbers in zip(ablations.levels, ablations.numbers, strict=True):
        row = rows[level]
        places = ops.positions(row.shape[-1], row)
        own, zeros = places[None, :] == places[numbers][:, None], ops.zeros_like(row)
        others = list(before)
        others[level] = ops.where(own, zeros, row)
        terms.append(others)
        before[level] = ops.where(own, row, zeros)
    return terms


def rescale(ops: Backend, rows: Rows, terms: list[Rows], levels: tuple[int, ...]) -> Array:
    """What brings the sum of the other coefficients to that of all, (P, 1); 1 if all others are 0.

    `terms` are the products whose sum is left.
    """
    kind = ops.dtype_name(rows[0])

    def count(term: Rows) -> Array:
        wide = (ops.cast(term[level], at_least_float32(kind)) for level in levels)
        return reduce(mul, (ops.sum(each, axis=-1, keepdims=True) for each in wide))

    whole, left = count(rows), reduce(add, map(count, terms))
    return ops.cast(whole / ops.where(left == 0, whole, left), kind)
