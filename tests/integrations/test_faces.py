"""CelebA through CLIP, both small: features are computed once, and the experiment on bias runs on them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

import tensormoe as tm
from benchmarks.experiments import bias, faces, presets, runner
from benchmarks.experiments.bias import Bias

COUNT = 24


@pytest.fixture
def small(tmp_path: Path) -> Bias:
    """A preset whose files are there: 24 faces, half of them to train on, and a model of two layers."""
    root, backbone = tmp_path / "celeba", tmp_path / "clip"
    (root / "img_align_celeba").mkdir(parents=True)
    generator = np.random.default_rng(0)
    names = [f"{number:06d}.jpg" for number in range(1, COUNT + 1)]
    for name in names:
        noise = generator.integers(0, 256, (22, 18, 3)).astype("uint8")
        Image.fromarray(noise).save(root / "img_align_celeba" / name)
    rows = [f"{name} {1 - 2 * (k % 2)} {1 - 2 * (k // 2 % 2)}" for k, name in enumerate(names)]
    (root / "list_attr_celeba.txt").write_text("\n".join([str(COUNT), "Blond_Hair Male", *rows]))
    splits = [f"{name} {k * 4 // COUNT // 2 if k < COUNT * 3 // 4 else 2}" for k, name in enumerate(names)]
    (root / "list_eval_partition.txt").write_text("\n".join(splits))
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    CLIPVisionModel(CLIPVisionConfig(image_size=16, patch_size=8, **sizes)).save_pretrained(backbone)
    CLIPImageProcessor().save_pretrained(backbone)
    full = presets.read(bias.EXPERIMENT, "full")
    return replace(
        full,
        seeds=1,
        root=str(root),
        backbone=str(backbone),
        experts=(4,),
        rank=2,
        steps=3,
        batch=8,
        rates=(1e-3,),
    )


def test_faces_become_features_and_the_experiment_runs_on_them(small: Bias, tmp_path: Path) -> None:
    task = faces.read_faces(small, tmp_path)
    assert [part.x.shape for part in task] == [(12, 8), (6, 8), (6, 8)]
    assert task.train.labels.tolist() == [1, 0] * 6
    assert task.train.attributes.tolist() == [1, 1, 0, 0] * 3
    # One picture by itself, as transformers prepares it.
    picture = Image.open(Path(small.root) / "img_align_celeba" / "000001.jpg")
    processor = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=16)
    pixels = processor(picture, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        alone = CLIPVisionModel.from_pretrained(small.backbone)(pixel_values=pixels).pooler_output
    assert np.corrcoef(alone[0], task.train.x[0])[0, 1] > 0.95
    finished = runner.run(bias.EXPERIMENT, small, tmp_path / "results", quiet=True)
    assert len(finished.lines) == len(bias.METHODS)
    assert len(bias.EXPERIMENT.report(small, finished).findings) == 2


def test_a_model_that_is_not_there_is_named(small: Bias, tmp_path: Path) -> None:
    with pytest.raises(
        tm.TensorMoEError, match=r"backbone: received '.*none'; transformers finds no CLIP model"
    ):
        faces.read_faces(replace(small, backbone=str(tmp_path / "none")), tmp_path)
