"""Random layers with fixed cores, where all indices have one size, and the same with all cores given."""

from collections.abc import Sequence
from math import prod

import numpy as np
from hypothesis import strategies as st

import tensormoe as tm
from tensormoe.testing import networks
from tensormoe.typing import NumPyArray

_MATRICES = ("hadamard", "dct", "dft", "blocks 2", "hash 1")


@st.composite
def fixed_layers(draw: st.DrawFn, max_levels: int = 2) -> tm.MuMoESpec:
    """Layers of one or two terms, some of whose cores are fixed: by a name, or by an array."""
    size, levels = draw(st.sampled_from([2, 4])), draw(st.integers(1, max_levels))
    terms = [draw(networks(levels, max_cores=4, max_bonds=3)) for _ in range(draw(st.integers(1, 2)))]
    bonds: dict[str, int] = {}
    fixed: dict[str, NumPyArray | str] = {}
    texts = []
    for number, term in enumerate(terms):
        own = {name: f"{name}{number}" for name, _ in term.ranks}
        cores = [[own.get(index, index) for index in core.split()] for core in term.text.split(", ")]
        # A bond in one core only has size 1.
        bonds |= {name: size if sum(name in core for core in cores) > 1 else 1 for name in own.values()}
        texts.append(", ".join([_fix(draw, core, bonds, size, fixed) for core in cores]))
    family = tm.TensorNetwork(" + ".join(texts), fixed=fixed, **bonds)
    bias = draw(st.booleans())
    return tm.MuMoESpec(size - bias, size, (size,) * levels, family, bias=bias)


def _fix(
    draw: st.DrawFn,
    core: Sequence[str],
    bonds: dict[str, int],
    size: int,
    fixed: dict[str, NumPyArray | str],
) -> str:
    """The notation of a core, which is fixed or not."""
    text, shape = " ".join(core), tuple(bonds.get(index, size) for index in core)
    if draw(st.booleans()):
        return text
    values: list[NumPyArray | str] = ["signs 3", "gaussian 2", np.arange(prod(shape)).reshape(shape) - 2]
    if len(shape) > 1 and {*shape} == {size}:
        # Most often, since much depends on where it is.
        values += [*["identity"] * 4, *(_MATRICES if len(shape) == 2 else ())]
    name = f"F{len(fixed)}"
    fixed[name] = draw(st.sampled_from(values))
    return f"{name}: {text}"


def with_all_cores(spec: tm.MuMoESpec, cores: Sequence[NumPyArray]) -> tuple[tm.MuMoESpec, list[NumPyArray]]:
    """The layer of the notation as it is written, identities included, with every core as an array.

    Args:
        spec: a layer with fixed cores.
        cores: in its network's order; those that are fixed are not read.
    """
    family = spec.factorization
    assert isinstance(family, tm.TensorNetwork)
    plain = spec.replace(factorization=tm.TensorNetwork(family.text, **dict(family.ranks)))
    given = zip(spec.network.shapes, cores, strict=True)
    trained = iter([core for name, core in given if name in spec.network.trained])
    fixed = dict(family.fixed)
    every = [
        np.asarray(fixed[name].values(name, shape), "float64") if name in fixed else next(trained)
        for name, shape in plain.network.shapes.items()
    ]
    return plain, every
