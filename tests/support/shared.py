"""Random layers with shared cores: any cores with equally many indices, where all indices have one size."""

from hypothesis import strategies as st

import tensormoe as tm
from tensormoe.testing import networks


@st.composite
def shared_layers(draw: st.DrawFn, max_levels: int = 2) -> tm.MuMoESpec:
    """Layers of one or two terms in which some cores are one core."""
    size, levels = draw(st.integers(2, 3)), draw(st.integers(1, max_levels))
    terms = [draw(networks(levels, max_cores=4, max_bonds=3)) for _ in range(draw(st.integers(1, 2)))]
    cores, bonds = [], {}
    for number, term in enumerate(terms):
        own = {name: f"{name}{number}" for name, _ in term.ranks}
        cores.append(_rename(term, own))
        # A bond in one core only has size 1: such a core is not shared.
        bonds |= {name: size if sum(name in core for core in cores[-1]) > 1 else 1 for name in own.values()}
    texts = [[_name(draw, core, bonds) for core in term] for term in cores]
    family = tm.TensorNetwork(" + ".join(", ".join(term) for term in texts), **bonds)
    bias = draw(st.booleans())
    return tm.MuMoESpec(size - bias, size, (size,) * levels, family, bias=bias)


def _rename(term: tm.TensorNetwork, names: dict[str, str]) -> list[list[str]]:
    return [[names.get(index, index) for index in core.split()] for core in term.text.split(", ")]


def _name(draw: st.DrawFn, core: list[str], bonds: dict[str, int]) -> str:
    """A core with or without a name; those of as many indices have one name."""
    text = " ".join(core)
    narrow = any(bonds.get(index) == 1 for index in core)
    return text if narrow or draw(st.integers(0, 2)) == 0 else f"A{len(core)}: {text}"
