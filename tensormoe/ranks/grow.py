"""More rank for a layer that exists, with the same weight.

A new value of a bond contributes the product of its slices of all cores that carry the bond. One of them is
zero, so it contributes nothing; the others are drawn, so the zeros get a gradient and it learns. The zeros of
all bonds are in the first core in one order of the cores, those with the outputs first: two cores that have
two new bonds in common are then never both zero.

Source: Chen et al., "Net2Net: Accelerating Learning via Knowledge Transfer", 2016, for wider networks that
compute the same; Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, for zeros on one
side.
"""

from collections.abc import Collection, Mapping

import numpy as np

from ..checkpoints.saved import Layer
from ..errors import TensorMoEError, non_negative_integer
from ..layers.initialization import NumPySource, recipes
from ..layers.needs import check_drawing
from ..layers.parameters import name_core
from ..networks.network import Core, Network
from ..networks.notation import INPUT, OUTPUT
from ..typing import NumPyArray
from .change import RankChange, Step, finish, read_layer, respecify
from .distance import Weight
from .sizes import compare_sizes, resize


def grow(layer: Layer, /, *, seed: int = 0, **ranks: int) -> RankChange:
    """A copy of a layer with larger bonds and the same weight.

    Use it when training has used up the rank that there was. The new values contribute nothing yet: of the
    cores that carry a bond, one is zero there, if possible one with the outputs, and the others are drawn
    like initial values. So they learn from the first step on. What was there keeps its bits, and so does the
    gate.

    Args:
        layer: a module of any framework, or `tm.SavedLayer(spec, parameters, state)`. It stays as it is.
        seed: of what is drawn.
        ranks: the new size of each bond by its name, at least the present one; in a block, that of all
            layers that have it. Bonds that shared cores tie grow together.

    Returns:
        A `RankChange`, whose error is 0: what was added is a sum of zeros.

    Raises:
        TensorMoEError: an unknown bond, a smaller size, a bond that only cores used more than once carry
            (with zeros in all of their uses they would never learn) or that a fixed core carries, or values
            that are not finite.

    Source: Chen et al., "Net2Net: Accelerating Learning via Knowledge Transfer", 2016.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> layer = tm.build(tm.MuMoESpec(8, 6, 4, tm.CP(rank=5)), "numpy", seed=0)
        >>> grown = tm.grow(layer, r=7)
        >>> print(grown)
        <BLANKLINE>
         layer   what       how
        ──────────────────────────────────
         cores   r: 5 → 7   zeros in output
        relative error of the weight: cores 0
        >>> bool((grown.layer.materialize() == layer.materialize()).all())
        True
    """
    weights = read_layer(layer)
    number = non_negative_integer("seed", seed)
    remedy = "pass a size of at least that, or use tm.truncate"
    factorizations = resize(layer.spec, ranks, lambda new, old: new >= old, remedy)
    spec = respecify(layer.spec, factorizations)
    check_drawing(spec, np.dtype("float64").itemsize)
    source, drawn = NumPySource(np.random.default_rng(number)), recipes(spec)
    cores, steps = {}, []
    for name, weight in weights.items():
        stage = spec.layers[name]
        network = stage.network
        started = {core: drawn[name_core(name, stage, core)].fill().draw(source) for core in network.trained}
        started |= {core: weight.cores[core] for core, _ in network.fixed}
        told = compare_sizes(dict(weight.stage.network.bonds), dict(network.bonds))
        # Beside a frozen weight one core starts at zero: with two, neither would learn.
        empty = [core for core in network.trained if drawn[name_core(name, stage, core)].bound == 0]
        zeros = {bond: choose_zero(network, bond, empty) for bond in told}
        cores[name] = _grow(weight, network, zeros, started)
        steps += [Step(name, told[bond], f"zeros in {core.name}") for bond, core in zeros.items()]
    return finish(layer, spec, weights, cores, steps, exact=True)


def choose_zero(network: Network, bond: str, empty: Collection[str] = ()) -> Core:
    """The core that is zero at the new values of a bond; one that starts so, if there is one.

    Raises:
        TensorMoEError: all cores that carry it are used more than once, or one is fixed.
    """
    fixed = [name for name, _ in network.fixed if name in network.axes[bond]]
    if fixed:
        remedy = f"a fixed core carries it ({', '.join(fixed)}): grow another bond, or add a term"
        raise TensorMoEError("bond", bond, remedy)
    carriers = [core for core in network.cores if bond in core.indices and core.name not in network.held]
    if not carriers:
        remedy = (
            f"only cores that are used more than once carry it ({', '.join(network.axes[bond])}): zeros in "
            "all of their uses would never learn; add a term instead, such as factorization + tm.CP(8)"
        )
        raise TensorMoEError("bond", bond, remedy)

    def rank(core: Core) -> tuple[bool, bool, bool]:
        return core.name not in empty, OUTPUT not in core.indices, INPUT not in core.indices

    return min(carriers, key=rank)


def _grow(
    weight: Weight, network: Network, zeros: Mapping[str, Core], started: Mapping[str, NumPyArray]
) -> dict[str, NumPyArray]:
    cores = {name: np.array(started[name]) for name in network.shapes}
    before = weight.stage.network
    for bond, core in zeros.items():
        cores[core.name][_at(core, bond, slice(before.sizes[bond], None))] = 0
    for name, shape in before.shapes.items():
        cores[name][tuple(map(slice, shape))] = weight.cores[name]
    return cores


def _at(core: Core, bond: str, part: slice) -> tuple[slice, ...]:
    return tuple(part if index == bond else slice(None) for index in core.indices)
