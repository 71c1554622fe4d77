"""Heads of experts in the experiments: equal parameters, rates from the grid, measures by definition."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.frameworks import optional

import tensormoe as tm

torch = optional("torch")

from benchmarks.experiments import heads, presets, selection, specialization, tasks  # noqa: E402
from benchmarks.experiments.trial import Trial  # noqa: E402

SMALL = presets.read(specialization.EXPERIMENT)


def cell(**changes: Any) -> dict[str, Any]:
    return {"task": "digits", "layer": "head", "family": "CP", "gate": "entmax15", "experts": 6, **changes}


def task(classes: int = 3, features: int = 5, count: int = 90) -> tasks.Task:
    generator = np.random.default_rng(0)
    labels = np.arange(count) % classes
    centres = 2 * generator.normal(size=(classes, features))
    x = (centres[labels] + generator.normal(size=(count, features))).astype("float32")
    part = tasks.Part(torch.from_numpy(x), torch.from_numpy(labels))
    return tasks.Task(part, part, part)


@pytest.mark.parametrize("experts", SMALL.experts)
@pytest.mark.parametrize("family", SMALL.families)
def test_cores_fill_their_budget_whatever_the_number_of_experts(family: str, experts: int) -> None:
    for features, classes in ((64, 10), (384, 20)):
        spec = heads.specify(SMALL, cell(family=family, experts=experts), features, classes)
        cores = spec.num_parameters - features * experts
        assert 0.85 < cores / (SMALL.budget * (features + 1) * classes) <= 1


def test_the_rank_of_cp_is_the_largest_within_the_budget() -> None:
    spec = heads.specify(SMALL, cell(experts=64), 384, 20)
    assert spec.factorization == tm.CP(4 * 385 * 20 // (64 + 385 + 20))


def test_a_gate_that_is_counted_leaves_less_for_the_cores() -> None:
    published = presets.read(specialization.EXPERIMENT, "imagenet")
    ranks = [heads.specify(published, cell(experts=n), 768, 1000).factorization.rank for n in (64, 512)]
    assert ranks == [(769_000 - 768 * n) // (n + 769 + 1000) for n in (64, 512)]


def test_experts_share_classes_as_the_definitions_say() -> None:
    own = task()
    layer = tm.build(heads.specify(SMALL, cell(), 5, 3), "torch", seed=0)
    with torch.no_grad():
        layer.gate_weights["0"].normal_(generator=torch.Generator().manual_seed(0))
    layer.eval()
    x, labels = own.test.x, own.test.labels.numpy()
    measured = heads.specialize(layer, x, labels)

    with torch.no_grad():
        y, (coefficients,) = layer(x, return_coefficients=True)
    a, y = coefficients.double().numpy(), y.double().numpy()
    weight = layer.materialize().detach().double().numpy()
    z = np.concatenate([x.double().numpy(), np.ones((len(x), 1))], axis=1)
    lost = []
    for n in range(6):
        # Exactly 0 where the expert is the only one: its first class wins, as every tie.
        without = np.einsum("tn,ti,nio->to", np.delete(a, n, 1), z, np.delete(weight, n, 0))
        changes = [
            np.mean(without[labels == c].argmax(1) == c) - np.mean(y[labels == c].argmax(1) == c)
            for c in range(3)
        ]
        lost.append(np.abs(changes))
    lost = np.array(lost)
    main = [max(a[labels == c, n].sum() for c in range(3)) for n in range(6)]
    assert measured["class_share"] == pytest.approx(sum(main) / a.sum(), rel=1e-6)
    assert measured["matter"] == np.count_nonzero(lost.max(axis=1))
    assert measured["largest_change"] == pytest.approx(lost.max())
    assert measured["largest_load"] == pytest.approx(a.sum(0).max() / a.sum(), rel=1e-6)


def test_a_rate_is_the_grids_best_on_validation_data_and_is_chosen_once(tmp_path: Path) -> None:
    settings = presets.read(specialization.EXPERIMENT, "small", {"rates": [1e-9, 0.03], "steps": 30})
    trial = Trial(cell(), 0, tmp_path, tmp_path)
    own = task()
    assert heads.tune(settings, trial, own, tmp_path) == {"rate": 0.03}
    validation = tasks.Part(own.train.x, (own.train.labels + 1) % 3)
    misled = tasks.Task(own.train, validation, own.test)
    assert heads.tune(settings, trial, misled, tmp_path) == {"rate": 1e-9}


def test_all_contenders_see_the_same_batches_and_differ_by_their_seed() -> None:
    settings = presets.read(specialization.EXPERIMENT, "small", {"steps": 3})
    linear = {"task": "digits", **heads.LINEAR}
    one, same, other = (heads.fit(settings, linear, task(), 0.01, seed, None).weight for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_classes_of_texts_are_the_subpackages_that_they_are_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "PACKAGES", ("tensorly",))
    texts, labels, names = tasks.read_classified(members=12)
    assert "tensorly.decomposition" in names
    assert labels.tolist() == [number for number in range(len(names)) for _ in range(12)]
    assert len({*texts}) == len(texts)
    own = [
        text for text, label in zip(texts, labels, strict=True) if names[label] == "tensorly.decomposition"
    ]
    known = " ".join(inspect_docstrings("tensorly.decomposition"))
    assert all(text.split("\n")[0] in known for text in own)
    assert not any("\nParameters\n" in text for text in texts)


def inspect_docstrings(package: str) -> list[str]:
    import inspect
    from importlib.util import find_spec

    root = Path(str(find_spec(package).origin)).parent  # type: ignore[union-attr]
    return [inspect.cleandoc(path.read_text()) for path in root.rglob("*.py")]


def test_unknown_tasks_and_families_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(tm.TensorMoEError, match="choose one of digits, texts, images"):
        tasks.load("faces", SMALL, tmp_path, lambda text, share: None)
    with pytest.raises(tm.TensorMoEError, match="choose one of CP, Tucker, ring, train"):
        heads.family("star")


def test_a_model_that_is_not_there_is_asked_for(tmp_path: Path) -> None:
    from benchmarks.experiments import embeddings

    with pytest.raises(
        tm.TensorMoEError, match=r"it lacks config\.json, model\.safetensors, tokenizer\.json"
    ):
        embeddings.find_model(str(tmp_path))


def test_time_is_that_of_the_processor() -> None:
    import time

    assert selection.fastest(lambda: time.sleep(0.002), 2) < 0.001
    assert selection.fastest(lambda: sum(range(20_000)), 2) > 1e-5
