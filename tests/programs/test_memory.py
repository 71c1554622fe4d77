"""Steps compute in memory that nothing else sees: random programs, against PyTorch out of place."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.frameworks import BACKENDS, optional
from support.strategies import close

import tensormoe as tm
from tensormoe.programs.instructions import (
    Affine,
    AppendOne,
    Binary,
    Instruction,
    Matmul,
    Multiply,
    Pointwise,
    Reshape,
    Sum,
    Transpose,
)
from tensormoe.programs.program import Program, released

torch = optional("torch")

# Every register is a square matrix, so that any instruction may read any register.
SIDE = 3


@dataclass(frozen=True)
class Window(Instruction):
    """A view, by a class that the library does not know."""

    def run(self, ops: Any, registers: Sequence[Any], batch: int) -> Any:
        return registers[self.source][:, :]

    def vjp(self, ops: Any, registers: Sequence[Any], gradient: Any, position: int) -> Any:
        return gradient[:, :]


@dataclass(frozen=True)
class Add(Binary):
    """A sum whose reverse mode hands one gradient to both."""

    def run(self, ops: Any, registers: Sequence[Any], batch: int) -> Any:
        return registers[self.source] + registers[self.other]

    def vjp(self, ops: Any, registers: Sequence[Any], gradient: Any, position: int) -> Any:
        return gradient


@dataclass(frozen=True)
class Alias(Matmul):
    """A product by its class, which returns an operand as it is."""

    def run(self, ops: Any, registers: Sequence[Any], batch: int) -> Any:
        return registers[self.source]

    def vjp(self, ops: Any, registers: Sequence[Any], gradient: Any, position: int) -> Any:
        return ops.zeros_like(gradient) if position else gradient


@dataclass(frozen=True)
class FirstColumns(Instruction):
    """All columns but the last, as a view."""

    def run(self, ops: Any, registers: Sequence[Any], batch: int) -> Any:
        return registers[self.source][..., :-1]

    def vjp(self, ops: Any, registers: Sequence[Any], gradient: Any, position: int) -> Any:
        return ops.concatenate([gradient, ops.zeros_like(gradient)[..., :1]], axis=-1)


# For each kind of step, its instructions, the first of which writes register n, and its meaning out of place.
KINDS: dict[str, tuple[Callable[..., list[Instruction]], Callable[..., Any]]] = {
    "matmul": (lambda a, b, n: [Matmul(a, b)], lambda a, b: a @ b),
    "multiply": (lambda a, b, n: [Multiply(a, b)], lambda a, b: a * b),
    "pointwise": (lambda a, b, n: [Pointwise(a, "gelu")], lambda a, b: torch.nn.functional.gelu(a)),
    "relu": (lambda a, b, n: [Pointwise(a, "relu")], lambda a, b: torch.relu(a)),
    "transpose": (lambda a, b, n: [Transpose(a, (1, 0))], lambda a, b: a.T),
    "reshape": (
        lambda a, b, n: [Reshape(a, (SIDE * SIDE,)), Reshape(n, (SIDE, SIDE))],
        lambda a, b: a.clone(),
    ),
    "window": (lambda a, b, n: [Window(a)], lambda a, b: a.clone()),
    "add": (lambda a, b, n: [Add(a, b)], lambda a, b: a + b),
    "alias": (lambda a, b, n: [Alias(a, b)], lambda a, b: a.clone()),
    "append": (
        lambda a, b, n: [FirstColumns(a), AppendOne(n)],
        lambda a, b: torch.cat([a[:, :-1], torch.ones_like(a[:, :1])], dim=1),
    ),
    "affine": (
        lambda a, b, n: [Transpose(b, (1, 0)), AppendOne(n), Transpose(n + 1, (1, 0)), Affine(a, n + 2)],
        lambda a, b: a @ b + 1,
    ),
    "sum": (
        lambda a, b, n: [Sum(a, 0), Reshape(n, (1, SIDE)), Multiply(b, n + 1)],
        lambda a, b: a.sum(0, keepdim=True) * b,
    ),
}

Choice = tuple[str, int, int]
choices = st.lists(
    st.tuples(st.sampled_from([*KINDS]), st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=7
)


def build(chosen: list[Choice]) -> Program:
    """A program of these kinds of steps, whose numbers say which of the matrices so far each reads."""
    matrices, steps = [0, 1], []
    for kind, first, second in chosen:
        a, b = (matrices[number % len(matrices)] for number in (first, second))
        steps += KINDS[kind][0](a, b, 2 + len(steps))
        matrices.append(1 + len(steps))
    return Program(2, tuple(steps), released(2, steps))


def define(chosen: list[Choice], operands: Sequence[Any]) -> Any:
    """The same out of place."""
    matrices = [*operands]
    for kind, first, second in chosen:
        matrices.append(KINDS[kind][1](*(matrices[number % len(matrices)] for number in (first, second))))
    return matrices[-1]


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "jax"])
@given(choices)
@example([("matmul", 0, 1), ("reshape", 2, 0), ("pointwise", 2, 0), ("multiply", 4, 3)])
@example([("matmul", 0, 1), ("window", 2, 0), ("pointwise", 2, 0), ("multiply", 4, 3)])
@example([("matmul", 0, 1), ("transpose", 2, 0), ("pointwise", 2, 0), ("matmul", 4, 3)])
@example([("alias", 0, 1), ("pointwise", 2, 0), ("multiply", 3, 0)])
@example([("matmul", 0, 1), ("pointwise", 2, 0), ("transpose", 3, 0)])
@example([("matmul", 0, 1), ("append", 2, 0), ("pointwise", 3, 0), ("append", 4, 0)])
@example([("matmul", 0, 1), ("pointwise", 2, 0), ("pointwise", 2, 0), ("add", 3, 4)])
@example([("matmul", 0, 1), ("pointwise", 2, 0), ("add", 3, 2)])
def test_no_step_computes_in_memory_that_is_seen_elsewhere(backend: str, chosen: list[Choice]) -> None:
    generator = np.random.default_rng(0)
    operands = [generator.normal(size=(SIDE, SIDE)) / math.sqrt(SIDE) for _ in range(2)]
    cotangent = generator.normal(size=(SIDE, SIDE))
    leaves = [torch.tensor(operand, requires_grad=True) for operand in operands]
    expected = define(chosen, leaves)
    gradients = torch.autograd.grad(expected, leaves, torch.tensor(cotangent), materialize_grads=True)

    ops, program = tm.get_backend(backend), build(chosen)
    arrays = [ops.from_numpy(operand) for operand in (*operands, cotangent)]
    with ops.without_gradients():
        close(program.run(ops, arrays[:2]), expected.detach())
        for recompute in (False, True):
            result, registers = program.forward(ops, arrays[:2], recompute)
            close(result, expected.detach())
            actual = program.backward(ops, registers, arrays[2], (0, 1))
            for ours, theirs in zip(actual, gradients, strict=True):
                close(np.zeros((SIDE, SIDE)) if ours is None else ours, theirs)
    for array, before in zip(arrays, (*operands, cotangent), strict=True):
        assert (np.asarray(array) == before).all()
