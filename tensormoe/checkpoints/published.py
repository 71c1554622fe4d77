"""State dicts that the published code of the μMoE paper wrote."""

from collections.abc import Iterable, Mapping

import numpy as np

from ..errors import TensorMoEError, mapping, shape_of
from ..gates.activations import Activation
from ..gates.gate import Gate
from ..layers.block_spec import MuMoEBlockSpec
from ..layers.layer_spec import MuMoESpec
from ..layers.loading import read_arrays
from ..layers.parameters import compare_names
from ..layers.spec import Spec
from ..layers.tensorly import from_tensorly
from ..networks.factorization import Factorization
from ..networks.families import CP, TensorRing
from ..typing import Array, NumPyArray, Shapes
from .saved import SavedLayer

# What PyTorch's wrappers put in front of names.
_WRAPPERS = ("module.", "_orig_mod.")
# A layer's factors, and those of a block's second layer.
_FIRST, _SECOND = "MuMoE.factors", "MuMoE2.factors"


def from_published(
    state_dict: Mapping[str, Array],
    *,
    prefix: str = "",
    activation: str | Activation = "entmax15",
    nonlinearity: str = "gelu",
) -> SavedLayer:
    """Read the state dict of a layer or a block of the code that was published with the μMoE paper.

    Sizes, levels of experts, family (CP or tensor ring), ranks, bias and the gate's norm follow from the
    tensors. What they do not show has the published defaults.

    Args:
        state_dict: from `MuMoE.factors.0`, `projs.0` and so on to arrays of any framework. What
            DataParallel, DDP or torch.compile put in front is left out.
        prefix: of the layer's names in a model's state dict, such as "transformer.h.0.mlp".
        activation: of the gate.
        nonlinearity: between a block's layers.

    Returns:
        A `tm.SavedLayer`, for `.build("torch")` or `tm.save`.

    Raises:
        TensorMoEError: missing or unknown names, shapes that do not fit each other, or integers.

    Source: Oldfield et al., "Multilinear Mixture of Experts: Scalable Expert Specialization through
    Factorization", 2024, and its published code.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> draw = np.random.default_rng(0).normal
        >>> shapes = {"MuMoE.factors.0": (4, 5), "MuMoE.factors.1": (9, 5), "MuMoE.factors.2": (6, 5)}
        >>> shapes["projs.0"] = (8, 4)
        >>> saved = tm.from_published({name: draw(size=shape) for name, shape in shapes.items()})
        >>> saved.spec.factorization, saved.spec.bias, saved.spec.gate.norm
        (CP(rank=5), True, 'layer')
        >>> saved.build("numpy")(np.ones((2, 8))).shape
        (2, 6)
    """
    given = _select(state_dict, prefix)
    levels = sum(name.startswith("projs.") for name in given)
    counted = {f"bn.{level}.num_batches_tracked" for level in range(levels)}
    given = {name: array for name, array in given.items() if name not in counted}
    wanted = _list_names(given, levels)
    if given.keys() != {*wanted}:
        raise TensorMoEError("state_dict", sorted(given), compare_names(given, wanted) + _suggest(given))
    shapes = {name: shape_of(array) for name, array in given.items()}
    values = read_arrays(given, shapes, "state_dict")
    spec = _read_spec(values, levels, activation, nonlinearity)
    # Sizes came from some of the arrays, and the others must fit them.
    values = read_arrays(given, _list_shapes(spec), "state_dict")
    renamed = {ours: values[theirs] for ours, theirs in _rename(spec).items()}
    for group, stem in zip(spec.layers, (_FIRST, _SECOND), strict=False):
        factors = _members(values, stem)
        whole = (None, factors) if isinstance(spec.layers[group].factorization, CP) else factors
        renamed |= from_tensorly(spec.layers[group], whole, group)
    parameters, state = (
        {name: np.array(renamed[name]) for name in each}
        for each in (spec.parameter_shapes, spec.state_shapes)
    )
    return SavedLayer(spec, parameters, state)


