"""Less rank for a layer that exists, with a small error."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..checkpoints.saved import Layer
from ..errors import TensorMoEError, non_negative_integer
from ..fitting.descent import Descent
from ..fitting.target import MEMORY
from ..layers.spec import Spec
from ..layers.stage import Stage
from ..memory import check_memory, host_memory
from ..networks.network import Network
from ..networks.notation import Notation
from ..typing import NumPyArray
from .change import RankChange, Step, finish, read_layer, respecify
from .distance import Weight
from .lower import choose_values, cut_off, find_cut
from .sizes import compare_sizes, resize

_OPTIMAL = "singular values: the best there is"
_CHOSEN = "the values missed least: not the best there is"


def truncate(layer: Layer, /, *, iterations: int = 0, **ranks: int) -> RankChange:
    """A copy of a layer with smaller bonds, whose weight is close.

    Use it to compress what is trained, and train on. A bond that is the only connection of two parts of its
    term, as each of a tensor train, Tucker or low-rank pairs, is cut by the singular value decomposition: no
    other weight of that rank is closer. Several such bonds are cut one after the other, which is at most √d
    times as far as the best for d of them. Of any other bond, as those of CP and a tensor ring, those values
    remain that are missed least, multiplied by the best numbers. That is not the optimum, which is not known;
    `iterations` improves it. In a sum, each term is approximated by itself.

    Args:
        layer: a module of any framework, or `tm.SavedLayer(spec, parameters, state)`. It stays as it is.
        iterations: the largest number of steps of L-BFGS that afterwards move all cores towards the weight;
            they hold the whole weight tensor in float64.
        ranks: the new size of each bond by its name, at most the present one; in a block, that of all
            layers that have it.

    Returns:
        A `RankChange` with the measured error, and the method for each bond.

    Raises:
        TensorMoEError: an unknown bond, a larger size, a bond that a shared core ties to another one or that
            a fixed core or one of several layers carries, or a weight tensor that needs more memory than
            there is.

    Source: Eckart and Young, "The approximation of one matrix by another of lower rank", 1936;
    Vannieuwenhoven et al., "A New Truncation Strategy for the Higher-Order Singular Value Decomposition",
    2012, for several bonds.

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, 4, tm.TensorTrain(ranks=(4, 6)))
        >>> layer = tm.build(spec, "numpy", seed=0)
        >>> print(tm.truncate(layer, r3=5))
        <BLANKLINE>
         layer   what        how
        ──────────────────────────────────────────────────────
         cores   r3: 6 → 5   singular values: the best there is
        relative error of the weight: cores 0.0054
    """
    weights = read_layer(layer)
    steps = non_negative_integer("iterations", iterations)
    remedy = "pass a size of at most that, or use tm.grow"
    spec = respecify(layer.spec, resize(layer.spec, ranks, lambda new, old: new <= old, remedy))
    if steps:
        _check_separate(layer.spec, steps)
        _check_needs(weights, spec)
    cores, told = {}, []
    for name, weight in weights.items():
        after = spec.layers[name]
        cores[name], own = _truncate(name, weight, after)
        told += own
        if steps:
            cores[name] = _improve(weight, after, cores[name], steps)
    return finish(layer, spec, weights, cores, told)


def _truncate(name: str, weight: Weight, after: Stage) -> tuple[dict[str, NumPyArray], list[Step]]:
    network, cores, steps = weight.stage.network, dict(weight.cores), []
    sizes = dict(after.network.bonds)
    for bond, what in compare_sizes(dict(network.bonds), sizes).items():
        _check_alone(weight.stage, bond, sizes[bond])
        term = next(term for term in network.terms if bond in term.sizes)
        cut = find_cut(term, bond, network.held)
        if cut is None:
            cores |= choose_values(term, cores, bond, sizes[bond], network.held)
        else:
            cores |= cut_off(term, cores, cut, bond, sizes[bond])
        network = _with_size(network, bond, sizes[bond])
        steps.append(Step(name, what, _CHOSEN if cut is None else _OPTIMAL))
    return cores, steps


def _check_alone(stage: Stage, bond: str, size: int) -> None:
    """Raise an error if a shared core ties a bond to others, or a fixed one carries it."""
    fixed = [name for name, _ in stage.network.fixed if name in stage.network.axes[bond]]
    if fixed:
        raise TensorMoEError(bond, size, f"a fixed core carries it ({', '.join(fixed)}): cut another bond")
    joint = [name for name in stage.joint if name in stage.network.axes[bond]]
    if joint:
        remedy = f"layers share a core that carries it ({', '.join(joint)}): cut another bond"
        raise TensorMoEError(bond, size, remedy)
    factorization, levels = stage.factorization, stage.levels
    tied = Notation.parse(factorization.notation(levels)).for_levels(levels).find_tied(bond) - {bond}
    if tied:
        remedy = (
            f"a shared core ties it to {', '.join(sorted(tied))}: fit a smaller network by "
            "tm.fit(layer.materialize(), spec)"
        )
        raise TensorMoEError(bond, size, remedy)


def _with_size(network: Network, bond: str, size: int) -> Network:
    return replace(network, bonds=tuple((dict(network.bonds) | {bond: size}).items()))


def _improve(
    weight: Weight, after: Stage, cores: Mapping[str, NumPyArray], iterations: int
) -> dict[str, NumPyArray]:
    descent = Descent(after, weight.materialize(), {})
    ordered = {name: np.ascontiguousarray(cores[name]) for name in after.network.shapes}
    return descent.minimize(ordered, iterations, lambda step, error: None)[0]


def _check_separate(spec: Spec, iterations: int) -> None:
    """Refuse to move the cores of one layer that another one uses, too."""
    joint = dict.fromkeys(name for stage in spec.layers.values() for name in stage.joint)
    if joint:
        remedy = f"each layer would move the cores that they share ({', '.join(joint)}): pass iterations=0"
        raise TensorMoEError("iterations", iterations, remedy)


def _check_needs(weights: Mapping[str, Weight], spec: Spec) -> None:
    for name, weight in weights.items():
        plan, stage = weight.stage.materialization_plan, spec.layers[name]
        needed = 8 * (4 * plan.peak + plan.saved + 2 * MEMORY * stage.num_parameters)
        shape = stage.network.weight_shape
        check_memory("iterations", shape, "a fit to the weight and its cores", needed, host_memory())
