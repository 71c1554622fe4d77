"""Sums with biases as sums of terms that all have the same rows, for what is computed from cores alone."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from ..networks.network import Core, Network
from ..networks.notation import INPUT, expert_modes
from ..typing import NumPyArray
from .parts import Cores, join_terms, with_whole_modes


def with_rows(network: Network, cores: Cores, rows: int | None = None) -> tuple[Network, Cores]:
    """The same weight tensor as terms that carry the input mode whole, with all of its rows or with so many.

    A term without it gets a further core, which is 1 in the last row and 0 elsewhere. Cores without a row for
    the biases get one of zeros.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> from tensormoe.layers.rows import with_rows
        >>> network = tm.TensorNetwork("n i o + n o").network((2,), 3, 4)
        >>> print(with_rows(network, {"core1": np.ones((2, 3, 4)), "core2": np.ones((2, 4))})[0])
        n i o + n o, i
    """
    network, cores = with_whole_modes(network, cores)
    rows = network.weight_rows if rows is None else rows
    missing = rows - network.input_size
    if not missing and not network.has_bias_terms:
        return network, cores
    # A shared core has rows for biases in some of its uses only.
    uses, network = network.cores, network.unshare()
    cores = {core.name: cores[use.name] for core, use in zip(network.cores, uses, strict=True)}
    filled = {}
    for core in network.cores:
        widths = [(0, missing * (index == INPUT)) for index in core.indices]
        filled[core.name] = np.pad(cores[core.name], widths) if core.indices else cores[core.name]
    terms: list[Sequence[Core]] = []
    for number, term in enumerate(network.terms, start=1):
        terms.append(term.cores)
        if term.is_bias:
            row = Core(f"row {number}", (INPUT,))
            filled[row.name] = np.eye(1, rows, rows - 1)[0]
            terms[-1] = (*term.cores, row)
    return replace(join_terms(network, terms), input_size=rows, bias=True), filled


def without_bias(network: Network, cores: Cores) -> tuple[Network, Cores]:
    """The weight tensor without its row of biases; experts that have nothing else are equal."""
    network, cores = with_whole_modes(network, cores)
    kept = {core.name: cores[core.name] for term in network.terms if not term.is_bias for core in term.cores}
    if network.bias:
        for name in {*network.axes[INPUT]} & {*kept}:
            kept[name] = np.delete(kept[name], -1, network.axes[INPUT][name])
    terms: list[Sequence[Core]] = [term.cores for term in network.terms if not term.is_bias]
    carried = {index for core in chain(*terms) for index in core.indices}
    for mode in expert_modes(network.levels):
        if mode not in carried:
            ones = Core(f"equal {mode}", (mode,))
            kept[ones.name], terms[0] = np.ones(network.sizes[mode]), (*terms[0], ones)
    return replace(join_terms(network, terms), input_size=network.input_size - network.bias, bias=False), kept


def place_rows(term: Network, matrix: NumPyArray, rows: int) -> NumPyArray:
    """A term's matrix (I[+1], O) with all rows of W; that of a bias, (O,), is the last one."""
    if term.is_bias:
        return np.eye(1, rows, rows - 1).T * matrix
    return np.pad(matrix, ((0, rows - len(matrix)), (0, 0)))
