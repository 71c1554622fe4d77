"""On a GPU: what PyTorch computes there is what NumPy computes in float64. Skipped where there is none."""

import time

import numpy as np
import pytest
import torch
from support.strategies import EVERY, EVERY_GATE

import tensormoe as tm

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

LEVELS = [(5,), (3, 4)]


def build(spec: tm.Spec, dtype: str = "float32") -> torch.nn.Module:
    """The layer on the GPU, its gate's weights drawn: at their initial zeros all coefficients are equal."""
    module = tm.build(spec, "torch", seed=0, dtype=dtype, device="cuda")
    generator = torch.Generator("cuda").manual_seed(1)
    for weight in module.gate_weights:
        torch.nn.init.normal_(weight.data, std=0.5, generator=generator)
    return module


def draw(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2)).to(dtype).cuda()


def expect(spec: tm.Spec, module: torch.nn.Module, x: torch.Tensor, training: bool) -> np.ndarray:
    """NumPy's output for the same parameters, in float64."""
    state = {name: value.detach().cpu().double().numpy() for name, value in module.named_buffers()}
    parameters = {name: value.detach().cpu().double().numpy() for name, value in module.named_parameters()}
    output = tm.apply(spec, parameters, x.cpu().double().numpy(), state=state, training=training)
    return np.asarray(output.y)


def close(actual: torch.Tensor, expected: np.ndarray, tolerance: float) -> None:
    error = np.abs(actual.detach().cpu().double().numpy() - expected).max()
    assert error <= tolerance * max(1.0, np.abs(expected).max()), error


@pytest.mark.parametrize("experts", LEVELS, ids=str)
@pytest.mark.parametrize("family", [tm.CP(6), tm.Tucker, tm.TensorTrain, tm.TensorRing, tm.Dense()], ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 2e-5)])
def test_every_family_computes_what_numpy_does(family, experts, dtype, tolerance) -> None:
    levels = len(experts)
    ranks = {tm.Tucker: levels + 2, tm.TensorTrain: levels + 1, tm.TensorRing: levels + 2}
    factorization = family(tuple(range(2, 2 + ranks[family]))) if family in ranks else family
    spec = tm.MuMoEBlockSpec(7, 8, 6, experts, factorization)
    module = build(spec, dtype)
    for batch in (1, 3, 200):
        x = draw(batch, 7, dtype=getattr(torch, dtype))
        close(module.eval()(x), expect(spec, module, x, training=False), tolerance)


@pytest.mark.parametrize("factorization", EVERY, ids=str)
def test_gradients_are_those_of_the_cpu(factorization) -> None:
    spec = tm.MuMoESpec(7, 6, 5, factorization)
    module, x = build(spec, "float64"), draw(64, 7, dtype=torch.float64)
    module(x).square().sum().backward()
    twin = tm.build(spec, "torch", seed=0, dtype="float64")
    twin.load_state_dict(module.state_dict())
    twin(x.cpu()).square().sum().backward()
    for (name, ours), (_, theirs) in zip(module.named_parameters(), twin.named_parameters(), strict=True):
        torch.testing.assert_close(ours.grad.cpu(), theirs.grad, rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize("gate", EVERY_GATE, ids=str)
@pytest.mark.parametrize("training", [False, True])
def test_every_gate_computes_what_numpy_does(gate, training) -> None:
    if training and gate.noise:
        pytest.skip("noise differs between frameworks")
    spec = tm.MuMoESpec(7, 6, 40, tm.CP(3), gate=gate)
    module, x = build(spec, "float64").train(training), draw(96, 7, dtype=torch.float64)
    expected = expect(spec, module, x, training)
    close(module(x), expected, 1e-9)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("factorization", EVERY, ids=str)
def test_autocast_trains(factorization, dtype) -> None:
    spec = tm.MuMoEBlockSpec(7, 8, 6, 5, factorization, tm.Gate(norm="batch"), input_norm=True)
    module, x = build(spec), draw(64, 7)
    with torch.autocast("cuda", dtype):
        y = module(x)
    y.float().square().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in module.parameters())
    close(module.eval()(x), expect(spec, module, x, training=False), 1e-4)


def test_the_module_moves_between_devices() -> None:
    spec = tm.MuMoESpec(7, 6, (3, 4), tm.CP(3), gate=tm.Gate(norm="batch"))
    module, x = build(spec), draw(9, 7)
    before = module.eval()(x)
    torch.testing.assert_close(module.cpu()(x.cpu()), before.cpu())
    torch.testing.assert_close(module.cuda()(x), before)


