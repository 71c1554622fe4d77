"""Cores in memory as products read them: the same values under the same shape, and no copy."""

from typing import Any

import numpy as np
import pytest
import torch
from support.strategies import EVERY, close, truth, values_for

import tensormoe as tm
from tensormoe.programs.instructions import Reshape, Transpose
from tensormoe.programs.program import Program

NUMPY = tm.get_backend("numpy")


def moved(program: Program, operands: list[np.ndarray]) -> set[int]:
    """The operands that a run copies, or reads across the order of memory, before a product takes them."""
    registers, batch = list(operands), operands[0].shape[0]
    sources = {n: n for n in range(program.num_operands)}
    found = set()
    for number, instruction in enumerate(program.instructions, start=program.num_operands):
        registers.append(instruction.run(NUMPY, registers, batch))
        if isinstance(instruction, Transpose | Reshape) and instruction.source in sources:
            operand = sources[number] = sources[instruction.source]
            shared = np.shares_memory(registers[-1], operands[operand])
            if not (shared and registers[-1].flags.c_contiguous):
                found.add(operand)
    return found


@pytest.mark.parametrize("factorization", EVERY, ids=str)
@pytest.mark.parametrize("experts", [3, 8, 40])
def test_cores_are_stored_so_that_no_run_moves_them(factorization: tm.Factorization, experts: int) -> None:
    spec = tm.MuMoESpec(5, 6, experts, factorization)
    program, (parameters, _) = spec.default_plan.program, tm.initialize(spec, 0, "float64")
    data, names = [np.ones((3, 5)), np.ones((3, experts))], list(spec.network.shapes)
    stored = [parameters[f"cores.{name}"] for name in names]
    assert moved(program, [*data, *stored]) == set()
    assert spec.storage == {f"cores.{names[n - 2]}": axes for n, axes in program.storage.items()}
    for name, axes in spec.storage.items():
        assert parameters[name].transpose(axes).flags.c_contiguous
    # All that storage names would be moved, unless it differs by axes of size 1.
    plain = [*data, *map(np.ascontiguousarray, stored)]
    across = {n for n, axes in program.storage.items() if not plain[n].transpose(axes).flags.c_contiguous}
    assert moved(program, plain) == across


def test_storage_is_the_order_that_products_read() -> None:
    ring = tm.MuMoESpec(5, 6, 8, tm.TensorRing((3, 2, 4)))
    assert ring.storage == {
        "cores.expert1": (1, 0, 2),
        "cores.input": (1, 0, 2),
        "cores.output": (2, 0, 1),
    }
    assert tm.MuMoESpec(5, 6, 8, tm.CP(3)).storage == {"cores.output": (1, 0)}


def test_initial_values_do_not_depend_on_their_storage() -> None:
    """The sums, weighted by position, are those of values drawn in the order of the axes."""
    spec = tm.MuMoEBlockSpec(5, 7, 6, 8, tm.TensorRing((3, 2, 4)))
    expected = {
        "first.expert1": 251.34176041685012,
        "first.input": 27.71609903513158,
        "first.output": -32.10290499583242,
        "second.expert1": 244.20507739121217,
        "second.input": 51.290764970627954,
        "second.output": -32.69965564738579,
    }
    assert expected.keys() == spec.storage.keys()
    parameters, _ = tm.initialize(spec, 3, "float64")
    assert all(parameters[name].shape == shape for name, shape in spec.parameter_shapes.items())
    found = {name: float(np.arange(parameters[name].size) @ parameters[name].ravel()) for name in expected}
    assert found == pytest.approx(expected, rel=1e-12)


def any_order(array: Any) -> Any:
    """The same array, with its axes in memory in reverse."""
    axes = tuple(reversed(range(array.ndim)))
    if isinstance(array, torch.Tensor):
        return array.permute(axes).contiguous().permute(axes)
    return np.asfortranarray(array)


@pytest.mark.parametrize("factorization", EVERY, ids=str)
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_arrays_may_be_stored_in_any_order(factorization: tm.Factorization, backend: str) -> None:
    spec = tm.MuMoESpec(5, 6, 4, factorization)
    values = values_for(spec, 0, 3)
    expected = truth(spec, values)
    given = tm.get_backend(backend).from_numpy
    x, *coefficients = (any_order(given(a)) for a in (values.x, *values.coefficients))
    cores = [any_order(given(core)) for core in values.cores]
    close(tm.contract(spec, cores, coefficients, x), expected.y)
    close(tm.materialize(spec, cores), expected.weight)
