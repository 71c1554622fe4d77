"""ONNX Runtime computes what PyTorch does, for any batch size."""

from pathlib import Path

import numpy as np
import pytest
import torch

import tensormoe as tm

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

SPECS = (
    tm.MuMoESpec(8, 6, 4, tm.CP(3), tm.Gate("entmax15", "layer")),
    tm.MuMoESpec(8, 6, (4, 3), tm.TensorRing((2, 2, 2, 4)), tm.Gate("softmax", "batch")),
    tm.MuMoEBlockSpec(8, 12, 6, 4, tm.TensorTrain((3, 4)), gated=True, nonlinearity="silu", input_norm=True),
)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: type(spec.factorization).__name__)
def test_the_exported_layer_gives_equal_outputs(spec: tm.Spec, tmp_path: Path) -> None:
    layer = tm.build(spec, "torch", seed=0)
    generator = torch.Generator().manual_seed(0)
    for weight in layer.gate_weights:
        torch.nn.init.normal_(weight, generator=generator)
    layer(torch.randn(64, 8, generator=generator))  # moves running statistics
    layer.eval()
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.onnx.export(
        layer, (torch.randn(3, 8),), dynamo=True, dynamic_shapes={"x": {0: batch}}, verbose=False
    )
    program.save(tmp_path / "layer.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "layer.onnx", providers=["CPUExecutionProvider"])
    # In NumPy, as an oracle that PyTorch has no part in.
    arrays = {name: value.numpy() for name, value in layer.arrays().items()}
    plain = tm.SavedLayer(
        spec,
        {name: arrays[name].astype("float64") for name in spec.parameter_shapes},
        {name: arrays[name].astype("float64") for name in spec.state_shapes},
    ).build("numpy")
    for count in (2, 3, 17):
        x = np.random.default_rng(count).normal(size=(count, 8)).astype("float32")
        (y,) = session.run(None, {session.get_inputs()[0].name: x})
        np.testing.assert_allclose(y, plain(x.astype("float64")), rtol=1e-4, atol=1e-5)
