"""The experiments' features from transformers: tiny models that are built from a configuration."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers

import tensormoe as tm
from benchmarks.experiments import clip, embeddings, finetuning, presets, runner, specialization
from benchmarks.experiments.finetuning import train as finetuning_train
from benchmarks.experiments.tasks import read_pictures

WORDS = ["[PAD]", "[UNK]", "an", "expert", "of", "digits", "and", "letters"]


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny BERT and its tokenizer."""
    folder = tmp_path_factory.mktemp("bert")
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    configuration = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
    )
    transformers.BertModel(configuration).save_pretrained(folder)
    return folder


def test_embeddings_are_means_over_tokens_whatever_texts_share_a_batch(sentences: Path) -> None:
    texts = ["an expert of digits and letters", "letters", "digits and digits " * 20]
    rows = embeddings.embed(texts, embeddings.find_model(str(sentences)), tokens=8, batch=3)
    model = transformers.BertModel.from_pretrained(sentences).eval()
    for text, row in zip(texts, rows, strict=True):
        tokens = torch.tensor([[WORDS.index(word) for word in text.split()][:8]])
        with torch.no_grad():
            mean = model(tokens).last_hidden_state[0].double().mean(0)
        np.testing.assert_allclose(row, (mean / mean.norm()).numpy(), atol=1e-5)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the image encoder of a tiny CLIP."""
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    configuration = transformers.CLIPVisionConfig(
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
        projection_dim=8,
    )
    transformers.CLIPVisionModel(configuration).save_pretrained(folder)
    side = {"height": 16, "width": 16}
    transformers.CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=side).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as ImageNet's, of three classes, which differ by their colour."""
    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for split, count in (("train", 20), ("val", 4)):
        for number, name in enumerate(("blue", "green", "red")):
            (root / split / name).mkdir(parents=True)
            for place in range(count):
                pixels = generator.integers(0, 100, size=(16, 16, 3), dtype="uint8")
                pixels[..., 2 - number] += 150
                Image.fromarray(pixels).save(root / split / name / f"{place}.png")
    return root


def test_features_of_images_are_those_of_clips_own_processor(encoder: Path, pictures: Path) -> None:
    from benchmarks.experiments.data.folders import read_folder

    folder = read_folder(pictures, "val")
    (features,) = clip.encode([folder.pictures], clip.load(str(encoder)), batch=5)
    processor = transformers.CLIPImageProcessor.from_pretrained(encoder)
    model = transformers.CLIPVisionModel.from_pretrained(encoder).eval()
    images = [Image.open(path) for path in folder.pictures.paths]
    with torch.no_grad():
        expected = model(**processor(images, return_tensors="pt")).pooler_output
    np.testing.assert_allclose(features, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("preset", ["imagenet", "imagenet-finetuned"])
def test_heads_are_trained_on_a_folder_of_images(
    preset: str, encoder: Path, pictures: Path, tmp_path: Path
) -> None:
    changes = {
        "seeds": 1,
        "experts": [2, 3],
        "families": ["CP"],
        "swept": ["CP"],
        "middle": 2,
        "rates": [0.03],
        "steps": 40,
        "batch": 16,
        "budget": 3.0,
        "images": str(pictures),
        "clip": str(encoder),
    }
    experiment = specialization.EXPERIMENT
    configuration = presets.read(experiment, preset, changes)
    own = runner.run(experiment, configuration, tmp_path, quiet=True)
    assert [line["measures"]["accuracy"] for line in own.lines] == [1.0, 1.0, 1.0]
    assert "not testable here" not in {
        each.verdict for each in experiment.report(configuration, own).findings
    }


def test_the_published_recipe_trains_the_encoder_and_frozen_features_do_not(
    encoder: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.nn.Module] = []

    def watch(network: torch.nn.Module, *arguments: object, **options: object) -> None:
        before = {name: value.clone() for name, value in network.state_dict().items()}
        finetuning_train(network, *arguments, **options)  # type: ignore[arg-type]
        after = network.state_dict()
        changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
        assert changed == {"encoder", "head"}
        seen.append(network)

    monkeypatch.setattr(finetuning, "train", watch)
    changes = {
        "seeds": 1,
        "experts": [2],
        "families": ["CP"],
        "swept": ["CP"],
        "steps": 3,
        "batch": 8,
        "budget": 3.0,
    }
    changes |= {"images": str(pictures), "clip": str(encoder)}
    experiment = specialization.EXPERIMENT
    runner.run(experiment, presets.read(experiment, "imagenet-finetuned", changes), tmp_path, quiet=True)
    assert len(seen) == 2


def test_crops_are_others_in_each_batch_and_the_same_when_it_is_read_again(
    encoder: Path, pictures: Path
) -> None:
    own = clip.load(str(encoder))
    crops = finetuning.Crops(read_pictures(str(pictures))["train"][0].sized(own.size), own)
    first, again, other = (crops[torch.tensor(batch)] for batch in ([3, 5], [3, 5], [3, 6]))
    assert first.shape == (2, 3, own.size, own.size)
    assert torch.equal(first, again)
    assert not torch.equal(first[0], other[0])


def test_a_folder_or_a_model_that_is_missing_is_named(encoder: Path, pictures: Path, tmp_path: Path) -> None:
    experiment = specialization.EXPERIMENT
    changes = {"images": str(tmp_path / "nothing"), "clip": str(encoder)}
    with pytest.raises(tm.TensorMoEError, match="there is no folder"):
        runner.run(experiment, presets.read(experiment, "imagenet", changes), tmp_path, quiet=True)
    changes = {"images": str(pictures), "clip": str(tmp_path / "nothing")}
    with pytest.raises(tm.TensorMoEError, match="pass a folder that save_pretrained wrote"):
        runner.run(experiment, presets.read(experiment, "imagenet", changes), tmp_path, quiet=True)
