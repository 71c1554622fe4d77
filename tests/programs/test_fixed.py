"""Programs of random networks with fixed cores: the definition's values with every core written out."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from support.fixed import fixed_layers, with_all_cores
from support.strategies import close, truth, values_for

import tensormoe as tm


@settings(max_examples=25)
@given(fixed_layers())
def test_layers_give_the_definition_with_every_core_written_out(spec: tm.MuMoESpec) -> None:
    values = values_for(spec, 0, 3)
    fixed = spec.network.fixed_values()
    cores = [
        np.asarray(fixed.get(name, core), "float64")
        for name, core in zip(spec.network.shapes, values.cores, strict=True)
    ]
    plain, every = with_all_cores(spec, cores)
    expected = truth(plain, replace(values, cores=every))
    close(tm.contract(spec, cores, values.coefficients, values.x), expected.y)
    close(tm.materialize(spec, cores), expected.weight)
    assert spec.num_parameters + spec.num_fixed == sum(map(np.size, cores)) + sum(
        map(np.size, tm.initialize(plain)[0].values())
    ) - sum(map(np.size, every))


@settings(max_examples=8)
@given(fixed_layers())
def test_programs_are_proved_and_exact(spec: tm.MuMoESpec) -> None:
    report = tm.verify(spec, ("numpy",), methods=("proof", "exact", "float"))
    assert report.passed, str(report)
    assert tm.MuMoESpec.from_json(spec.to_json()) == spec


@settings(max_examples=8)
@given(fixed_layers())
def test_initial_values_are_finite_and_those_of_their_recipes(spec: tm.MuMoESpec) -> None:
    parameters, state = tm.initialize(spec, dtype="float64")
    assert parameters.keys() == spec.parameter_shapes.keys()
    assert all(np.isfinite(value).all() for value in parameters.values())
    for name, value in spec.network.fixed_values().items():
        assert (state[f"cores.{name}"] == value).all()
