"""A network's weight, and its derivatives with respect to its cores, for several sets of cores at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from opt_einsum import contract_expression, get_symbol

from ..networks.network import Core, Network
from ..networks.splits import use_parts
from ..typing import NumPyArray

# Cores by name, each with a leading axis for the sets, of size B.
Batch = Mapping[str, NumPyArray]


@dataclass(frozen=True)
class Jacobian:
    """The weight of a network that is no sum, as a function of its cores, each of which is used once.

    The weight is linear in each core, times the product of all others. Where the core carries a mode itself,
    the derivative is 0 unless both have the same value there.

    Args:
        term: the network.
    """

    term: Network
    _products: dict[str, Callable[..., NumPyArray]] = field(default_factory=dict, repr=False, compare=False)

    def weigh(self, cores: Batch) -> NumPyArray:
        """(B, elements of the weight) the weights."""
        product = self._multiply("", self._modes, cores)
        whole: NumPyArray = np.broadcast_to(product, self._shape(len(product), self._modes))
        return whole.reshape(len(product), -1)

    def derive(self, cores: Batch, name: str) -> NumPyArray:
        """(B, elements of the weight, of the core) the derivatives with respect to one core."""
        (core,) = (each for each in self.term.cores if each.name == name)
        axes = (*self._modes, *core.indices)
        indices = tuple(dict.fromkeys(axes))
        count = len(cores[name])
        derivatives = np.zeros(self._shape(count, axes))
        # A view of the elements at which the weight's modes and the core's have the same values.
        same = np.einsum(f"{self._name(axes)}->{self._name(indices)}", derivatives)
        same[...] = self._multiply(name, indices, cores)
        return derivatives.reshape(count, -1, cores[name][0].size)

    @cached_property
    def _modes(self) -> tuple[str, ...]:
        """The indices of the weight, with parts in place of modes that are split."""
        return use_parts(self.term.modes, self.term.splits)

    @cached_property
    def _letters(self) -> dict[str, str]:
        return {index: get_symbol(number) for number, index in enumerate(self.term.sizes, start=1)}

    def _name(self, indices: Sequence[str]) -> str:
        return "".join((get_symbol(0), *(self._letters[index] for index in indices)))

    def _shape(self, count: int, indices: Sequence[str]) -> tuple[int, ...]:
        return (count, *(self.term.sizes[index] for index in indices))

    def _multiply(self, without: str, indices: Sequence[str], cores: Batch) -> NumPyArray:
        """All cores but one, with an axis of size 1 for each of these indices that none of them carries."""
        factors = [core for core in self.term.cores if core.name != without]
        if not factors:
            return np.ones(self._shape(1, ()) + (1,) * len(indices))
        carried = {index for core in factors for index in core.indices}
        if without not in self._products:
            self._products[without] = self._plan(factors, [index for index in indices if index in carried])
        product = self._products[without](*(cores[core.name] for core in factors))
        sizes = (self.term.sizes[index] if index in carried else 1 for index in indices)
        return product.reshape(len(product), *sizes)

    def _plan(self, factors: Sequence[Core], kept: Sequence[str]) -> Callable[..., NumPyArray]:
        *terms, output = (self._name(each) for each in (*(core.indices for core in factors), kept))
        # Its path is for any number of sets.
        shapes = [self._shape(2, core.indices) for core in factors]
        text = f"{','.join(terms)}->{output}"
        planned: Callable[..., NumPyArray] = contract_expression(text, *shapes, optimize="greedy")
        return planned
