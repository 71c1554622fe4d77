"""Timing on the machine at hand: what is timed, and what is said of it. No time is asserted."""

import json
from itertools import pairwise, product
from math import prod

import numpy as np
import pytest
from support.frameworks import optional

import tensormoe as tm
from tensormoe.arrays.backend import Backend
from tensormoe.benching.floor import find_products, floor
from tensormoe.benching.inputs import Sampler, draw_arguments
from tensormoe.benching.report import Measurement, remark_on_noise
from tensormoe.benching.sides import layer, mlp
from tensormoe.benching.timing import Timing
from tensormoe.cli import main

torch = optional("torch")

BACKENDS = ("numpy", "torch", "jax")
FAMILIES = {
    "CP": tm.CP(5),
    "Tucker": tm.Tucker((2, 3, 4, 5)),
    "ring": tm.TensorRing((2, 3, 4, 5)),
    "train": tm.TensorTrain((2, 3, 4)),
    "notation": tm.TensorNetwork("n1 a, n2 a b, i b c, o c", a=2, b=3, c=4),
}
LAYER = tm.MuMoESpec(8, 6, (4, 3), tm.CP(5))
BLOCK = tm.MuMoEBlockSpec(8, 7, 6, (4, 3), tm.TensorRing((2, 3, 4, 5)), nonlinearity="relu")
QUICK = {"rounds": 1, "seconds": 0.001}


def sampler_of(backend: str) -> Sampler:
    return Sampler(tm.get_backend(backend), "cpu", seed=0)


def products_for(spec: tm.Spec, backend: str, batch_size: int = 1024) -> list:
    sampler = sampler_of(backend)
    return find_products(sampler.ops, spec, draw_arguments(sampler, spec, batch_size))


def gate_macs(spec: tm.Spec, batch_size: int) -> int:
    return batch_size * spec.in_features * sum(spec.experts)


@pytest.mark.parametrize(("backend", "family"), [*product(BACKENDS, FAMILIES)])
def test_the_floor_has_the_multiply_accumulates_of_plan_and_gate(backend: str, family: str) -> None:
    """The plan counts from the path alone; the floor from the arrays of a call."""
    for make in (tm.MuMoESpec, tm.MuMoEBlockSpec):
        sizes = (8, 6) if make is tm.MuMoESpec else (8, 7, 6)
        spec = make(*sizes, (4, 3), FAMILIES[family], bias=False)
        side = floor(tm.get_backend(backend), products_for(spec, backend))
        assert side.macs == spec.plan(1024).macs + gate_macs(spec, 1024)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_row_of_biases_is_no_part_of_the_floor(backend: str) -> None:
    for spec in (LAYER, BLOCK):
        side = floor(tm.get_backend(backend), products_for(spec, backend))
        assert side.macs == spec.replace(bias=False).plan(1024).macs + gate_macs(spec, 1024)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_products_are_those_of_a_call(backend: str) -> None:
    sampler = sampler_of(backend)
    spec = LAYER.replace(bias=False)
    given = draw_arguments(sampler, spec, 10)
    actual = find_products(sampler.ops, spec, given)
    (x, gate), last = actual[0], actual[-1]
    host = sampler.ops.to_float64
    assert np.array_equal(host(x), host(given.x))
    assert np.array_equal(host(gate), host(given.parameters["gate_weights.0"]))
    # CP's last product is its output.
    y, _, _ = tm.apply(spec, given.parameters, given.x)
    np.testing.assert_allclose(host(last[0]) @ host(last[1]), host(y), rtol=1e-5, atol=1e-5)


def test_the_floor_is_computed_from_contiguous_arrays() -> None:
    for spec in (LAYER, BLOCK):
        assert all(array.is_contiguous() for pair in products_for(spec, "torch") for array in pair)
        assert all(array.flags.c_contiguous for pair in products_for(spec, "numpy") for array in pair)


