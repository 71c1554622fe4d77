"""A network whose structure is being changed: terms of parts, each with its indices and values."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import opt_einsum

from ..errors import TensorMoEError
from ..layers.stage import Stage
from ..networks.factorization import Factorization
from ..networks.notation import Indices, is_mode
from ..networks.tensor_network import TensorNetwork
from ..programs.plan import LARGE_BATCH
from ..typing import NumPyArray
from .distance import Weight
from .sizes import with_sizes


@dataclass(frozen=True, eq=False)
class Part:
    """A core: its name, its indices and its values."""

    name: str
    indices: Indices
    values: NumPyArray

    def take(self, index: str, kept: NumPyArray) -> "Part":
        """The part with some values of an index."""
        return replace(self, values=np.compress(kept, self.values, self.indices.index(index)))

    def drop(self, index: str) -> "Part":
        """The part without an index of size 1."""
        axis = self.indices.index(index)
        return Part(self.name, self.indices[:axis] + self.indices[axis + 1 :], self.values.squeeze(axis))

    def slices(self, index: str) -> NumPyArray:
        """The values as a matrix with a row for each value of an index."""
        moved = np.moveaxis(self.values, self.indices.index(index), 0)
        return moved.reshape(len(moved), -1)


Terms = tuple[tuple[Part, ...], ...]


@dataclass(frozen=True, eq=False)
class Sketch:
    """A weight tensor as terms of parts.

    Args:
        stage: what it was at first.
        terms: what it is now.
    """

    stage: Stage
    terms: Terms

    @staticmethod
    def read(weight: Weight) -> "Sketch":
        """The sketch of a weight tensor."""
        terms = tuple(
            tuple(Part(core.name, core.indices, weight.cores[core.name]) for core in term.cores)
            for term in weight.stage.network.terms
        )
        return Sketch(weight.stage, terms)

    @property
    def held(self) -> Collection[str]:
        """The cores that are used more than once, or fixed: they stay as they are."""
        return self.stage.network.held

    @property
    def sizes(self) -> dict[str, int]:
        """The size of every bond."""
        sizes: dict[str, int] = {}
        for part in chain(*self.terms):
            pairs = zip(part.indices, part.values.shape, strict=True)
            sizes |= {index: size for index, size in pairs if not is_mode(index)}
        return sizes

    def carriers(self, bond: str) -> list[Part]:
        """The parts that carry a bond; none if one of them is held."""
        carriers = [part for part in chain(*self.terms) if bond in part.indices]
        return [] if any(part.name in self.held for part in carriers) else carriers

    def exchange(self, *pairs: tuple[Part, Part | None]) -> "Sketch":
        """The sketch with other parts in the place of some; None leaves a part out."""
        new = dict(pairs)
        terms = [[new.get(part, part) for part in term] for term in self.terms]
        kept = tuple(tuple(part for part in term if part is not None) for term in terms)
        return replace(self, terms=tuple(term for term in kept if term))

    def with_values(self, bond: str, kept: NumPyArray) -> "Sketch":
        """The sketch with some values of a bond."""
        return self.exchange(*((part, part.take(bond, kept)) for part in self.carriers(bond)))

    @property
    def keeps_structure(self) -> bool:
        """Whether only sizes differ from what it was at first."""
        now = [[part.indices for part in term] for term in self.terms]
        return now == [[core.indices for core in term.cores] for term in self.stage.network.terms]

    def factorization(self) -> Factorization:
        """The factorization: of the same family if only sizes have changed."""
        sizes, family = self.sizes, self.stage.factorization
        if self.keeps_structure:
            return with_sizes(family, self.stage.levels, sizes) if sizes else family
        texts = [", ".join(map(self._write, term)) for term in self.terms]
        network = self.stage.network
        parts = {each.mode: each.sizes for each in network.splits}
        pad = any(each.pad for each in network.splits)
        return TensorNetwork.with_sizes(" + ".join(texts), sizes, dict(network.fixed), parts, pad)

    def _write(self, part: Part) -> str:
        text = " ".join(part.indices)
        return f"{part.name}: {text}" if part.name in self.held else text

    def grows(self, bond: str) -> bool:
        """Whether the family lets a bond have another size than 1."""
        if not self.keeps_structure:
            return True
        try:
            with_sizes(self.stage.factorization, self.stage.levels, self.sizes | {bond: 2})
        except TensorMoEError:
            return False
        return True

    def count(self) -> int:
        """The number of all values, those of a shared core counted for each use."""
        return sum(part.values.size for part in chain(*self.terms))

    def macs(self) -> int:
        """Multiply-accumulates of a large batch."""
        stage = replace(self.stage, factorization=self.factorization(), optimize="auto", memory_limit=None)
        return stage.plan(LARGE_BATCH).macs

    def finish(self) -> Weight:
        """The weight tensor as a stage with its cores."""
        factorization = self.factorization()
        optimize = self.stage.optimize if self.keeps_structure else "auto"
        stage = replace(self.stage, factorization=factorization, optimize=optimize, memory_limit=None)
        values = [np.ascontiguousarray(part.values) for part in chain(*self.terms)]
        return Weight(stage, dict(zip([core.name for core in stage.network.cores], values, strict=True)))


def multiply(one: Part, other: Part, summed: Collection[str]) -> Part:
    """The product of two parts, summed over some indices."""
    names = {index: number for number, index in enumerate(dict.fromkeys(one.indices + other.indices))}
    kept = tuple(index for index in names if index not in summed)
    operands = [each for part in (one, other) for each in (part.values, [names[i] for i in part.indices])]
    values: NumPyArray = np.asarray(opt_einsum.contract(*operands, [names[index] for index in kept]))
    return Part(one.name, kept, values)
