"""Programs of blocks, made to read an array from another register in each layer that reads it otherwise.

If one layer takes x whole and another takes i1 and i2, the parts of its axis, x has other indices in each.
So the layers are stated of two arrays, x[i] and x″[i1″ i2″], and each step reads the one that its layer does.
Equal arrays are a special case. Reverse mode adds up what the readers of an array give it, so the gradient of
x is the sum of theirs.

A step belongs to the layers whose results depend on it: to those that the nonlinearity reads, or to the last.
"""

from collections.abc import Mapping, Sequence

from ...programs.instructions import Instruction, Pointwise, PointwiseProduct
from ...programs.program import Program, released
from .sharing import check_reads, rewire


def read_apart(program: Program, places: Sequence[Sequence[int]]) -> tuple[Program, tuple[int, ...]]:
    """The program with an operand for each way of reading, and the given program's number of each step.

    Args:
        program: of a block; it takes each array once.
        places: for each layer, the operand to read in place of each array.

    Raises:
        ProofError: a step reads what does not exist, or was released.
    """
    if len({*places}) == 1:
        return program, tuple(range(len(program.instructions)))
    check_reads(program)
    count = max(map(max, places)) + 1
    layers = _find_layers(program, len(places))
    at = {(layer, array): place for layer, own in enumerate(places) for array, place in enumerate(own)}
    steps: list[Instruction] = []
    origins: list[int] = []
    for number, each in enumerate(program.instructions):
        register = program.num_operands + number
        written: dict[tuple[int, ...], int] = {}
        for layer in sorted(layers[register]):
            sources = _find_sources(each, layer, at)
            if sources not in written:
                written[sources] = count + len(steps)
                steps.append(rewire(each, sources))
                origins.append(number)
            at[layer, register] = written[sources]
    return Program(count, tuple(steps), released(count, steps)), tuple(origins)


def _find_layers(program: Program, count: int) -> list[set[int]]:
    """For each register, the numbers of the layers that read it; of a nonlinearity's result, of all."""
    first = program.num_operands
    layers: list[set[int]] = [set() for _ in range(first + len(program.instructions))]
    for register in reversed(range(first, len(layers))):
        each = program.instructions[register - first]
        # What nothing reads is the result, or a step of no use.
        layers[register] = layers[register] or {count - 1}
        for position, source in enumerate(each.sources):
            layers[source] |= {position} if _is_join(each) else layers[register]
        if _is_join(each):
            layers[register] = {*range(count)}
    return layers


def _find_sources(step: Instruction, layer: int, at: Mapping[tuple[int, int], int]) -> tuple[int, ...]:
    """The registers that a step of a layer reads in the new program."""
    own = range(len(step.sources)) if _is_join(step) else [layer] * len(step.sources)
    return tuple(at[pair] for pair in zip(own, step.sources, strict=True))


def _is_join(step: Instruction) -> bool:
    """Whether a step takes the results of the layers before the last."""
    return isinstance(step, Pointwise | PointwiseProduct)
