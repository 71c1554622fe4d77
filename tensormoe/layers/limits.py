"""How many values of a bond can matter: no more than the other indices of its cores make use of."""

from collections.abc import Mapping
from math import prod

from ..networks.network import Network


def rank_limit(network: Network, sizes: Mapping[str, int], bond: str) -> int | None:
    """The most values of a bond that change what its cores can be together; None for no such number.

    A sum over a bond of products of one slice of each core is an array over the cores' other indices. It can
    be any such array with as many values as all of these cores but the largest have entries. For a bond of
    two cores this is the rank of a matrix: its rows or its columns. For each value of an index that all cores
    carry there is one such array.

    Args:
        network: what the bond is in.
        sizes: of all indices, in place of the network's.
        bond: its name.

    Examples:
        >>> import tensormoe as tm
        >>> from tensormoe.layers.limits import rank_limit
        >>> network = tm.TensorTrain((4, 65)).network((8,), 65, 10)
        >>> rank_limit(network, network.sizes, "r2"), rank_limit(network, network.sizes, "r3")
        (8, 10)
    """
    carriers = [core for core in network.cores if bond in core.indices]
    # What multiplies a fixed core can make use of more.
    if len(carriers) < 2 or any(core.name in network.held for core in carriers):
        return None
    common = set.intersection(*({*core.indices} for core in carriers))
    entries = [prod(sizes[index] for index in core.indices if index not in common) for core in carriers]
    return prod(entries) // max(entries)


def limit_sizes(network: Network, wanted: Mapping[str, int], unit: int = 1) -> dict[str, int]:
    """The sizes of bonds that are wanted, none larger than can matter.

    A limit is rounded down to a multiple of a unit, if it isn't smaller. Bonds may limit each other.
    """
    sizes = dict(wanted)
    while True:
        before = dict(sizes)
        for bond, size in before.items():
            limit = rank_limit(network, network.sizes | sizes, bond)
            if limit is not None and size > limit:
                sizes[bond] = limit - limit % unit or limit
        if sizes == before:
            return sizes
