"""Programs changed at random, as a wrong lowering or a slip in instructions of your own would change them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from hypothesis import strategies as st

import tensormoe as tm
from tensormoe.programs.instructions import (
    Add,
    Affine,
    Binary,
    Instruction,
    Matmul,
    Multiply,
    Reshape,
    Sum,
    Transpose,
)
from tensormoe.programs.program import Program, released
from tensormoe.testing import networks, specs
from tensormoe.testing.named_cores import with_equal_sizes

Draw = Callable[[st.SearchStrategy[Any]], Any]


@dataclass(frozen=True)
class Rows(Instruction):
    """A range of the last axis but one, as a view, by a class that the library does not know."""

    start: int | None
    stop: int | None

    @property
    def reads(self) -> tuple[int, ...]:
        return (self.source,)

    def run(self, ops: Any, registers: Sequence[Any], batch: int) -> Any:
        return registers[self.source][..., self.start : self.stop, :]

    def vjp(self, ops: Any, registers: Sequence[Any], gradient: Any, position: int) -> Any:
        zeros, axis = ops.zeros_like(registers[self.source]), len(gradient.shape) - 2
        other = zeros[..., : self.start, :] if self.start is not None else zeros[..., self.stop :, :]
        pieces = [other, gradient] if self.start is not None else [gradient, other]
        return ops.concatenate(pieces, axis=axis)


@dataclass(frozen=True)
class Window(Instruction):
    """All of an array, as a view."""

    def run(self, ops: Any, registers: Sequence[Any], batch: int) -> Any:
        return registers[self.source][...]

    def vjp(self, ops: Any, registers: Sequence[Any], gradient: Any, position: int) -> Any:
        return gradient


def build(program: Program, steps: Sequence[Instruction]) -> Program:
    return Program(program.num_operands, tuple(steps), released(program.num_operands, steps))


def insert(
    program: Program, place: int, steps: Sequence[Instruction], target: int, readers: set[int]
) -> Program:
    """Steps at a place; readers of a register, by their number, read the last of them instead."""
    first, count = program.num_operands + place, len(steps)
    total = program.num_operands + len(program.instructions)
    moved = [register + count * (register >= first) for register in range(total)]
    after = []
    for number, each in enumerate(program.instructions[place:], start=place):
        own = [*moved]
        if number in readers:
            own[target] = first + count - 1
        after.append(each.rewire(own))
    return build(program, (*program.instructions[:place], *steps, *after))


def shapes_of(program: Program, operands: Sequence[Any]) -> list[tuple[int, ...]]:
    """The shapes of all registers."""
    _, registers = program.forward(tm.get_backend("numpy"), operands)
    return [tuple(each.shape) for each in registers]


@dataclass(frozen=True)
class Subject:
    """A program, the shapes of its registers at the values that it is tried at, and how to draw numbers."""

    program: Program
    shapes: list[tuple[int, ...]]
    draw: Draw

    @property
    def steps(self) -> tuple[Instruction, ...]:
        return self.program.instructions

    def number(self, kinds: type | tuple[type, ...] = Instruction) -> int | None:
        """The number of some step of these kinds."""
        places = [n for n, each in enumerate(self.steps) if isinstance(each, kinds)]
        return self.draw(st.sampled_from(places)) if places else None

    def change(self, number: int, step: Instruction) -> Program:
        return build(self.program, (*self.steps[:number], step, *self.steps[number + 1 :]))

    def redirect(self, number: int, step: Callable[[int], Instruction], position: int = 0) -> Program:
        """A further step, of what a step reads there, whose result it reads instead."""
        source = self.steps[number].sources[position]
        return insert(self.program, number, [step(source)], source, {number})


def exchange_equal_axes(subject: Subject) -> Program | None:
    number = subject.number()
    if number is None:
        return None
    source = subject.draw(st.sampled_from(subject.steps[number].sources))
    shape = subject.shapes[source]
    pairs = [(a, b) for b in range(len(shape)) for a in range(b) if shape[a] == shape[b] > 1]
    if not pairs:
        return None
    a, b = subject.draw(st.sampled_from(pairs))
    axes = [*range(len(shape))]
    axes[a], axes[b] = b, a
    return insert(subject.program, number, [Transpose(source, tuple(axes))], source, {number})


def order_otherwise(subject: Subject) -> Program | None:
    number = subject.number((Reshape, Transpose))
    if number is None:
        return None
    step = subject.steps[number]
    if isinstance(step, Transpose):
        return subject.change(number, replace(step, axes=tuple(subject.draw(st.permutations(step.axes)))))
    assert isinstance(step, Reshape)
    return subject.change(number, replace(step, shape=tuple(subject.draw(st.permutations(step.shape)))))


def merge_and_split_otherwise(subject: Subject) -> Program | None:
    """All axes merged, and split into the same sizes in another order."""
    number = subject.number()
    if number is None:
        return None
    source = subject.draw(st.sampled_from(subject.steps[number].sources))
    shape = subject.shapes[source]
    order = subject.draw(st.permutations(range(len(shape))))
    axes = tuple(int(each) for each in np.argsort(order))
    turned = tuple(shape[each] for each in order)
    start = subject.program.num_operands + number
    steps = [Reshape(source, turned), Transpose(start, axes)]
    return insert(subject.program, number, steps, source, {number})


def lose_the_bias(subject: Subject) -> Program | None:
    number = subject.number(Affine)
    if number is None:
        return None
    changed = subject.change(number, Matmul(*subject.steps[number].sources))
    matrix = subject.steps[number].sources[1]
    return insert(changed, number, [Rows(matrix, None, -1)], matrix, {number})


def add_biases_by_hand(subject: Subject, times: int) -> Program | None:
    """The bias row added to the product of the other rows, this often: right if it is once."""
    program = lose_the_bias(subject)
    number = (
        next((n for n, each in enumerate(program.instructions) if isinstance(each, Rows)), None)
        if program
        else None
    )
    if program is None or number is None:
        return None
    matrix, product = program.instructions[number].source, program.num_operands + number + 1
    readers = {*range(number + 2, len(program.instructions))}
    steps: list[Instruction] = [Rows(matrix, -1, None)]
    for count in range(times):
        steps.append(Add(product + count + 1 if count else product, product + 1))
    return insert(program, number + 2, steps, product, readers)


def sum_early(subject: Subject) -> Program | None:
    number = subject.number()
    if number is None:
        return None
    source = subject.draw(st.sampled_from(subject.steps[number].sources))
    shape = subject.shapes[source]
    if not shape:
        return None
    axis = subject.draw(st.integers(0, len(shape) - 1))
    kept = (*shape[:axis], 1, *shape[axis + 1 :])
    start = subject.program.num_operands + number
    steps = [Sum(source, axis), Reshape(start, tuple(kept))]
    return insert(subject.program, number, steps, source, {number})


def read_another(subject: Subject) -> Program | None:
    """A register of the same shape in place of what a step reads: one is left out, or taken twice."""
    number = subject.number()
    if number is None:
        return None
    source = subject.draw(st.sampled_from(subject.steps[number].sources))
    same = [
        register
        for register in range(subject.program.num_operands + number)
        if subject.shapes[register] == subject.shapes[source] and register != source
    ]
    if not same:
        return None
    registers = [*range(len(subject.shapes))]
    registers[source] = subject.draw(st.sampled_from(same))
    return subject.change(number, subject.steps[number].rewire(registers))


def exchange_operands(subject: Subject) -> Program | None:
    number = subject.number(Binary)
    if number is None:
        return None
    step = subject.steps[number]
    assert isinstance(step, Binary)
    return subject.change(number, replace(step, source=step.other, other=step.source))


def compute_otherwise(subject: Subject) -> Program | None:
    number = subject.number((Add, Multiply, Matmul, Affine, Sum))
    if number is None:
        return None
    step = subject.steps[number]
    if isinstance(step, Sum):
        return subject.change(number, replace(step, axis=subject.draw(st.integers(0, 3))))
    kind = subject.draw(st.sampled_from([Add, Multiply, Matmul, Affine]))
    return subject.change(number, kind(*step.sources))


def read_a_view(subject: Subject) -> Program | None:
    """A view of what a step reads, taken somewhere before and read in its place: right in itself."""
    number = subject.number()
    if number is None:
        return None
    source = subject.draw(st.sampled_from(subject.steps[number].sources))
    first = max(source - subject.program.num_operands + 1, 0)
    place = subject.draw(st.integers(first, number))
    return insert(subject.program, place, [Window(source)], source, {number})


def release_early(subject: Subject) -> Program | None:
    releases = [*subject.program.releases]
    numbers = [n for n, each in enumerate(releases) if each]
    if not numbers:
        return None
    number = subject.draw(st.sampled_from(numbers))
    register = subject.draw(st.sampled_from(releases[number]))
    earlier = subject.draw(st.integers(0, number))
    releases[number] = tuple(each for each in releases[number] if each != register)
    releases[earlier] = (*releases[earlier], register)
    return replace(subject.program, releases=tuple(releases))


def double(subject: Subject) -> Program | None:
    number = subject.number()
    if number is None:
        return None
    register = subject.program.num_operands + number
    readers = {*range(number + 1, len(subject.steps))}
    if not readers:
        return build(subject.program, (*subject.steps, Add(register, register)))
    return insert(subject.program, number + 1, [Add(register, register)], register, readers)


MUTATIONS: list[Callable[[Subject], Program | None]] = [
    exchange_equal_axes,
    order_otherwise,
    merge_and_split_otherwise,
    lose_the_bias,
    partial(add_biases_by_hand, times=1),
    partial(add_biases_by_hand, times=2),
    sum_early,
    read_another,
    exchange_operands,
    compute_otherwise,
    read_a_view,
    release_early,
    double,
]


def mutate(draw: Draw, program: Program, operands: Sequence[Any]) -> Program:
    """The program with one or two changes; some only write it in another way."""
    for _ in range(draw(st.sampled_from([1, 1, 2]))):
        try:
            shapes = shapes_of(program, operands)
        except Exception:  # what the first change broke
            return program
        program = draw(st.sampled_from(MUTATIONS))(Subject(program, shapes, draw)) or program
    return program


@st.composite
def layers(draw: st.DrawFn) -> tm.MuMoESpec:
    """Any layers, and as often networks whose indices are equally long: only their names tell axes apart."""
    if draw(st.booleans()):
        return draw(specs(max_levels=2, max_size=3))
    size, levels, bias = draw(st.integers(2, 3)), draw(st.integers(1, 2)), draw(st.booleans())
    family = with_equal_sizes(draw(networks(levels, max_cores=4, max_bonds=3)), size)
    return tm.MuMoESpec(size - bias, size, (size,) * levels, family, bias=bias)
