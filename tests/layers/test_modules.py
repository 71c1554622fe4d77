"""Modules of every framework: every option of a constructor and of a call is heard."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from support.frameworks import BACKENDS, optional
from support.strategies import close

import tensormoe as tm

torch = optional("torch")
jax = optional("jax")

every_backend = pytest.mark.parametrize("backend", BACKENDS)
differentiating = pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "numpy"])
SPEC = tm.MuMoESpec(5, 4, (3, 2), tm.CP(3), tm.Gate("softmax", "batch"))
CLUSTERED = tm.MuMoESpec(
    5, 4, 3, tm.CP(3), tm.Gate("softmax", router=tm.AdaptiveClustering(statistics="batch"))
)
NOISY = tm.MuMoESpec(5, 4, 3, tm.CP(3), tm.Gate("softmax", noise=0.5))


def filled(spec: tm.Spec, backend: str, **options: Any) -> Any:
    """A module whose experts, levels and statistics all differ."""
    module = tm.build(spec, backend, seed=0, **options)
    module.load_arrays(arrays_of(spec))
    return module


def arrays_of(spec: tm.Spec) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    shapes = spec.parameter_shapes | spec.state_shapes
    return {name: generator.uniform(0.1, 1, shape).astype("float32") for name, shape in shapes.items()}


def tokens(backend: str, *leading: int) -> Any:
    drawn = np.random.default_rng(1).normal(size=(*leading, 5)).astype("float32")
    return tm.get_backend(backend).from_numpy(drawn)


def numbers(backend: str, array: Any) -> np.ndarray:
    return tm.get_backend(backend).to_float64(array.detach() if backend == "torch" else array)


def evaluate(module: Any) -> Any:
    if hasattr(module, "eval"):
        module.eval()
    return module


def generator_of(backend: str, seed: int) -> Any:
    return torch.Generator().manual_seed(seed) if backend == "torch" else jax.random.key(seed)


@every_backend
def test_modules_compute_what_apply_computes_in_evaluation(backend: str) -> None:
    module, arrays, x = evaluate(filled(SPEC, backend)), arrays_of(SPEC), tokens("numpy", 6)
    parameters = {name: arrays[name] for name in SPEC.parameter_shapes}
    state = {name: arrays[name] for name in SPEC.state_shapes}
    expected = tm.apply(SPEC, parameters, x, state=state)
    y, coefficients = module(tokens(backend, 6), return_coefficients=True)
    close(numbers(backend, y), expected.y, 1e-5)
    for actual, wanted in zip(coefficients, expected.coefficients, strict=True):
        close(numbers(backend, actual), wanted, 1e-5)


@every_backend
def test_gate_weights_come_level_by_level(backend: str) -> None:
    module, arrays = filled(SPEC, backend), arrays_of(SPEC)
    for level, weights in enumerate(module.gate_weights):
        held = weights.get_value() if backend == "jax" else weights
        assert (numbers(backend, held) == arrays[f"gate_weights.{level}"]).all()


@differentiating
def test_running_statistics_move_in_training_alone(backend: str) -> None:
    module, arrays = filled(SPEC, backend), arrays_of(SPEC)
    state = {name: arrays[name] for name in SPEC.state_shapes}
    parameters = {name: arrays[name] for name in SPEC.parameter_shapes}
    x = tokens("numpy", 6)
    expected = tm.apply(SPEC, parameters, x, state=state, training=True)
    close(numbers(backend, module(tokens(backend, 6))), expected.y, 1e-4)
    evaluate(module)(tokens(backend, 4))
    for name, value in expected.state.items():
        held = module._variable(name).get_value() if backend == "jax" else module.get_buffer(name)
        close(numbers(backend, held), value, 1e-5)


@every_backend
def test_the_layer_before_is_heard(backend: str) -> None:
    module = evaluate(
        filled(CLUSTERED.replace(gate=tm.Gate(router=tm.AdaptiveClustering(evaluation="batch"))), backend)
    )
    x = tokens(backend, 6)
    sharp = np.eye(3, dtype="float32")[[0, 0, 1, 1, 2, 2]]
    given = tm.get_backend(backend).from_numpy(sharp)
    with_it, without = module(x, previous=[given]), module(x)
    assert np.abs(numbers(backend, with_it) - numbers(backend, without)).max() > 1e-4


@differentiating
def test_a_sum_over_processes_is_used(backend: str) -> None:
    asked = []

    def twice(array: Any) -> Any:
        asked.append(array.shape)
        return array + array

    module = filled(CLUSTERED, backend)
    uneven = np.random.default_rng(2).dirichlet(np.ones(3), 6).astype("float32")
    given = tm.get_backend(backend).from_numpy(uneven)
    module(tokens(backend, 6), previous=[given], all_reduce=twice)
    assert {(3,), (3, 5)} <= {tuple(shape) for shape in asked}


@differentiating
def test_noise_follows_the_generator_of_the_call(backend: str) -> None:
    module, x = filled(NOISY, backend), tokens(backend, 6)
    first, again, other = (
        numbers(backend, module(x, generator=generator_of(backend, seed))) for seed in (0, 0, 1)
    )
    assert (first == again).all()
    assert (first != other).any()


@every_backend
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_an_element_type_is_that_of_the_parameters(backend: str, dtype: str) -> None:
    module = tm.build(SPEC, backend, seed=0, dtype=dtype)
    assert dtype in str(module.dtype)
    assert all(dtype in str(core.dtype) for core in module.cores.values())
    same = type(module)(**SPEC.arguments, seed=0, dtype=dtype)
    assert dtype in str(same.dtype)


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "jax"])
def test_values_are_drawn_in_the_parameters_type(backend: str) -> None:
    """In float64 no value is one of float32's."""
    module = tm.build(SPEC, backend, seed=3, dtype="float64")
    parameters, _ = tm.initialize(SPEC, 3, "float64")
    core = numbers(backend, module.cores["input"])
    assert (core == parameters["cores.input"]).all()
    assert (core != core.astype("float32")).mean() > 0.9


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "jax"])
def test_without_a_seed_the_frameworks_generator_draws_one(backend: str) -> None:
    seed = np.random.seed if backend == "numpy" else torch.manual_seed
    drawn = []
    for number in (0, 0, 1):
        seed(number)
        drawn += [numbers(backend, tm.build(SPEC, backend).cores["input"]) for _ in range(2)]
    assert (drawn[0] == drawn[2]).all()
    assert (drawn[1] == drawn[3]).all()
    assert len({each.tobytes() for each in drawn}) == 4