def _select(state_dict: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    """The arrays of one layer, by names without what stands in front of them."""
    if not isinstance(prefix, str):
        raise TensorMoEError("prefix", prefix, "pass the start of the layer's names as text")
    named = _unwrap(mapping("state_dict", state_dict))
    if prefix:
        start = prefix.removesuffix(".") + "."
        chosen = {name.removeprefix(start): array for name, array in named.items() if name.startswith(start)}
        if not chosen:
            raise TensorMoEError("prefix", prefix, "no name starts with it" + _suggest(named))
        named = _unwrap(chosen)
    return named


def _unwrap(named: Mapping[str, Array]) -> dict[str, Array]:
    for wrapper in _WRAPPERS * 3:
        if all(name.startswith(wrapper) for name in named):
            named = {name.removeprefix(wrapper): array for name, array in named.items()}
    return dict(named)


def _suggest(names: Iterable[str]) -> str:
    """Where in a model's state dict there are layers."""
    inner = sorted(name.removesuffix(f".{_FIRST}.0") for name in names if name.endswith(f".{_FIRST}.0"))
    return f"; to read a layer of a model, pass prefix={inner[0]!r}" if inner else ""


def _list_names(names: Iterable[str], levels: int) -> list[str]:
    """The names that a layer has which has some of these."""
    present = {name.partition(".")[0] for name in names}
    stems = [_FIRST, _SECOND] if "MuMoE2" in present else [_FIRST]
    wanted = [f"{stem}.{number}" for stem in stems for number in range(levels + 2)]
    wanted += [f"projs.{level}" for level in range(max(levels, 1))]
    if "bn" in present:
        wanted += [f"bn.{level}.running_{kind}" for level in range(levels) for kind in ("mean", "var")]
    if "input_ln" in present and _SECOND in stems:
        wanted += ["input_ln.weight", "input_ln.bias"]
    return wanted


def _members(values: Mapping[str, NumPyArray], stem: str) -> list[NumPyArray]:
    """The arrays that are numbered after this."""
    numbers = range(sum(name.startswith(f"{stem}.") for name in values))
    return [values[f"{stem}.{number}"] for number in numbers]


def _read_spec(
    values: Mapping[str, NumPyArray], levels: int, activation: str | Activation, nonlinearity: str
) -> Spec:
    """The specification that the shapes of the arrays show."""
    weights = _members(values, "projs")
    for level, weight in enumerate(weights):
        if weight.ndim != 2:
            raise TensorMoEError(f"state_dict['projs.{level}']", weight.shape, "pass an array (I, N)")
    in_features, experts = len(weights[0]), tuple(weight.shape[1] for weight in weights)
    norm = "batch" if "bn.0.running_mean" in values else "layer"
    gate = Gate(activation, norm)
    family, rows, size = _read_factors(values, _FIRST)
    bias = rows > in_features
    if _members(values, _SECOND):
        second, _, out_features = _read_factors(values, _SECOND)
        return MuMoEBlockSpec(
            in_features,
            size,
            out_features,
            experts,
            (family, second),
            gate,
            bias,
            nonlinearity,
            input_norm="input_ln.weight" in values,
            initialization="published",
        )
    return MuMoESpec(in_features, size, experts, family, gate, bias, initialization="published")


def _read_factors(values: Mapping[str, NumPyArray], stem: str) -> tuple[Factorization, int, int]:
    """The family with its ranks, and the sizes of the input and the output mode."""
    shapes = [factor.shape for factor in _members(values, stem)]
    axes = {len(shape) for shape in shapes}
    if axes == {2}:
        return CP(shapes[0][1]), shapes[-2][0], shapes[-1][0]
    if axes == {3}:
        return TensorRing(tuple(shape[0] for shape in shapes)), shapes[-2][1], shapes[-1][1]
    remedy = "pass factors (size, rank) of CP, or cores (rank, size, rank) of a tensor ring"
    raise TensorMoEError(f"state_dict[{stem + '.0'!r}]", shapes, remedy)


def _rename(spec: Spec) -> dict[str, str]:
    """From our names to the published ones, of all arrays but the factors."""
    names: dict[str, str] = {}
    for level in range(spec.levels):
        names |= {f"gate_weights.{level}": f"projs.{level}"}
        names |= {f"gate_mean.{level}": f"bn.{level}.running_mean"}
        names |= {f"gate_variance.{level}": f"bn.{level}.running_var"}
    names |= {f"input_norm.{each}": f"input_ln.{each}" for each in ("weight", "bias")}
    shapes = spec.parameter_shapes | spec.state_shapes
    return {ours: theirs for ours, theirs in names.items() if ours in shapes}


def _list_shapes(spec: Spec) -> Shapes:
    """The shapes that the published arrays have."""
    own = spec.parameter_shapes | spec.state_shapes
    shapes = {theirs: own[ours] for ours, theirs in _rename(spec).items()}
    for stem, stage in zip((_FIRST, _SECOND), spec.layers.values(), strict=False):
        for number, indices in enumerate(stage.factorization.canonical(stage.levels).cores):
            shapes[f"{stem}.{number}"] = tuple(stage.network.sizes[index] for index in indices)
    return shapes
