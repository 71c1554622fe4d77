"""Single layers as files of the Hugging Face Hub; its cache stands for the network."""

from pathlib import Path

import numpy as np
import pytest
from support.frameworks import BACKENDS

import tensormoe as tm

hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")

SPEC = tm.MuMoEBlockSpec(8, 12, 6, 4, tm.CP(3), tm.Gate("softmax", "batch"), gated=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_downloaded_layer_is_the_one_that_was_saved(backend: str, tmp_path: Path) -> None:
    cached, commit = tmp_path / "models--you--layer", "0" * 40
    for folder in (cached / "refs", cached / "snapshots" / commit):
        folder.mkdir(parents=True)
    (cached / "refs" / "main").write_text(commit)
    layer = tm.build(SPEC, "numpy", seed=0)
    tm.save(layer, cached / "snapshots" / commit / "layer.safetensors")
    path = hub.hf_hub_download("you/layer", "layer.safetensors", cache_dir=tmp_path, local_files_only=True)
    again = tm.load(path, backend)
    assert again.spec == SPEC
    for name, value in again.arrays().items():
        assert np.array_equal(tm.get_backend(backend).to_numpy(value), layer.arrays()[name]), name


def test_a_class_with_the_mixin_keeps_its_specification(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class Layer(torch.nn.Module, hub.PyTorchModelHubMixin):  # type: ignore[misc]
        def __init__(self, spec: dict) -> None:
            super().__init__()
            self.layer = tm.build(tm.Spec.from_dict(spec), "torch")

    saved = Layer(SPEC.to_dict())
    saved.layer(torch.randn(32, 8))  # moves running statistics
    saved.save_pretrained(tmp_path)
    loaded = Layer.from_pretrained(tmp_path)
    assert loaded.layer.spec == SPEC
    x = torch.randn(3, 8)
    assert torch.equal(loaded.layer(x), saved.layer.eval()(x))
