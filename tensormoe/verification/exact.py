"""The exact method: programs on random integers modulo a prime, against the definition.

Source: Schwartz, "Fast Probabilistic Algorithms for Verification of Polynomial Identities", 1980: two
different polynomials of degree at most d agree at a random point of a field of p elements with probability at
most d/p.
"""

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np

from ..errors import TensorMoEError
from ..layers.stage import Stage
from ..programs.program import Program
from ..typing import NumPyArray
from .arithmetic.residues import PRIME, ResidueOps
from .arithmetic.rounding import Counted, CountingOps, Precision
from .attempt import step
from .floating import name_program
from .inputs import Inputs, draw_sample, integer_inputs, thin
from .reference.contraction import Reference
from .reference.families import weight_of_family
from .report import Check

# The largest numbers of elements to multiply out of a weight tensor, and of elements in all cores: Python's
# integers take some hundred nanoseconds each.
_SAMPLE, _LARGEST = 2**12, 2**23
SUBJECT = "integers mod 2^61 − 1"


def check_size(layer: Stage) -> None:
    """Raise an error if a layer's integers would take too long."""
    count = layer.network.num_parameters + layer.network.num_fixed
    if count > _LARGEST:
        raise TensorMoEError(
            "spec",
            f"cores with {count:,} elements",
            f"exact arithmetic takes at most {_LARGEST:,}: verify the same factorization at smaller sizes, "
            'such as spec.replace(in_features=16, out_features=12), or with methods="proof"',
        )


def is_whole(layer: Stage) -> bool:
    """Whether all of a layer's weight tensor is multiplied out."""
    return prod(layer.network.weight_shape) <= _SAMPLE


def degree(layer: Stage) -> int:
    """The largest degree of a layer's programs and of its definition, as polynomials."""
    operands = 1 + layer.levels + len(layer.network.cores)
    shapes = [(2, layer.in_features), *((2, n) for n in layer.experts), *layer.network.shapes.values()]
    counted = [Counted(shape, Precision("float64")) for shape in shapes]
    results: list[Counted] = [program.run(CountingOps(), counted) for _, program in layer.programs]
    return max(operands, *(result.degree for result in results))


def exact_checks(
    layer: Stage,
    generator: np.random.Generator,
    label: str,
    batch_size: int,
    active: tuple[int, ...] | None = None,
) -> Iterator[Check]:
    """The output and gradients of a layer's programs, and its materialization, entry by entry.

    With so many `active` coefficients of each level, also those of the program that gathers.
    """
    sample = draw_sample(layer, generator, _SAMPLE)
    inputs = integer_inputs(layer, generator, batch_size, PRIME).restrict(sample)
    reference = Reference(layer, inputs, sample)
    ops = ResidueOps()
    for least, program in layer.programs:
        yield from _run(program, inputs, reference, label + name_program(layer, least))
    if active is not None:
        few = thin(inputs, active, generator)
        program = layer.plan(batch_size, active).program
        yield from _run(program, few, Reference(layer, few, sample, sparse=True), f"{label}gathered, ")
    weight = reference.weight.value
    family = weight_of_family(layer, reference.cores, sample)
    yield compare(f"{label}network", [weight], [family])
    if is_whole(layer):
        cores = [ops.from_numpy(value) for value in inputs.cores]
        result = layer.materialization_plan.program.run(ops, cores)
        yield compare(f"{label}weight", [result], [weight])


def _run(program: Program, inputs: Inputs, reference: Reference, where: str) -> Iterator[Check]:
    ops = ResidueOps()
    operands = [ops.from_numpy(value) for value in inputs.operands]
    expected = [term.value for term in (reference.y, *reference.gradients)]
    with step("exact", SUBJECT, f"{where}output and gradients"):
        gradients = program.vjp(ops, operands, ops.from_numpy(inputs.cotangent))
        results = reference.select([program.run(ops, operands), *gradients])
    yield compare(f"{where}output", results[:1], expected[:1])
    yield compare(f"{where}gradients", results[1:], expected[1:])


def compare(quantity: str, results: Sequence[NumPyArray], expected: Sequence[NumPyArray]) -> Check:
    """How many entries of results differ from what is expected, modulo the prime."""
    wrong = sum(_wrong(a, b) for a, b in zip(results, expected, strict=True))
    entries = sum(array.size for array in expected)
    return Check("exact", SUBJECT, f"{quantity}, {entries:,} entries", float(wrong), 0.0)


def _wrong(result: NumPyArray, expected: NumPyArray) -> int:
    if result.shape != expected.shape or result.dtype != object:
        return max(expected.size, 1)
    return int(np.sum((np.asarray(result) - np.asarray(expected)) % PRIME != 0))
