"""The cores of a network with one expert for one matrix, in closed form.

With one expert, W[i, o] is a product of the core that carries `i`, B, and the core that carries `o`, C, with
what the other cores make up, M: for every value s of the bonds that B and C share, B_s M_s C_s, summed over
s. The other cores are set: matrices between two bonds to the identity, cores with one bond to ones, others at
random, so that the ranks k_s of the M_s are as large as the network allows. Then the sum can be any matrix of
rank K = Σ k_s, and the best one is W's singular value decomposition, cut after K values (Eckart and Young,
"The approximation of one matrix by another of lower rank", 1936). If one core carries both modes, it holds W
itself.

What W leaves free is filled with noise that changes nothing, so that no value of a bond is zero on both
sides: gradient descent could never use it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import opt_einsum

from ..arrays.registry import get_backend
from ..layers.roles import experts_of, matrix_axes
from ..layers.rows import place_rows
from ..networks.network import Core, Network
from ..networks.notation import INPUT, OUTPUT, Indices, is_mode
from ..programs.contraction import weight_contraction
from ..programs.plan import plan
from ..typing import NumPyArray
from .metric import Metrics, transform, whiten

_AXES = {INPUT: 0, OUTPUT: 1}
# Singular values below this share of the largest count as zero.
_TINY = 1e-12


def fit_matrix(
    network: Network, matrix: NumPyArray, metrics: Metrics, generator: np.random.Generator
) -> dict[str, NumPyArray]:
    """Cores, in the network's shapes, whose product is the best approximation of a matrix.

    Args:
        network: with one expert on every level.
        matrix: (I[+1], O).
        metrics: how much each direction counts, by mode.
        generator: of what is free.

    In a sum, every term is fitted to what those before it leave: first those that experts have to themselves,
    so that noise among experts is relative to what they hold. A bias is fitted to the last row.
    """
    cores: dict[str, NumPyArray] = {}
    for term in sorted(network.terms, key=lambda term: -len(term.carried_modes)):
        own = _fit_term(term, matrix[-1:] if term.is_bias else matrix[: term.input_size], metrics, generator)
        program = plan(weight_contraction(term), 1).program
        product = program.run(get_backend("numpy"), [*own.values()])
        shape = (-1,) if term.is_bias else (term.input_size, -1)
        matrix = matrix - place_rows(term, product.reshape(shape), len(matrix))
        cores |= own
    return cores


def _fit_term(
    network: Network, matrix: NumPyArray, metrics: Metrics, generator: np.random.Generator
) -> dict[str, NumPyArray]:
    # A single row is weighed by its columns alone, and a matrix without the bias's row as it is.
    metrics = {
        mode: metric for mode, metric in metrics.items() if len(metric.root) == matrix.shape[_AXES[mode]]
    }
    matrix = whiten(matrix, metrics)
    mains = _choose(network)
    others = {core.name: _start(core, network, generator) for core in network.cores if core.name not in mains}
    solve = _solve_one if len(mains) == 1 else _solve_two
    solved = solve(_Frame(network, others, generator), matrix, *mains.values())
    for mode, metric in metrics.items():
        for named in solved:
            if mode in named.indices:
                named.array = transform(named.array, named.indices.index(mode), metric.inverse)
    cores = others | {name: named.arrange(mains[name]) for name, named in zip(mains, solved, strict=True)}
    return {name: np.broadcast_to(cores[name], shape) for name, shape in network.shapes.items()}


def has_one_core_each(network: Network) -> bool:
    """Whether each mode of each term is in one core, so that the closed form is the optimum."""
    return all(
        sum(mode in core.indices for core in term.cores) == 1
        for term in network.terms
        for mode in (INPUT, OUTPUT)
        if mode == OUTPUT or not term.is_bias
    )


def _choose(network: Network) -> dict[str, Core]:
    """The core that carries both modes, or the two that carry one each; if possible, without experts."""
    ordered = sorted(
        network.cores, key=lambda core: (bool(experts_of(core, network)), -prod(network.shapes[core.name]))
    )
    modes = {OUTPUT} if network.is_bias else {INPUT, OUTPUT}
    both = [core for core in ordered if modes <= {*core.indices}]
    mains = both[:1] or [next(core for core in ordered if mode in core.indices) for mode in (INPUT, OUTPUT)]
    return {core.name: core for core in mains}


def _start(core: Core, network: Network, generator: np.random.Generator) -> NumPyArray:
    """A core that is set, the same for all inputs and outputs: axes of modes have size 1."""
    shape = tuple(1 if is_mode(index) else network.sizes[index] for index in core.indices)
    axes = matrix_axes(core, network)
    if axes is not None:
        positions = np.indices(shape, sparse=True)
        return np.asarray(positions[axes[0]] == positions[axes[1]], dtype=float)
    if sum(size > 1 for size in shape) < 2:
        return np.ones(shape)
    return generator.normal(size=shape)


@dataclass
class _Named:
    """An array with an index for each axis; experts have none."""

    array: NumPyArray
    indices: Indices

    def arrange(self, core: Core) -> NumPyArray:
        """The array with the core's axes."""
        kept = [index for index in core.indices if index in self.indices]
        # The only row of a bias is no axis of its core.
        bias = [index for index in self.indices if index == INPUT and index not in kept]
        array = self.array.transpose([self.indices.index(index) for index in (*bias, *kept)])
        array = array[(0,) * len(bias)]
        missing = tuple(axis for axis, index in enumerate(core.indices) if index not in self.indices)
        return np.expand_dims(array, missing)