@pytest.mark.skipif("torch" not in BACKENDS, reason="needs torch")
def test_recomputation_keeps_less_for_the_backward_pass() -> None:
    spec = tm.MuMoEBlockSpec(5, 64, 5, 3, tm.CP(3), tm.Gate("softmax"))

    def kept(module: Any) -> int:
        sizes: list[int] = []

        def note(tensor: Any) -> Any:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            module(tokens("torch", 50))
        return sum(sizes)

    kind = type(tm.build(spec, "torch", seed=0))
    plain, *others = (
        tm.build(spec, "torch", seed=0),
        tm.build(spec, "torch", seed=0, recompute=True),
        kind(**spec.arguments, seed=0, recompute=True),
    )
    for module in others:
        assert kept(module) < kept(plain)


@pytest.mark.skipif("jax" not in BACKENDS, reason="needs jax")
def test_jax_recomputes_where_it_is_told_to() -> None:
    spec = tm.MuMoEBlockSpec(5, 6, 5, 3, tm.CP(3), tm.Gate("softmax"))
    for recompute in (False, True):
        module = tm.build(spec, "jax", seed=0, recompute=recompute)
        program = str(jax.make_jaxpr(lambda x, module=module: module(x))(tokens("jax", 2)))
        assert ("remat" in program or "checkpoint" in program) == recompute


@pytest.mark.skipif("torch" not in BACKENDS, reason="needs torch")
def test_a_layer_that_was_copied_or_unpickled_has_its_plans() -> None:
    """torch.compile can't trace planning."""
    module = tm.build(SPEC, "torch", seed=0)
    again = pickle.loads(pickle.dumps(module))
    assert "programs" in vars(again.spec)
    assert "programs" in vars(copy.deepcopy(module).spec)


@every_backend
def test_an_error_lists_the_options_of_a_class_and_nothing_else(backend: str) -> None:
    kind = type(tm.build(SPEC, backend, seed=0))
    with pytest.raises(tm.TensorMoEError) as caught:
        kind(**SPEC.arguments, colour="red")
    listed = set(caught.value.remedy.removeprefix("choose one of ").replace("'", "").split(", "))
    own = {"seed", "dtype", "device", "recompute", *(["rngs"] if backend == "jax" else [])}
    assert listed == own | (
        SPEC.arguments.keys() - {"in_features", "out_features", "experts", "factorization"}
    )


@pytest.mark.skipif("torch" not in BACKENDS, reason="needs torch")
def test_the_stand_in_for_a_weight_needs_one_level_only() -> None:
    module = tm.build(NOISY, "torch", seed=0, dtype="float64")
    assert (module.weight.dtype, tuple(module.weight.shape)) == (torch.float64, (3, 6, 4))
    assert (module.dtype, module.device) == (torch.float64, module.cores["input"].device)
    with pytest.raises(tm.TensorMoEError, match="weight: received 'linear'"):
        torch.nn.functional.linear(torch.ones(3, 6), module.weight)
    # PyTorch's protocol asks the class.
    with pytest.raises(tm.TensorMoEError, match="weight: received 'add'"):
        type(module.weight).__torch_function__(torch.add, ())


@every_backend
def test_build_takes_its_options_by_keyword_and_lists_those_of_the_module(backend: str) -> None:
    with pytest.raises(tm.TensorMoEError) as caught:
        tm.build(SPEC, backend, seed=0, colour="red")
    listed = set(caught.value.remedy.removeprefix("choose one of ").replace("'", "").split(", "))
    assert listed == {"seed", "dtype", "device", "recompute", *(["rngs"] if backend == "jax" else [])}
    with pytest.raises(TypeError, match="positional"):
        tm.build(SPEC, backend, 0)  # type: ignore[misc]


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "jax"])
def test_seeds_that_are_drawn_do_not_repeat(backend: str) -> None:
    """Of a few dozen possible seeds, forty would hardly all differ."""
    (np.random.seed if backend == "numpy" else torch.manual_seed)(0)
    drawn = [numbers(backend, tm.build(NOISY, backend).cores["input"]).tobytes() for _ in range(40)]
    assert len(set(drawn)) == 40


@pytest.mark.parametrize("device", ["a", "cuda", "cp", "cpu2", 0])
def test_numpy_has_one_device(device: object) -> None:
    with pytest.raises(tm.TensorMoEError, match="device: received"):
        tm.build(NOISY, "numpy", seed=0, device=device)