def test_recording_a_run_leaves_the_backend_as_it_was() -> None:
    ops = tm.get_backend("torch")
    before = dict(vars(ops))
    products_for(LAYER, "torch")
    assert vars(ops) == before


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_the_floor_with_gradients_is_three_products_for_each(backend: str) -> None:
    ops = tm.get_backend(backend)
    actual = products_for(BLOCK, backend, 10)
    side = floor(ops, actual)
    outputs, triples = side.forward(), side.training()
    for (a, b), output, (again, of_a, of_b) in zip(actual, outputs, triples, strict=True):
        assert tuple(of_a.shape) == tuple(a.shape)
        assert tuple(of_b.shape) == tuple(b.shape)
        np.testing.assert_allclose(ops.to_float64(again), ops.to_float64(output), rtol=1e-6)
    assert len(triples) == len(actual)


@pytest.mark.parametrize("spec", [LAYER, BLOCK])
def test_the_layer_that_is_timed_is_the_one_that_is_used(spec: tm.Spec) -> None:
    results = {}
    for backend in ("torch", "jax"):
        sampler = sampler_of(backend)
        given = draw_arguments(sampler, spec, 10)
        side = layer(sampler.ops, spec, given, 0)
        y, _, gradients = side.training()
        assert [tuple(each.shape) for each in gradients] == [(10, 8), *spec.parameter_shapes.values()]
        results[backend] = [sampler.ops.to_float64(each) for each in (side.forward(), y, *gradients)]
    module = tm.build(spec, "torch", seed=0)
    given = draw_arguments(sampler_of("torch"), spec, 10)
    x = given.x.requires_grad_()
    with torch.no_grad():
        for level, weight in enumerate(module.gate_weights):
            weight.copy_(given.parameters[f"gate_weights.{level}"])
    y = module(x)
    y.backward(given.cotangent)
    expected = [y.detach(), y.detach(), x.grad]
    for actual in results.values():
        for ours, theirs in zip(actual, expected, strict=False):
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(results["torch"], results["jax"], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize("spec", [LAYER, BLOCK])
def test_the_mlp_is_the_one_of_these_sizes(backend: str, spec: tm.Spec) -> None:
    sampler = sampler_of(backend)
    side = mlp(sampler, spec, draw_arguments(sampler, spec, 10))
    # The same draws once more.
    sampler = sampler_of("torch")
    given = draw_arguments(sampler, spec, 10)
    sizes = (8, 6) if spec is LAYER else (8, 7, 6)
    parts: list[torch.nn.Module] = []
    for i, o in pairwise(sizes):
        dense = torch.nn.Linear(i, o)
        dense.weight.data, dense.bias.data = sampler.normal(i, o, scale=i**-0.5).T, sampler.normal(o)
        parts += [torch.nn.ReLU(), dense] if parts else [dense]
    module = torch.nn.Sequential(*parts)
    x = given.x.requires_grad_()
    module(x).backward(given.cotangent)
    ops = tm.get_backend(backend)
    y, _, gradients = side.training()
    for ours in (side.forward(), y):
        np.testing.assert_allclose(ops.to_float64(ours), module(x).detach().numpy(), rtol=1e-4, atol=1e-5)
    assert len(gradients) == 1 + len(list(module.parameters()))
    np.testing.assert_allclose(ops.to_float64(gradients[0]), x.grad.numpy(), rtol=1e-4, atol=1e-5)
    assert side.parameters == sum(parameter.numel() for parameter in module.parameters())
    assert side.macs == 10 * sum(prod(pair) for pair in pairwise(sizes))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_report_holds_what_was_measured(backend: str) -> None:
    training = backend != "numpy"
    report = tm.bench(BLOCK, backend, 10, training=training, **QUICK)
    modes = ("forward", "training") if training else ("forward",)
    sides = ("layer", "MLP", "floor")
    assert [(each.mode, each.side) for each in report.measurements] == list(product(modes, sides))
    assert (report.backend, report.batch_size, report.seed) == (backend, 10, 0)
    by = {(each.mode, each.side): each for each in report.measurements}
    dense = 8 * 7 + 7 * 6
    assert by["forward", "MLP"].macs == 10 * dense
    assert [by["forward", side].parameters for side in sides] == [BLOCK.num_parameters, dense + 13, None]
    for mode in modes:
        assert by[mode, "layer"].macs == by[mode, "floor"].macs
        medians = [by[mode, side].timing.median for side in sides]
        assert report.ratio("layer", "MLP", mode) == medians[0] / medians[1]
        assert all(0 < low <= median <= high for low, median, high in quartiles(report, mode))
    if training:
        assert all(by["training", side].macs == 3 * by["forward", side].macs for side in sides)
    text = str(report)
    assert f"{backend} " in text
    assert f"{BLOCK.num_parameters:,}" in text
    assert "MLP: 8 → 7 → 6 with relu" in text
    data = json.loads(report.to_json())
    assert tm.spec_from_json(json.dumps(data["spec"])) == BLOCK
    assert {"python", "tensormoe", backend} <= data["versions"].keys()
    assert [data[name] for name in ("backend", "device", "batch_size", "dtype")] == [
        backend,
        report.device,
        10,
        "float32",
    ]
    for each, row in zip(report.measurements, data["measurements"], strict=True):
        seconds = row["seconds"]
        actual = (seconds["lower_quartile"], seconds["median"], seconds["upper_quartile"])
        assert actual == each.timing.quartiles
        assert row["to_mlp"] == report.ratio(each.side, "MLP", each.mode)
        assert row["to_floor"] == report.ratio(each.side, "floor", each.mode)
        assert (row["macs"], row["parameters"]) == (each.macs, each.parameters)


def test_a_busy_machine_is_remarked_on() -> None:
    steady, busy = (
        Measurement("forward", "layer", Timing((1e-3, 1.5e-3, high), 15, 1), 1, None)
        for high in (1.9e-3, 2.1e-3)
    )
    assert not [*remark_on_noise([steady])]
    assert "machine was busy" in "".join(remark_on_noise([steady, busy]))


def quartiles(report: tm.BenchReport, mode: str) -> list[tuple[float, float, float]]:
    return [each.timing.quartiles for each in report.measurements if each.mode == mode]


def test_another_number_of_parameters_is_said() -> None:
    uneven = str(tm.bench(LAYER, "numpy", 10, **QUICK))
    assert f"the MLP has 54 parameters, the layer {LAYER.num_parameters}" in uneven
    # One expert has a weight for each input in the gate, and as many outputs have a bias in the MLP.
    matched = tm.MuMoESpec(4, 4, 1, tm.Dense(), bias=False)
    assert "parameters, the layer" not in str(tm.bench(matched, "numpy", 10, **QUICK))


@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize(
    "gate",
    [
        tm.Gate(norm="batch", noise=0.5),
        (tm.Gate("softmax"), tm.Gate(router=tm.AdaptiveClustering("vision", statistics="batch", clusters=2))),
        tm.Gate(activation=lambda logits: logits * 2, norm=None),
    ],
    ids=["batch norm and noise", "clustering on one level", "a function"],
)
def test_any_gate_can_be_timed(backend: str, gate: tm.Gate | tuple[tm.Gate, ...]) -> None:
    spec = LAYER.replace(gate=gate)
    report = tm.bench(spec, backend, 10, training=True, **QUICK)
    assert len(report.measurements) == 6
    assert ("noise is left out" in str(report)) == any(each.noise for each in spec.gates)
    json.loads(report.to_json())


def test_without_a_name_the_first_that_is_installed_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(names: set[str]):
        def get(name: str) -> object:
            if name in names:
                raise tm.TensorMoEError("backend", name, "its framework could not be imported")
            return tm.get_backend(name)

        return get

    for names, first in (set(), "torch"), ({"torch"}, "jax"), ({"torch", "jax"}, "numpy"):
        monkeypatch.setattr("tensormoe.benching.measure.get_backend", missing(names))
        assert tm.bench(LAYER, batch_size=2, **QUICK).backend == first


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"backend": "mxnet"}, "backend: received 'mxnet'; choose one of"),
        ({"backend": 5}, "backend: received 5"),
        ({"batch_size": 0}, "batch_size: received 0"),
        ({"batch_size": 2.5}, "batch_size: received 2.5"),
        ({"seed": -1}, "seed: received -1"),
        ({"rounds": 0}, "rounds: received 0"),
        ({"seconds": -1.0}, "seconds: received -1.0"),
        ({"device": "tpu"}, "device: received 'tpu'; choose one of 'cpu'"),
        ({"threads": 0}, "threads: received 0"),
        ({"threads": 2}, "threads: received 2; environment variables set"),
        ({"training": True}, "training: received True; numpy does not differentiate"),
    ],
)
def test_mistakes_are_named_before_anything_is_computed(
    changes: dict, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tensormoe.benching.measure.draw_arguments", lambda *_: pytest.fail("computed"))
    with pytest.raises(tm.TensorMoEError) as error:
        tm.bench(LAYER, **{"backend": "numpy", **changes})
    assert str(error.value).startswith(said)


def test_defaults_of_the_hooks_are_right_for_any_backend() -> None:
    """A backend without a way of its own to a value and its gradients has them from `gradients`."""
    ops = tm.get_backend("torch")
    x, v = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    y, more, (gradient,) = Backend.with_gradients(ops, lambda x: (x * x, "more"), (x,), v)
    assert (y.tolist(), more, gradient.tolist()) == ([1.0, 4.0], "more", [6.0, 16.0])
    assert Backend.with_gradients(tm.get_backend("numpy"), lambda x: (x, None), (x,), v) is None


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_command_prints_and_writes(backend: str, tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    spec, path = tmp_path / "spec.json", tmp_path / "times.json"
    spec.write_text(BLOCK.to_json())
    words = ["--backend", backend, "--batch-size", "10", "--rounds", "1", "--seed", "3", "--json", str(path)]
    words += [] if backend == "numpy" else ["--training"]
    assert main(["bench", str(spec), *words]) == 0
    shown = capsys.readouterr().out
    assert "batch size 10, float32" in shown
    assert ("training" in shown) == (backend != "numpy")
    data = json.loads(path.read_text(encoding="utf-8"))
    assert (data["backend"], data["batch_size"], data["seed"]) == (backend, 10, 3)
    assert {row["rounds"] for row in data["measurements"]} == {1}


def test_the_command_takes_notation(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["n r, i r, o r", "--r", "5", "--experts", "4", "--in", "8", "--out", "6"]
    assert main(["bench", *words, "--batch-size", "10", "--rounds", "1", "--backend", "numpy"]) == 0
    assert f"{10 * (8 * 5 + 4 * 5 + 5 * 6 + 8 * 4):,}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--backend", "mxnet"], "choose one of"),
        (["--batch-size", "0"], "batch_size: received 0"),
        (["--device", "tpu"], "device: received 'tpu'"),
        (["--json", "no/such/times.json"], "in an existing folder"),
        (["--json", "."], "in an existing folder"),
        (["--batches", "3"], "unknown bond 'batches'"),
    ],
)
def test_mistakes_on_the_command_line(words: list[str], said: str, capsys) -> None:
    layer = ["n r, i r, o r", "--r", "5", "--experts", "4", "--in", "8", "--out", "6"]
    assert main(["bench", *layer, "--backend", "numpy", *words]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err
    assert shown.err.count("\n") == 1


def test_threads_are_set_back() -> None:
    before = torch.get_num_threads()
    assert tm.bench(LAYER, "torch", 10, threads=1, **QUICK).threads == 1
    assert torch.get_num_threads() == before
