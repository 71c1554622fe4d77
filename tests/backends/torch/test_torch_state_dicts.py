"""State dicts whose names or shapes don't fit: refused as a whole, and by the full name."""

import pytest
import torch
import torch.nn.utils.parametrize

import tensormoe as tm

SPEC = tm.MuMoESpec(8, 6, 4, tm.CP(3))
NAME = "cores.input"


def model() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(8, 8), tm.build(SPEC, "torch", seed=0))


def plain(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value + 1 for name, value in module.state_dict().items()}


@pytest.mark.parametrize("inside", [False, True], ids=["layer", "model"])
@pytest.mark.parametrize("change", ["missing", "unknown", "both"])
def test_strict_loading_needs_exactly_the_layers_names_and_other_loading_does_not(
    inside: bool, change: str
) -> None:
    module = model() if inside else tm.build(SPEC, "torch", seed=0)
    prefix = "1." if inside else ""
    tensors = plain(module)
    if change != "unknown":
        del tensors[prefix + NAME]
    if change != "missing":
        tensors[prefix + "cores.more"] = torch.ones(2)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    # A model reports what PyTorch reports; a layer by itself stays as it was.
    said = "Missing key|Unexpected key" if inside else r"^state_dict of the layer: received \['"
    with pytest.raises(RuntimeError if inside else tm.TensorMoEError, match=said):
        module.load_state_dict(tensors)
    if not inside:
        assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    loaded = module.load_state_dict(tensors, strict=False)
    assert (loaded.missing_keys == [prefix + NAME]) == (change != "unknown")
    assert (loaded.unexpected_keys == [prefix + "cores.more"]) == (change != "missing")
    assert torch.equal(module.state_dict()[prefix + "cores.output"], tensors[prefix + "cores.output"])


@pytest.mark.parametrize("shape", [(1, 3), (9, 1), (10, 3), (9, 4), (27,)])
def test_tensors_of_another_shape_are_named_in_full(shape: tuple[int, ...]) -> None:
    module = model()
    tensors = {**plain(module), f"1.{NAME}": torch.ones(shape)}
    before = module.state_dict()["1.cores.expert1"].clone()
    with pytest.raises(tm.TensorMoEError, match=r"^state_dict\['1\.cores\.input'\]: .*shape \(9, 3\)"):
        module.load_state_dict(tensors)
    assert torch.equal(module.state_dict()["1.cores.expert1"], before)


def test_a_group_reads_what_is_an_attribute_and_no_parameter_any_more() -> None:
    module = tm.build(SPEC, "torch", seed=0)
    torch.nn.utils.parametrize.register_parametrization(module.cores, "input", torch.nn.Softplus())
    assert torch.equal(module.cores()[NAME], module.cores.input)
    assert (module.cores["input"] > 0).all()
