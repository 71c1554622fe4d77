"""Where parameters live, how they get values, and what hooks see."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from support.strategies import EVERY
from torch._subclasses import FakeTensorMode

import tensormoe as tm
from tensormoe_torch import MuMoE, MuMoEBlock, TensorGroup

BATCH = tm.Gate("softmax", "batch")


def layer(**options: Any) -> MuMoE:
    return MuMoE(7, 6, (5, 4), tm.TensorRing((3, 2, 4, 3)), **{"gate": BATCH, "seed": 0, **options})


def block(**options: Any) -> MuMoEBlock:
    return MuMoEBlock(7, 8, 6, 5, tm.CP(3), gate=BATCH, input_norm=True, **{"seed": 0, **options})


def x(*leading: int) -> torch.Tensor:
    return torch.randn(*leading, 7, generator=torch.Generator().manual_seed(0))


def assert_values(module: torch.nn.Module, seed: int) -> None:
    parameters, state = tm.initialize(module.spec, seed)
    for name, value in module.state_dict().items():
        assert (value.numpy() == (parameters | state)[name]).all(), name


@pytest.mark.parametrize("factorization", EVERY, ids=str)
def test_parameters_come_in_the_order_of_the_network_and_contiguous(factorization: tm.Factorization) -> None:
    module = MuMoE(7, 6, 5, factorization, seed=0)
    parameters, _ = tm.initialize(module.spec, 0)
    assert [name for name, _ in module.named_parameters()] == list(parameters)
    assert list(module.cores) == list(module.spec.network.shapes)
    assert all(parameter.is_contiguous() for parameter in module.parameters())
    assert_values(module, 0)


def test_many_cores_of_one_shape_are_not_sorted() -> None:
    notation = ", ".join(["n r"] * 9 + ["i r", "o r"])
    module = MuMoE(3, 3, 3, tm.TensorNetwork(notation, r=3), bias=False)
    assert list(module.cores.keys()) == list(module.spec.network.shapes)


def test_cores_are_read_as_a_mapping() -> None:
    cores = layer().cores
    assert dict(cores.items()) == {name: cores[name] for name in cores}
    assert len(cores) == len(cores.keys()) == len(cores.values()) == 4
    assert "input" in cores
    assert "weight" not in cores
    assert cores["input"] is cores.input
    with pytest.raises(KeyError):
        cores["weight"]
    assert "expert1: (" in repr(cores)


def test_gate_weights_are_read_by_level_and_by_name() -> None:
    weights = layer().gate_weights
    assert [tuple(weight.shape) for weight in weights] == [(7, 5), (7, 4)]
    assert weights[1] is weights["1"] is weights[-1]
    assert list(weights.keys()) == ["0", "1"]
    with pytest.raises(IndexError):
        weights[2]


def test_the_functional_interface_takes_groups() -> None:
    module = layer()
    coefficients = [torch.full((3, n), 1 / n) for n in (5, 4)]
    cores = {name: core.detach() for name, core in module.cores.items()}
    for given in (module.cores, list(module.cores.values())):
        y = tm.contract(module.spec, given, coefficients, x(3))
        assert torch.equal(y, tm.contract(module.spec, cores, coefficients, x(3)))
        assert torch.equal(tm.materialize(module.spec, given), module.materialize())


def test_properties_are_those_of_nn_linear() -> None:
    module = block(dtype="bfloat16")
    assert (module.in_features, module.hidden_features, module.out_features) == (7, 8, 6)
    assert (module.experts, module.dtype, module.device.type) == ((5,), torch.bfloat16, "cpu")
    weight = layer(dtype="float64").weight
    assert (weight.dtype, weight.device.type, weight.requires_grad) == (torch.float64, "cpu", True)
    assert tuple(weight.shape) == (5, 4, 8, 6) == tuple(layer().materialize().shape)
    assert layer().bias is None


def test_nothing_is_computed_with_the_weight_that_there_is_not() -> None:
    for function in (torch.norm, torch.nn.init.normal_, lambda w: torch.nn.functional.linear(x(3), w)):
        with pytest.raises(tm.TensorMoEError, match=r"call the layer, or layer\.materialize\(\)"):
            function(layer().weight)


def test_parameters_are_reset_as_they_were_drawn() -> None:
    for module in (layer(), block()):
        module(x(9))
        with torch.no_grad():
            for tensor in module.state_dict().values():
                tensor.fill_(torch.nan)
        module.reset_parameters(seed=3)
        assert_values(module, 3)
        torch.manual_seed(0)
        module.reset_parameters()
        first = copy.deepcopy(module.state_dict())
        torch.manual_seed(0)
        module.reset_parameters()
        assert all(torch.equal(value, first[name]) for name, value in module.state_dict().items())


def test_a_group_is_reset_alone() -> None:
    module = block()
    groups = [each for each in module.modules() if isinstance(each, TensorGroup)]
    assert {group.prefix for group in groups} == {
        "first",
        "second",
        "gate_weights",
        "input_norm",
        "gate_mean",
        "gate_variance",
    }
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.fill_(torch.nan)
    for group in groups:
        group.reset_parameters(seed=5)
    assert_values(module, 5)


def test_nothing_is_drawn_without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("drawn")

    monkeypatch.setattr("tensormoe_torch._values.initialize", refuse)
    before = torch.get_rng_state()
    with torch.device("meta"):
        module = block(seed=None)
    module.reset_parameters()
    assert module(x(3).to("meta")).shape == (3, 6)
    with FakeTensorMode():
        fake = block(seed=None)
        assert fake(torch.empty(3, 7)).shape == (3, 6)
        fake.reset_parameters()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_layer_from_meta_gets_memory_and_values() -> None:
    with torch.device("meta"):
        module = layer()
    module.to_empty(device="cpu").reset_parameters(seed=2)
    assert_values(module, 2)


def test_arrays_are_loaded_by_name() -> None:
    module = block(dtype="float64")
    parameters, state = tm.initialize(module.spec, 4, "float64")
    state = {name: value + 1 for name, value in state.items()}
    arrays: dict[str, Any] = parameters | state
    module.load_arrays(arrays)
    assert all((module.state_dict()[name].numpy() == value).all() for name, value in arrays.items())
    block().load_arrays({name: torch.from_numpy(value).bfloat16() for name, value in arrays.items()})
    before = copy.deepcopy(module.state_dict())
    name = "first.input"
    for wrong, text in (
        ({key: value for key, value in arrays.items() if key != name}, "first.input"),
        (arrays | {"third.input": parameters[name]}, "third.input"),
        (arrays | {name: parameters[name].T + 1}, r"first\.input"),
        (arrays | {name: 1j * parameters[name]}, "floating"),
        (list(arrays), "pass a mapping from names to arrays"),
    ):
        with pytest.raises(tm.TensorMoEError, match=text):
            module.load_arrays(wrong)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    parameters[name] += 1
    assert torch.equal(module.first["input"], before[name])


def test_arrays_of_half_precision_are_loaded() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    module = layer()
    parameters, state = tm.initialize(module.spec, 4)
    half = {name: value.astype(ml_dtypes.bfloat16) for name, value in (parameters | state).items()}
    module.load_arrays(half)
    for name, value in module.state_dict().items():
        assert (value.numpy() == half[name].astype("float32")).all(), name


def test_hooks_see_coefficients_and_logits_and_may_replace_the_coefficients() -> None:
    module, seen = layer(gate=tm.Gate("softmax", None)), {}
    torch.nn.init.normal_(module.gate_weights[0])
    module.gate.register_forward_hook(lambda _, inputs, output: seen.update(coefficients=output))
    module.gate.router.register_forward_hook(lambda _, inputs, output: seen.update(logits=output))
    _, coefficients = module(x(2, 3), return_coefficients=True)
    for ours, hooked, logits, weights in zip(
        coefficients, seen["coefficients"], seen["logits"], module.gate_weights, strict=True
    ):
        assert ours is hooked
        torch.testing.assert_close(logits, x(2, 3) @ weights)
        torch.testing.assert_close(hooked, torch.softmax(logits, -1))
    seen["logits"][0].logsumexp(-1).square().mean().backward()  # the z-loss
    assert module.gate_weights[0].grad.abs().max() > 0

    one = [torch.nn.functional.one_hot(torch.full((2, 3), 1), n).float() for n in (5, 4)]
    module.gate.register_forward_hook(lambda *_: one)
    weight = module.materialize()[1, 1]
    expected = x(2, 3) @ weight[:-1] + weight[-1]
    torch.testing.assert_close(module(x(2, 3)), expected)


def test_statistics_start_again() -> None:
    module = layer()
    torch.nn.init.normal_(module.gate_weights[0])
    module(x(9))
    weights = module.gate_weights[0].detach().clone()
    module.reset_running_stats()
    assert (module.get_buffer("gate_mean.0") == 0).all()
    assert (module.get_buffer("gate_variance.1") == 1).all()
    assert torch.equal(module.gate_weights[0], weights)


def test_modules_are_loaded_with_weights_only() -> None:
    """Checkpoints of Lightning and others hold specifications beside tensors."""
    import io

    gates = (tm.Gate(router=tm.AdaptiveClustering()), tm.Gate(tm.Activation("soft_top_k", k=2)))
    for gate in gates:
        for spec in (layer(gate=gate).spec, block().spec):
            file = io.BytesIO()
            torch.save({"spec": spec}, file)
            file.seek(0)
            assert torch.load(file, weights_only=True) == {"spec": spec}
            assert pickle.loads(pickle.dumps(spec)) == spec


def test_constructors_hand_all_arguments_on() -> None:
    spec = tm.MuMoEBlockSpec(7, 8, 6, (5, 4), tm.CP(3), BATCH, False, "relu", True)
    module = MuMoEBlock.from_spec(spec, seed=0)
    assert module.spec == spec
    assert MuMoEBlock(**spec.arguments).spec == spec
    with pytest.raises(tm.TensorMoEError, match="MuMoEBlockSpec"):
        MuMoE.from_spec(spec)
    assert np.isfinite(module(x(3)).detach().numpy()).all()


def test_modules_of_one_specification_share_it_and_what_it_derives() -> None:
    spec = block().spec
    for module in (MuMoEBlock.from_spec(spec), MuMoEBlock.from_arrays(spec, block().arrays())):
        assert module.spec is spec
    for copied in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert copied.spec == spec


def test_a_class_of_the_users_own_is_set_up_by_its_own_constructor() -> None:
    class Scaled(MuMoE):
        def __init__(self, *sizes: Any, scale: float = 2.0, **options: Any) -> None:
            super().__init__(*sizes, **options)
            self.scale = scale

    plain = layer()
    for module in (Scaled.from_spec(plain.spec, seed=0), Scaled.from_arrays(plain.spec, plain.arrays())):
        assert module.scale == 2.0
        assert torch.equal(module(x(3)), plain(x(3)))
