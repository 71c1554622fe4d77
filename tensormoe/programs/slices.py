"""What a program multiplies where some experts of each token are active: their slices of the operands."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from ..networks.notation import BATCH, Indices
from .contraction import Contraction
from .gathering import Choose, Gather, Take
from .instructions import Instruction
from .steps import Step, Tensor

Emit = Callable[[Instruction], int]


def gather(contraction: Contraction, emit: Emit) -> tuple[list[Tensor], list[Step]]:
    """The operands, or their slices where coefficients may differ from 0, and the steps that read these.

    Args:
        contraction: with its active modes.
        emit: adds an instruction and returns the register of its result.
    """
    whole = [Tensor(n, operand.name, operand.indices) for n, operand in enumerate(contraction.operands)]
    places = {}
    for mode, k in contraction.active:
        (level,) = (each for each in whole if each.indices == (BATCH, mode))
        places[mode] = replace(level, register=emit(Choose(level.register, k)))
    tensors, steps = [], []
    for each, operand in zip(whole, contraction.gathered.operands, strict=True):
        slices = _gather(each, operand.indices, places, emit)
        tensors.append(slices)
        if slices is not each:
            (*_, last) = (index for index in each.indices if index in places)
            steps.append(Step(each, places[last], slices, "gather", ()))
    return tensors, steps


def _gather(tensor: Tensor, order: Indices, places: Mapping[str, Tensor], emit: Emit) -> Tensor:
    """An operand at the chosen places of the active modes that it carries, with its axes in this order."""
    modes = [index for index in tensor.indices if index in places]
    if not modes:
        return tensor
    chosen = tuple(places[mode].register for mode in modes)
    if BATCH in tensor.indices:
        return Tensor(emit(Take(tensor.register, *chosen)), f"{tensor.name}*", order)
    axes = tuple(tensor.indices.index(mode) for mode in modes)
    return Tensor(emit(Gather(tensor.register, axes, chosen)), f"{tensor.name}*", order)
