"""What is done with a layer's experts and ranks, in every framework and for every family."""

from typing import Any

import numpy as np
from matrix.samples import (
    EXPERTS,
    INPUTS,
    TOKENS,
    TOLERANCE,
    Family,
    array,
    coefficients_of,
    draw,
    layer_of,
    module_of,
    numbers,
    output_of,
    values_of,
    weight_of,
)
from support.strategies import close

import tensormoe as tm


def merging(framework: str, family: Family) -> None:
    """One weight for each of two sequences."""
    spec, x = layer_of(family), draw(2, TOKENS, INPUTS)
    a = np.random.default_rng(1).dirichlet(np.ones(EXPERTS), 2)
    module, weight = module_of(framework, spec), weight_of(spec, values_of(spec))
    merged = np.einsum("sn,nio->sio", a, weight)
    close(numbers(framework, module.merge(array(framework, a))), merged, TOLERANCE)
    y = module.apply_merged(array(framework, x), array(framework, a))
    expected = np.einsum("sti,sio->sto", np.concatenate([x, np.ones((2, TOKENS, 1))], axis=2), merged)
    close(numbers(framework, y), expected, TOLERANCE)


def slices(framework: str, family: Family) -> None:
    """The program that reads two experts' slices of each core, which few tokens of a large layer run."""
    spec, x = layer_of(family, gate=tm.Gate(tm.Activation("top_k", k=2))), draw(TOKENS, INPUTS)
    arrays, plan = values_of(spec), spec.plan(TOKENS, active=2)
    assert spec.active == (2,)
    assert sum(step.macs for step in plan.steps) < spec.plan(TOKENS, active=4).macs
    a = coefficients_of(arrays, x)
    a = np.where(a >= np.sort(a, axis=1)[:, -2:-1], a, 0)
    given = [array(framework, each) for each in (x, a, *(arrays[name] for name in spec.core_names))]
    y = tm.get_backend(framework).compute(plan.program, given[:2], given[2:])
    close(numbers(framework, y), output_of(spec, arrays, x, a), TOLERANCE)


def growing(framework: str, family: Family) -> None:
    module = module_of(framework, layer_of(family))
    bond, size = _growing(family)
    grown = tm.grow(module, **{bond: size + 1})
    assert type(grown.layer) is type(module)
    assert grown.spec.num_parameters > module.spec.num_parameters
    _same_weight(framework, family, grown.layer)


def _growing(family: Family) -> tuple[str, int]:
    """The first bond that matching grows, and its size; one that is not there for a family without bonds."""
    bond = next(iter(family.growing_bonds(1)), "r")
    return bond, family.bonds(1).get(bond, 1)


def simplifying(framework: str, family: Family) -> None:
    module = module_of(framework, layer_of(family))
    _same_weight(framework, family, tm.simplify(module).layer)


def canonicalizing(framework: str, family: Family) -> None:
    module = module_of(framework, layer_of(family))
    _same_weight(framework, family, tm.canonicalize(module).layer)


def truncating(framework: str, family: Family) -> None:
    """The error that is said is the error."""
    spec = layer_of(family)
    bond, size = _growing(family)
    cut = tm.truncate(module_of(framework, spec), **{bond: size - 1})
    weight = weight_of(spec, values_of(spec))
    error = np.linalg.norm(_weight_in(framework, cut.layer) - weight) / np.linalg.norm(weight)
    assert 0 < error < 1
    close(np.array(cut.error), np.array(error), 1e-4)


def _same_weight(framework: str, family: Family, module: Any) -> None:
    spec = layer_of(family)
    close(_weight_in(framework, module), weight_of(spec, values_of(spec)), TOLERANCE)


def _weight_in(framework: str, module: Any) -> np.ndarray:
    """The weight tensor of a module's own arrays, by definition."""
    arrays = {name: numbers(framework, value) for name, value in module.arrays().items()}
    return weight_of(module.spec, arrays)


def editing(framework: str, family: Family) -> None:
    spec = layer_of(family)
    edited = tm.editing.edit(module_of(framework, spec), tm.editing.Scale(2, 0.5))
    weight = weight_of(spec, values_of(spec))
    weight[2] *= 0.5
    close(_weight_in(framework, edited.layer), weight, TOLERANCE)
    assert edited.certificate().unchanged


def ablation(framework: str, family: Family) -> None:
    spec, x = layer_of(family), draw(TOKENS, INPUTS)
    arrays = values_of(spec)
    outputs = tm.analysis.ablate(module_of(framework, spec), array(framework, x))
    weight, a = weight_of(spec, arrays), coefficients_of(arrays, x)
    weight[1] = 0
    expected = np.einsum("tn,nio,ti->to", a, weight, np.concatenate([x, np.ones((TOKENS, 1))], axis=1))
    close(outputs[1], expected, TOLERANCE)
