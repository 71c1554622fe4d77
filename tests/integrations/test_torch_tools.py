"""PyTorch's own tools that read, write or replace parameters."""

import copy

import pytest
import torch
from torch.nn.utils import parameters_to_vector, prune, vector_to_parameters
from torch.optim.swa_utils import AveragedModel, update_bn

import tensormoe as tm
from tensormoe_torch import MuMoE, MuMoEBlock

FAMILIES = (
    tm.CP(3),
    tm.Tucker((2, 3, 4)),
    tm.TensorRing((2, 3, 4)),
    tm.TensorTrain((3, 4)),
    tm.Dense(),
    tm.TensorNetwork("n i r, n r o", r=3),
)
families = pytest.mark.parametrize("family", FAMILIES, ids=str)


def layer(family: tm.Factorization = FAMILIES[0], seed: int = 0, norm: str = "layer") -> MuMoE:
    return MuMoE(8, 6, 4, family, gate=tm.Gate("softmax", norm), seed=seed)


def tokens(count: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))


@families
def test_every_parameter_is_contiguous_and_stays_so(family: tm.Factorization) -> None:
    module = layer(family)
    module(tokens()).square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.is_contiguous(), name
        assert parameter.grad.stride() == parameter.stride(), name


@families
def test_parameters_become_a_vector_and_come_back(family: tm.Factorization) -> None:
    module, other = layer(family), layer(family, seed=1)
    vector = parameters_to_vector(module.parameters())
    assert vector.numel() == module.spec.num_parameters
    vector_to_parameters(vector, other.parameters())
    assert torch.equal(other(tokens()), module(tokens()))


@families
def test_lbfgs_fits_a_linear_map(family: tm.Factorization) -> None:
    module, x = layer(family), tokens()
    target = x @ torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.LBFGS(module.parameters(), max_iter=20, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        error = (module(x) - target).square().mean()
        error.backward()
        return error

    before = loss().item()
    optimizer.step(loss)
    assert loss().item() < before / 2


@families
def test_a_fused_optimizer_resumes_from_contiguous_moments(family: tm.Factorization) -> None:
    """Moments that went through a file are contiguous, whatever the parameters' strides are."""

    def steps(module: MuMoE, optimizer: torch.optim.Optimizer, count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            module(tokens()).square().mean().backward()
            optimizer.step()

    uninterrupted = layer(family)
    optimizer = torch.optim.AdamW(uninterrupted.parameters(), lr=1e-2, fused=True)
    steps(uninterrupted, optimizer, 3)
    resumed = layer(family, seed=1)
    resumed.load_state_dict(copy.deepcopy(uninterrupted.state_dict()))
    state = copy.deepcopy(optimizer.state_dict())
    for moments in state["state"].values():
        for name in ("exp_avg", "exp_avg_sq"):
            moments[name] = moments[name].contiguous()
    again = torch.optim.AdamW(resumed.parameters(), lr=1e-2, fused=True)
    again.load_state_dict(state)
    steps(uninterrupted, optimizer, 3)
    steps(resumed, again, 3)
    for ours, theirs in zip(resumed.parameters(), uninterrupted.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@families
def test_a_pruned_core_is_used_pruned(family: tm.Factorization) -> None:
    for name in layer(family).cores:
        module, expected = layer(family), layer(family)
        prune.l1_unstructured(module.cores, name, amount=0.5)
        mask = module.cores.get_buffer(f"{name}_mask")
        assert mask.sum() == mask.numel() - round(mask.numel() * 0.5)
        with torch.no_grad():
            expected.cores[name].mul_(mask)
        torch.testing.assert_close(module(tokens()), expected(tokens()), rtol=0, atol=0)
        module(tokens()).sum().backward()
        assert (module.cores.get_parameter(f"{name}_orig").grad[mask == 0] == 0).all()
        assert list(module.cores) == list(expected.cores)
        prune.remove(module.cores, name)
        torch.testing.assert_close(module(tokens()), expected(tokens()), rtol=0, atol=0)


def test_cores_are_pruned_together_globally() -> None:
    block = MuMoEBlock(8, 12, 6, 4, tm.TensorRing((2, 3, 4)), seed=0)
    targets = [(group, name) for group in (block.first, block.second) for name in group]
    prune.global_unstructured(targets, pruning_method=prune.L1Unstructured, amount=0.25)
    masks = [group.get_buffer(f"{name}_mask") for group, name in targets]
    total = sum(mask.numel() for mask in masks)
    assert sum(int(mask.sum()) for mask in masks) == total - round(0.25 * total)
    block(tokens()).sum().backward()


@pytest.mark.parametrize(
    "function",
    ["orthogonal_", "xavier_uniform_", "xavier_normal_", "kaiming_normal_", "trunc_normal_", "eye_"],
)
@families
def test_functions_of_torch_nn_init_take_cores(family: tm.Factorization, function: str) -> None:
    module = layer(family)
    for core in module.cores.values():
        plain = torch.empty(core.shape)
        torch.manual_seed(0)
        try:
            getattr(torch.nn.init, function)(plain)
        except ValueError:
            continue  # takes no tensor of this shape
        torch.manual_seed(0)
        getattr(torch.nn.init, function)(core)
        assert torch.equal(core, plain)


def test_averaged_models_get_statistics_of_their_own() -> None:
    module = layer(norm="batch")
    torch.nn.init.normal_(module.gate_weights[0])
    averaged = AveragedModel(module)
    batches = [tokens(seed=seed) for seed in range(3)]
    for batch in batches:
        module(batch)
    update_bn(batches, averaged)  # knows PyTorch's own layers only
    assert (averaged.module.get_buffer("gate_mean.0") == 0).all()
    averaged.module.reset_running_stats()
    averaged.train()
    with torch.no_grad():
        for batch in batches:
            averaged(batch)
    assert torch.equal(averaged.module.get_buffer("gate_mean.0"), module.get_buffer("gate_mean.0"))
    module.reset_running_stats()
    assert (module.get_buffer("gate_mean.0") == 0).all()
    assert (module.get_buffer("gate_variance.0") == 1).all()


def test_an_encoder_layer_takes_layers_for_its_linear_ones() -> None:
    """In evaluation nn.TransformerEncoderLayer computes with `linear1.weight` itself, if it is a tensor."""
    encoder = torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    encoder.linear1 = MuMoE(8, 16, 4, tm.CP(3), seed=0)
    encoder.linear2 = MuMoE(16, 8, 4, tm.CP(3), seed=0)
    x = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    trained = encoder(x)
    stacked = torch.nn.TransformerEncoder(encoder, 2, enable_nested_tensor=True).eval()
    twice = stacked.layers[1](stacked.layers[0](x))
    with torch.no_grad():
        torch.testing.assert_close(encoder.eval()(x), trained)
        mask = torch.zeros(2, 5, dtype=torch.bool)
        torch.testing.assert_close(stacked(x, src_key_padding_mask=mask), twice)