@dataclass(frozen=True)
class _Frame:
    """The cores that are set, and what is free."""

    network: Network
    others: Mapping[str, NumPyArray]
    generator: np.random.Generator

    def sizes(self, indices: Sequence[str]) -> list[int]:
        """The sizes of some indices."""
        return [self.network.sizes[index] for index in indices]

    def multiply(self, bonds: Sequence[str]) -> NumPyArray:
        """The product of the cores that are set, with these bonds open."""
        names = {index: number for number, index in enumerate(self.network.sizes)}
        operands: list[Any] = []
        carried: set[str] = set()
        for core in self.network.cores:
            if core.name in self.others:
                kept = [index for index in core.indices if not is_mode(index)]
                operands += [self.others[core.name].reshape(self.sizes(kept)), [names[i] for i in kept]]
                carried |= {*kept}
        present = [bond for bond in bonds if bond in carried]
        product = opt_einsum.contract(*operands, [names[i] for i in present]) if operands else np.ones(())
        shape = [self.network.sizes[bond] if bond in carried else 1 for bond in bonds]
        return np.broadcast_to(np.reshape(product, shape), self.sizes(bonds))

    def fill(self, like: NumPyArray) -> NumPyArray:
        """Noise of an array's shape and mean square."""
        scale = float(np.sqrt(np.mean(like * like))) or 1.0
        return np.asarray(self.generator.normal(0.0, scale, like.shape))


def _bonds(core: Core) -> Indices:
    return tuple(index for index in core.indices if not is_mode(index))


def _solve_one(frame: _Frame, matrix: NumPyArray, core: Core) -> list[_Named]:
    """T[bonds, i, o] = M[bonds] W[i, o] / Σ M², and noise orthogonal to M."""
    bonds = _bonds(core)
    product = frame.multiply(bonds)
    flat = product.reshape(-1, 1, 1) / np.sum(product * product)
    solved = flat * matrix
    noise = frame.fill(solved)
    noise -= flat * np.sum(product.reshape(-1, 1, 1) * noise, axis=0)
    shape = (*frame.sizes(bonds), *matrix.shape)
    return [_Named((solved + noise).reshape(shape), (*bonds, INPUT, OUTPUT))]


def _solve_two(frame: _Frame, matrix: NumPyArray, first: Core, second: Core) -> list[_Named]:
    """B and C of the module's text."""
    shared = tuple(bond for bond in _bonds(first) if bond in second.indices)
    left = tuple(bond for bond in _bonds(first) if bond not in shared)
    right = tuple(bond for bond in _bonds(second) if bond not in shared)
    sizes = [prod(frame.sizes(bonds)) for bonds in (shared, left, right)]
    product = frame.multiply((*shared, *left, *right)).reshape(sizes)
    p, values, q = np.linalg.svd(product, full_matrices=False)
    used = values > _TINY * values.max()
    slots = _number(used)
    b, c = _factor(frame, matrix, int(used.sum()))
    scale = np.where(used, 1 / np.sqrt(np.where(used, values, 1)), 0)
    inputs = np.einsum("isk,sk,sak->isa", b[:, slots], scale, p, optimize=True)
    outputs = np.einsum("skb,sk,sko->sbo", q, scale, c[slots], optimize=True)
    # What M_s drops of B and C is free.
    noise = frame.fill(inputs)
    inputs = inputs + noise - np.einsum("isa,sak,sk,sck->isc", noise, p, used * 1.0, p, optimize=True)
    noise = frame.fill(outputs)
    outputs = outputs + noise - np.einsum("skb,sk,skc,sco->sbo", q, used * 1.0, q, noise, optimize=True)
    rows, columns = matrix.shape
    return [
        _Named(inputs.reshape(rows, *frame.sizes(shared + left)), (INPUT, *shared, *left)),
        _Named(outputs.reshape(*frame.sizes(shared + right), columns), (*shared, *right, OUTPUT)),
    ]


def _number(used: NumPyArray) -> NumPyArray:
    """The number of each term (s, k) that is used: the first of every s, then the second, and so on."""
    numbers = np.zeros(used.T.shape, dtype=int)
    numbers[used.T] = np.arange(int(used.sum()))
    return numbers.T


def _factor(frame: _Frame, matrix: NumPyArray, rank: int) -> tuple[NumPyArray, NumPyArray]:
    """Factors (I, K) and (K, O) of the best approximation; further terms have noise on one side only."""
    u, values, v = np.linalg.svd(matrix, full_matrices=False)
    kept = min(rank, len(values))
    u, values, v = u[:, :kept], values[:kept], v[:kept]
    used = values > _TINY * values.max(initial=0)
    typical = np.sqrt(values[used].mean()) if used.any() else 1.0
    split = np.where(used, np.sqrt(np.where(used, values, 1)), typical)
    rows, columns = matrix.shape
    b = frame.generator.normal(size=(rows, rank)) * typical / np.sqrt(rows)
    c = np.zeros((rank, columns))
    b[:, :kept] = u * split
    c[:kept] = v * (values / split)[:, None]
    return b, c
