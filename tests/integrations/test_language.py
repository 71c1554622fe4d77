"""The experiment on language: a GPT-2 on texts in files, with a tokenizer that is trained in the run."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tensormoe as tm
from benchmarks.experiments import language, language_data, presets, runner
from benchmarks.experiments.trial import Cell

SIZES = {"seeds": 1, "layers": 2, "heads": 2, "width": 16, "steps": 4, "batch": 8, "at_once": 4, "warmup": 1}
DATA = {"vocabulary": 270, "context": 16, "characters": 0, "held_out": 6, "watched": 2, "rates": (1e-3,)}


@pytest.fixture
def tiny(tmp_path: Path) -> language.Language:
    (tmp_path / "texts").mkdir()
    for number in range(60):
        text = " ".join(f"{number * k % 97} sheep" for k in range(30))
        (tmp_path / "texts" / f"{number:02d}.txt").write_text(text)
    small = presets.read(language.EXPERIMENT)
    return replace(small, root=str(tmp_path / "texts"), experts=(2,), **SIZES, **DATA)


def test_the_experiment_runs_on_texts_in_files(tiny: language.Language, tmp_path: Path) -> None:
    finished = runner.run(language.EXPERIMENT, tiny, tmp_path / "results", quiet=True)
    names = [(line["cell"]["mlp"], line["cell"]["experts"]) for line in finished.lines]
    assert names == [("dense", 0), ("CP", 2), ("ring", 2)]
    parameters = [line["measures"]["parameters"] for line in finished.lines]
    assert parameters[0] * 0.95 < min(parameters[1:]) <= max(parameters) == parameters[0]
    assert all(len(line["measures"]["curve"]) == 2 for line in finished.lines)
    said = language.EXPERIMENT.report(tiny, finished)
    assert len(said.findings) == 2
    assert "ring, transformer.h.1.mlp, expert " in said.text
    said.pictures[0].draw()


def test_the_loss_is_the_mean_over_all_next_tokens(tiny: language.Language, tmp_path: Path) -> None:
    text = language_data.read(tiny, tmp_path)
    cell: Cell = {"mlp": "CP", "experts": 2}
    model = language.build(tiny, cell, 0)
    x, y = text.test[:, :-1], text.test[:, 1:]
    with torch.no_grad():
        logs = model(input_ids=x).logits.double().log_softmax(-1).gather(-1, y[..., None])
    assert language.evaluate(model, text.test, 5) == pytest.approx(float(-logs.mean()), rel=1e-5)


def test_parts_of_the_text_share_no_document_and_unknown_choices_are_refused(
    tiny: language.Language, tmp_path: Path
) -> None:
    text = language_data.read(tiny, tmp_path)
    decode = text.tokenizer.decode
    assert decode(text.validation[0].tolist()).startswith("0 sheep 0 sheep")
    assert decode(text.test[0].tolist()).startswith("0 sheep 10 sheep")
    assert decode(text.train[torch.tensor([0])][0].tolist()).startswith("0 sheep 1 sheep")
    kept = str(tmp_path / "tokenizer.json")
    (tmp_path / "other").mkdir()
    with pytest.raises(tm.TensorMoEError, match="the tokenizer has 270 tokens"):
        language_data.read(replace(tiny, tokenizer=kept, vocabulary=300), tmp_path / "other")
    with pytest.raises(tm.TensorMoEError, match="choose of CP, ring"):
        language.build(tiny, {"mlp": "tree", "experts": 2}, 0)
