"""What is computed from cores alone: the contraction with given coefficients, and the weight tensor."""

from collections.abc import Sequence

from ..arrays.backend import Backend
from ..arrays.checks import check_real
from ..programs.sparse import read_active
from ..typing import Array
from .active import keep_active
from .checks import (
    NamedArrays,
    check_arrays,
    check_input,
    find_backend,
    find_stage,
    flatten,
    name_cores,
    read_coefficients,
)
from .functional import choose_program, choose_sparse_program, unflatten
from .layer_spec import MuMoESpec
from .needs import check_weight
from .stage import Stage


def contract(
    spec: MuMoESpec | Stage,
    cores: NamedArrays | Sequence[Array],
    coefficients: Sequence[Array],
    x: Array,
    *,
    active: int | Sequence[int] | None = None,
    backend: Backend | str | None = None,
) -> Array:
    """The factorized contraction alone, with your own coefficients.

    Args:
        spec: the layer, or one of a block's `layers`.
        cores: the factors of the weight tensor: a mapping such as `layer.cores`, or a list in the network's
            order.
        coefficients: E arrays (…, N_e).
        x: (…, I).
        active: at most how many coefficients of each level differ from 0, if you know. With few vectors, only
            these experts' slices of the cores are then read, where that is faster; see `Stage.plan`. The
            derivative with respect to a coefficient that is 0 is then 0.
        backend: a backend object or name; by default the one that x belongs to.

    Returns:
        y (…, O).

    Raises:
        TensorMoEError: a wrong shape, or more coefficients than `active` that differ from 0, unless a
            framework traces.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(2, 1, experts=2, factorization=tm.TensorNetwork("n o, i o"), bias=False)
        >>> cores = [np.array([[1.0], [10.0]]), np.array([[1.0], [2.0]])]
        >>> tm.contract(spec, cores, [np.array([[0.5, 0.5]])], np.array([[1.0, 1.0]]))
        array([[16.5]])
    """
    stage = find_stage(spec)
    ops = find_backend(backend, x)
    x = ops.as_array(x)
    check_input(ops, x, stage)
    counts = None if active is None else read_active(active, stage.experts)
    if counts is not None:
        coefficients = keep_active(ops, stage, coefficients, x, counts)
    flat = read_coefficients(ops, stage, coefficients, x)
    arrays = {name: ops.as_array(array) for name, array in name_cores(cores, stage).items()}
    check_arrays(ops, "cores", arrays, stage.network.shapes, stage, x)
    tokens = flatten(ops, x, x)
    ordered = [arrays[name] for name in stage.network.shapes]
    if counts is None:
        program = choose_program(ops, stage, tokens)
    else:
        program = choose_sparse_program(ops, stage, counts, (tokens, *flat, *ordered))
    return unflatten(ops, ops.compute(program, (tokens, *flat), ordered), x)


def materialize(
    spec: MuMoESpec | Stage,
    cores: NamedArrays | Sequence[Array],
    *,
    backend: Backend | str | None = None,
) -> Array:
    """Multiply the cores out to the weight tensor, to inspect or export it.

    Args:
        spec: the layer, or one of a block's `layers`.
        cores: a mapping such as `layer.cores`, or a list in the network's order.
        backend: a backend object or name; by default the one that the cores belong to.

    Returns:
        W (N1, …, NE, I[+1], O); the last row of the input mode is the bias of each expert.

    Raises:
        TensorMoEError: a missing or unknown name, or a wrong shape.

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=(4, 3), factorization=tm.CP(rank=5))
        >>> parameters, _ = tm.initialize(spec)
        >>> tm.materialize(spec, tm.cores_of(spec, parameters)).shape
        (4, 3, 9, 6)
    """
    stage = find_stage(spec)
    shapes = stage.network.shapes
    named = name_cores(cores, stage)
    ops = find_backend(backend, next(iter(named.values())))
    arrays = {name: ops.as_array(array) for name, array in named.items()}
    ordered = [arrays[name] for name in shapes]
    check_arrays(ops, "cores", arrays, shapes, stage, ordered[0])
    check_real(ops, "cores", ordered[0])
    check_weight(stage, ops, ordered[0])
    program = stage.materialization_plan.program
    weight = ops.compute(program, (), ordered)
    # A dense layer's only core is its weight: never return the parameter's own memory.
    return ops.copy(weight) if program.only_views else weight