@pytest.mark.parametrize("recompute", [False, True])
def test_compiled_equals_eager(recompute) -> None:
    spec = tm.MuMoEBlockSpec(64, 128, 64, 16, tm.TensorRing((3, 2, 8)))
    module = tm.build(spec, "torch", seed=0, device="cuda", recompute=recompute)
    x = draw(256, 64).requires_grad_()
    eager = torch.autograd.grad(module(x).square().sum(), [x, *module.parameters()])
    compiled = torch.autograd.grad(
        torch.compile(module, fullgraph=True)(x).square().sum(), [x, *module.parameters()]
    )
    for ours, theirs in zip(compiled, eager, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_a_captured_graph_replays() -> None:
    spec = tm.MuMoESpec(64, 32, 16, tm.CP(24), gate=tm.Gate("entmax15", "layer"))
    module, x = build(spec).eval(), draw(128, 64)
    with torch.no_grad():
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                module(x)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = module(x)
        x.copy_(draw(128, 64) * 2)
        graph.replay()
        close(y, expect(spec, module, x, training=False), 2e-5)


def test_an_input_on_another_device_is_refused_by_name() -> None:
    module = build(tm.MuMoESpec(7, 6, 5, tm.CP(3)))
    with pytest.raises(tm.TensorMoEError, match=r"^x: "):
        module(draw(2, 7).cpu())


def test_memory_is_measured_on_the_gpu() -> None:
    report = tm.bench(tm.MuMoESpec(64, 32, 16, tm.CP(24)), "torch", 32, device="cuda", rounds=2, seconds=0.2)
    assert "cuda" in report.device.lower() or "nvidia" in report.device.lower()


def test_a_recording_is_that_of_the_cpu() -> None:
    spec = tm.MuMoEBlockSpec(7, 8, 6, (3, 4), tm.CP(5))
    module = build(spec).eval()
    twin = tm.build(spec, "torch", seed=0)
    twin.load_state_dict(module.state_dict())
    labels = torch.arange(40) % 3
    ours, theirs = (
        tm.analysis.record(torch.nn.Sequential(each), [(x, labels)], labels=1, progress=False)["0"]
        for each, x in ((module, draw(40, 7)), (twin, draw(40, 7).cpu()))
    )
    for measure in ("mean", "variance", "token_entropy", "mutual_information"):
        for one, other in zip(getattr(ours, measure)(), getattr(theirs, measure)(), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("factorization", EVERY, ids=str)
def test_products_of_experts_are_those_of_the_materialized_tensor(factorization) -> None:
    module = build(tm.MuMoESpec(7, 6, 5, factorization), "float64")
    weight = module.materialize().detach().cpu().reshape(5, -1).numpy()
    np.testing.assert_allclose(tm.analysis.gram(module), weight @ weight.T, atol=1e-10)


@pytest.mark.parametrize("factorization", EVERY, ids=str)
def test_ablations_are_edits(factorization) -> None:
    spec = tm.MuMoEBlockSpec(7, 8, 6, 5, factorization, tm.Gate("softmax"))
    module, x = build(spec, "float64").eval(), draw(9, 7, dtype=torch.float64)
    outputs = tm.analysis.ablate(module, x, experts=[2], layers="second")
    edited = tm.editing.edit(module, tm.editing.Ablate(2, layer="second")).layer
    assert next(edited.parameters()).is_cuda
    close(edited.eval()(x), outputs[0], 1e-10)


def test_an_edit_beside_the_network_is_made_on_its_device() -> None:
    module, x = build(tm.MuMoESpec(7, 6, 5, tm.CP(3)), "float64").eval(), draw(9, 7, dtype=torch.float64)
    delta = np.linspace(-1, 1, 42).reshape(7, 6)
    edited = tm.editing.edit(module, tm.editing.Add(3, delta))
    y, coefficients = module(x, return_coefficients=True)
    change = torch.einsum("t,ti,io->to", coefficients[0][:, 3], x, torch.tensor(delta, device="cuda"))
    close(edited.layer.eval()(x), (y + change).detach().cpu().numpy(), 1e-10)
    assert edited.certificate().unchanged == {"cores": 4}


def test_a_sum_computes_what_numpy_does_compiled_too() -> None:
    spec = tm.MuMoESpec(16, 12, 5, tm.TensorNetwork("i o") + tm.CP(4))
    module, x = build(spec).eval(), draw(33, 16)
    close(module(x), expect(spec, module, x, training=False), 2e-5)
    close(torch.compile(module, fullgraph=True)(x), expect(spec, module, x, training=False), 2e-5)


def test_its_clock_counts_the_seconds_of_its_work() -> None:
    ops, x = tm.get_backend("torch"), draw(2048, 2048)
    for _ in range(2):  # what is set up by the first product is not counted
        torch.cuda.synchronize()
        start, stop = time.perf_counter(), ops.clock("cuda")()
        for _ in range(200):
            x @ x
        counted = stop()
        elapsed = time.perf_counter() - start
    assert elapsed / 4 < counted < 1.1 * elapsed


def test_its_name_and_memory_are_its_own() -> None:
    ops = tm.get_backend("torch")
    assert ops.device_name("cuda") == torch.cuda.get_device_name() != ops.device_name("cpu")
    assert ops.memory_of(draw(1)) == torch.cuda.mem_get_info()[1]
