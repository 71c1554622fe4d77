"""The two contractions of a μMoE layer, as operands and output indices; no arrays, no order of steps."""

from dataclasses import dataclass, replace

from ..networks.network import Network
from ..networks.notation import BATCH, INPUT, OUTPUT, Indices, expert_modes, modes


@dataclass(frozen=True)
class Operand:
    """A future array: its name and the indices of its axes."""

    name: str
    indices: Indices


@dataclass(frozen=True)
class Contraction:
    """A sum of products over every index that the output lacks.

    Args:
        operands: what is multiplied, in the order in which arrays are passed.
        output: the indices kept, in order.
        sizes: the size of each index; the batch has none.
        affine: whether the operand `x` is one entry short along the input mode: it stands for x followed by a
            constant 1, which multiplies the bias, the last row of the input mode.
    """

    operands: tuple[Operand, ...]
    output: Indices
    sizes: tuple[tuple[str, int], ...]
    affine: bool = False


def layer_contraction(network: Network, bias: bool) -> Contraction:
    """y[b, o] = Σ W[n1 … nE, i, o] Π_e a_e[b, n_e] x[b, i] from the cores of W.

    Operands: x, the coefficients of each level, the cores.
    """
    experts = expert_modes(network.levels)
    coefficients = [Operand(f"a{e}", (BATCH, mode)) for e, mode in enumerate(experts, start=1)]
    return Contraction(
        (Operand("x", (BATCH, INPUT)), *coefficients, *_cores(network)),
        (BATCH, OUTPUT),
        tuple(network.sizes.items()),
        affine=bias,
    )


def weight_contraction(network: Network) -> Contraction:
    """W[n1 … nE, i, o] from its cores."""
    return Contraction(_cores(network), network.modes, tuple(network.sizes.items()))


def dense_contraction(contraction: Contraction) -> Contraction:
    """The same contraction with the materialized weight tensor instead of its cores: a soft MoE."""
    data = tuple(operand for operand in contraction.operands if BATCH in operand.indices)
    weight = Operand("weight", modes(len(data) - 1))
    return replace(contraction, operands=(*data, weight))


def _cores(network: Network) -> tuple[Operand, ...]:
    return tuple(Operand(core.name, core.indices) for core in network.cores)
