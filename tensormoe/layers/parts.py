"""Networks with split modes as networks with whole ones, for what is computed from cores alone."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from ..networks.network import Core, Network
from ..networks.splits import part_sizes
from ..typing import NumPyArray

Cores = Mapping[str, NumPyArray]


def with_whole_modes(network: Network, cores: Cores) -> tuple[Network, Cores]:
    """The same weight tensor from cores that carry whole modes.

    Parts become bonds. Each term gets a further core for each mode whose parts it carries: it is 1 where the
    parts make up the mode's number, and 0 elsewhere.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> from tensormoe.layers.parts import with_whole_modes
        >>> network = tm.TensorNetwork("n i1 o, i2 o", i=(2, 3)).network((5,), 6, 4)
        >>> whole, cores = with_whole_modes(network, {name: np.ones(s) for name, s in network.shapes.items()})
        >>> print(whole)
        n i1 o, i2 o, i i1 i2
        >>> cores["i in term 1"].shape
        (6, 2, 3)
    """
    if not network.splits:
        return network, cores
    filled, terms = {**cores}, []
    for number, term in enumerate(network.terms, start=1):
        made = []
        for split in term.splits:
            core = Core(f"{split.mode} in term {number}", (split.mode, *split.parts))
            ones = np.eye(network.sizes[split.mode], split.size)
            filled[core.name] = ones.reshape(-1, *split.sizes)
            made.append(core)
        terms.append((*term.cores, *made))
    bonds = (*network.bonds, *part_sizes(network.splits).items())
    return replace(join_terms(network, terms), bonds=bonds, splits=()), filled


def join_terms(network: Network, terms: Sequence[Sequence[Core]]) -> Network:
    """The same network with the cores of these terms."""
    counts = tuple(map(len, terms)) if len(terms) > 1 else ()
    return replace(network, cores=tuple(chain(*terms)), counts=counts)
