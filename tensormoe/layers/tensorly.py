"""Convert TensorLy's decompositions to cores, and back."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..arrays.registry import backend_of
from ..errors import TensorMoEError, shape_of
from ..networks.families import CP, TensorRing, TensorTrain, Tucker
from ..networks.notation import Indices
from ..typing import Array
from .checks import NamedArrays, find_stage
from .layer_spec import MuMoESpec
from .stage import Stage

_STRUCTURES = {
    CP: "(weights, factors), as tensorly.decomposition.parafac returns them",
    Tucker: "(core, factors), as tensorly.decomposition.tucker returns them",
    TensorTrain: "a list of cores (rank, mode, rank), as tensorly.decomposition.tensor_train returns them",
    TensorRing: "a list of cores (rank, mode, rank), as tensorly.decomposition.tensor_ring returns them",
}


def from_tensorly(spec: MuMoESpec | Stage, factors: Any, prefix: str = "cores") -> dict[str, Array]:
    """Convert a TensorLy decomposition of the weight tensor to a layer's cores.

    Use it to start a layer from a decomposed tensor W (N1, …, NE, I[+1], O); with a bias, the last row of
    the input mode holds it. The weights of a CP decomposition are multiplied into its output factor.

    Args:
        spec: the layer, or one of a block's `layers`, of the family CP, Tucker, TensorTrain or TensorRing.
        factors: TensorLy's object, or a plain tuple or list of the same structure, of any framework's arrays:
            (weights, factors) for CP, (core, factors) for Tucker, the cores (rank, mode, rank) for tensor
            train and ring.
        prefix: the prefix of the names; in a block, the name of the layer, such as "first".

    Returns:
        The cores by parameter name, contiguous in the notation's order.

    Raises:
        TensorMoEError: another family, another structure, a wrong shape, or a layer that shares cores.

    Source: Kossaifi et al., "TensorLy: Tensor Learning in Python", 2019.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5), bias=False)
        >>> factors = [np.ones((4, 5)), np.ones((8, 5)), np.ones((6, 5))]
        >>> cores = tm.from_tensorly(spec, (np.array([2.0, 0, 0, 0, 0]), factors))
        >>> {name: core.shape for name, core in cores.items()}
        {'cores.expert1': (4, 5), 'cores.input': (8, 5), 'cores.output': (5, 6)}
        >>> tm.to_tensorly(spec, cores)[1][2][0]
        array([2., 0., 0., 0., 0.])
    """
    stage = find_stage(spec)
    if not isinstance(prefix, str):
        remedy = 'pass "cores", or in a block the name of the layer, such as "first"'
        raise TensorMoEError("prefix", prefix, remedy)
    if stage.joint:
        remedy = (
            "other layers of the block use them, too, and factors are one layer's: build it without shared="
        )
        raise TensorMoEError("spec", f"shared cores {', '.join(stage.joint)}", remedy)
    arrays = _flatten(stage, factors)
    cores: dict[str, Array] = {}
    for (name, given, order), array in zip(_orders(stage), arrays, strict=True):
        ops = backend_of(array)
        expected = tuple(stage.network.sizes[index] for index in given)
        if tuple(array.shape) != expected:
            raise TensorMoEError(
                f"factors, {name}", tuple(array.shape), _describe_shape(stage, given, expected)
            )
        moved = ops.transpose(array, tuple(given.index(index) for index in order))
        # Flattening puts the elements in the order of the axes.
        flat = ops.reshape(moved, (-1,))
        cores[f"{prefix}.{name}"] = ops.copy(ops.reshape(flat, stage.network.shapes[name]))
    return cores


def to_tensorly(layer: Any, cores: NamedArrays | Sequence[Array] | None = None) -> Any:
    """Convert a layer's cores to TensorLy's structure and order of axes.

    Use it to hand a trained layer to TensorLy: `cp_to_tensor(tm.to_tensorly(layer))` is its weight tensor.

    Args:
        layer: a layer's module; or a specification or one of a block's `layers`, together with `cores`.
        cores: a mapping such as `layer.cores` or what `from_tensorly` returns, or a list in the network's
            order.

    Returns:
        (weights, factors) for CP, with weights of 1; (core, factors) for Tucker; a list of cores (rank, mode,
        rank) for tensor train and ring. Arrays may be views of the cores.

    Raises:
        TensorMoEError: another family, a missing core, or a wrong shape.

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.Tucker(ranks=(2, 3, 5)))
        >>> core, factors = tm.to_tensorly(tm.build(spec, "numpy", seed=0))
        >>> core.shape, [factor.shape for factor in factors]
        ((2, 3, 5), [(4, 2), (9, 3), (6, 5)])
    """
    if cores is None:
        if not hasattr(layer, "spec") or not hasattr(layer, "cores"):
            raise TensorMoEError("layer", type(layer), "pass a layer's module, or a spec and its cores")
        layer, cores = layer.spec, layer.cores
    stage = find_stage(layer)
    named = _name(stage, cores)
    arrays = []
    for name, given, order in _orders(stage):
        ops, shape = backend_of(named[name]), stage.network.shapes[name]
        received = tuple(named[name].shape) if ops.is_tensor(named[name]) else type(named[name])
        if received != shape:
            raise TensorMoEError(f"cores[{name!r}]", received, f"pass an array of shape {shape}")
        arrays.append(ops.transpose(named[name], tuple(order.index(index) for index in given)))
    if isinstance(stage.factorization, Tucker):
        return arrays[-1], arrays[:-1]
    if isinstance(stage.factorization, CP):
        ops = backend_of(arrays[0])
        return ops.zeros_like(arrays[0][0]) + 1, arrays
    return arrays


def _orders(stage: Stage) -> list[tuple[str, Indices, Indices]]:
    """Each core's name with its indices in TensorLy's order and in the notation's."""
    canonical = stage.factorization.canonical(stage.levels).cores
    cores = zip(stage.network.cores, canonical, strict=True)
    return [(core.name, order, core.indices) for core, order in cores]


