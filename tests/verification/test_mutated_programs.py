"""A search for wrong proofs: programs changed at random, and what is proved of them tried in integers.

Small integers are exact in float64, where the definition computes, so results are compared bit for bit.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st
from support.definition import Truth
from support.frameworks import BACKENDS
from support.mutated_programs import Subject, add_biases_by_hand, layers, mutate, shapes_of
from support.strategies import truth, values_for

import tensormoe as tm
from tensormoe.layers.stage import Stage
from tensormoe.programs.contraction import weight_contraction
from tensormoe.programs.program import Program
from tensormoe.testing import Inputs, blocks, specs
from tensormoe.verification.proof.chain import prove_chain

# Frameworks that compute in place, too.
EAGER = [name for name in BACKENDS if name != "jax"]
EXAMPLES = settings.default.max_examples


def results_of(program: Program, operands: Sequence[Any], cotangent: Any) -> Iterator[list[Any]]:
    """The output and the gradients by each framework, with values kept and recomputed."""
    for name in EAGER:
        ops = tm.get_backend(name)
        with ops.without_gradients():
            arrays = [ops.from_numpy(np.array(each)) for each in (*operands, cotangent)]
            for recompute in (False, True):
                y, registers = program.forward(ops, arrays[:-1], recompute)
                gradients = program.backward(ops, registers, arrays[-1], range(program.num_operands))
                zeros = (np.zeros(each.shape) for each in operands)
                pairs = zip(gradients, zeros, strict=True)
                yield [program.run(ops, arrays[:-1]), y, *(0 * zero if g is None else g for g, zero in pairs)]


def assert_right(program: Program, operands: Sequence[Any], cotangent: Any, expected: Sequence[Any]) -> None:
    """Output and gradients are those of the definition; without gradients, the output is."""
    y, *gradients = expected
    for actual in results_of(program, operands, cotangent):
        for ours, theirs in zip(actual, (y, y, *gradients), strict=bool(gradients)):
            np.testing.assert_array_equal(np.asarray(ours), theirs)


def test_a_bias_that_is_added_by_hand_is_proved_once_and_refused_twice() -> None:
    spec = tm.MuMoESpec(3, 2, 4, tm.CP(2))
    values, program = values_for(spec, 0, 3), spec.default_plan.program

    def draw(strategy: st.SearchStrategy[Any]) -> Any:
        return find(strategy, lambda drawn: True)

    subject = Subject(program, shapes_of(program, values.operands), draw)
    once, twice = (add_biases_by_hand(subject, times) for times in (1, 2))
    assert once is not None
    assert twice is not None
    assert tm.prove(spec.contraction, once)
    with pytest.raises(tm.ProofError):
        tm.prove(spec.contraction, twice)


@settings(max_examples=max(20, EXAMPLES // 2))
@given(layers(), st.data(), st.integers(0, 2**32))
def test_a_changed_program_of_a_layer_that_is_proved_gives_the_definition(
    spec: tm.MuMoESpec, data: st.DataObject, seed: int
) -> None:
    # Also at another batch size, lest the batch be taken for an axis of equal length.
    batches = [values_for(spec, seed, count).map(np.rint) for count in (3, 2)]
    for _ in range(7):
        program = mutate(data.draw, spec.default_plan.program, batches[0].operands)
        try:
            tm.prove(spec.contraction, program)
        except tm.TensorMoEError:
            continue
        for values in batches:
            right = truth(spec, values)
            assert_right(program, values.operands, values.cotangent, [right.y, *right.gradients])


@settings(max_examples=max(10, EXAMPLES // 4))
@given(layers(), st.data(), st.integers(0, 2**32))
def test_a_changed_program_of_a_weight_that_is_proved_gives_the_definition(
    spec: tm.MuMoESpec, data: st.DataObject, seed: int
) -> None:
    values = values_for(spec, seed, 1).map(np.rint)
    for _ in range(4):
        program = mutate(data.draw, spec.materialization_plan.program, values.cores)
        try:
            tm.prove(weight_contraction(spec.network), program)
        except tm.TensorMoEError:
            continue
        weight = truth(spec, values).weight
        assert_right(program, values.cores, weight, [weight])


@settings(max_examples=max(10, EXAMPLES // 4))
@given(blocks(specs(max_levels=2, max_size=2)), st.data(), st.integers(0, 2**32))
def test_a_changed_program_of_a_block_that_is_proved_gives_the_definition(
    block: tm.MuMoEBlockSpec, data: st.DataObject, seed: int
) -> None:
    block = block.replace(nonlinearity="relu", shared=())
    generator, stages = np.random.default_rng(seed), [*block.layers.values()]

    def draw(*shape: int) -> Any:
        return generator.integers(-1, 2, size=shape) * 1.0

    x, a = draw(3, block.in_features), [draw(3, n) for n in block.experts]
    cores = [[draw(*shape) for shape in stage.network.shapes.values()] for stage in stages]
    operands, cotangent = [x, *a, *(core for own in cores for core in own)], draw(3, block.out_features)
    for _ in range(4):
        program = mutate(data.draw, block.program_for(None), operands)
        try:
            prove_chain([stage.contraction for stage in stages], "relu", program)
        except tm.TensorMoEError:
            continue
        assert_right(program, operands, cotangent, define(stages, x, a, cores, cotangent))


def define(
    stages: Sequence[Stage], x: Any, a: list[Any], cores: Sequence[list[Any]], cotangent: Any
) -> list[Any]:
    """The output of layers with a ReLU before the last; the gradients of x, coefficients and cores."""

    def at(number: int, x: Any, cotangent: Any) -> Truth:
        stage = stages[number]
        sizes = stage.in_features, stage.out_features, stage.experts, stage.factorization
        values = Inputs(x, a if stage.experts else [], cores[number], cotangent)
        return truth(tm.MuMoESpec(*sizes, gate=None, bias=stage.bias), values)

    last = len(stages) - 1
    zeros = np.zeros((len(x), stages[0].out_features))
    u, *factors = (at(number, x, zeros).y for number in range(last))
    v = factors[0] if factors else np.ones_like(u)
    end = at(last, np.maximum(u, 0) * v, cotangent)
    of_hidden, *of_last = end.gradients
    parts = [of_hidden * (u > 0) * v, of_hidden * np.maximum(u, 0)][:last]
    every = [*(at(number, x, part).gradients for number, part in enumerate(parts)), [0 * x, *of_last]]
    levels = [len(stage.experts) for stage in stages]
    mixed = [own[1:] for own, count in zip(every, levels, strict=True) if count]
    of_coefficients = [sum(own[level] for own in mixed) for level in range(len(a))]
    of_cores = [g for own, count in zip(every, levels, strict=True) for g in own[1 + count :]]
    return [end.y, sum(own[0] for own in every), *of_coefficients, *of_cores]
