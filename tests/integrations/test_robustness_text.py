"""The experiment on routers on a text in files; its tokenizer is trained in the run."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.experiments import presets, robustness, runner
from benchmarks.experiments.routing_tasks import read_text


def test_the_experiment_runs_on_texts_in_files(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    for number in range(40):
        text = " ".join(f"{number * k % 97} sheep" for k in range(30))
        (tmp_path / "texts" / f"{number:02d}.txt").write_text(text)
    small = presets.read(robustness.EXPERIMENT)
    sizes = {"layers": 2, "width": 8, "hidden": 8, "experts": 4, "rank": 2, "watched": 2, "heads": 2}
    data = {
        "root": str(tmp_path / "texts"),
        "vocabulary": 270,
        "context": 16,
        "characters": 0,
        "test_tokens": 200,
    }
    tiny = replace(small, seeds=1, tasks=("text",), steps=(4,), batch=(8,), rates=(1e-3,), **sizes, **data)
    finished = runner.run(robustness.EXPERIMENT, tiny, tmp_path / "results", quiet=True)
    leaks = {each["cell"]["router"]: each["measures"]["sees the future"] for each in finished.lines}
    assert {router for router, leak in leaks.items() if leak} == {"hard, batch", "soft, batch"}
    assert "batch statistics let tokens see later ones" in robustness.EXPERIMENT.report(tiny, finished).text

    (shared,) = (tmp_path / "results" / "scratch").glob("*/shared")
    task = read_text(tiny, shared)
    assert (task.train.x[:, 1:] == task.train.targets[:, :-1]).all()
    assert (task.train.x[1:, 0] == task.train.targets[:-1, -1]).all()
    assert task.test.x.shape[1] == 16
    wrong = task.corrupted["replace"][4]
    asked = wrong.targets != -100
    assert abs(1 - asked.double().mean() - 0.2) < 0.1
    assert (wrong.targets == task.test.targets)[asked].all()
    assert np.isclose((wrong.x[:, 1:] != task.test.x[:, 1:]).double().mean(), 0.2, atol=0.1)
