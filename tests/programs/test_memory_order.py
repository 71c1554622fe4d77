"""The notation is the order in memory: what named families write is read as it lies."""

from typing import Any

import numpy as np
import pytest
import torch
from support.strategies import EVERY, close, truth, values_for

import tensormoe as tm
from tensormoe.programs.instructions import Reshape, Transpose
from tensormoe.programs.program import Program

NUMPY = tm.get_backend("numpy")
GPT2 = [(768, 3072), (3072, 768)]


def moved(program: Program, operands: list[np.ndarray]) -> set[int]:
    """The operands that a run copies, or reads across the order of memory, before a product takes them."""
    registers, batch = list(operands), operands[0].shape[0]
    origin = {n: n for n in range(program.num_operands)}
    numbers = set()
    for number, instruction in enumerate(program.instructions, start=program.num_operands):
        registers.append(instruction.run(NUMPY, registers, batch))
        if isinstance(instruction, Transpose | Reshape) and instruction.source in origin:
            operand = origin[number] = origin[instruction.source]
            shared = np.shares_memory(registers[-1], operands[operand])
            if not (shared and registers[-1].flags.c_contiguous):
                numbers.add(operand)
    return numbers


@pytest.mark.parametrize(
    "factorization",
    [tm.CP(556), tm.TensorRing((4, 4, 149)), tm.TensorTrain((4, 300)), tm.Tucker((8, 256, 256))],
    ids=str,
)
@pytest.mark.parametrize(("inputs", "outputs"), GPT2)
def test_no_named_family_permutes_a_core_at_gpt2s_sizes(
    factorization: tm.Factorization, inputs: int, outputs: int
) -> None:
    spec = tm.MuMoESpec(inputs, outputs, 256, factorization)
    data = [np.ones((2, inputs)), np.ones((2, 256))]
    cores = [np.ones(shape) for shape in spec.network.shapes.values()]
    for _, program in spec.programs:
        assert moved(program, [*data, *cores]) == set()


@pytest.mark.parametrize("factorization", EVERY, ids=str)
@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_initial_values_are_contiguous(factorization: tm.Factorization, levels: int, dtype: str) -> None:
    if levels > 1 and factorization not in (tm.CP(6), tm.Dense()):
        factorization = tm.Tucker((3,) * levels + (4, 5))
    spec = tm.MuMoESpec(5, 6, (4, 3, 2)[:levels], factorization, tm.Gate(norm="batch"))
    for arrays in tm.initialize(spec, 0, dtype):
        assert all(array.flags.c_contiguous and array.flags.owndata for array in arrays.values())
        assert all(array.dtype == dtype for array in arrays.values())


@pytest.mark.parametrize("factorization", EVERY, ids=str)
def test_pytorchs_parameters_are_contiguous(factorization: tm.Factorization) -> None:
    module = tm.build(tm.MuMoEBlockSpec(5, 7, 6, 4, factorization, input_norm=True), "torch")
    for parameter in module.parameters():
        assert parameter.is_contiguous()
        # What frameworks compare: the stride of an axis of size 1 counts too.
        assert parameter.stride() == torch.empty(parameter.shape).stride()


def any_order(array: Any) -> Any:
    """The same array, with its axes in memory in reverse."""
    axes = tuple(reversed(range(array.ndim)))
    if isinstance(array, torch.Tensor):
        return array.permute(axes).contiguous().permute(axes)
    return np.asfortranarray(array)


@pytest.mark.parametrize("factorization", EVERY, ids=str)
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_arrays_may_lie_in_memory_in_any_order(factorization: tm.Factorization, backend: str) -> None:
    spec = tm.MuMoESpec(5, 6, 4, factorization)
    values = values_for(spec, 0, 3)
    expected = truth(spec, values)
    given = tm.get_backend(backend).from_numpy
    x, *coefficients = (any_order(given(a)) for a in (values.x, *values.coefficients))
    cores = [any_order(given(core)) for core in values.cores]
    close(tm.contract(spec, cores, coefficients, x), expected.y)
    close(tm.materialize(spec, cores), expected.weight)
