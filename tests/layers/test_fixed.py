"""Layers with fixed cores: their state, their start, what is trained, saved, fitted and edited."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from support.frameworks import BACKENDS

import tensormoe as tm
from tensormoe.layers.functional import compute_gate
from tensormoe.verification.capacity import find_unused

GENERATOR = np.random.default_rng(0)
WEIGHT = GENERATOR.normal(size=(8, 6)).astype("float32")
LARGE = GENERATOR.normal(size=(48, 32)).astype("float32")
LORA = tm.TensorNetwork("W: i o + n i r, n r o", r=3, fixed={"W": WEIGHT})
MIXED = tm.TensorNetwork("H: i q, n q, q o", q=8, fixed={"H": "hadamard"})
MASKED = tm.TensorNetwork("M: i o, n i o", fixed={"M": "blocks 2"})


def spec_of(network: tm.Factorization, **options: object) -> tm.MuMoESpec:
    return tm.MuMoESpec(8, 6, 5, network, bias=False, **options)


def test_the_state_holds_fixed_cores_beside_the_statistics() -> None:
    spec = spec_of(LORA, gate=tm.Gate(norm="batch"))
    parameters, state = tm.initialize(spec, dtype="float64")
    assert [*parameters] == ["cores.core2", "cores.core3", "gate_weights.0"]
    assert [*state] == ["cores.W", "gate_mean.0", "gate_variance.0"]
    assert (state["cores.W"] == WEIGHT).all()
    x = np.ones((3, 8))
    result = tm.apply(spec, parameters, x, state=state, training=True)
    # What comes back is a state again, with what is fixed as it was.
    assert result.state.keys() == state.keys()
    assert result.state["cores.W"] is state["cores.W"]
    assert (result.state["gate_mean.0"] == state["gate_mean.0"]).all()
    again = tm.apply(spec, parameters, x, state=result.state, training=True)
    assert again.y.shape == (3, 6)
    gate = compute_gate(spec, {"gate_weights.0": parameters["gate_weights.0"]}, x, state=state)
    assert gate.state.keys() == state.keys()
    cores = tm.cores_of(spec, parameters | state)
    assert [*cores] == ["W", "core2", "core3"]
    np.testing.assert_allclose(tm.contract(spec, cores, result.coefficients, x), result.y, atol=1e-12)
    with pytest.raises(tm.TensorMoEError, match="fixed cores are in the state"):
        tm.cores_of(spec, parameters)
    with pytest.raises(tm.TensorMoEError, match=r"missing: 'cores\.W'"):
        tm.apply(spec, parameters, x)
    with pytest.raises(tm.TensorMoEError, match=r"cores\.W"):
        tm.apply(spec, parameters, x, state=state | {"cores.W": np.ones((8, 6), "float32")})


@pytest.mark.parametrize("rank", [1, 3])
def test_a_layer_beside_a_frozen_weight_starts_as_the_weight_and_learns(rank: int) -> None:
    spec = spec_of(LORA.with_bonds({"r": rank}))
    parameters, state = tm.initialize(spec, dtype="float64")
    x = np.random.default_rng(1).normal(size=(20, 8))
    np.testing.assert_allclose(tm.apply(spec, parameters, x, state=state).y, x @ WEIGHT, atol=1e-12)
    # One factor is zero. Experts differ in the other, so that none trains as another does.
    first, second = (parameters[f"cores.core{number}"] for number in (2, 3))
    assert not second.any()
    assert all((one != other).all() for one, other in pairwise(first))
    assert find_unused(spec) == ()


def test_a_single_core_beside_a_frozen_weight_starts_at_zero_in_the_mean() -> None:
    spec = spec_of(tm.TensorNetwork("W: i o + n i o", fixed={"W": WEIGHT}))
    parameters, _ = tm.initialize(spec, dtype="float64")
    own = parameters["cores.core2"]
    np.testing.assert_allclose(own.mean(axis=0), 0, atol=1e-12)
    assert all((one != other).all() for one, other in pairwise(own))


@pytest.mark.parametrize(
    "network",
    [
        MIXED,
        MASKED,
        tm.TensorNetwork("n q, H: i q, A: q r, r o", q=8, r=8, fixed={"H": "hadamard", "A": "dft"}),
        tm.TensorNetwork("n q, P: i q, q o", q=64, fixed={"P": "gaussian"}),
        tm.TensorNetwork("H: i q, n q, q o + n o", q=8, fixed={"H": "hadamard"}),
    ],
    ids=str,
)
def test_beside_fixed_cores_the_output_starts_at_the_scale_of_a_linear_layer(
    network: tm.Factorization,
) -> None:
    spec = tm.MuMoESpec(8, 8, 5, network, bias=False)
    x = np.random.default_rng(1).normal(size=(200, 8))
    squares = []
    for seed in range(30):
        parameters, state = tm.initialize(spec, seed, "float64")
        squares.append((tm.apply(spec, parameters, x, state=state).y ** 2).mean())
    bias = 1 / 24 if network.notation(1).counts else 0
    assert 0.8 < np.mean(squares) / (1 / 3 + bias) < 1.25


def test_experts_differ_where_the_first_core_of_experts_is_fixed() -> None:
    masked = tm.TensorNetwork("M: n i, n i r, r o", r=4, fixed={"M": np.ones((5, 8))})
    parameters, _ = tm.initialize(spec_of(masked))
    assert all((one != other).all() for one, other in pairwise(parameters["cores.core2"]))


@pytest.mark.parametrize("network", [LORA, MIXED, MASKED], ids=str)
def test_fixed_cores_are_proved_and_verified(network: tm.Factorization) -> None:
    report = tm.verify(spec_of(network), backends=("numpy",))
    assert report.passed, report


def test_exact_arithmetic_takes_the_integers_of_fixed_cores() -> None:
    from tensormoe.verification.inputs import integer_inputs

    def fixed_core(network: tm.TensorNetwork) -> np.ndarray:
        return integer_inputs(spec_of(network).stage, np.random.default_rng(0), 2, 2**61 - 1).cores[0]

    assert (fixed_core(MIXED) == spec_of(MIXED).network.fixed_values()["H"]).all()
    assert (fixed_core(MASKED) == spec_of(MASKED).network.fixed_values()["M"]).all()
    assert not (fixed_core(LORA) == WEIGHT).any()


def test_a_saved_layer_has_the_values_that_json_lacks(tmp_path) -> None:
    network = tm.TensorNetwork("W: i o + n i r, n r o", r=3, fixed={"W": LARGE})
    spec = tm.MuMoESpec(48, 32, 5, network, bias=False)
    layer = tm.build(spec, "numpy", seed=0)
    x = np.ones((2, 48), "float32")
    tm.save(layer, tmp_path / "layer")
    again = tm.load(tmp_path / "layer", "numpy")
    assert again.spec == spec
    assert (again.cores["W"] == LARGE).all()
    assert (again(x) == layer(x)).all()
    # From the loaded specification, too, another layer can be built.
    assert (tm.build(again.spec, "numpy", seed=1).cores["W"] == LARGE).all()
    with pytest.raises(tm.TensorMoEError, match="JSON has only the digest"):
        tm.build(tm.spec_from_json(spec.to_json()), "numpy")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_a_fixed_core_has_the_type_of_the_parameters(dtype: str) -> None:
    spec = spec_of(LORA, gate=tm.Gate(norm="batch"))
    layer = tm.build(spec, "numpy", seed=0, dtype=dtype)
    again = type(layer).from_arrays(spec, tm.build(spec, "numpy", seed=0).arrays(), dtype=dtype)
    for each in (layer, again):
        assert {each.cores[name].dtype.name for name in ("W", "core2")} == {dtype}
        assert each.state["gate_mean.0"].dtype.name == ("float64" if dtype == "float64" else "float32")
        assert each(np.ones((2, 8), each.dtype)).dtype == each.dtype


@pytest.mark.parametrize("backend", BACKENDS)
def test_arrays_with_other_values_of_a_fixed_core_are_refused(backend: str) -> None:
    layer = tm.build(spec_of(LORA), backend, seed=0)
    rounded = tm.build(spec_of(LORA), backend, seed=1, dtype="bfloat16").arrays()
    layer.load_arrays(rounded)
    parameters, state = tm.initialize(spec_of(LORA))
    other = parameters | {"cores.W": state["cores.W"][::-1].copy()}
    for load in (layer.load_arrays, partial(type(layer).from_arrays, layer.spec)):
        with pytest.raises(
            tm.TensorMoEError, match="the core is fixed, and the specification has other values"
        ):
            load(other)
        with pytest.raises(tm.TensorMoEError, match="the core is fixed"):
            load(parameters | {"cores.W": state["cores.W"] * np.float32(np.nan)})


def test_a_block_has_a_core_of_its_own_in_each_layer(tmp_path) -> None:
    block = tm.MuMoEBlockSpec(8, 8, 8, 3, MIXED, bias=False, gated=True)
    parameters, state = tm.initialize(block, dtype="float64")
    assert [*state] == ["first.H", "up.H", "second.H"]
    assert tm.apply(block, parameters, np.ones((2, 8)), state=state).y.shape == (2, 8)
    assert tm.verify(block, backends=("numpy",)).passed
    layer = tm.build(block, "numpy", seed=0)
    tm.save(layer, tmp_path / "block")
    assert [*tm.load(tmp_path / "block", "numpy").up] == ["H", "core2", "core3"]


def test_layers_of_a_block_have_their_own_frozen_weights(tmp_path) -> None:
    first, second = (
        tm.TensorNetwork("W: i o + n i r, n r o", r=3, fixed={"W": weight}) for weight in (LARGE, LARGE.T)
    )
    block = tm.MuMoEBlockSpec(48, 32, 48, 3, (first, second), bias=False, nonlinearity="relu")
    layer = tm.build(block, "numpy", seed=0)
    x = np.random.default_rng(1).normal(size=(4, 48)).astype("float32")
    np.testing.assert_allclose(layer(x), np.maximum(x @ LARGE, 0) @ LARGE.T, rtol=1e-4, atol=1e-4)
    tm.save(layer, tmp_path / "block")
    again = tm.load(tmp_path / "block", "numpy")
    assert again.spec == block
    assert (tm.build(again.spec, "numpy", seed=1).second["W"] == LARGE.T).all()


def test_a_fit_leaves_fixed_cores_as_they_are() -> None:
    spec = spec_of(LORA)
    generator = np.random.default_rng(3)
    target = WEIGHT + generator.normal(size=(5, 8, 3)) @ generator.normal(size=(5, 3, 6))
    fitted = tm.fit(target, spec, inputs=generator.normal(size=(40, 8)))
    assert fitted.weight_error < 1e-4
    assert (fitted.cores["W"] == WEIGHT).all()
    assert fitted.parameters == spec.network.num_parameters
    parameters, state = fitted.initialize("float64")
    assert parameters.keys() == spec.parameter_shapes.keys()
    assert (state["cores.W"] == WEIGHT).all()
    with pytest.raises(tm.TensorMoEError, match="W is fixed"):
        tm.fit(WEIGHT, spec)


def test_edits_leave_fixed_cores_as_they_are() -> None:
    masked = tm.TensorNetwork("M: n o, i o", fixed={"M": np.arange(30.0).reshape(5, 6) % 4})
    spec = tm.MuMoESpec(8, 6, 5, masked)
    layer = tm.build(spec, "numpy", seed=0, dtype="float64")
    before = layer.materialize()
    edited = tm.editing.edit(layer, tm.editing.Scale(2, 0.5))
    assert (edited.layer.cores["M"] == layer.cores["M"]).all()
    before[2] *= 0.5
    np.testing.assert_allclose(edited.layer.materialize(), before, atol=1e-12)
    assert edited.certificate().unchanged


def test_ranks_change_beside_fixed_cores() -> None:
    layer = tm.build(spec_of(LORA), "numpy", seed=0)
    grown = tm.grow(layer, r=5).layer
    assert (grown.materialize() == layer.materialize()).all()
    assert (grown.cores["W"] == WEIGHT).all()
    # What is new learns: one of the cores that carry it is zero, and one only.
    beside = tm.TensorNetwork("W: i o + n r, i r, r o", r=2, fixed={"W": WEIGHT})
    cores = tm.grow(tm.build(spec_of(beside), "numpy", seed=0), r=3).layer.cores
    new = [cores["core2"][:, 2:], cores["core3"][:, 2:], cores["core4"][2:]]
    assert [bool(each.any()) for each in new].count(False) == 1
    mixed = tm.build(
        spec_of(tm.TensorNetwork("P: i q, n q, q o", q=4, fixed={"P": "signs"})), "numpy", seed=0
    )
    with pytest.raises(tm.TensorMoEError, match=r"a fixed core carries it \(P\)"):
        tm.grow(mixed, q=5)
    simple = tm.simplify(mixed).layer
    assert (simple.cores["P"] == mixed.cores["P"]).all()
    np.testing.assert_allclose(simple.materialize(), mixed.materialize(), atol=1e-5)
    with pytest.raises(tm.TensorMoEError):
        tm.truncate(mixed, q=2)


def test_shares_over_devices_are_refused() -> None:
    from tensormoe.layers.shares import experts_index, rank_index

    for choose in (experts_index, rank_index):
        with pytest.raises(tm.TensorMoEError, match="a fixed core is not shared out"):
            choose(spec_of(MIXED))


def test_biases_beside_a_frozen_weight_start_at_zero_too() -> None:
    spec = spec_of(tm.TensorNetwork("W: i o + n i r, n r o + n o", r=3, fixed={"W": WEIGHT}))
    parameters, state = tm.initialize(spec, dtype="float64")
    x = np.random.default_rng(1).normal(size=(20, 8))
    np.testing.assert_allclose(tm.apply(spec, parameters, x, state=state).y, x @ WEIGHT, atol=1e-12)
    bias = parameters["cores.core4"]
    assert all((one != other).all() for one, other in pairwise(bias))
    # A bias that is frozen says nothing of the weight.
    other = tm.TensorNetwork("n r, i r, r o + B: o", r=3, fixed={"B": WEIGHT[0]})
    parameters, state = tm.initialize(spec_of(other), dtype="float64")
    assert np.abs(tm.apply(spec_of(other), parameters, x, state=state).y - WEIGHT[0]).min() > 1e-6
