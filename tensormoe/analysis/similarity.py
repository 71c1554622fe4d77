"""How alike the experts of a layer are, from its cores: the Gram matrix, cosines and norms.

Two experts' inner product is a contraction of the cores with themselves, in which both share the input and
the output. It is planned as every other; the weight tensor is never built.
"""

from collections.abc import Collection
from itertools import product
from typing import Any

import numpy as np

from ..networks.network import Network
from ..networks.notation import INPUT, OUTPUT, Indices, expert_modes
from ..programs.contraction import Contraction, Operand
from ..typing import NumPyArray
from .factors import Cores, read_factors


def gram(layer: Any, cores: Cores | None = None, *, bias: bool = True) -> NumPyArray:
    """The inner products of all experts' weights, ⟨W_n, W_m⟩ = Σ_io W[n, i, o] W[m, i, o].

    Use it to compare, cluster or prune experts. W itself is never built: 4,096 experts of a 768 → 3,072 layer
    take a second instead of 39 GB.

    Args:
        layer: a layer's module of any framework; or a specification or one of a block's `layers`, together
            with `cores`: `gram(block.spec.layers["second"], block.second)`.
        cores: a mapping such as `layer.cores`, or a list in the network's order; None for the module's own.
        bias: whether the biases count as one more row of each matrix.

    Returns:
        (N, N), symmetric, in NumPy's float64; N is ∏ N_e, the last level counting fastest.

    Raises:
        TensorMoEError: another kind of object, a wrong core, values that are not finite, or more experts than
            the host has memory for.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> layer = tm.build(tm.MuMoESpec(8, 6, 4, tm.CP(5)), "numpy", seed=0)
        >>> experts = layer.materialize().astype("float64").reshape(4, -1)
        >>> np.allclose(tm.analysis.gram(layer), experts @ experts.T)
        True
    """
    factors = read_factors(layer, cores, bias)
    contraction = _overlap(factors.network, (INPUT, OUTPUT))
    products = factors.contract(contraction).reshape(factors.experts, factors.experts)
    # Equal but for the order of sums, which clustering must not see.
    products = products + products.T
    products /= 2
    return products


def cosines(layer: Any, cores: Cores | None = None, *, bias: bool = True) -> NumPyArray:
    """The cosine between every two experts' weights: 1 for the same direction, 0 for nothing in common.

    Args:
        layer, cores, bias: as for `gram`.

    Returns:
        (N, N), symmetric, from −1 to 1, in the order of `gram`. An expert whose weights are all 0 has no
        direction, and 0 with all others and itself.

    Raises:
        TensorMoEError: as `gram`.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(2, 1, 2, tm.TensorNetwork("n o, i o"), bias=False)
        >>> tm.analysis.cosines(spec, [np.array([[1.0], [-3.0]]), np.array([[1.0], [2.0]])])
        array([[ 1., -1.],
               [-1.,  1.]])
    """
    products = gram(layer, cores, bias=bias)
    lengths = np.sqrt(np.diagonal(products).clip(0))
    scale = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    products *= scale[:, None]
    products *= scale
    np.fill_diagonal(products, lengths > 0)
    return products.clip(-1, 1, out=products)


def norms(layer: Any, cores: Cores | None = None, *, bias: bool = True) -> NumPyArray:
    """The Frobenius norm of every expert's weights, without their inner products.

    Use it to find experts that do little, however many there are.

    Args:
        layer, cores, bias: as for `gram`.

    Returns:
        (N,) in the order of `gram`.

    Raises:
        TensorMoEError: as `gram`.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(2, 1, 2, tm.TensorNetwork("n o, i o"), bias=False)
        >>> tm.analysis.norms(spec, [np.array([[1.0], [-3.0]]), np.array([[3.0], [4.0]])])
        array([ 5., 15.])
    """
    factors = read_factors(layer, cores, bias)
    shared = (*expert_modes(factors.network.levels), INPUT, OUTPUT)
    squares = factors.contract(_overlap(factors.network, shared)).reshape(factors.experts)
    lengths: NumPyArray = np.sqrt(squares.clip(0))
    return lengths


def _overlap(network: Network, shared: Collection[str]) -> Contraction:
    """The cores times themselves, summed over all but the experts of either; those may be shared, too."""

    def prime(index: str) -> str:
        return index if index in shared else f"{index}'"

    def prime_all(indices: Indices) -> Indices:
        return tuple(map(prime, indices))

    # Each term of a sum meets each.
    products = [
        [
            *(Operand(core.name, core.indices) for core in once.cores),
            *(Operand(f"{core.name}'", prime_all(core.indices)) for core in again.cores),
        ]
        for once, again in product(network.terms, repeat=2)
    ]
    experts = expert_modes(network.levels)
    sizes = network.sizes | {prime(index): size for index, size in network.sizes.items()}
    output = tuple(dict.fromkeys((*experts, *prime_all(experts))))
    counts = tuple(map(len, products)) if len(products) > 1 else ()
    operands = tuple(operand for each in products for operand in each)
    return Contraction(operands, output, tuple(sizes.items()), counts=counts)