def _flatten(stage: Stage, factors: Any) -> list[Array]:
    """The arrays in the order of the network's cores, CP's weights multiplied in."""
    structure = _structure(stage)
    try:
        if isinstance(stage.factorization, CP | Tucker):
            first, arrays = factors
            arrays = list(arrays)
        else:
            first, arrays = None, list(factors)
    except (TypeError, ValueError) as error:
        raise TensorMoEError("factors", type(factors), f"pass {structure}") from error
    if isinstance(stage.factorization, Tucker):
        arrays.append(first)
    if len(arrays) != len(stage.network.cores):
        names = ", ".join(core.name for core in stage.network.cores)
        raise TensorMoEError("factors", len(arrays), f"pass {structure}; there is one for each of {names}")
    arrays = [backend_of(array).as_array(array) for array in arrays]
    if isinstance(stage.factorization, CP) and first is not None:
        arrays[-1] = arrays[-1] * _check_weights(stage, first)
    return arrays


def _check_weights(stage: Stage, weights: Array) -> Array:
    rank = stage.network.sizes["r"]
    if shape_of(weights) != (rank,):
        raise TensorMoEError("weights", shape_of(weights) or weights, f"pass an array of shape ({rank},)")
    return weights


def _structure(stage: Stage) -> str:
    for family, structure in _STRUCTURES.items():
        if isinstance(stage.factorization, family):
            return structure
    raise TensorMoEError(
        "spec",
        stage.factorization,
        "TensorLy supports CP, Tucker, tensor train and tensor ring: use one of these",
    )


def _describe_shape(stage: Stage, indices: Indices, shape: tuple[int, ...]) -> str:
    bias = (
        "; with bias=True the input mode has a last row for the bias" if stage.bias and "i" in indices else ""
    )
    return f"pass an array of shape {shape}, {' '.join(indices)}{bias}"


def _name(stage: Stage, cores: NamedArrays | Sequence[Array]) -> Mapping[str, Array]:
    """The cores by name; names may have a parameter's prefix."""
    _structure(stage)
    names = tuple(stage.network.shapes)
    pairs: Iterable[tuple[str, Array]]
    if hasattr(cores, "items"):
        pairs = [(str(name).rpartition(".")[2], array) for name, array in cores.items()]
    elif isinstance(cores, list | tuple) and len(cores) == len(names):
        pairs = zip(names, cores, strict=True)
    else:
        raise TensorMoEError("cores", type(cores), f"pass exactly these arrays: {', '.join(names)}")
    named = {name: backend_of(array).as_array(array) for name, array in pairs}
    if named.keys() != set(names):
        raise TensorMoEError("cores", sorted(named), f"pass exactly these arrays: {', '.join(names)}")
    return named
