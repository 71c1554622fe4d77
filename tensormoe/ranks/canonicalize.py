"""Orthogonal gauges of layers that are trees."""

from collections.abc import Collection, Mapping

import numpy as np

from ..checkpoints.saved import Layer
from ..errors import TensorMoEError, one_of
from ..networks.network import Core, Network
from ..networks.notation import OUTPUT
from ..typing import NumPyArray
from .change import RankChange, Step, finish, read_layer
from .tree import Cores, Tree, find_parts, find_tree, gather, scatter


def canonicalize(layer: Layer, /, *, center: str | None = None) -> RankChange:
    """A copy of a layer in canonical form: every core but one is an isometry towards that one.

    Use it to compare layers whose cores may differ by a change of basis, to read singular values from a core,
    or for an optimizer on orthogonal matrices. The norm of each term is that of its center. Tensor trains,
    Tucker and any tree of cores have such a form; terms with loops or hyperedges, and those with cores that
    are used more than once, stay as they are. The specification stays as it is: where a bond has more values
    than the rest of a core, the isometry is completed by columns of norm 1 that the next core doesn't read.

    Args:
        layer: a module of any framework, or `tm.SavedLayer(spec, parameters, state)`. It stays as it is.
        center: the core that is no isometry; by default the last of each term that carries the outputs. Other
            terms than its own have theirs.

    Returns:
        A `RankChange`, whose error is rounding.

    Raises:
        TensorMoEError: an unknown core, or no term that is a tree.

    Source: Holtz, Rohwedder, Schneider, "The alternating linear scheme for tensor optimization in the tensor
    train format", 2012.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, 4, tm.Tucker(ranks=(3, 5, 5)))
        >>> layer = tm.build(spec, "numpy", seed=0, dtype="float64")
        >>> cores = tm.canonicalize(layer, center="core").layer.cores
        >>> bool(np.allclose(cores["input"].T @ cores["input"], np.eye(5)))
        True
        >>> bool(np.isclose(np.linalg.norm(cores["core"]), np.linalg.norm(layer.materialize())))
        True
    """
    weights = read_layer(layer)
    if center is not None:
        names = dict.fromkeys(core for weight in weights.values() for core in weight.stage.network.shapes)
        one_of("center", center, tuple(names))
    cores, steps = {}, []
    for name, weight in weights.items():
        cores[name] = dict(weight.cores)
        for term in weight.stage.network.terms:
            for part in _trees(term, weight.stage.network.held):
                main = choose_center(part, center)
                cores[name] |= orthogonalize(part, cores[name], main)
                others = ", ".join(core.name for core in part.cores if core.name != main)
                steps.append(Step(name, f"{others} → {main}", "isometries"))
    if not steps:
        networks = [str(weight.stage.network) for weight in weights.values()]
        remedy = "its cores make no tree: bonds must join two cores each, without a loop"
        raise TensorMoEError("layer", networks, remedy)
    return finish(layer, layer.spec, weights, cores, steps)


def orthogonalize(tree: Tree, cores: Mapping[str, NumPyArray], center: str) -> Cores:
    """The cores of a tree as isometries towards one, without bonds' values that are zero on both sides."""
    generator = np.random.default_rng(0)
    result = tree.orthogonalize(cores, center)
    indices = {core.name: core.indices for core in tree.cores}
    for name, bonds in tree.outward(center).items():
        held = tuple(mode for mode in tree.batch if mode in indices[name])
        matrices = gather(result[name], indices[name], bonds, held).copy()
        rows, columns = matrices.shape[-2:]
        if rows < columns:
            spare = generator.normal(size=(*matrices.shape[:-1], columns - rows))
            matrices[..., rows:] = spare / np.linalg.norm(spare, axis=-2, keepdims=True)
            result[name] = scatter(matrices, result[name].shape, indices[name], bonds, held)
    return result


def choose_center(tree: Tree, center: str | None) -> str:
    """The core that is no isometry: the given one if it is in the tree, or the last with outputs."""
    names = [core.name for core in tree.cores]
    if center in names:
        return str(center)
    return max(tree.cores, key=lambda core: (OUTPUT in core.indices, names.index(core.name))).name


def _trees(term: Network, held: Collection[str]) -> list[Tree]:
    """The trees of a term that have several cores, none of them shared or fixed."""
    parts = [part for part in find_parts(term.cores, term.sizes) if len(part) > 1 and not _has(part, held)]
    trees = [find_tree(part, term.sizes) for part in parts]
    return [tree for tree in trees if tree is not None and tree.leads_to(choose_center(tree, None))]


def _has(part: tuple[Core, ...], held: Collection[str]) -> bool:
    return any(core.name in held for core in part)
