"""The same weight with less: what is redundant in a layer's network is removed."""

from ..checkpoints.saved import Layer
from .change import RankChange, Step, finish, read_layer, respecify
from .distance import Weight
from .rules import RULES
from .sketch import Sketch


def simplify(layer: Layer, /) -> RankChange:
    """A copy of a layer without what is redundant in its network, and with the same weight.

    Use it after edits, after `tm.truncate`, or to see what of a network matters. It leaves out, until nothing
    is left to leave out: values of a bond at which a core is zero; values that are equal in all cores but
    one, which are added; values that a core has no use for, since its other indices have fewer; bonds of size
    1; cores that multiply into one with no more parameters and operations; and terms that differ in one core
    only. Cores that are used more than once or fixed, and bonds that they carry, stay.

    Where only sizes have changed the family stays; otherwise the copy has a `tm.TensorNetwork`. Training goes
    on from the same function, but not along the same way: fewer cores learn at another pace.

    Args:
        layer: a module of any framework, or `tm.SavedLayer(spec, parameters, state)`. It stays as it is. Each
            layer of a block is simplified by itself.

    Returns:
        A `RankChange`, whose error is rounding, and whose steps are what was removed.

    Raises:
        TensorMoEError: another kind of object, or values that are not finite.

    Examples:
        >>> import tensormoe as tm
        >>> network = tm.TensorNetwork("n i r, r s, s o", r=40, s=5)
        >>> layer = tm.build(tm.MuMoESpec(8, 6, 4, network), "numpy", seed=0)
        >>> simple = tm.simplify(layer)
        >>> simple.spec.factorization, simple.error < 1e-6
        (TensorNetwork('n i s, s o', s=5), True)
        >>> layer.spec.num_parameters, simple.spec.num_parameters
        (1702, 242)
    """
    weights = read_layer(layer)
    cores, factorizations, steps = {}, {}, []
    for name, weight in weights.items():
        simple, own = _simplify(name, weight)
        cores[name], factorizations[name] = simple.cores, simple.stage.factorization
        steps += own
    spec = respecify(layer.spec, factorizations)
    return finish(layer, spec, weights, cores, steps, exact=not steps)


def _simplify(name: str, weight: Weight) -> tuple[Weight, list[Step]]:
    sketch, steps = Sketch.read(weight), []
    while removal := next(filter(None, (rule(sketch) for rule in RULES)), None):
        sketch, what, how = removal
        steps.append(Step(name, what, how))
    return sketch.finish(), steps
