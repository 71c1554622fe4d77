"""The experiment on routers: its transformer, its measures, and that it runs on digits."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import support.frameworks
from PIL import Image

import tensormoe as tm
from benchmarks.experiments.results import Line, Results

torch = support.frameworks.optional("torch")
from benchmarks.experiments import presets, robustness, robustness_report, runner  # noqa: E402
from benchmarks.experiments.routing_tasks import Examples, evaluate, mean_loss, top_experts  # noqa: E402
from benchmarks.experiments.transformer import Patches, Transformer  # noqa: E402


def transformer(statistics: str | None, causal: bool = True) -> Transformer:
    rule: tm.Router = tm.LinearRouter()
    if statistics is not None:
        rule = tm.AdaptiveClustering(assignment="hard", statistics=statistics, evaluation=statistics)
    gate = tm.Gate(tm.Activation("top_k", k=2), norm=None, router=rule)
    spec = tm.MuMoEBlockSpec(8, 12, 8, 4, tm.CP(3), gate=gate)
    torch.manual_seed(0)
    embed = torch.nn.Embedding(11, 8) if causal else Patches(2, 8)
    return Transformer(embed, spec, length=6, layers=3, heads=2, outputs=11, causal=causal)


@pytest.mark.parametrize(("statistics", "leaks"), [(None, False), ("running", False), ("batch", True)])
def test_tokens_see_later_ones_with_batch_statistics_only(statistics: str | None, leaks: bool) -> None:
    model = transformer(statistics)
    tokens = torch.arange(60).reshape(10, 6) % 11
    model(tokens)  # in training: fills running statistics
    model.eval()
    changed = tokens.clone()
    changed[:, -1] = (changed[:, -1] + 3) % 11
    with torch.no_grad():
        before, after = model(tokens), model(changed)
    assert bool((before[:, :-1] == after[:, :-1]).all()) is not leaks
    assert not torch.equal(before[:, -1], after[:, -1])


def test_patches_are_squares_row_by_row() -> None:
    patches = Patches(2, 4)
    with torch.no_grad():
        patches.linear.weight.copy_(torch.eye(4))
        patches.linear.bias.zero_()
        image = torch.arange(16.0).reshape(1, 4, 4)
        assert patches(image).tolist() == [[[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]]


def test_patches_of_colours_hold_all_colours_and_bytes_lie_between_minus_one_and_one() -> None:
    patches = Patches(2, 12, colours=3)
    image = torch.arange(48, dtype=torch.uint8).reshape(1, 4, 4, 3)
    with torch.no_grad():
        patches.linear.weight.copy_(torch.eye(12))
        patches.linear.bias.zero_()
        first = patches(image)[0, 0]
    pixels = image[0, :2, :2].permute(2, 0, 1).flatten().double().numpy()
    np.testing.assert_allclose(first.numpy(), 2 * pixels / 255 - 1, atol=1e-6)


def test_the_experiment_runs_on_folders_of_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split, members in (("train", 20), ("val", 3)):
        for shade, name in enumerate(("dark", "light")):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(members):
                pixels = np.full((9, 12, 3), 200 * shade + number, dtype="uint8")
                Image.fromarray(pixels).save(tmp_path / split / name / f"{number}.png")
    monkeypatch.setattr(robustness, "ROUTERS", {"linear": None, "hard, batch": ("hard", "batch")})
    sizes = {"seeds": 2, "layers": 2, "width": 8, "hidden": 8, "experts": 4, "rank": 2, "heads": 2}
    vision = presets.read(robustness.EXPERIMENT, "full-vision", {"root": str(tmp_path), **sizes})
    tiny = replace(vision, steps=(20,), batch=(8,), rates=(1e-2,), watched=2)
    finished = runner.run(robustness.EXPERIMENT, tiny, tmp_path / "results", quiet=True)
    assert {line["measures"]["accuracy"] for line in finished.lines} == {1.0}
    told = robustness.EXPERIMENT.report(tiny, finished)
    assert "pictures: " in told.findings[1].result
    assert told.pictures[0].draw().axes[1].get_ylabel() == "accuracy [%]"
    odd = replace(tiny, root=str(tmp_path / "nowhere"))
    with pytest.raises(tm.TensorMoEError, match=r"there is no folder .*nowhere/train: pictures lie in"):
        runner.run(robustness.EXPERIMENT, odd, tmp_path / "results", quiet=True)


def test_gates_start_with_different_experts_for_different_tokens() -> None:
    model = transformer(None)
    top, load = top_experts(model, torch.arange(60).reshape(10, 6) % 11, batch=4)
    assert top.shape == (3, 60)
    assert all(len(set(layer.tolist())) > 2 for layer in top)
    assert torch.allclose(load.sum(-1), torch.ones(3))


def test_losses_count_the_tokens_that_are_asked_for_and_no_batch_more_than_another() -> None:
    model = transformer(None).double()
    tokens = torch.arange(42).reshape(7, 6) % 11
    targets = (tokens + 1) % 11
    targets[0, :5] = -100
    measures = evaluate(model, Examples(tokens, targets), batch=3)
    with torch.no_grad():
        logits = model(tokens)
    logs = torch.log_softmax(logits, -1).gather(-1, targets.clamp(0)[..., None])[..., 0]
    asked = targets >= 0
    assert measures["loss"] == pytest.approx(float(-logs[asked].mean()), rel=1e-6)
    assert measures["accuracy"] == pytest.approx(float((logits.argmax(-1) == targets)[asked].double().mean()))
    assert float(mean_loss(logits, targets)) == pytest.approx(measures["loss"], rel=1e-6)


def line(router: str, seed: int, losses: list[float]) -> Line:
    curve = [[10 * (k + 1), loss] for k, loss in enumerate(losses)]
    corrupted = {"swap": [{"loss": 2.0 + each} for each in range(5)], "delete": [{"loss": 4.0}] * 5}
    measures = {"curve": curve, "loss": losses[-1], "corrupted": corrupted}
    return {"cell": {"task": "text", "router": router}, "seed": seed, "measures": measures, "timings": {}}  # type: ignore


def test_steps_to_a_loss_are_read_off_the_curve() -> None:
    linear = [line("linear", 0, [5, 4, 3, 2]), line("linear", 1, [7, 6, 3, 2])]
    fast, slow, late = line("a", 0, [4, 3, 2, 1]), line("a", 1, [9, 6, 4, 1]), line("a", 2, [9, 8, 7, 6])
    results = Results((*linear, fast, slow, late))
    # The linear router's mean loss after the second of four times is 5.
    steps = [robustness_report.steps_to_loss(each, "text", results) for each in (*linear, fast, slow, late)]
    assert steps == pytest.approx([10, 20 + 10 / 3, 10, 25, 40])
    gain = robustness_report.difference(robustness_report.SPEED, results, "text", "a")
    assert gain.mean == pytest.approx((0 + (25 - 20 - 10 / 3)) / 2)


def test_what_corruption_adds_is_a_mean_over_kinds() -> None:
    one = line("a", 0, [3, 1])
    assert robustness_report.by_severity(one, "text") == pytest.approx([2, 2.5, 3, 3.5, 4])
    assert robustness_report.corrupted(one, "text", Results((one,))) == pytest.approx(3)


def test_the_experiment_runs_on_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What varies most; the text's test has them all.
    routers = {name: robustness.ROUTERS[name] for name in ("linear", "hard, batch")}
    monkeypatch.setattr(robustness, "ROUTERS", routers)
    small = presets.read(robustness.EXPERIMENT)
    sizes = {
        "seeds": 2,
        "layers": 2,
        "width": 8,
        "hidden": 8,
        "experts": 4,
        "rank": 2,
        "watched": 2,
        "heads": 2,
    }
    tiny = replace(small, tasks=("digits",), steps=(4,), batch=(128,), rates=(1e-3,), **sizes)
    finished = runner.run(robustness.EXPERIMENT, tiny, tmp_path, quiet=True)
    assert len(finished.lines) == 2 * len(routers)
    for each in finished.lines:
        measures = each["measures"]
        assert [step for step, _ in measures["curve"]] == [2, 4]
        assert {kind: len(values) for kind, values in measures["corrupted"].items()} == dict.fromkeys(
            ("noise", "blur", "contrast", "occlusion", "pixelation"), 5
        )
        assert 0 <= measures["same expert later"] <= 1
        assert measures["sees the future"] is None
    told = robustness.EXPERIMENT.report(tiny, finished)
    assert [finding.verdict != "not testable here" for finding in told.findings] == [True] * 3
    assert [axes.get_ylabel() for axes in told.pictures[0].draw().axes] == [
        "validation loss [nats]",
        "accuracy [%]",
        "difference [points of accuracy]",
    ]


def test_a_task_of_another_name_is_refused(tmp_path: Path) -> None:
    odd = replace(presets.read(robustness.EXPERIMENT), tasks=("speech",))
    with pytest.raises(tm.TensorMoEError, match="received 'speech'; choose of digits, pictures and text"):
        runner.run(robustness.EXPERIMENT, odd, tmp_path, quiet=True)
