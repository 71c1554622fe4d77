"""The layer's mathematics, written once for every framework: from parameters and inputs to outputs."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..arrays.backend import Backend, at_least_float32
from ..arrays.protocols import GateOps
from ..errors import true_or_false
from ..gates.call import Call
from ..gates.levels import compute_levels
from ..gates.norms import layer_norm
from ..programs.plan import for_batch
from ..programs.program import Program
from ..programs.sparse import read_active
from ..typing import AllReduce, Array, State
from .active import keep_active
from .checks import (
    NamedArrays,
    check_arrays,
    check_input,
    check_reduction,
    find_backend,
    flatten,
    read,
    read_coefficients,
    read_given,
    read_previous,
    read_router_input,
    read_state,
)
from .spec import Spec, check_spec
from .stage import Stage


class GateOutput(NamedTuple):
    """What a gate computes from an input.

    Args:
        coefficients: E arrays (…, N_e).
        logits: the router's output, E arrays (…, N_e).
        state: the running statistics, updated in training, and the fixed cores.
    """

    coefficients: list[Array]
    logits: list[Array]
    state: State


class LayerOutput(NamedTuple):
    """What `apply` returns; a pytree in JAX and in PyTorch.

    Args:
        y: (…, O).
        coefficients: E arrays (…, N_e).
        state: the running statistics, updated in training, and the fixed cores.
    """

    y: Array
    coefficients: list[Array]
    state: State


def apply(
    spec: Spec,
    parameters: NamedArrays,
    x: Array,
    *,
    router_input: Array | None = None,
    coefficients: Sequence[Array] | Array | None = None,
    state: NamedArrays | None = None,
    training: bool = False,
    previous: Sequence[Array] | None = None,
    generator: Any = None,
    all_reduce: AllReduce | None = None,
    recompute: bool = False,
    backend: Backend | str | None = None,
) -> LayerOutput:
    """Compute a layer or a block. No argument is changed; new running statistics are returned.

    Use it when you hold the parameters yourself instead of in a module.

    Args:
        spec: what to compute.
        parameters: arrays by name, as `initialize` gives them, of any TensorLy backend.
        x: (…, I) with any leading dimensions, including none and empty ones, of the parameters' type.
        router_input: what the router reads in place of x, with the same leading dimensions:
            (…, `spec.gate_features`), which such a layer needs, or (…, I).
        coefficients: E arrays (…, N_e), or the only one, of x's type. A layer without a gate needs them; with
            a gate, they are used in place of what it would compute, and its statistics stay.
        state: the running statistics of the gate and the fixed cores, as `initialize` gives them.
        training: whether the gate uses this batch's statistics, if it can, updates the running ones, and adds
            noise.
        previous: the coefficients that the previous layer returned, arrays (…, K_e); only some routers use
            them.
        generator: the source of the gate's noise in training: a `numpy.random.Generator`, a `torch.Generator`
            (by default PyTorch's own) or a JAX key.
        all_reduce: a function that sums an array over all processes that share the batch, for a router's
            statistics and those of `norm="batch"`.
        recompute: whether reverse mode keeps only the results of matrix products and recomputes everything
            between them, which saves memory for a little time. Values and gradients stay the same.
        backend: a backend object or name; by default the one that x belongs to.

    Returns:
        A `LayerOutput`: y (…, O), the E coefficient arrays (…, N_e), and the new state.

    Raises:
        TensorMoEError: x has a wrong last dimension or element type, a name is missing, or a layer without a
            gate is called without coefficients.

    Source: Oldfield et al., "Multilinear Mixture of Experts: Scalable Expert Specialization through
    Factorization", 2024, section 3.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=(4, 3), factorization=tm.CP(rank=5))
        >>> parameters, state = tm.initialize(spec)
        >>> x = np.ones((2, 7, 8), dtype="float32")
        >>> result = tm.apply(spec, parameters, x, state=state)
        >>> result.y.shape, [a.shape for a in result.coefficients]
        ((2, 7, 6), [(2, 7, 4), (2, 7, 3)])

        Without a gate, coefficients are an argument:

        >>> ungated = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5), gate=None)
        >>> parameters, _ = tm.initialize(ungated)
        >>> one_hot = np.eye(4, dtype="float32")[[0, 2]]
        >>> tm.apply(ungated, parameters, x[:, 0], coefficients=one_hot).y.shape
        (2, 6)
    """
    check_spec(spec)
    true_or_false("training", training)
    true_or_false("recompute", recompute)
    ops = find_backend(backend, x)
    x = ops.as_array(x)
    arrays = read(ops, "parameters", parameters)
    check_input(ops, x, spec)
    check_arrays(ops, "parameters", arrays, spec.parameter_shapes, spec, x)
    statistics, fixed = read_state(ops, spec, state, x)
    mixed, moved = read_given(ops, spec, coefficients, x), statistics
    # Of coefficients that are given, nothing is known.
    active = spec.active if mixed is None else None
    routed = read_router_input(ops, spec, router_input, x, mixed)
    if mixed is None:
        call = training, previous, generator, all_reduce, all_reduce
        mixed, _, moved = run_gate(ops, spec, arrays, routed, statistics, *call)
    if fixed:
        arrays, moved = arrays | fixed, fixed | moved
    return LayerOutput(run_mixture(ops, spec, arrays, mixed, x, recompute, active), mixed, moved)


def compute_gate(
    spec: Spec,
    parameters: NamedArrays,
    x: Array,
    *,
    state: NamedArrays | None = None,
    training: bool = False,
    previous: Sequence[Array] | None = None,
    generator: Any = None,
    all_reduce: AllReduce | None = None,
    backend: Backend | str | None = None,
) -> GateOutput:
    """The first half of `apply`: coefficients, logits and new statistics.

    Use it to read the router's logits, for example for a load-balancing loss.

    Args:
        spec: the layer or block whose gate is computed.
        parameters: the gate's parameters by name (see `spec.gate_shapes`).
        x: what the router reads: the layer's input, or the router's own.
        state, training, previous, generator, all_reduce, backend: as for `apply`.

    Raises:
        TensorMoEError: as `apply`, and a layer without a gate.
    """
    check_spec(spec)
    spec.require_gate("only a gate computes coefficients")
    ops = find_backend(backend, x)
    x = ops.as_array(x)
    arrays = read(ops, "parameters", parameters)
    check_input(ops, x, spec, "in_features" if spec.gate_features is None else "gate_features")
    check_arrays(ops, "parameters", arrays, spec.gate_shapes, spec, x)
    statistics = {} if state is None else read(ops, "state", state)
    # The gate needs no fixed cores, and hands on those that it gets.
    fixed = {name: statistics.pop(name) for name in spec.fixed_shapes if name in statistics}
    check_arrays(ops, "state", statistics, spec.statistics_shapes, spec)
    call = training, previous, generator, all_reduce, all_reduce
    output = run_gate(ops, spec, arrays, x, statistics, *call)
    return output._replace(state=fixed | output.state) if fixed else output


def run_gate(
    ops: Backend,
    spec: Spec,
    parameters: Mapping[str, Array],
    x: Array,
    state: Mapping[str, Array],
    training: bool,
    previous: Sequence[Array] | None,
    generator: Any,
    all_reduce: AllReduce | None,
    pool: AllReduce | None,
) -> GateOutput:
    """`compute_gate` with arrays that are known to fit, such as a module's own; they are not checked.

    `pool` is the sum for `norm="batch"` alone.
    """
    spec.require_gate("only a gate computes coefficients")
    before = None if previous is None else read_previous(ops, spec, previous, x)
    rest = generator, check_reduction(ops, all_reduce), check_reduction(ops, pool)
    calls = [
        Call(training, None if before is None else before[level], *rest, level)
        for level in range(spec.levels)
    ]
    tokens = flatten(ops, x, x, spec.takes_leading_axes)
    computed = ops.compute_precisely(compute_levels, tokens, spec.gate_levels, parameters, state, calls)
    coefficients, logits, moved = computed
    if tokens.ndim != x.ndim:
        coefficients = [unflatten(ops, a, x) for a in coefficients]
        logits = [unflatten(ops, z, x) for z in logits]
    return GateOutput(coefficients, logits, moved)


def mix(
    spec: Spec,
    parameters: NamedArrays,
    coefficients: Sequence[Array],
    x: Array,
    *,
    active: int | Sequence[int] | None = None,
    recompute: bool = False,
    backend: Backend | str | None = None,
) -> Array:
    """The second half of `apply`: the mixture of experts at given coefficients.

    Use it with coefficients that you have computed or edited yourself.

    Args:
        spec: a layer or a block.
        parameters: all parameters by name except the gate's, and fixed cores.
        coefficients: E arrays (…, N_e).
        x: (…, I).
        active: at most how many coefficients of each level differ from 0, if you know. With few vectors, only
            these experts' slices of the cores are then read, where that is faster; see `spec.plan`. The
            derivative with respect to a coefficient that is 0 is then 0.
        recompute, backend: as for `apply`.

    Returns:
        y (…, O).

    Raises:
        TensorMoEError: a wrong shape or element type, a missing name, or more coefficients than `active` that
            differ from 0, unless a framework traces.
    """
    ops = find_backend(backend, x)
    x = ops.as_array(x)
    arrays = read(ops, "parameters", parameters)
    check_input(ops, x, spec)
    check_arrays(ops, "parameters", arrays, spec.mixture_shapes, spec, x)
    if active is None:
        return run_mixture(ops, spec, arrays, coefficients, x, recompute)
    counts = read_active(active, spec.experts)
    sparse = keep_active(ops, spec, coefficients, x, counts)
    return run_mixture(ops, spec, arrays, sparse, x, recompute, counts)


def run_mixture(
    ops: Backend,
    spec: Spec,
    parameters: Mapping[str, Array],
    coefficients: Sequence[Array],
    x: Array,
    recompute: bool,
    active: tuple[int, ...] | None = None,
) -> Array:
    """`mix` with parameters that are known to fit, such as a module's own; they are not checked.

    Nor is it checked how many coefficients are `active`.
    """
    flat = read_coefficients(ops, spec, coefficients, x)
    tokens = flatten(ops, x, x)
    if "input_norm.weight" in parameters:
        tokens = ops.compute_precisely(normalize_input, tokens, parameters)
    cores = [parameters[name] for name in spec.core_names]
    if active is None:
        program = choose_program(ops, spec, tokens)
    else:
        program = choose_sparse_program(ops, spec, active, (tokens, *flat, *cores))
    y = ops.compute(program, (tokens, *flat), cores, recompute)
    if spec.output_bias:
        y = add_output_bias(ops, y, parameters)
    return unflatten(ops, y, x)


def choose_sparse_program(
    ops: Backend, spec: Spec | Stage, active: tuple[int, ...], operands: Sequence[Array]
) -> Program:
    """The program for these arrays if so many coefficients of each level differ from 0 at most."""
    if not ops.can_gather(operands):
        return choose_program(ops, spec, operands[0])
    programs = spec.programs_for(active, ops.is_accelerated(operands[0]))
    return for_batch(programs, ops.batch_size(operands[0]) if len(programs) > 1 else None)


def choose_program(ops: Backend, spec: Spec | Stage, tokens: Array) -> Program:
    """The program for this many tokens; a size that a framework traces is read only if it matters."""
    return spec.program_for(ops.batch_size(tokens) if len(spec.programs) > 1 else None)


def unflatten(ops: Backend, array: Array, x: Array) -> Array:
    """Restore the leading dimensions of x in an array where they were merged."""
    return array if array.ndim == x.ndim else ops.reshape(array, (*x.shape[:-1], array.shape[-1]))


def add_output_bias(ops: GateOps, y: Array, parameters: Mapping[str, Array]) -> Array:
    """The output with what is added to every mixture, in the output's type."""
    bias = parameters["output.bias"]
    return y + (bias if bias.dtype == y.dtype else ops.cast(bias, ops.dtype_name(y)))


def normalize_input(ops: GateOps, tokens: Array, parameters: Mapping[str, Array]) -> Array:
    """The LayerNorm of a block's input."""
    dtype = ops.dtype_name(tokens)
    normalized = ops.cast(layer_norm(ops, ops.cast(tokens, at_least_float32(dtype))), dtype)
    return normalized * parameters["input_norm.weight"] + parameters["input_norm.bias"]
