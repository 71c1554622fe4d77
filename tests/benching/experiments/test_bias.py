"""The experiment on bias: what is planted, what methods do to logits, and that all of it runs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import support.frameworks

import tensormoe as tm
from benchmarks.experiments.data.digits import read_digits
from benchmarks.experiments.data.population import Population, Task, border_digits

torch = support.frameworks.optional("torch")
from benchmarks.experiments import bias, mitigation, presets, runner, storage  # noqa: E402
from tensormoe_torch import MuMoE  # noqa: E402


def test_digits_get_the_borders_that_are_planted() -> None:
    train, _, test = border_digits(0.95, 0.0, seed=0)
    originals = read_digits()
    assert train.x.shape == (len(originals.train.labels), 12, 12)
    assert (train.x[:, 2:-2, 2:-2] == originals.train.pixels).all()
    assert (train.labels == originals.train.labels % 2).all()
    checked = train.attributes == 1
    assert abs(checked[train.labels == 1].mean() - 0.05) < 0.03
    assert abs(checked[train.labels == 0].mean() - 0.5) < 0.06
    # Stripes are the same all the way down, and checks are not.
    same = (train.x[:, 0] == train.x[:, 1]).all(axis=1)
    assert (same == ~checked).all()
    half = len(test.labels) // 2
    assert (
        np.bincount(test.groups).tolist()
        == [half - test.labels[:half].sum()] * 2 + [test.labels[:half].sum()] * 2
    )


@pytest.fixture
def task() -> Task:
    generator = np.random.default_rng(0)
    parts = []
    for count in (60, 30, 40):
        labels, attributes = generator.integers(0, 2, (2, count))
        parts.append(Population(generator.normal(size=(count, 5)).astype("float32"), labels, attributes))
    return Task(*parts)


def test_rewriting_adds_to_the_sought_logit_what_the_paper_says(task: Task) -> None:
    head = MuMoE(5, 2, 4, tm.CP(3), seed=0, gate=tm.Gate(norm=None))
    torch.nn.init.normal_(next(iter(head.gate_weights.values())))
    before, after = mitigation.classify(head, task), mitigation.rewrite(head, task, 3.0)
    with torch.no_grad():
        own = [head(torch.from_numpy(part.x), return_coefficients=True)[1][0].numpy() for part in task]
    rare = (task.train.labels == 1) & (task.train.attributes == 1)
    added = [3.0 * coefficients @ own[0][rare].mean(axis=0) for coefficients in own[1:]]
    for one, other, more in zip(before, after, added, strict=True):
        assert np.allclose(other[:, 0], one[:, 0], atol=1e-6)
        assert np.allclose(other[:, 1], one[:, 1] + more, atol=1e-5)
        assert more.std() > 1e-3
    for one, other in zip(before, mitigation.shift(head, task, 0.5), strict=True):
        assert np.allclose(other - one, [0, 0.5], atol=1e-6)


def test_measures_are_those_of_a_table_counted_by_hand() -> None:
    # Groups of class and attribute: 4, 2, 2 and 4 inputs, of which 3, 1, 2 and 1 are right.
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    attributes = np.array([0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 1])
    guesses = np.array([0, 0, 0, 1, 0, 1, 1, 1, 1, 0, 0, 0])
    values = mitigation.measure(np.eye(2)[guesses], Population(np.empty((12, 1)), labels, attributes))
    assert values["accuracy"] == pytest.approx(7 / 12)
    assert values["opportunity gap"] == pytest.approx(1 - 1 / 4)
    assert values["worst group"] == pytest.approx(1 / 4)
    assert values["deviation"] == pytest.approx(np.std([3 / 4, 1 / 2, 1, 1 / 4]))


def test_validation_chooses_the_strength_that_serves_its_worst_group_best() -> None:
    assert mitigation.choose([{"worst group": each} for each in (0.5, 0.7, 0.7, 0.2)]) == 1


def test_all_methods_run_and_say_what_they_measured(tmp_path: Path) -> None:
    small = presets.read(bias.EXPERIMENT)
    tiny = replace(
        small, seeds=2, experts=(4,), rank=2, steps=3, width=6, rates=(1e-3,), adversaries=(0.0, 0.1)
    )
    finished = runner.run(bias.EXPERIMENT, tiny, tmp_path, quiet=True)
    assert [line["cell"]["method"] for line in finished.lines[:5]] == list(bias.METHODS)
    for line in finished.lines:
        curves, chosen = (
            line["measures"]["curves"],
            line["measures"]["strengths"].index(line["measures"]["strength"]),
        )
        assert {name: round(line["measures"][name], 5) for name in curves} == {
            k: v[chosen] for k, v in curves.items()
        }
    # Without any strength, the edited and the shifted head are the one that was trained.
    start = {name: finished.of(method=name, experts=4).lines[0]["measures"] for name in bias.METHODS[:3]}
    firsts = [{k: v[0] for k, v in start[name]["curves"].items()} for name in start]
    assert firsts[0] == firsts[1] == firsts[2]
    told = bias.EXPERIMENT.report(tiny, finished)
    assert len(told.findings) == 3
    assert told.text.count("\n") == 1 + 5
    figure = told.pictures[0].draw()
    assert [axes.get_title().split(" (")[0] for axes in figure.axes[:1]] == ["accuracy"]


def test_data_of_another_name_are_refused(tmp_path: Path) -> None:
    odd = replace(presets.read(bias.EXPERIMENT), data="faces")
    with pytest.raises(tm.TensorMoEError, match="data: received 'faces'; choose digits or celeba"):
        runner.run(bias.EXPERIMENT, odd, tmp_path, quiet=True)
    assert list(storage.read(tmp_path / "bias.jsonl")) == []
