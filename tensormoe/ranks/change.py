"""What a change of ranks is: the changed copy of a layer, what was done, and how far the weight has moved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..checkpoints.copying import check_layer, convert, rebuild
from ..checkpoints.saved import Layer
from ..fitting.target import read_values
from ..layers.each import one_or_each
from ..layers.parameters import cores_of, name_core
from ..layers.spec import Spec
from ..networks.factorization import Factorization
from ..tables import fold, table
from ..typing import NumPyArray
from .distance import Weight, measure


@dataclass(frozen=True)
class Step:
    """One thing that was done to a layer.

    Args:
        layer: "cores", or in a block "first", "up" or "second".
        what: the bond or the cores, and their sizes before and after.
        how: the method, and whether it is optimal.

    Examples:
        >>> import tensormoe as tm
        >>> layer = tm.build(tm.MuMoESpec(8, 6, 4, tm.CP(5)), "numpy", seed=0)
        >>> tm.grow(layer, r=7).steps
        (Step(layer='cores', what='r: 5 → 7', how='zeros in output'),)
    """

    layer: str
    what: str
    how: str


@dataclass(frozen=True, eq=False)
class RankChange:
    """A copy of a layer with other ranks, as `tm.grow`, `tm.truncate` and others return it.

    Print it for what was done. The copy is new to an optimizer: make another one for it, since moments of
    cores of other shapes can't be kept.

    Args:
        layer: the copy, of the same kind and framework, with parameters of the same type.
        steps: what was done, in order.
        errors: for each layer, the norm of what its weight tensor has changed by, relative to its norm:
            that of the rounded cores of the copy, measured in float64. Tensors of more than 4 million entries
            are compared by inner products, which tell no error below 1e-7.

    Examples:
        >>> import tensormoe as tm
        >>> layer = tm.build(tm.MuMoESpec(8, 6, 4, tm.CP(5)), "numpy", seed=0)
        >>> change = tm.grow(layer, r=7)
        >>> change.spec.factorization, change.error
        (CP(rank=7), 0.0)
    """

    layer: Any
    steps: tuple[Step, ...]
    errors: Mapping[str, float]

    @property
    def spec(self) -> Spec:
        """The specification of the copy."""
        spec: Spec = self.layer.spec
        return spec

    @property
    def error(self) -> float:
        """The largest of `errors`."""
        return max(self.errors.values())

    def __str__(self) -> str:
        rows = [(step.layer, step.what, step.how) for step in self.steps]
        errors = ", ".join(f"{name} {error:.3g}" for name, error in self.errors.items())
        done = table(("layer", "what", "how"), rows, text_columns=3) if rows else "nothing to change"
        return fold(f"{done}\nrelative error of the weight: {errors}")


def read_layer(layer: Layer) -> dict[str, Weight]:
    """The weight tensors of a layer's or a block's stages, by name, in float64."""
    check_layer("layer", layer)
    spec, arrays = layer.spec, layer.arrays()
    return {
        name: Weight(
            stage,
            {
                core: read_values(name_core(name, stage, core), array)
                for core, array in cores_of(spec, arrays, name).items()
            },
        )
        for name, stage in spec.layers.items()
    }


def respecify(spec: Spec, factorizations: Mapping[str, Factorization]) -> Spec:
    """The specification with other factorizations of its layers."""
    # A path is that of the old network.
    optimize = spec.arguments["optimize"]
    return spec.replace(
        factorization=one_or_each([*factorizations.values()]),
        optimize=optimize if isinstance(optimize, str) else "auto",
    )


def finish(
    layer: Layer,
    spec: Spec,
    before: Mapping[str, Weight],
    cores: Mapping[str, Mapping[str, NumPyArray]],
    steps: Sequence[Step],
    exact: bool = False,
) -> RankChange:
    """The changed copy.

    Args:
        layer: what is copied.
        spec: of the copy.
        before: the layer's weights.
        cores: the cores of the copy in float64, by stage and name.
        steps: what was done.
        exact: whether the weight is the same for a reason: only a program's rounding would be measured.
    """
    arrays = layer.arrays()
    given = dict(arrays)
    for name, stage in spec.layers.items():
        like = next(iter(cores_of(layer.spec, arrays, name).values()))
        for core in stage.network.shapes:
            full = name_core(name, stage, core)
            given[full] = convert("layer", full, cores[name][core], arrays.get(full, like))
    names = (*spec.parameter_shapes, *spec.state_shapes)
    changed = rebuild(layer, spec, {name: given[name] for name in names})
    after = read_layer(changed)
    errors = {name: 0.0 if exact else measure(weight, after[name]) for name, weight in before.items()}
    return RankChange(changed, tuple(steps), errors)
