"""What a block should compute: the contractions of its layers, with names that tell all of them apart."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ...arrays.nonlinearities import name_of
from ...arrays.protocols import Nonlinearity
from ...errors import TensorMoEError
from ...networks.notation import BATCH, Indices
from ...programs.contraction import Contraction, Operand
from .choices import tell_choices
from .prove import COTANGENT

# The results of the layers before the last, with their names in theorems.
RESULTS = (("u", "the first layer"), ("v", "up"))
# What distinguishes the last layer's names, and those of up.
_LAST, _UP = "′", "″"


@dataclass(frozen=True)
class Block:
    """What should be computed; names are different, except for what layers share with the first."""

    stated: tuple[Contraction, ...]
    nonlinearity: Nonlinearity

    @staticmethod
    def of(layers: Sequence[Contraction], nonlinearity: Nonlinearity) -> "Block":
        """Contractions with their names made different."""
        first, *further, last = (layer.unshare() for layer in layers)
        shared, hidden = _coefficients(_find_mixed(layers)), _size(first, first.output[-1])
        fits = [_coefficients(layer) in ((), shared) for layer in layers]
        for up, fit in zip(further, fits[1:], strict=False):
            taken = (up.operands[0], _inputs(up), _size(up, up.output[-1]))
            if not fit or taken != (first.operands[0], _inputs(first), hidden):
                remedy = "up takes what the first takes, and gives as much"
                raise TensorMoEError("contractions", (hidden, _size(up, up.output[-1])), remedy)
        inputs = _inputs(last)
        if not fits[-1] or hidden != inputs:
            remedy = "the second takes what the first gives, and the same coefficients"
            raise TensorMoEError("contractions", (hidden, inputs), remedy)
        data = f"{name_of(nonlinearity)}(u)" + " v" * len(further)
        parts = {split.mode for layer in layers for split in layer.splits}
        x, read = first.operands[0], {split.mode for layer in layers[:-1] for split in layer.splits}
        of_up = Operand(x.name, tuple(index + _UP * (index in read) for index in x.indices))
        marked = [_mark(up, _UP, of_up, parts) for up in further]
        hidden_values = Operand(data, (BATCH, last.operands[0].indices[-1] + _LAST))
        return Block((first, *marked, _mark(last, _LAST, hidden_values, parts)), nonlinearity)

    @cached_property
    def layers(self) -> tuple[Contraction, ...]:
        """The layers with an index of its own for each operand of which some places are chosen.

        What a layer reads by other indices than one before it has a name of its own.
        """
        first: dict[str, Operand] = {}
        apart = []
        for mark, layer in zip(("", *[_UP] * len(self.stated[1:-1]), _LAST), self.stated, strict=True):
            known = [first.setdefault(op.name, op) == op for op in layer.operands]
            named = zip(layer.operands, known, strict=True)
            operands = (op if same else replace(op, name=op.name + mark) for op, same in named)
            apart.append(tell_choices(replace(layer, operands=tuple(operands))))
        return tuple(apart)

    @property
    def name(self) -> str:
        """What the nonlinearity is called."""
        return name_of(self.nonlinearity)

    @property
    def before(self) -> tuple[Contraction, ...]:
        """The layers of x."""
        return self.layers[:-1]

    @property
    def last(self) -> Contraction:
        """The layer after the nonlinearity."""
        return self.layers[-1]

    @cached_property
    def data(self) -> tuple[Operand, ...]:
        """The input and the coefficients, as each layer reads them."""
        read = (op for layer in self.layers for op in layer.data if op != self.hidden)
        return tuple(dict.fromkeys(read))

    @cached_property
    def operands(self) -> tuple[Operand, ...]:
        """What the program takes, with an array for each way of reading the data."""
        return (*self.data, *(core for layer in self.layers for core in layer.cores))

    @property
    def labels(self) -> list[str]:
        """What derivations call the operands: the data as the program has them."""
        data = [op.name.removesuffix(_UP).removesuffix(_LAST) for op in self.data]
        return [*data, *(op.name for op in self.operands[len(data) :])]

    def find_places(self, cores: int) -> list[tuple[int, ...]]:
        """For each layer, what it reads in place of each operand of a program that takes so many cores."""
        x, *coefficients = program_data(self.layers)
        rest = range(len(self.data), len(self.data) + cores)
        places = []
        for layer in self.layers:
            own = (x if layer == self.last else layer.data[0], *(_coefficients(layer) or coefficients))
            places.append((*map(self.data.index, own), *rest))
        return places

    @property
    def hidden(self) -> Operand:
        """f(u), or f(u) v."""
        return self.last.operands[0]

    @property
    def cotangents(self) -> dict[str, Contraction]:
        """The layers by the name of what stands for the gradient of their results."""
        names = [f"∂{result}" for result, _ in RESULTS]
        return {**dict(zip(names, self.before, strict=False)), COTANGENT: self.last}


def _size(contraction: Contraction, index: str) -> int:
    return dict(contraction.sizes)[index]


def _inputs(contraction: Contraction) -> int:
    return _size(contraction, contraction.operands[0].indices[-1]) - contraction.affine


def _coefficients(contraction: Contraction) -> tuple[Operand, ...]:
    return contraction.data[1:]


def _find_mixed(layers: Sequence[Contraction]) -> Contraction:
    """A layer with experts; any if there is none."""
    return max(layers, key=lambda layer: len(layer.data))


def program_data(layers: Sequence[Contraction]) -> tuple[Operand, ...]:
    """The input of the first layer, and the coefficients."""
    return (layers[0].data[0], *_coefficients(_find_mixed(layers)))


def _mark(contraction: Contraction, mark: str, data: Operand, parts: Collection[str]) -> Contraction:
    """The contraction of `data`, and with a mark at all names but its own and the coefficients'.

    Modes of which a layer carries parts have a mark, too: each layer has its own.
    """
    coefficients = _coefficients(contraction)
    kept = {
        BATCH,
        *data.indices,
        *(index for op in coefficients for index in op.indices if index not in parts),
    }

    def rename(indices: Indices) -> Indices:
        return tuple(index if index in kept else index + mark for index in indices)

    mixed = [Operand(op.name, rename(op.indices)) for op in coefficients]
    marked = [Operand(core.name + mark, rename(core.indices)) for core in contraction.cores]
    sizes = zip(rename(tuple(dict(contraction.sizes))), dict(contraction.sizes).values(), strict=True)
    return replace(
        contraction,
        operands=(data, *mixed, *marked),
        output=rename(contraction.output),
        sizes=tuple(sizes),
        active=tuple((rename((mode,))[0], k) for mode, k in contraction.active),
        splits=tuple(
            replace(split, mode=rename((split.mode,))[0], parts=rename(split.parts))
            for split in contraction.splits
        ),
    )
