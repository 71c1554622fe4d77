"""What the cores say of experts: their sizes, how alike they are, how many directions they have."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..analysis.similarity import cosines, norms
from ..analysis.spectrum import spectrum
from ..layers.parameters import name_core
from ..typing import NumPyArray

# Beyond it the matrix of all pairs has more entries than a picture shows, and takes long to cluster.
MOST_COMPARED = 2048
# The most used experts, whose singular values are shown.
SHOWN = 6


@dataclass(frozen=True)
class Weights:
    """The experts of one layer, or of one of a block's.

    Args:
        norms: (N,), N of all levels.
        cosines: (N, N); None where there are too many, or one.
        experts: the numbers of those that are used most, (K,).
        spectra: their singular values, (K, R).
    """

    norms: NumPyArray
    cosines: NumPyArray | None
    experts: NumPyArray
    spectra: NumPyArray

    @property
    def closest(self) -> tuple[int, int, float] | None:
        """The two experts that are most alike, and their cosine; the first of equal ones."""
        if self.cosines is None:
            return None
        apart = np.where(np.tri(len(self.cosines), dtype=bool), -np.inf, self.cosines)
        one, other = (int(n) for n in np.unravel_index(apart.argmax(), apart.shape))
        return one, other, float(self.cosines[one, other])

    @property
    def mean_cosine(self) -> float | None:
        """Over all pairs of different experts."""
        if self.cosines is None:
            return None
        return float(self.cosines[np.triu_indices(len(self.cosines), 1)].mean())


def weigh(layer: Any, load: NumPyArray) -> dict[str, Weights]:
    """The weights of each layer that has experts by its name; that of a layer alone is "cores".

    Args:
        layer: a module.
        load: of all experts, which says whose singular values are computed.
    """
    spec, arrays = layer.spec, layer.arrays()
    used = np.argsort(-load, kind="stable")[: min(SHOWN, np.count_nonzero(load))]
    weights = {}
    for name, stage in spec.layers.items():
        if not stage.experts:
            continue
        cores = {core: arrays[name_core(name, stage, core)] for core in stage.network.shapes}
        lengths = norms(stage, cores)
        compared = cosines(stage, cores) if 1 < len(lengths) <= MOST_COMPARED else None
        spectra = np.stack([spectrum(stage, int(expert), cores) for expert in used])
        weights[name] = Weights(lengths, compared, used, spectra)
    return weights
