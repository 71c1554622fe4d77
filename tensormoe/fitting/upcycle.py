"""Several experts that start as one dense layer."""

from collections.abc import Iterator, Mapping, Sequence
from math import sqrt
from typing import Any

import numpy as np

from ..errors import TensorMoEError, non_negative_integer, number_from, one_of
from ..layers.core_recipe import Spread
from ..layers.initialization import DTYPES, NumPySource, draw_gate, initialize_constants
from ..layers.inner import inner
from ..layers.needs import check_drawing
from ..layers.parameters import join_name
from ..layers.roles import shape_along
from ..layers.rows import with_rows
from ..layers.spec import Spec, check_spec
from ..layers.stage import Stage
from ..networks.network import Core, Network
from ..networks.notation import expert_modes
from ..typing import Array, NumPyArray
from .fit import ITERATIONS, fit_shared
from .metric import read_metrics
from .starts import Cores
from .target import read_target

# Noise of variance 1 that moves the weight by less than this, relative to it, is said to change nothing.
_VISIBLE = 1e-6


def upcycle(
    weight: Array | Sequence[Array],
    spec: Spec,
    *,
    bias: Array | Sequence[Array | None] | None = None,
    inputs: Array | Sequence[Array | None] | None = None,
    noise: float = 1e-2,
    seed: int = 0,
    dtype: str = "float32",
) -> tuple[dict[str, NumPyArray], dict[str, NumPyArray]]:
    """Initial values of a layer whose experts start near a dense layer, or of a block that starts as an MLP.

    Use it to replace what is trained by experts without losing it. The coefficients start uniform, and the
    mean over experts is the best weight of the network's rank: the dense one where that is high enough (for
    CP, a rank of at least min(I+1, O)). What else gets a gradient, such as ranks beyond it, changes nothing
    at first.

    Args:
        weight: W (I, O), or one for each of a block's `layers`, in their order. Transpose what nn.Linear
            keeps.
        spec: the layer or block.
        bias: (O,), or one for each layer; zeros where it is None.
        inputs: samples of the inputs (…, I), or one for each layer; see `fit`. They matter where the rank is
            too low for the weight.
        noise: how far the experts' weights lie from their mean, relative to it, in the root mean square.
        seed: of the noise.
        dtype: "float32" or "float64".

    Returns:
        The parameters and the state, as `tm.initialize` returns them. Every module takes both:
        `layer.load_arrays(parameters | state)`.

    Raises:
        TensorMoEError: another number of weights than of layers, a gate whose coefficients don't sum to 1, or
            as `fit`.

    Source: Komatsuzaki et al., "Sparse Upcycling: Training Mixture-of-Experts from Dense Checkpoints", 2023.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> weight, x = np.random.default_rng(0).normal(size=(8, 6)), np.ones((1, 8))
        >>> spec = tm.MuMoESpec(8, 6, experts=(4, 4), factorization=tm.CP(rank=8), bias=False)
        >>> parameters, state = tm.upcycle(weight, spec, dtype="float64")
        >>> np.allclose(tm.apply(spec, parameters, x, state=state).y, x @ weight)
        True
    """
    check_spec(spec)
    one_of("dtype", dtype, DTYPES)
    for stage in spec.layers.values():
        if stage.joint:
            remedy = "layers share it, and each starts as another matrix: upcycle without shared="
            raise TensorMoEError("shared", stage.joint[0], remedy)
    for gate in spec.gates:
        if gate.total != 1:
            remedy = "only with coefficients that sum to 1 is the mixture the dense layer: pass such a gate"
            raise TensorMoEError("gate activation", gate.activation, remedy)
    scale = number_from(0, "noise", noise)
    if not np.isfinite(scale):
        raise TensorMoEError("noise", noise, "pass a finite number")
    generator = np.random.default_rng(non_negative_integer("seed", seed))
    check_drawing(spec, np.dtype(dtype).itemsize)
    given = {"weight": weight, "bias": bias, "inputs": inputs}
    several = {name: _read_several(name, value, spec) for name, value in given.items()}
    cores = {}
    for number, (prefix, stage) in enumerate(spec.layers.items()):
        own_weight, own_bias, own_inputs = (several[name][number] for name in given)
        upcycled = _upcycle_stage(stage, own_weight, own_bias, own_inputs, scale, generator)
        for name, core in upcycled.items():
            cores[join_name(prefix, name)] = np.array(core, dtype, order="C")
    constants, state = initialize_constants(spec, dtype)
    parameters = cores | constants | draw_gate(spec, seed, dtype)
    return {name: parameters[name] for name in spec.parameter_shapes}, state


