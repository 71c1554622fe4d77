"""How many elements a program reads and writes, from shapes alone."""

from collections.abc import Sequence

from ..typing import Shape
from .gathering import Gather, Take
from .instructions import Instruction, Matmul
from .layouts import Layout, LayoutOps
from .program import Program


def count_traffic(program: Program, shapes: Sequence[Shape]) -> int:
    """The elements that instructions read and write; views cost nothing, copies for a product count.

    Args:
        program: the instructions.
        shapes: the operands' shapes.
    """
    ops, batch = LayoutOps(), shapes[0][0]
    registers = [Layout.of(shape) for shape in shapes]
    total = 0
    for instruction in program.instructions:
        sources = [registers[source] for source in instruction.sources]
        result: Layout = instruction.run(ops, registers, batch)  # type: ignore[arg-type]
        registers.append(result)
        total += _count(instruction, sources, result)
    return total


def _count(instruction: Instruction, sources: Sequence[Layout], result: Layout) -> int:
    if any(result.memory is source.memory for source in sources):
        return 0
    written = result.memory.size
    if isinstance(instruction, Gather | Take):
        # Only the slices are read.
        return 2 * written
    read = sum(source.memory.size for source in sources)
    if isinstance(instruction, Matmul):
        read += sum(2 * source.memory.size for source in sources if not source.is_matrix)
    return read + written
