"""The roles of cores at the start: which mix experts, which are linear, and which are square matrices."""

from collections import Counter
from dataclasses import replace

from ..networks.network import Core, Network
from ..networks.notation import INPUT, OUTPUT, Indices, expert_modes, is_mode
from ..networks.splits import use_parts
from ..typing import Shape
from .stage import Stage


def canonical_network(stage: Stage) -> Network:
    """The network with every core's axes in the order in which its values are drawn."""
    orders = stage.factorization.canonical(stage.levels).cores
    # Biases that the network separates follow those of the notation.
    further = (core.indices for core in stage.network.cores[len(orders) :])
    cores = zip(stage.network.cores, (*orders, *further), strict=True)
    return replace(stage.network, cores=tuple(Core(core.name, order) for core, order in cores))


def drawing_order(drawn: Core, core: Core) -> Shape:
    """The permutation that takes the axes of a core as drawn to those of the notation."""
    return tuple(drawn.indices.index(index) for index in core.indices)


def linear_cores(network: Network) -> list[Core]:
    """The cores without expert modes, and those that carry the input or output mode if no such core does.

    The others are mixing cores.
    """
    plain = [core for core in network.cores if not experts_of(core, network)]
    covered = {index for core in plain for index in core.indices}
    missing = features_of(network) - covered
    return [core for core in network.cores if core in plain or missing & set(core.indices)]


def features_of(network: Network) -> set[str]:
    """The input and the output mode of a term, or their parts."""
    return {*use_parts((INPUT, OUTPUT), network.splits)}


def expert_indices(network: Network) -> Indices:
    """The expert modes of a term, or their parts."""
    return use_parts(expert_modes(network.levels), network.splits)


def experts_of(core: Core, network: Network) -> Indices:
    """The expert modes, or their parts, that a core carries."""
    experts = expert_indices(network)
    return tuple(index for index in core.indices if index in experts)


def bonds_of(core: Core) -> Indices:
    """The bonds that a core carries."""
    return tuple(index for index in core.indices if not is_mode(index))


def shared_shape(core: Core, network: Network) -> Shape:
    """The core's shape with expert axes of size 1: what all experts have in common."""
    experts = experts_of(core, network)
    return tuple(1 if index in experts else network.sizes[index] for index in core.indices)


def shape_along(mode: str, core: Core, network: Network) -> Shape:
    """The core's shape with an axis of size 1 for every other level: what differs along one level alone."""
    others = {*experts_of(core, network)} - {mode}
    return tuple(1 if index in others else network.sizes[index] for index in core.indices)


def matrix_axes(core: Core, network: Network) -> tuple[int, int] | None:
    """The two axes of a core that is a matrix between two ordinary bonds; None for any other core.

    An ordinary bond joins exactly two cores.
    """
    joined = Counter(index for other in network.cores for index in other.indices)
    bonds = tuple(index for index in bonds_of(core) if network.sizes[index] > 1)
    long = [size for size in shared_shape(core, network) if size > 1]
    if len(bonds) != 2 or len(long) != 2 or any(joined[bond] != 2 for bond in bonds):
        return None
    return core.indices.index(bonds[0]), core.indices.index(bonds[1])
