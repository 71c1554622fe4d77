"""What the experiments on heads say of results: by the intervals of differences, seed by seed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from scipy import stats
from support.frameworks import optional

optional("torch")

from benchmarks.experiments import heads, presets, runner, selection, specialization, storage, tasks  # noqa: E402
from benchmarks.experiments.experiment import Experiment, Report  # noqa: E402
from benchmarks.experiments.results import Results  # noqa: E402
from benchmarks.experiments.trial import Cell, Outcome, Value  # noqa: E402
from benchmarks.experiments.verdicts import judge  # noqa: E402
from tensormoe.intervals import interval  # noqa: E402

Measure = Callable[[Cell, int], dict[str, Value]]
BASE: dict[str, Value] = {
    "rate": 0.003,
    "parameters": 100,
    "accuracy": 0.9,
    "polysemanticity": 0.5,
    "matter": 3,
    "largest_change": 0.2,
    "class_share": 0.3,
    "effective": 4.0,
    "dead": 1,
}


def tell(experiment: Experiment, changes: Measure, timings: Measure = lambda cell, seed: {}) -> Report:
    """The report of results that are made up."""
    configuration = presets.read(experiment)
    lines = [
        storage.make(
            configuration,
            cell,
            seed,
            Outcome({**BASE, **changes(cell, seed)}, {"step": 0.001, "gate": 0.001, **timings(cell, seed)}),
            1.0,
            1.0,
        )
        for cell, seed in experiment.trials(configuration)
    ]
    return experiment.report(configuration, Results(tuple(lines)))


@pytest.mark.parametrize(("slope", "verdict"), [(-0.001, "holds"), (0.001, "does not hold at this size")])
def test_polysemanticity_must_fall_for_the_claim_to_hold(slope: float, verdict: str) -> None:
    wobble = (0.0, 0.01, 0.02, -0.01, 0.03)
    report = tell(
        specialization.EXPERIMENT,
        lambda cell, seed: {
            "polysemanticity": 0.5 + (slope + 0.01 * wobble[seed] * abs(slope)) * int(cell["experts"])
        },
    )
    first = report.findings[0]
    assert first.verdict == verdict
    changes = [508 * (slope + 0.01 * each * abs(slope)) for each in wobble]
    half = stats.t.ppf(0.975, 4) * stats.sem(changes)
    mean = sum(changes) / 5
    assert f"CP head {mean:+.2f} ± {half:.2f}".replace("-", "−") in first.result
    assert bool(first.why) == (verdict != "holds")


def test_a_fall_that_some_seeds_do_not_show_is_not_enough() -> None:
    falls = (-0.3, -0.2, 0.3, -0.4, 0.1)
    report = tell(
        specialization.EXPERIMENT,
        lambda cell, seed: {"polysemanticity": 0.5 + falls[seed] * (cell["experts"] == 512)},
    )
    assert sum(falls) < 0
    assert report.findings[0].verdict == "undecided at this size"


@pytest.mark.parametrize(("loss", "verdict"), [(0.005, "holds"), (0.02, "does not hold at this size")])
def test_accuracy_may_be_a_point_less(loss: float, verdict: str) -> None:
    report = tell(
        specialization.EXPERIMENT,
        lambda cell, seed: {"accuracy": 0.9 - loss * (cell["experts"] == 512) + 0.001 * seed},
    )
    assert report.findings[1].verdict == verdict
    assert f"{-100 * loss:.1f} ± 0.0 (CP head, 512 experts)".replace("-", "−") in report.findings[1].result


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        (((0.0, 0.1, 0.2),), "undecided at this size"),
        (((0.1, 0.2, 0.2),), "holds"),
        (((0.1, 0.2, 0.2), (0.0, 0.1, 0.2)), "undecided at this size"),
        (((0.1, 0.2, 0.2), (-0.1, -0.2, -0.2)), "does not hold at this size"),
        (((0.3,),), "undecided at this size"),
        (((),), "undecided at this size"),
    ],
)
def test_a_claim_holds_if_every_interval_is_above_and_fails_if_one_is_below(
    gains: tuple[tuple[float, ...], ...], verdict: str
) -> None:
    assert judge(map(interval, gains)) == verdict
    below = [interval([-value for value in each]).negated for each in gains]
    assert judge(below) == verdict


def test_what_cannot_be_tested_here_is_said_to_be() -> None:
    report = tell(specialization.EXPERIMENT, lambda cell, seed: {})
    assert [each.verdict for each in report.findings if "CLIP" in each.claim] == ["not testable here"]


def test_the_table_has_every_head_with_its_rate_and_the_grid() -> None:
    text = tell(specialization.EXPERIMENT, lambda cell, seed: {}).text
    assert "0.001, 0.003, 0.01" in text.replace("\n", " ")
    rows = [row for row in text.splitlines() if row.startswith(("| digits", "| texts"))]
    assert len(rows) == len(specialization.cells(presets.read(specialization.EXPERIMENT)))
    assert all("| 0.003 |" in row for row in rows)


@pytest.mark.parametrize(("factor", "verdict"), [(1.5, "holds"), (1.02, "does not hold at this size")])
def test_soft_top_k_is_slow_if_a_step_takes_a_tenth_more(factor: float, verdict: str) -> None:
    report = tell(
        selection.EXPERIMENT,
        lambda cell, seed: {},
        lambda cell, seed: {"step": 0.002 * (factor if cell["gate"] == "soft_top_k" else 1) * (1 + seed)},
    )
    assert report.findings[0].verdict == verdict
    assert f"digits, 128 experts: {factor:.2f} ± 0.00" in report.findings[0].result


@pytest.mark.parametrize(
    ("dead", "gain", "verdict"),
    [
        (5, 0.0, "holds"),
        (1, 0.02, "holds"),
        (1, 0.0, "does not hold at this size"),
        (5, -0.02, "does not hold at this size"),
    ],
)
def test_discrete_routing_is_worse_if_experts_die_or_accuracy_is_lower(
    dead: int, gain: float, verdict: str
) -> None:
    report = tell(
        selection.EXPERIMENT,
        lambda cell, seed: {"dead": dead, "accuracy": 0.9 - gain} if cell["gate"] == "top_k" else {},
    )
    assert [each.verdict for each in report.findings if "discrete" in each.claim] == [verdict] * 2


def test_heads_on_digits_run_from_pretraining_to_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a few steps of everything: what is measured is written, and read into figures."""
    monkeypatch.setattr(tasks, "PRETRAINING", replace(tasks.PRETRAINING, steps=15))
    changes = {
        "seeds": 2,
        "tasks": ["digits"],
        "experts": [2, 4],
        "families": ["CP"],
        "swept": ["CP"],
        "gates": ["entmax15"],
        "middle": 4,
        "rates": [0.003],
        "steps": 10,
    }
    experiment = specialization.EXPERIMENT
    configuration = presets.read(experiment, "small", changes)
    own = runner.run(experiment, configuration, tmp_path, quiet=True)
    kinds = [(line["cell"]["layer"], line["cell"]["experts"]) for line in own.lines[:5]]
    assert kinds == [("linear", 1), ("head", 2), ("head", 4), ("block", 2), ("block", 4)]
    report = experiment.report(configuration, own)
    assert [len(picture.draw().axes) for picture in report.pictures] == [1, 1, 1]
    accuracy = own.interval("accuracy", task="digits", **heads.LINEAR).shown(1, 100, "%")
    assert f"the linear layer's {accuracy}" in report.findings[1].result