def _read_several(argument: str, value: Any, spec: Spec) -> tuple[Any, ...]:
    """One value for each layer."""
    count = len(spec.layers)
    if value is None:
        return (None,) * count
    values = tuple(value) if isinstance(value, list | tuple) else (value,)
    if len(values) != count:
        names = ", ".join(spec.layers)
        raise TensorMoEError(argument, len(values), f"pass one for each of the layers {names}")
    return values


def _upcycle_stage(
    stage: Stage,
    weight: Array,
    bias: Array | None,
    inputs: Array | None,
    scale: float,
    generator: np.random.Generator,
) -> Cores:
    target = read_target("weight", weight, bias, stage)
    if target.shape[:-2] != (1,) * stage.levels:
        raise TensorMoEError("weight", target.shape, "pass one dense weight (I, O) and one bias (O,)")
    metrics = read_metrics(inputs, None, stage)
    seed = int(generator.integers(2**31))
    shared, _, _ = fit_shared(target, stage, metrics, seed, ITERATIONS, lambda step, error: None)
    return _spread(stage, shared, bool(target.any()), scale, NumPySource(generator))


def _spread(stage: Stage, shared: Cores, scaled: bool, scale: float, source: NumPySource) -> Cores:
    """Every expert's cores: what they share and, on every level, noise that sums to zero over experts.

    A level's noise is in the first core that carries it, so that the mean over experts stays as it is.

    Args:
        stage: the layer.
        shared: the cores that all experts have.
        scaled: whether there is a weight for noise to be relative to.
        scale: how far experts' weights are to lie from their mean.
        source: of noise.
    """
    network = stage.network
    cores = {name: np.broadcast_to(shared[name], shape) for name, shape in network.shapes.items()}
    modes = [mode for mode in expert_modes(stage.levels) if network.sizes[mode] > 1]
    plain, filled = with_rows(network, shared)
    whole = _size(plain.terms, filled) if scaled else 1.0
    for mode in modes:
        term = next(term for term in plain.terms if mode in term.carried_modes)
        core = next(core for core in term.cores if mode in core.indices)
        for noise in _draw(stage, core, mode, shared[core.name], source):
            noisy = with_rows(network, {**shared, core.name: noise})[1]
            effect = _size([term], noisy) / sqrt(network.sizes[mode])
            if effect > _VISIBLE * whole:
                noise = noise * (whole / (effect * sqrt(len(modes))))
                break
        cores[core.name] = cores[core.name] + scale * noise
    return cores


def _draw(
    stage: Stage, core: Core, mode: str, start: NumPyArray, source: NumPySource
) -> Iterator[NumPyArray]:
    """Noise with no part along the start, and noise with one, for where only that changes the weight."""
    shape, axis = shape_along(mode, core, stage.network), core.indices.index(mode)
    start = start if start.any() else np.ones_like(start)
    yield Spread(shape, 1.0, axis).apply(np.zeros_like(start), start, source)
    noise = source.normal(shape)
    yield noise - noise.mean(axis, keepdims=True)


def _size(terms: Sequence[Network], cores: Mapping[str, NumPyArray]) -> float:
    """The norm of the sum of terms, which is not multiplied out: expert axes may have size 1."""
    products = [inner((one, cores), (other, cores)) for one in terms for other in terms]
    return sqrt(max(float(sum(products)), 0.0))
