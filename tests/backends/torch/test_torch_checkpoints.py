"""State dicts know what their weights mean: a layer of another gate does not take them."""

from pathlib import Path

import pytest

import tensormoe as tm

torch = pytest.importorskip("torch")

SPEC = tm.MuMoESpec(8, 6, 4, tm.CP(3))
BLOCK = tm.MuMoEBlockSpec(8, 16, 6, 4, tm.CP(3))


def build(spec: tm.Spec, seed: int = 0) -> "torch.nn.Module":
    return tm.build(spec, "torch", seed=seed)


@pytest.mark.parametrize("spec", [SPEC, BLOCK], ids=["layer", "block"])
@pytest.mark.parametrize(
    "gate",
    [tm.Gate("softmax"), tm.Gate(norm=None), tm.Gate(temperature=0.5), tm.Gate(noise=0.1)],
    ids=["activation", "norm", "temperature", "noise"],
)
def test_weights_of_another_gate_are_refused_and_nothing_changes(spec: tm.Spec, gate: tm.Gate) -> None:
    saved = build(spec).state_dict()
    other = build(spec.replace(gate=gate), seed=1)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    for strict in (True, False):
        with pytest.raises(tm.TensorMoEError, match=r"state_dict of the layer: .*saved with"):
            other.load_state_dict(saved, strict=strict)
    for name, value in other.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_layer_inside_a_model_is_named() -> None:
    saved = torch.nn.Sequential(torch.nn.Linear(8, 8), build(SPEC)).state_dict()
    other = torch.nn.Sequential(torch.nn.Linear(8, 8), build(SPEC.replace(gate=tm.Gate("softmax"))))
    with pytest.raises(tm.TensorMoEError, match="state_dict of 1: "):
        other.load_state_dict(saved)


@pytest.mark.parametrize("safe", [True, False])
def test_files_keep_what_the_weights_mean(tmp_path: Path, safe: bool) -> None:
    torch.save(build(SPEC).state_dict(), tmp_path / "weights.pt")
    saved = torch.load(tmp_path / "weights.pt", weights_only=safe)
    assert build(SPEC, seed=1).load_state_dict(saved).missing_keys == []
    with pytest.raises(tm.TensorMoEError, match="saved with"):
        build(SPEC.replace(gate=tm.Gate("softmax"))).load_state_dict(saved)


def test_how_a_layer_is_planned_does_not_matter() -> None:
    planned = SPEC.replace(optimize="greedy", memory_limit=10**6, initialization="published")
    saved = build(planned).state_dict()
    build(SPEC, seed=1).load_state_dict(saved)


def test_where_the_specification_is_not_known_names_and_shapes_decide() -> None:
    plain = dict(build(SPEC).state_dict())
    build(SPEC.replace(gate=tm.Gate("softmax")), seed=1).load_state_dict(plain)
    own = SPEC.replace(gate=tm.Gate(lambda z: z.softmax(-1)))
    build(SPEC, seed=1).load_state_dict(build(own).state_dict())


def test_a_layer_that_was_loaded_from_a_file_says_what_its_weights_mean(tmp_path: Path) -> None:
    tm.save(build(SPEC), tmp_path / "layer")
    saved = tm.load(tmp_path / "layer", "torch").state_dict()
    build(SPEC, seed=1).load_state_dict(saved)
    with pytest.raises(tm.TensorMoEError, match=r"state_dict of the layer: .*saved with"):
        build(SPEC.replace(gate=tm.Gate("softmax"))).load_state_dict(saved)
