"""What a certificate claims: the definitions of a layer's weight tensor W and of its output y."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from ...networks.notation import BATCH, INPUT
from ...networks.splits import whole_names
from ...programs.contraction import Contraction, Operand
from .forms import Factor, Index, Place, enclose, inside, same, short_of, variables
from .names import Names
from .script import sign, write_factor


@dataclass(frozen=True)
class Use:
    """One use of an array in the definition.

    Args:
        array: what the array is called.
        name: what this use is called where each has a name of its own.
        operand: its indices.
    """

    array: str
    name: str
    operand: Operand


@dataclass(frozen=True)
class Letters:
    """What a contraction's result, its weight tensor, its biases and the result's cotangent are called."""

    result: str = "y"
    weight: str = "W"
    bias: str = "V"
    cotangent: str = "dy"


class Part(NamedTuple):
    """What is added to a result: a weight tensor, or biases, times data.

    Args:
        head: the weight tensor and its cores.
        modes: its indices.
        summed: those that are summed over.
        data: what it is multiplied with.
    """

    head: str
    modes: tuple[Index, ...]
    summed: tuple[Index, ...]
    data: tuple[Use, ...]


class Statement:
    """A contraction's definition.

    Attributes:
        uses: of arrays, in the contraction's order.
        letters: what it defines.
        calls: of weight tensors and biases, each at its own variables, once they are defined.
        parts: what is added to the result, once it is defined.
        choices: of the experts of which the program reads some alone.
        result: what the program gives is called.
    """

    def __init__(self, contraction: Contraction, names: Names, letters: Letters | None = None) -> None:
        self.letters = letters or Letters()
        self.names, self.contraction = names, contraction
        taken: set[str] = set()
        uses = []
        for operand in contraction.operands:
            array = names.arrays[operand.name]
            uses.append(Use(array, names.fresh(f"{array}_2") if array in taken else array, operand))
            taken.add(array)
        self.uses = tuple(uses)
        self.calls: dict[str, str] = {}
        self.parts: tuple[Part, ...] = ()
        self.choices = names.choices if contraction.active else []
        self.result = f"{self.letters.result}_chosen" if self.choices else self.letters.result

    @cached_property
    def arrays(self) -> tuple[str, ...]:
        """The arrays, each once."""
        return tuple(dict.fromkeys(use.array for use in self.uses))

    @property
    def extended(self) -> str | None:
        """The array that a 1 follows."""
        return self.uses[0].array if self.contraction.affine else None

    @cached_property
    def output(self) -> list[Index]:
        """The variables of the output."""
        return [*variables(index for place in self.names.output(self.contraction) for index in place)]

    def is_linear_in(self, array: str) -> bool:
        """Whether each use of an array is a factor of all that is added in the result."""
        terms = self._split_terms()
        if array == self.extended or any(use.array == array for use in self.data[:1]):
            return array != self.extended and not any(map(self._is_bias, terms))
        return len(terms) == 1 or any(use.array == array for use in self.data)

    def places(self, array: str) -> tuple[Place, ...]:
        """The axes of an array, as in its first use."""
        use = next(use for use in self.uses if use.array == array)
        places = self.names.places(use.operand.indices)
        if array != self.extended:
            return places
        return tuple(tuple(short for index in place for short in short_of(index)) for place in places)

    def call(self, given: Sequence[str]) -> str:
        """The result for arrays, one for each use, at the output's variables."""
        return " ".join([self.result, *given, *(index.name for index in self.output)])

    @property
    def defined(self) -> list[str]:
        """What the result is defined by: its own name first."""
        terms = self._split_terms()
        letters = self.letters
        weights = {letters.bias if self._is_bias(term) else letters.weight for term in terms}
        return [self.result, *sorted(weights, reverse=True)]

    def define(self) -> list[str]:
        """The definitions of W, of V where some terms are biases, and of y."""
        terms = self._split_terms()
        weights = [term for term in terms if not self._is_bias(term)]
        biases = [term for term in terms if self._is_bias(term)]
        lines: list[str] = []
        parts = [
            self._define_weight(self.letters.weight, weights, self.data, lines),
            self._define_weight(self.letters.bias, biases, self.data[1:], lines),
        ]
        held = [part for part in parts if part is not None]
        head = " ".join([*(use.name for use in self.uses)])
        output = " ".join(index.name for index in self.output)
        self.parts = tuple(held)
        results: dict[str, dict[Index, Index]] = {self.letters.result: {}, self.result: self.chosen}
        for name, known in results.items():
            body = [self._add(part, known) for part in held]
            text = "\n  ⊕ ".join(f"({part})" if len(body) > 1 else part for part in body)
            lines.append(f"Definition {name} ({head} : list nat -> R) {output} :=\n  {text}.")
        return lines

    @cached_property
    def chosen(self) -> dict[Index, Index]:
        """For the index of a level's experts, the place that is chosen."""
        (token,) = self.names.places([BATCH])
        return {choice.whole: choice.at(token) for choice in self.choices}

    def _add(self, part: "Part", known: Mapping[Index, Index]) -> str:
        """What a weight tensor adds to the result; at chosen places of some indices."""
        places = {choice.whole: choice.place for choice in self.choices if choice.whole in known}
        summed = [index for each in part.summed for index in places.get(each, (each,))]
        variables = [enclose(known.get(index, index).name) for index in part.modes]
        call = " ".join([part.head, *variables])
        self.calls.setdefault(part.head.split()[0], call)
        return sign(summed) + " ⊗ ".join([call, *(self.write(use, known) for use in part.data)])

    @property
    def data(self) -> tuple[Use, ...]:
        """The uses that carry the batch."""
        return tuple(use for use in self.uses if BATCH in use.operand.indices)

    def _split_terms(self) -> list[tuple[Use, ...]]:
        """The cores of each term."""
        cores = [use for use in self.uses if BATCH not in use.operand.indices]
        terms = []
        for count in self.contraction.counts or (len(cores),):
            terms.append(tuple(cores[:count]))
            cores = cores[count:]
        return terms

    def _is_bias(self, term: Sequence[Use]) -> bool:
        """Whether a term is not multiplied with the input, whose index it lacks."""
        if not self.data or not self.contraction.counts or self.contraction.bias:
            return False
        return self._lacks(term, self.data[0].operand.indices[-1])

    def _lacks(self, term: Sequence[Use], mode: str) -> bool:
        whole = whole_names(self.contraction.splits)
        return all(whole.get(index, index) != mode for use in term for index in use.operand.indices)

    def _define_weight(
        self, name: str, terms: Sequence[Sequence[Use]], data: Sequence[Use], lines: list[str]
    ) -> "Part | None":
        """Define a weight tensor, and return what it adds to the result."""
        if not terms:
            return None
        cores = [use for term in terms for use in term]
        held = {index for use in cores for index in self.spread(use)}
        outer = {index for use in data for index in self.spread(use)} | {*self.output, *self._inner}
        # The modes in W's order: the experts', then the input and the output.
        order = [index for use in (*data[1:], *data[:1]) for index in self.spread(use)]
        if name == self.letters.bias:
            order = [index for use in data for index in self.spread(use)]
        row = {self.names.row} if self.contraction.bias else {None}
        modes = [index for index in dict.fromkeys([*order, *self.output]) if index in held or index in row]
        products = []
        for term in terms:
            own = {index for use in term for index in self.spread(use)} - outer
            bonds = [index for index in self.names.whole(self.names.order) if index in own]
            rows, at = self._place(term)
            products.append(sign([*rows, *bonds]) + (" ⊗ ".join([*at, *map(self.write, term)]) or "one"))
        text = "\n  ⊕ ".join(f"({product})" if len(products) > 1 else product for product in products)
        arguments = " ".join(use.name for use in cores)
        variables = " ".join(index.name for index in modes)
        given = f" ({arguments} : list nat -> R)" if cores else ""
        lines.append(f"Definition {name}{given}{f' {variables}' * bool(modes)} :=\n  {text}.")
        summed = [index for index in dict.fromkeys(order) if index not in self.output]
        ordered = (*data[1:], *data[:1]) if name == self.letters.weight else data
        return Part(f"{name} {arguments}".strip(), tuple(modes), tuple(summed), tuple(ordered))

    @cached_property
    def _inner(self) -> tuple[Index, ...]:
        """The variables of the rows of cores, where a weight tensor has one more."""
        further = self.names.adds_row and self.contraction.bias
        return variables(self.names.place(INPUT)) if further else ()

    def _place(self, term: Sequence[Use]) -> tuple[tuple[Index, ...], list[str]]:
        """What places a term in its rows of a weight tensor: variables, and factors."""
        row = self.names.row
        if row is None or not self.contraction.bias:
            return (), []
        if self._lacks(term, INPUT):
            return (), [write_factor(same((Index(enclose(row.size[2:])),), row))]
        if not self.names.adds_row:
            return (), []
        place = self.names.place(INPUT)
        limits = [inside(index) for index in place if index.digits]
        return self._inner, [*map(write_factor, [same(variables(place), row), *limits])]

    def spread(self, use: Use) -> list[Index]:
        """The variables of a use."""
        return [*variables(index for place in self.names.places(use.operand.indices) for index in place)]

    def write(self, use: Use, known: Mapping[Index, Index] | None = None) -> str:
        """A use at its variables, or at places that are known for some of them."""
        places = self.names.places(use.operand.indices)
        places = tuple(tuple((known or {}).get(index, index) for index in place) for place in places)
        factor = Factor(0, use.name, places, extended=use.array == self.extended)
        limits = [index for place in places for index in place if index.proof and use in self.data]
        return " ⊗ ".join(map(write_factor, [factor, *map(inside, limits)]))
