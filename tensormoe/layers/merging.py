"""Soft merging: one weight for each sequence, the mix of all experts' weights by its coefficients.

A mixture multiplies every token with all experts. Where all tokens of a sequence have the same coefficients,
the weights can be mixed first, and every token is multiplied with one matrix, as in a dense layer.
"""

from collections.abc import Mapping, Sequence
from math import prod

from ..arrays.backend import Backend
from ..typing import Array
from .checks import (
    NamedArrays,
    check_arrays,
    check_input,
    find_backend,
    find_stage,
    name_cores,
    read,
    read_sequences,
)
from .cores import materialize
from .in_turn import compute_in_turn
from .layer_spec import MuMoESpec
from .parameters import name_core
from .spec import Spec, check_spec
from .stage import Stage, check_experts


def merge(
    spec: MuMoESpec | Stage,
    cores: NamedArrays | Sequence[Array],
    coefficients: Sequence[Array] | Array,
    *,
    backend: Backend | str | None = None,
) -> Array:
    """Merge experts: Σ W[n1 … nE, i, o] Π_e a_e[n_e], one weight for each row of coefficients.

    Use it for coefficients of a whole sequence or task. The weight tensor of all experts is not built.
    `spec.merging_plan` says what a row costs, and `tm.prove(spec.merging_plan)` proves it.

    Args:
        spec: the layer, or one of a block's `layers`.
        cores: a mapping such as `layer.cores`, or a list in the network's order.
        coefficients: E arrays (…, N_e), or the only one, of the cores' type.
        backend: a backend object or name; by default the one that the cores belong to.

    Returns:
        The weights (…, I[+1], O); the last row of the input mode is the bias.

    Raises:
        TensorMoEError: a layer without experts, a missing or unknown name, or a wrong shape or element type.

    Source: Muqeeth, Liu and Raffel, "Soft Merging of Experts with Adaptive Routing", 2023.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5), gate=None)
        >>> parameters, _ = tm.initialize(spec)
        >>> one_hot = np.eye(4, dtype="float32")[[2]]
        >>> weights = tm.merge(spec, tm.cores_of(spec, parameters), one_hot)
        >>> weights.shape
        (1, 9, 6)
        >>> experts = tm.materialize(spec, tm.cores_of(spec, parameters))
        >>> bool(np.allclose(weights[0], experts[2]))
        True
    """
    stage = find_stage(spec)
    plan = stage.merging_plan
    named = name_cores(cores, stage)
    ops = find_backend(backend, next(iter(named.values())))
    arrays = {name: ops.as_array(array) for name, array in named.items()}
    ordered = [arrays[name] for name in stage.network.shapes]
    check_arrays(ops, "cores", arrays, stage.network.shapes, stage, ordered[0])
    levels, leading = read_sequences(ops, coefficients, stage.experts, ordered[0], None)
    weights = ops.compute(plan.program, levels, ordered)
    return ops.reshape(weights, (*leading, *weights.shape[-2:]))


def merge_layers(
    spec: Spec,
    cores: Mapping[str, NamedArrays],
    coefficients: Sequence[Array] | Array,
    *,
    backend: Backend | str | None = None,
) -> tuple[Array, ...]:
    """The merged weights of a block's layers, in order; the weight (I[+1], O) of one without experts.

    Args:
        spec: a block.
        cores: those of each layer.
        coefficients, backend: as for `merge`.
    """
    check_experts(spec)
    return tuple(
        merge(stage, cores[prefix], coefficients, backend=backend)
        if stage.experts
        else materialize(stage, cores[prefix], backend=backend)
        for prefix, stage in spec.layers.items()
    )


def apply_merged(
    spec: Spec,
    parameters: NamedArrays,
    x: Array,
    coefficients: Sequence[Array] | Array,
    *,
    backend: Backend | str | None = None,
) -> Array:
    """Compute a layer or a block with one weight for each sequence: y[b, t] = W(a[b]) [x[b, t], 1].

    It equals the mixture with the same coefficients for all tokens of a sequence. After merging, which costs
    `spec.merging_plan.macs` for each sequence, a token costs I·O multiply-accumulates, as in a dense layer,
    whatever the rank and the number of experts. So it pays for long sequences where the mixture costs a token
    more than that, as CP does with ranks above I·O/(I + O).

    Args:
        spec: a layer or a block.
        parameters: all arrays by name, fixed cores among them, such as the union of what `initialize` gives;
            the gate's may be left out.
        x: (…, …, I), whose first axes are those of the coefficients.
        coefficients: E arrays (…, N_e), or the only one, of x's type.
        backend: a backend object or name; by default the one that x belongs to.

    Returns:
        y, of x's leading axes and O.

    Raises:
        TensorMoEError: as `merge`, and coefficients whose leading axes are not the first of x's.

    Source: Muqeeth, Liu and Raffel, "Soft Merging of Experts with Adaptive Routing", 2023.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5), gate=None)
        >>> parameters, _ = tm.initialize(spec, dtype="float64")
        >>> generator = np.random.default_rng(0)
        >>> x, a = generator.normal(size=(2, 7, 8)), generator.dirichlet(np.ones(4), 2)
        >>> y = tm.apply_merged(spec, parameters, x, a)
        >>> mixture = tm.apply(spec, parameters, x, coefficients=np.repeat(a[:, None], 7, axis=1))
        >>> y.shape, np.allclose(y, mixture.y)
        ((2, 7, 6), True)
    """
    check_spec(spec)
    ops = find_backend(backend, x)
    x = ops.as_array(x)
    arrays = read(ops, "parameters", parameters)
    check_input(ops, x, spec)
    others = spec.gate_shapes | spec.statistics_shapes
    kept = {name: array for name, array in arrays.items() if name not in others}
    check_arrays(ops, "parameters", kept, spec.mixture_shapes, spec, x)
    return run_merged(ops, spec, kept, x, coefficients)


def run_merged(
    ops: Backend,
    spec: Spec,
    parameters: Mapping[str, Array],
    x: Array,
    coefficients: Sequence[Array] | Array,
) -> Array:
    """`apply_merged` with an input and parameters that are known to fit, such as a module's own."""
    check_experts(spec)
    levels, leading = read_sequences(ops, coefficients, spec.experts, x, tuple(x.shape[:-1]))
    tokens = ops.reshape(x, (prod(leading), prod(x.shape[len(leading) : -1]), x.shape[-1]))

    def run(prefix: str, tokens: Array) -> Array:
        stage = spec.layers[prefix]
        cores = [parameters[name_core(prefix, stage, name)] for name in stage.network.shapes]
        if stage.experts:
            weights = ops.compute(stage.merging_plan.program, levels, cores)
        else:
            weights = ops.compute(stage.materialization_plan.program, (), cores)
        return ops.affine(tokens, weights) if stage.network.has_bias else ops.matmul(tokens, weights)

    y = compute_in_turn(ops, spec, parameters, tokens, run)
    return ops.reshape(y, (*x.shape[:-1], y.shape[-1]))
